"""Local activities: run by the worker of their run and by nobody else, and written down only when they have ended.

The journal entry that asks for one and the entry that takes up its outcome are all that is durable; attempts are not. A
process that dies in between leaves nothing of it but the request, and whoever takes the run up begins it again with its
first attempt. It begins only when its request is committed, so it never runs for an entry that did not come to be.

:class:`LocalActivity` is one of them, :class:`LocalLane` the slots of one worker. Retries that are due soon happen here;
a longer wait is the interpreter's business (``LocalOutcome.backoff_ms``): a timer of the run, which survives us.
"""

from __future__ import annotations

import enum
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from dbos_core.activities.attempt import Attempt, CancelReason, Executor, RunIdentity
from dbos_core.activities.spec import ActivitySpec, AttemptOutcome, OutcomeKind, TimeoutKind, kernel_failure
from dbos_core.clock import Clock, TimerHandle
from dbos_core.failpoints import hit

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class LocalSpec(ActivitySpec):
    """What the workflow asked for. ``scheduled_ms`` is when it first did: a retry after a timer keeps that."""

    attempt: int = 1
    """The attempt to begin with."""
    retry_threshold_ms: int = 60_000
    """A longer wait before the next attempt is left to the interpreter."""


@dataclass(slots=True, kw_only=True)
class LocalOutcome:
    """How it ended, or that it shall be tried again after a timer (``backoff_ms``)."""

    spec: LocalSpec
    kind: OutcomeKind
    record: str | None = None
    """JSON text, opaque to the kernel: the result payload, the failure, the cancel details."""
    timeout: TimeoutKind | None = None
    attempt: int = 0
    backoff_ms: int | None = None


class _State(enum.Enum):
    NEW = "new"
    QUEUED = "queued"
    RUNNING = "running"
    BACKOFF = "backoff"
    CLOSED = "closed"


