"""The life of one activity as the owner of its run sees it. Pure: what happened and when in, effects as values out.

``moves.py`` has the table that it follows: what may happen in which state, which method here decides, and where it may
lead. ``carrier.py`` acts on the effects; ``execution.py`` runs single attempts.

Two rules keep the promise about bounded attempts (``maximum_attempts``), whatever line the process dies on: the start
of such an attempt is in its row before the attempt starts, and a row with a start in it counts as an attempt used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dbos_core.activities.attempt import RunIdentity
from dbos_core.activities.effects import (
    NOT_STARTED,
    Abort,
    DeleteRow,
    DeliverCancel,
    Effects,
    Enqueue,
    Final,
    FlagCancel,
    LeaveOpen,
    Record,
    ReturnSlot,
    SetTimer,
    Start,
    Withdraw,
    WriteRow,
)
from dbos_core.activities.moves import MOVES, Input, State
from dbos_core.activities.spec import (
    ASYNC_WORKER,
    ActivityRow,
    ActivitySpec,
    AttemptOutcome,
    FinalOutcome,
    OutcomeKind,
    RetryState,
    TimeoutKind,
    timeout_failure,
)
from dbos_core.activities.wire import offer
from dbos_core.clock import TimerHandle
from dbos_core.errors import Ours
from dbos_core.retry import GiveUp, decide


class ActivityMachine:
    """One activity. Every public method is one input and returns what shall be done."""

    __slots__ = (
        "_spent_ms", "_timer_ms", "_withdraw_for", "attempt", "cancel_requested", "due_ms", "elsewhere", "forgotten",
        "handle", "heartbeat", "heartbeat_at_ms", "identity", "last_failure", "left_open", "mail_ids", "mail_ms", "process_id",
        "recorded_start", "row_exists", "run", "served", "slot", "spec", "started_ms", "state", "when_written",
        "writes",
    )  # fmt: skip

    def __init__(self, run: RunIdentity, spec: ActivitySpec, process_id: str) -> None:
        self.run = run
        self.spec = spec
        self.process_id = process_id
        self.state = State.PLANNED
        self.attempt = 1
        self.due_ms = spec.scheduled_ms
        self.started_ms: int | None = None
        self.heartbeat: str | None = None
        self.heartbeat_at_ms: int | None = None
        self.last_failure: str | None = None
        self.cancel_requested = False
        self.forgotten = False
        """The workflow was told of an end already: what really happens is nobody's business."""
        self.served = True
        """Is there a worker for its queue in this process? Kept up to date by whoever acts, before each input."""
        self.row_exists = False
        self.recorded_start = False
        """This attempt's start is in the row that the scheduling commit writes."""
        self.elsewhere = False
        """Known to run in another process."""
        self.left_open = False
        self.identity = ""
        self.mail_ids: tuple[str, ...] = ()
        """Mail that the input under way came by."""
        self.mail_ms = 0
        self.handle: TimerHandle | None = None
        """For whoever acts: the timer that is armed."""
        self.slot: Any = None
        """For whoever acts: the slot that is held, or the execution that runs."""
        self.writes = 0
        """For whoever acts: rows that are on their way to the store."""
        self.when_written: Callable[[], None] | None = None
        self._spent_ms: int | None = None
        self._timer_ms: int | None = None
        self._withdraw_for: TimeoutKind | None = None

    def __repr__(self) -> str:
        spec = self.spec
        return (
            f"<activity {spec.activity_id!r} ({spec.activity_type}) of run {self.run.run_id} of workflow "
            f"{self.run.workflow_id!r}: {self.state.name}, attempt {self.attempt}>"
        )

    # -- inputs ----------------------------------------------------------------------------------------------------

    def plan(self, now_ms: int, *, slot_held: bool) -> ActivityRow | None:
        """The row that the scheduling commit must carry, if any. With a slot held, a bounded attempt's start is in it."""
        if not self.served:
            return self._row(offered=True)
        if slot_held and self.spec.retry.bounded:
            self.recorded_start = True
            self.started_ms = now_ms
            return self._row()
        return None

    def release(self, now_ms: int) -> Effects:
        """The scheduling commit is through."""
        return self._move(Input.RELEASE, now_ms)

    def restore(self, now_ms: int, row: ActivityRow | None) -> Effects:
        """Another process (or this one, earlier) scheduled it; ``row`` is what it left behind."""
        return self._move(Input.RESTORE, now_ms, row)

    def slot_free(self, now_ms: int) -> Effects:
        """A slot is held for it."""
        return self._move(Input.SLOT, now_ms)

    def recorded(self, now_ms: int) -> Effects:
        return self._move(Input.RECORDED, now_ms)

    def ended(self, now_ms: int, outcome: AttemptOutcome) -> Effects:
        """The current attempt has ended."""
        return self._move(Input.OUTCOME, now_ms, outcome)

    def lost(self, now_ms: int, row: ActivityRow | None) -> Effects:
        """The process that ran the current attempt died; ``row`` is what it left behind."""
        return self._move(Input.LOST, now_ms, row)

    def beat(self, now_ms: int, details: str | None) -> Effects:
        return self._move(Input.HEARTBEAT, now_ms, details)

    def leave_open(self, now_ms: int, started_ms: int | None = None) -> Effects:
        """Its function returned and said that it will be completed from outside."""
        return self._move(Input.LEFT_OPEN, now_ms, started_ms)

    def clock(self, now_ms: int) -> Effects:
        """The timer that was set last rings."""
        self._timer_ms = None
        return self._move(Input.CLOCK, now_ms)

    def cancel(self, now_ms: int) -> Effects:
        return self._move(Input.CANCEL, now_ms)

    def unserved(self, now_ms: int) -> Effects:
        """The last worker of its queue in this process is gone."""
        return self._move(Input.UNSERVED, now_ms)

    def taken(self, now_ms: int, row: ActivityRow) -> Effects:
        """This very process has taken the offer."""
        return self._move(Input.TAKEN, now_ms, row)

    def withdrawn(self, now_ms: int, *, success: bool) -> Effects:
        return self._move(Input.WITHDRAWN, now_ms, success)

    def forget(self, now_ms: int) -> Effects:
        """Its outcome shall reach nobody."""
        return self._move(Input.FORGET, now_ms)

    def hand_over(self) -> ActivityRow | None:
        """Its run leaves this process in good order. An attempt that has not started becomes an offer, so that nobody
        has to guess whether it had; the row is for the caller to write. None: there is nothing to hand over."""
        if self.state not in (State.READY, State.BACKOFF) or self.forgotten:
            return None
        return self._row(offered=True)

    def void(self) -> None:
        """Its run is in this process no more. Whatever is still under way finds it closed."""
        self.forgotten = True
        self.state = State.CLOSED

    def expects(self, attempt: int) -> bool:
        """Is this the attempt whose outcome is awaited?"""
        return attempt == self.attempt and self.state in AWAITS_OUTCOME

    @property
    def started(self) -> bool:
        """As far as this process knows."""
        return self.state in (State.STARTED, State.SPENT) or self.elsewhere

    # -- moves -----------------------------------------------------------------------------------------------------

    def _move(self, what: Input, now_ms: int, argument: Any = None) -> Effects:
        before = self.state
        move = _METHODS[before].get(what)
        if move is None:
            raise Ours(f"{self!r} was told {what.name}, which cannot happen in this state; please report it")
        effects = move[0](self, now_ms, argument)
        state = self.state
        if state not in move[1]:
            raise Ours(
                f"{self!r} went from {before.name} to {state.name} on {what.name}, which cannot be; please report it"
            )
        if state is not State.CLOSED:
            when_ms = self._next_clock_ms()
            if when_ms is not None and when_ms != self._timer_ms:
                self._timer_ms = when_ms
                effects.insert(0, SetTimer(when_ms))  # first, since what follows may lead to a nearer one
        return effects

    def _next_clock_ms(self) -> int | None:
        """The earliest of the clocks that run in this state."""
        spec = self.spec
        when = None if spec.schedule_to_close_ms is None else spec.scheduled_ms + spec.schedule_to_close_ms
        state = self.state
        if state is State.STARTED:
            return when
        if state is State.RECORDING or state is State.WITHDRAWING:
            return None  # looked at when the store has answered
        if state is State.BACKOFF:
            other: int | None = self.due_ms
        elif state is State.SPENT:
            other = self._spent_ms
        else:
            other = self._start_deadline_ms()
        if other is None or (when is not None and when < other):
            return when
        return other

    def _start_deadline_ms(self) -> int | None:
        if self.spec.schedule_to_start_ms is None or self.elsewhere:
            return None
        return self.due_ms + self.spec.schedule_to_start_ms

    def _release(self, now_ms: int, _: None) -> Effects:
        if self.recorded_start:
            self.state = State.STARTED
            return [Start()]
        if self.row_exists:
            self.state = State.OFFERED
            return []
        return self._schedule(now_ms)

    def _schedule(self, now_ms: int) -> Effects:
        """The current attempt waits for its time, for a slot here, or for another process."""
        self.elsewhere = self.left_open = self.recorded_start = False
        self.started_ms = None
        if self.due_ms > now_ms:
            self.state = State.BACKOFF  # offered only when due, so that the offer wakes whoever serves the queue
            return []
        if not self.served:
            return self._offer(now_ms, None)
        self.state = State.READY
        return [Enqueue()]

    def _offer(self, now_ms: int, _: None) -> Effects:
        self.state = State.OFFERED
        return [WriteRow(self._row(offered=True))]

    def _slot(self, now_ms: int, _: None) -> Effects:
        self.started_ms = now_ms
        if self.spec.retry.bounded:
            self.state = State.RECORDING
            return [Record(self._row())]
        self.state = State.STARTED
        return [Start()]

    def _recorded(self, now_ms: int, _: None) -> Effects:
        if self.cancel_requested:
            return [ReturnSlot(), *self._cancel_unstarted(now_ms, None)]
        if self._past_close(now_ms):
            self.started_ms = None
            return [ReturnSlot(), *self._timed_out(now_ms, TimeoutKind.SCHEDULE_TO_CLOSE)]
        self.state = State.STARTED
        return [Start()]

    def _taken(self, now_ms: int, row: ActivityRow) -> Effects:
        self.started_ms = row.started_ms or now_ms
        self.elsewhere = False
        self.state = State.STARTED
        return [Start(), DeliverCancel()] if self.cancel_requested else [Start()]

    def _ended(self, now_ms: int, outcome: AttemptOutcome) -> Effects:
        self.identity = outcome.identity
        if outcome.heartbeat is not None:
            self.heartbeat = outcome.heartbeat
        if outcome.started_ms is not None:
            self.started_ms = outcome.started_ms
        kind = outcome.kind
        if kind is OutcomeKind.COMPLETED:
            return self._final(kind, outcome.record, RetryState.UNSPECIFIED)
        if kind is OutcomeKind.CANCELED:
            return self._final(kind, outcome.record, RetryState.CANCEL_REQUESTED)
        decision = self._decide(now_ms, outcome)
        if isinstance(decision, GiveUp):
            timeout = outcome.timeout
            if timeout is not None and decision.state is RetryState.TIMEOUT and timeout in _RETRIED_TIMEOUTS:
                timeout = TimeoutKind.SCHEDULE_TO_CLOSE  # there would be another attempt if there were time (observed)
            return self._final(kind, outcome.record, decision.state, timeout)
        return self._again(now_ms, decision.due_ms, outcome)

    def _decide(self, now_ms: int, outcome: AttemptOutcome) -> Any:
        spec = self.spec
        return decide(
            spec.retry,
            self.attempt,
            outcome,
            now_ms=now_ms,
            scheduled_ms=spec.scheduled_ms,
            schedule_to_close_ms=spec.schedule_to_close_ms,
            cancel_requested=self.cancel_requested,
        )

    def _again(self, now_ms: int, due_ms: int, outcome: AttemptOutcome) -> Effects:
        if outcome.record is not None:
            self.last_failure = outcome.record
        elif outcome.timeout is not None:
            self.last_failure = timeout_failure(outcome.timeout)
        self.attempt += 1
        self.due_ms = due_ms
        self.heartbeat_at_ms = None
        effects = self._schedule(now_ms)
        if self.state is not State.OFFERED:
            effects.insert(0, WriteRow(self._row()))
        return effects

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

    def _would_end(self, started_ms: int) -> tuple[TimeoutKind, int]:
        """When and how its clocks end an attempt of which nothing more is heard."""
        spec = self.spec
        close_ms = None if spec.start_to_close_ms is None else started_ms + spec.start_to_close_ms
        if spec.heartbeat_ms is not None:
            beat_ms = (self.heartbeat_at_ms or started_ms) + spec.heartbeat_ms
            if close_ms is None or beat_ms < close_ms:
                return TimeoutKind.HEARTBEAT, beat_ms
        return TimeoutKind.START_TO_CLOSE, started_ms if close_ms is None else close_ms

    def _heartbeat(self, now_ms: int, details: str | None) -> Effects:
        if details is not None:
            self.heartbeat = details
        self.heartbeat_at_ms = now_ms
        # Without details there is nothing that a later attempt could miss, unless a row exists whose time matters.
        return [WriteRow(self._row())] if details is not None or self.row_exists else []

    def _left_open(self, now_ms: int, started_ms: int | None) -> Effects:
        if started_ms is not None:
            self.started_ms = started_ms
        self.left_open = True
        self.elsewhere = False
        self.state = State.STARTED
        return [WriteRow(self._row()), LeaveOpen()]

    # -- clocks ----------------------------------------------------------------------------------------------------

    def _past_close(self, now_ms: int) -> bool:
        spec = self.spec
        return spec.schedule_to_close_ms is not None and now_ms >= spec.scheduled_ms + spec.schedule_to_close_ms

    def _past_start(self, now_ms: int) -> bool:
        deadline = self._start_deadline_ms()
        if deadline is None or now_ms < deadline:
            return False
        spec = self.spec
        # If both are past, the one that rang first; schedule-to-start if they are one and the same (observed).
        return spec.schedule_to_close_ms is None or deadline <= spec.scheduled_ms + spec.schedule_to_close_ms

    def _clock_unstarted(self, now_ms: int, _: None) -> Effects:
        if self._past_start(now_ms):
            return self._timed_out(now_ms, TimeoutKind.SCHEDULE_TO_START)
        return self._clock_started(now_ms, None)

    def _clock_started(self, now_ms: int, _: None) -> Effects:
        if not self._past_close(now_ms):
            return []
        runs_here = self.state is State.STARTED
        if self.elsewhere and self.started_ms is None:
            self.started_ms = self.due_ms  # it did start; when exactly only the other process knows
        effects = self._timed_out(now_ms, TimeoutKind.SCHEDULE_TO_CLOSE)
        return [Abort(), *effects] if runs_here else effects

    def _clock_backoff(self, now_ms: int, _: None) -> Effects:
        if self._past_close(now_ms):
            return self._timed_out(now_ms, TimeoutKind.SCHEDULE_TO_CLOSE)
        return [] if now_ms < self.due_ms else self._schedule(now_ms)

    def _clock_offered(self, now_ms: int, _: None) -> Effects:
        if self._past_start(now_ms):
            return self._withdraw(now_ms, TimeoutKind.SCHEDULE_TO_START)
        return self._clock_started(now_ms, None)

    def _clock_spent(self, now_ms: int, _: None) -> Effects:
        if self._past_close(now_ms):
            return self._timed_out(now_ms, TimeoutKind.SCHEDULE_TO_CLOSE)
        if self._spent_ms is None or now_ms < self._spent_ms:
            return []
        kind, _ends_ms = self._would_end(self.started_ms or self.due_ms)
        decision = self._decide(now_ms, AttemptOutcome(kind=OutcomeKind.TIMED_OUT, timeout=kind, lost=True))
        state = decision.state if isinstance(decision, GiveUp) else RetryState.TIMEOUT
        if state is RetryState.TIMEOUT:
            kind = TimeoutKind.SCHEDULE_TO_CLOSE
        return self._final(OutcomeKind.TIMED_OUT, None, state, kind)

    def _timed_out(self, now_ms: int, kind: TimeoutKind) -> Effects:
        """By one of the two clocks that are never retried."""
        self.identity = ""
        state = RetryState.CANCEL_REQUESTED if self.cancel_requested else RetryState.TIMEOUT
        return self._final(OutcomeKind.TIMED_OUT, None, state, kind)

    # -- cancel ----------------------------------------------------------------------------------------------------

    def _cancel_unstarted(self, now_ms: int, _: None) -> Effects:
        self.cancel_requested = True
        self.started_ms = None
        return self._final(OutcomeKind.CANCELED, NOT_STARTED, RetryState.CANCEL_REQUESTED)

    def _cancel_started(self, now_ms: int, _: None) -> Effects:
        if self.cancel_requested:
            return []
        self.cancel_requested = True
        return [DeliverCancel()]

    def _note_cancel(self, now_ms: int, _: None) -> Effects:
        self.cancel_requested = True
        return []

    def _withdraw(self, now_ms: int, timeout: TimeoutKind | None) -> Effects:
        if timeout is None:
            if self.cancel_requested:
                return []
            self.cancel_requested = True
            if self.elsewhere:
                return [FlagCancel(self.attempt)]
        self._withdraw_for = timeout
        self.state = State.WITHDRAWING
        return [Withdraw(self.attempt)]

    def _withdrawn(self, now_ms: int, success: bool) -> Effects:
        if success:
            self.row_exists = False
            if self.cancel_requested:
                return self._cancel_unstarted(now_ms, None)
            return self._timed_out(now_ms, self._withdraw_for or TimeoutKind.SCHEDULE_TO_START)
        self.state = State.OFFERED
        self.elsewhere = True
        return [FlagCancel(self.attempt)] if self.cancel_requested else []

    def _give_up_plan(self, now_ms: int, _: None) -> Effects:
        self.state = State.CLOSED
        return [ReturnSlot()]

    def _forget(self, now_ms: int, _: None) -> Effects:
        self.forgotten = True
        return []

    def _stay(self, now_ms: int, _: Any) -> Effects:
        return []

    _nothing = _stay

    # -- after a crash ---------------------------------------------------------------------------------------------

    def _restore(self, now_ms: int, row: ActivityRow | None) -> Effects:
        if row is None:
            # A bounded attempt leaves a row before it starts. An unbounded one may have started without a trace.
            return self._resume(now_ms) if self.spec.retry.bounded else self._count_as_started(now_ms)
        self.row_exists = True
        self.attempt, self.due_ms = row.attempt, row.due_ms
        self.heartbeat, self.heartbeat_at_ms = row.heartbeat, row.heartbeat_at_ms
        self.last_failure = row.last_failure
        if row.worker == ASYNC_WORKER:
            self.started_ms = row.started_ms
            self.left_open = True
            self.state = State.STARTED
            return [LeaveOpen(), *self._clock_started(now_ms, None)]
        if row.offered:
            self.state = State.OFFERED
            self.elsewhere = row.worker is not None
            self.cancel_requested = row.cancel_requested
            return self._clock_offered(now_ms, None)
        if self.spec.retry.bounded:
            return self._resume(now_ms) if row.started_ms is None else self._lost(now_ms, row)
        if row.started_ms is not None or row.due_ms <= now_ms:
            return self._count_as_started(now_ms)
        return self._resume(now_ms)

    def _count_as_started(self, now_ms: int) -> Effects:
        """Go on with the next number, which is written down: a second crash must count on from there.

        At once, unless it kills every process that tries it: the backoff is counted from when it was due.
        """
        self.due_ms = max(now_ms, self.due_ms + self.spec.retry.delay_ms(self.attempt))
        self.attempt += 1
        self.heartbeat_at_ms = None
        return self._resume(now_ms, write=True)

    def _resume(self, now_ms: int, *, write: bool = False) -> Effects:
        """Go on with an attempt that has not started, if there is time left."""
        if self._past_start(now_ms):
            return self._timed_out(now_ms, TimeoutKind.SCHEDULE_TO_START)
        if self._past_close(now_ms):
            return self._timed_out(now_ms, TimeoutKind.SCHEDULE_TO_CLOSE)
        effects = self._schedule(now_ms)
        if write and self.state is not State.OFFERED:
            effects.insert(0, WriteRow(self._row()))
        return effects

    # -- what comes out --------------------------------------------------------------------------------------------

    def _row(self, *, offered: bool = False) -> ActivityRow:
        self.row_exists = True
        started = self.started_ms
        worker = None
        if started is not None:
            worker = ASYNC_WORKER if self.left_open else self.process_id
        return ActivityRow(
            workflow_uuid=self.run.workflow_uuid,
            seq=self.spec.seq,
            task_queue=self.spec.task_queue,
            attempt=self.attempt,
            scheduled_ms=self.spec.scheduled_ms,
            due_ms=self.due_ms,
            started_ms=started,
            worker=worker,
            offered=offered,
            spec=offer(self.spec) if offered else None,
            heartbeat=self.heartbeat,
            heartbeat_at_ms=self.heartbeat_at_ms,
            last_failure=self.last_failure,
            cancel_requested=self.cancel_requested,
        )

    def _final(
        self, kind: OutcomeKind, record: str | None, retry_state: RetryState, timeout: TimeoutKind | None = None
    ) -> Effects:
        self.state = State.CLOSED
        if self.forgotten:
            return [DeleteRow()] if self.row_exists or self.mail_ids else []
        return [
            Final(
                FinalOutcome(
                    seq=self.spec.seq,
                    kind=kind,
                    record=record,
                    retry_state=retry_state,
                    timeout=timeout,
                    attempt=0 if self.started_ms is None else self.attempt,
                    started_ms=self.started_ms,
                    identity=self.identity if kind is not OutcomeKind.TIMED_OUT else "",
                    last_failure=self.last_failure,
                    heartbeat=self.heartbeat,
                    has_row=self.row_exists,
                    mail_ids=self.mail_ids,
                    mail_ms=self.mail_ms,
                )
            )
        ]


AWAITS_OUTCOME = frozenset({State.STARTED, State.OFFERED, State.WITHDRAWING, State.SPENT})
_RETRIED_TIMEOUTS = (TimeoutKind.START_TO_CLOSE, TimeoutKind.HEARTBEAT)

_Method = Callable[[ActivityMachine, int, Any], Effects]
_METHODS: dict[State, dict[Input, tuple[_Method, frozenset[State]]]] = {
    state: {what: (getattr(ActivityMachine, move.method), frozenset(move.to)) for what, move in moves.items()}
    for state, moves in MOVES.items()
}
