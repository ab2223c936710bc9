"""What the owner of a run knows of one activity, and the steps that several of its moves share. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dbos_core.activities.attempt import RunIdentity
from dbos_core.activities.effects import Abort, DeleteRow, Effects, Enqueue, Final, Flag, Withdraw, WriteRow
from dbos_core.activities.moves import State
from dbos_core.activities.operating import NO_DETAILS, Operated, OperatorCommand
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
from dbos_core.retry import GiveUp, RetryAt, decide


class ActivityState:
    """Fields and shared steps of :class:`~dbos_core.activities.machine.ActivityMachine`."""

    __slots__ = (
        "_commands", "_spent_ms", "_timer_ms", "_withdraw_for", "_withdraw_keeps",
        "asked", "asking", "attempt", "cancel_requested", "due_ms",
        "elsewhere", "ended_ms", "forgotten", "handle", "heartbeat", "heartbeat_at_ms", "identity", "last_failure",
        "left_open", "mail_ids", "mail_ms", "operated", "process_id", "ran_by", "ran_in", "recorded_start", "refused",
        "row_exists", "run",
        "served", "slot", "spec", "started_ms", "state", "watchers", "when_released", "when_written",
        "writes",
    )  # fmt: skip

    def __init__(self, run: RunIdentity, spec: ActivitySpec, process_id: str) -> None:
        self.run = run
        self.asked = spec
        """What the workflow asked for."""
        self.spec = spec
        """What holds: operators may have changed it."""
        self.process_id = process_id
        self.state = State.PLANNED
        self.attempt = 1
        self.due_ms = spec.scheduled_ms
        self.started_ms: int | None = None
        self.heartbeat: str | None = None
        self.heartbeat_at_ms: int | None = None
        self.ended_ms: int | None = None
        """When the attempt before ended."""
        self.last_failure: str | None = None
        self.cancel_requested = False
        self.operated: Operated | None = None
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
        self.asking = 0
        """For whoever acts: questions to the store that are on their way."""
        self.refused = False
        """For whoever acts: a row was not written."""
        self.watchers: list[Callable[[], None]] | None = None
        """For whoever acts: who wants to know when nothing is on its way."""
        self.when_written: Callable[[], None] | None = None
        self.ran_by = ""
        """For whoever acts: identity of the worker that ran the last attempt that ended, or that left this one open."""
        self.ran_in = ""
        """For whoever acts: the process that did, where nothing else is known of its worker."""
        self.when_released: list[Callable[[bool], None]] | None = None
        """For whoever acts: who waits until the scheduling commit is known to be through. Told False if it never is."""
        self._commands: tuple[OperatorCommand, ...] = ()
        self._spent_ms: int | None = None
        self._timer_ms: int | None = None
        self._withdraw_for: TimeoutKind | None = None
        self._withdraw_keeps = False

    def __repr__(self) -> str:
        spec = self.spec
        return (
            f"<activity {spec.activity_id!r} ({spec.activity_type}) of run {self.run.run_id} of workflow "
            f"{self.run.workflow_id!r}: {self.state.name}, attempt {self.attempt}>"
        )

    # -- read off -----------------------------------------------------------------------------------------------------

    @property
    def paused(self) -> bool:
        return self.operated is not None and self.operated.pause is not None

    @property
    def counted(self) -> int:
        """The number of the current attempt as retry policies and people count it."""
        return 1 if self.operated is not None and self.operated.reset else self.attempt

    @property
    def operator(self) -> str | None:
        """What operators did, for the row."""
        return None if self.operated is None else self.operated.text()

    def as_row(self) -> ActivityRow:
        """As it is now."""
        return self._row(offered=self.state is State.OFFERED)

    # -- attempts -----------------------------------------------------------------------------------------------------

    def _schedule(self, now_ms: int) -> Effects:
        """The current attempt waits for its time, for a slot here, or for another process."""
        self.elsewhere = self.left_open = self.recorded_start = False
        self.started_ms = None
        if self.paused:
            self.state = State.PAUSED
            return []
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

    def _decide(self, now_ms: int, outcome: AttemptOutcome) -> Any:
        spec = self.spec
        decision = decide(
            spec.retry,
            self.counted,
            outcome,
            now_ms=now_ms,
            scheduled_ms=spec.scheduled_ms,
            schedule_to_close_ms=spec.schedule_to_close_ms,
            cancel_requested=self.cancel_requested,
        )
        if self.paused and isinstance(decision, GiveUp) and decision.state in _NOT_WHILE_PAUSED:
            return RetryAt(now_ms)
        return decision

    def _again(self, now_ms: int, due_ms: int, outcome: AttemptOutcome) -> Effects:
        if outcome.record is not None:
            self.last_failure = outcome.record
        elif outcome.timeout is not None:
            self.last_failure = timeout_failure(outcome.timeout)
        self.attempt = self.counted + 1
        self._over()
        self.due_ms = due_ms
        self.ended_ms = now_ms
        effects = self._schedule(now_ms)
        if self.state is not State.OFFERED:
            effects.insert(0, WriteRow(self._row()))
        return effects

    def _over(self) -> None:
        """An attempt that an operator may have reset is over, and there is another one."""
        operated = self.operated
        if operated is not None and operated.reset:
            if operated.reset_heartbeat:
                self.heartbeat = NO_DETAILS
            operated.reset = operated.reset_heartbeat = False

    # -- clocks -------------------------------------------------------------------------------------------------------

    def _would_end(self, started_ms: int) -> tuple[TimeoutKind, int]:
        """When and how its clocks end an attempt of which nothing more is heard."""
        spec = self.spec
        close_ms = None if spec.start_to_close_ms is None else started_ms + spec.start_to_close_ms
        if spec.heartbeat_ms is not None:
            beat_ms = max(self.heartbeat_at_ms or 0, started_ms) + spec.heartbeat_ms  # may be of an attempt before
            if close_ms is None or beat_ms < close_ms:
                return TimeoutKind.HEARTBEAT, beat_ms
        return TimeoutKind.START_TO_CLOSE, started_ms if close_ms is None else close_ms

    def _start_deadline_ms(self) -> int | None:
        if self.spec.schedule_to_start_ms is None or self.elsewhere:
            return None
        return self.due_ms + self.spec.schedule_to_start_ms

    def _past_close(self, now_ms: int) -> bool:
        spec = self.spec
        return (
            not self.paused
            and spec.schedule_to_close_ms is not None
            and now_ms >= spec.scheduled_ms + spec.schedule_to_close_ms
        )

    def _past_start(self, now_ms: int) -> bool:
        deadline = self._start_deadline_ms()
        if deadline is None or now_ms < deadline or self.paused:
            return False
        spec = self.spec
        # If both are past, the one that rang first; schedule-to-start if they are one and the same (observed).
        return spec.schedule_to_close_ms is None or deadline <= spec.scheduled_ms + spec.schedule_to_close_ms

    def _timed_out(self, now_ms: int, kind: TimeoutKind) -> Effects:
        """By one of the two clocks that are never retried."""
        self.identity = ""
        state = RetryState.CANCEL_REQUESTED if self.cancel_requested else RetryState.TIMEOUT
        return self._final(OutcomeKind.TIMED_OUT, None, state, kind)

    def _clock_started(self, now_ms: int, _: None) -> Effects:
        if not self._past_close(now_ms):
            return []
        runs_here = self.state is State.STARTED
        if self.elsewhere and self.started_ms is None:
            self.started_ms = self.due_ms  # it did start; when exactly only the other process knows
        effects = self._timed_out(now_ms, TimeoutKind.SCHEDULE_TO_CLOSE)
        return [Abort(), *effects] if runs_here else effects

    def _clock_offered(self, now_ms: int, _: None) -> Effects:
        if self._past_start(now_ms):
            return self._withdraw(now_ms, TimeoutKind.SCHEDULE_TO_START)
        return self._clock_started(now_ms, None)

    def _withdraw(self, now_ms: int, timeout: TimeoutKind | None) -> Effects:
        if timeout is None:
            if self.cancel_requested:
                return []
            self.cancel_requested = True
            if self.elsewhere:
                return [Flag(self.attempt)]
        self._withdraw_for, self._withdraw_keeps = timeout, False
        self.state = State.WITHDRAWING
        return [Withdraw(self.attempt)]

    def _take_back(self) -> Effects:
        """An operator wants something of it before it may be taken."""
        self._withdraw_for, self._withdraw_keeps = None, True
        self.state = State.WITHDRAWING
        return [Withdraw(self.attempt, keep=True)]

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

    # -- what comes out -----------------------------------------------------------------------------------------------

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
            ended_ms=self.ended_ms,
            operator=self.operator,
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


_NOT_WHILE_PAUSED = (RetryState.TIMEOUT, RetryState.MAXIMUM_ATTEMPTS_REACHED)
"""A paused activity waits for its operator instead (observed: also after its last attempt)."""