class LocalActivity:
    """One local activity of a live run, from its request to its one outcome."""

    __slots__ = (
        "_clock",
        "_close_timer",
        "_lane",
        "_report",
        "_start_timer",
        "_state",
        "_timer",
        "_token",
        "abandoned",
        "attempt",
        "cancel_requested",
        "run",
        "spec",
    )

    def __init__(
        self, run: RunIdentity, spec: LocalSpec, lane: LocalLane, clock: Clock, report: Callable[[LocalOutcome], None]
    ) -> None:
        """``report`` is called once, and not after ``drop``."""
        self.run = run
        self.spec = spec
        self.attempt = spec.attempt
        self.cancel_requested = False
        self.abandoned = False
        """It goes on, and nobody wants to know how it ends."""
        self._lane = lane
        self._clock = clock
        self._report = report
        self._state = _State.NEW
        self._token = b""
        self._timer: TimerHandle | None = None
        self._start_timer: TimerHandle | None = None
        self._close_timer: TimerHandle | None = None

    def begin(self) -> None:
        """Its request is committed."""
        spec = self.spec
        if spec.schedule_to_close_ms is not None:
            due_ms = spec.scheduled_ms + spec.schedule_to_close_ms
            if due_ms <= self._clock.now_ms():
                self._time_out(TimeoutKind.SCHEDULE_TO_CLOSE)
                return
            self._close_timer = self._clock.call_at(due_ms, lambda: self._time_out(TimeoutKind.SCHEDULE_TO_CLOSE))
        self._enqueue()

    def cancel(self) -> None:
        """The workflow wants it cancelled and awaits how it ends. One that does not run ends at once."""
        if self._state is _State.CLOSED:
            return
        if self._state is not _State.RUNNING:
            self._end(OutcomeKind.CANCELED)
        elif not self.cancel_requested:
            self.cancel_requested = True
            self._lane.cancel(self._token, CancelReason.CANCELLED)

    def drop(self, reason: CancelReason | None) -> None:
        """Nobody waits for it any more. What runs is told so, if there is a reason to give."""
        if self._state is _State.RUNNING and reason is not None and not self.cancel_requested:
            self._lane.cancel(self._token, reason)
        self._close()

    # -- from its lane ---------------------------------------------------------------------------------------------

    @property
    def queued(self) -> bool:
        return self._state is _State.QUEUED

    @property
    def under_way(self) -> bool:
        return self._state in (_State.QUEUED, _State.RUNNING)

    def start(self, executor: Executor, token: bytes) -> None:
        """It has a slot."""
        self._cancel(self._start_timer)
        self._state = _State.RUNNING
        self._token = token
        now = self._clock.now_ms()
        if self.spec.start_to_close_ms is not None:
            self._timer = self._clock.call_at(
                now + self.spec.start_to_close_ms, lambda: self._time_out(TimeoutKind.START_TO_CLOSE)
            )
        hit("local.before_start")
        executor.start(
            Attempt(
                token=token,
                run=self.run,
                spec=self.spec,
                attempt=self.attempt,
                due_ms=now,
                started_ms=now,
                heartbeat=None,
            )
        )

    def completed(self, token: bytes, outcome: AttemptOutcome) -> None:
        """Its function returned. That of an attempt whose time was up is dropped."""
        if self._state is not _State.RUNNING or token != self._token:
            return
        hit("local.after_run")
        if outcome.kind is OutcomeKind.FAILED:
            self._failed(outcome)
        else:
            self._end(outcome.kind, outcome.record)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _enqueue(self) -> None:
        self._state = _State.QUEUED
        if self.spec.schedule_to_start_ms is not None:
            self._start_timer = self._clock.call_at(
                self._clock.now_ms() + self.spec.schedule_to_start_ms,
                lambda: self._time_out(TimeoutKind.SCHEDULE_TO_START),
            )
        self._lane.enqueue(self)

    def _time_out(self, kind: TimeoutKind) -> None:
        if self._state is _State.CLOSED:
            return
        if self._state is _State.RUNNING:
            self._lane.cancel(self._token, CancelReason.TIMED_OUT)
        outcome = AttemptOutcome(kind=OutcomeKind.TIMED_OUT, timeout=kind)
        if kind is TimeoutKind.START_TO_CLOSE:
            self._failed(outcome)
        else:
            self._end(OutcomeKind.TIMED_OUT, timeout=kind)

    def _failed(self, outcome: AttemptOutcome) -> None:
        self._cancel(self._timer)
        delay_ms = None if self.cancel_requested else self._delay_ms(outcome)
        if delay_ms is None:
            self._end(outcome.kind, outcome.record, timeout=outcome.timeout)
        elif delay_ms > self.spec.retry_threshold_ms:
            self._end(outcome.kind, outcome.record, timeout=outcome.timeout, backoff_ms=delay_ms)
        else:
            self._state = _State.BACKOFF
            self._timer = self._clock.call_at(self._clock.now_ms() + delay_ms, self._again)

    def _delay_ms(self, outcome: AttemptOutcome) -> int | None:
        """How long until the next attempt; None: there is none. As Temporal's core decides, which compares the names of
        errors without regard to case here."""
        policy = self.spec.retry
        if 0 < policy.maximum_attempts <= self.attempt or outcome.non_retryable:
            return None
        name = (outcome.error_type or "").lower()
        if any(name == other.lower() for other in policy.non_retryable_types):
            return None
        return outcome.next_retry_delay_ms or policy.delay_ms(self.attempt)

    def _again(self) -> None:
        if self._state is _State.BACKOFF:
            self.attempt += 1
            self._enqueue()

    def _end(
        self,
        kind: OutcomeKind,
        record: str | None = None,
        *,
        timeout: TimeoutKind | None = None,
        backoff_ms: int | None = None,
    ) -> None:
        self._close()
        self._report(
            LocalOutcome(
                spec=self.spec,
                kind=kind,
                record=record,
                timeout=timeout,
                attempt=self.attempt,
                backoff_ms=backoff_ms,
            )
        )

    def _close(self) -> None:
        self._state = _State.CLOSED
        for timer in (self._timer, self._start_timer, self._close_timer):
            self._cancel(timer)

    @staticmethod
    def _cancel(timer: TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()


class LocalLane:
    """The slots of one worker for local activities. First come, first served; nothing starts before ``open``."""

    def __init__(self, slots: int) -> None:
        self.free = slots
        self.is_open = False
        self.may_start: Callable[[], bool] = lambda: True
        """False while this process cannot be sure that its runs are its own; ``pump`` when it is again."""
        self._executor: Executor | None = None
        self._backlog: deque[LocalActivity] = deque()
        self._running: dict[bytes, LocalActivity] = {}
        self._tokens = 0

    def open(self, executor: Executor) -> None:
        self._executor = executor
        self.is_open = True
        self.pump()

    def close(self) -> None:
        """Start nothing more. What waits is taken up where its run goes."""
        self.is_open = False

    def shut_down(self) -> None:
        """The grace period is over: what still runs is told, and begins anew where its run goes."""
        for token, activity in list(self._running.items()):
            activity.drop(None)
            self.cancel(token, CancelReason.WORKER_SHUTDOWN)

    def enqueue(self, activity: LocalActivity) -> None:
        self._backlog.append(activity)
        self.pump()

    def pump(self) -> None:
        """Use the free slots."""
        executor = self._executor
        while self._backlog and self.free > 0 and executor is not None and self.is_open and self.may_start():
            activity = self._backlog.popleft()
            if not activity.queued:  # cancelled or timed out meanwhile
                continue
            self._tokens += 1
            token = f"local.{activity.run.run_id}.{activity.spec.seq}.{activity.attempt}.{self._tokens}".encode()
            self.free -= 1
            self._running[token] = activity
            try:
                activity.start(executor, token)
            except Exception as error:
                logger.exception(
                    "local activity %r could not be started; it counts as failed", activity.spec.activity_id
                )
                record = kernel_failure(type(error).__name__, f"The activity could not be started: {error}")
                self.completed(
                    token, AttemptOutcome(kind=OutcomeKind.FAILED, record=record, error_type=type(error).__name__)
                )

    def cancel(self, token: bytes, reason: CancelReason) -> None:
        if self._executor is not None and token in self._running:
            self._executor.cancel(token, reason)

    def completed(self, token: bytes, outcome: AttemptOutcome | None) -> bool:
        """An attempt has returned. None: it says that it will be completed from outside, which nobody can: it goes on
        until its time is up, as on Temporal. False: no attempt of ours."""
        activity = self._running.pop(token, None)
        if activity is None:
            return False
        self.free += 1
        if outcome is not None:
            activity.completed(token, outcome)
        self.pump()
        return True
