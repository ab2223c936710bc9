"""Moves of an activity whose process died, or whose run comes back from its journal (part of ``machine.py``)."""

from __future__ import annotations

from dbos_core.activities.effects import Effects, LeaveOpen
from dbos_core.activities.moves import State
from dbos_core.activities.operator_moves import OperatorMoves
from dbos_core.activities.spec import ASYNC_WORKER, ActivityRow, AttemptOutcome, OutcomeKind, RetryState, TimeoutKind
from dbos_core.retry import GiveUp


class RecoveryMoves(OperatorMoves):
    """The methods of ``moves.MOVES`` for what a dead process left behind."""

    __slots__ = ()

    def _lost(self, now_ms: int, row: ActivityRow | None) -> Effects:
        if row is not None:
            self.heartbeat = row.heartbeat if row.heartbeat is not None else self.heartbeat
            self.heartbeat_at_ms = row.heartbeat_at_ms
            self.started_ms = row.started_ms
        started = self.due_ms if self.started_ms is None else self.started_ms
        self.started_ms = started
        kind, ends_ms = self._would_end(started)
        # At once, unless it kills every process that tries it: the backoff is counted from the attempt's start.
        delay_ms = max(1, started + self.spec.retry.delay_ms(self.attempt) - now_ms)
        outcome = AttemptOutcome(kind=OutcomeKind.TIMED_OUT, timeout=kind, lost=True, next_retry_delay_ms=delay_ms)
        decision = self._decide(now_ms, outcome)
        if not isinstance(decision, GiveUp):
            return self._again(now_ms, now_ms if delay_ms == 1 else decision.due_ms, outcome)
        self._spent_ms = ends_ms
        self.state = State.SPENT
        return self._clock_spent(now_ms, None)

    def _clock_spent(self, now_ms: int, _: None) -> Effects:
        if self._past_close(now_ms):
            return self._timed_out(now_ms, TimeoutKind.SCHEDULE_TO_CLOSE)
        if self.paused or self._spent_ms is None or now_ms < self._spent_ms:
            return []
        kind, _ends_ms = self._would_end(self.started_ms or self.due_ms)
        outcome = AttemptOutcome(kind=OutcomeKind.TIMED_OUT, timeout=kind, lost=True)
        decision = self._decide(now_ms, outcome)
        if not isinstance(decision, GiveUp):  # thanks to an operator
            return self._again(now_ms, decision.due_ms, outcome)
        state = decision.state
        if state is RetryState.TIMEOUT:
            kind = TimeoutKind.SCHEDULE_TO_CLOSE
        return self._final(OutcomeKind.TIMED_OUT, None, state, kind)

    def _restore(self, now_ms: int, row: ActivityRow | None) -> Effects:
        if row is None:
            # A bounded attempt leaves a row before it starts. An unbounded one may have started without a trace.
            return self._resume(now_ms) if self.spec.retry.bounded else self._count_as_started(now_ms)
        self.row_exists = True
        self.attempt, self.due_ms = row.attempt, row.due_ms
        self.heartbeat, self.heartbeat_at_ms = row.heartbeat, row.heartbeat_at_ms
        self.last_failure, self.ended_ms = row.last_failure, row.ended_ms
        if row.worker == ASYNC_WORKER:
            self.started_ms = row.started_ms
            self.left_open = True
            self.state = State.STARTED
            return [LeaveOpen(), *self._clock_started(now_ms, None)]
        if row.offered:
            self.state = State.OFFERED
            self.elsewhere = row.worker is not None
            self.cancel_requested = row.cancel_requested
            if self.paused:
                return [] if self.elsewhere else self._take_back()
            return self._clock_offered(now_ms, None)
        if self.spec.retry.bounded:
            return self._resume(now_ms) if row.started_ms is None else self._lost(now_ms, row)
        # An attempt without a trace may have started if it was due, unless an operator held it back.
        if row.started_ms is not None or (row.due_ms <= now_ms and not self.paused):
            return self._count_as_started(now_ms)
        return self._resume(now_ms)

    def _count_as_started(self, now_ms: int) -> Effects:
        """Go on with the next number, which is written down: a second crash must count on from there.

        At once, unless it kills every process that tries it: the backoff is counted from when it was due.
        """
        self.due_ms = max(now_ms, self.due_ms + self.spec.retry.delay_ms(self.counted))
        self.attempt = self.counted + 1
        self._over()
        return self._resume(now_ms, write=True)
