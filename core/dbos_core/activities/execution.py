"""One attempt that runs in this process: its clocks, its heartbeats, its cancellation, its one outcome.

Its *home* is whoever must hear of it: the machine of a run that we own, or the mailbox of a run that others own. An
attempt whose home does not wait any more goes on as a stranger: it holds its slot until its function returns, and what
it returns is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from dbos_core.activities.attempt import Attempt, CancelReason, Executor
from dbos_core.activities.spec import ActivitySpec, AttemptOutcome, OutcomeKind, TimeoutKind
from dbos_core.clock import Clock, TimerHandle

if TYPE_CHECKING:
    from dbos_core.activities.lanes import Lane


@dataclass(slots=True, frozen=True)
class Throttle:
    """How often heartbeats are processed at most. The first one is at once."""

    default_ms: int = 30_000
    """Where there is no heartbeat timeout."""
    max_ms: int = 60_000

    def interval_ms(self, heartbeat_ms: int | None) -> int:
        """Well below the timeout: one heartbeat that is late must not end the attempt."""
        return min(self.max_ms, self.default_ms if heartbeat_ms is None else heartbeat_ms * 8 // 10)


class Home(Protocol):
    """Who hears of an attempt."""

    def attempt_ended(self, execution: AttemptExecution, outcome: AttemptOutcome) -> None:
        """The one outcome."""
        ...

    def attempt_beat(self, execution: AttemptExecution, details: str | None) -> None:
        """A heartbeat that the throttle let through."""
        ...


class AttemptExecution:
    """One attempt. Made when it starts; ``completed`` or a clock ends it."""

    __slots__ = (
        "_cancel_delivered", "_clock", "_executor", "_flush_timer", "_heartbeat_timer", "_last_beat_ms", "_last_flush_ms",
        "_operator_wants", "_shutdown", "_stopped", "_throttle", "_timer", "_unsent", "_wanted", "attempt", "details",
        "home", "lane", "subject",
    )  # fmt: skip

    def __init__(
        self, attempt: Attempt, home: Home, executor: Executor | None, clock: Clock, throttle: Throttle
    ) -> None:
        """``executor`` is None for an attempt that is open in no process."""
        self.attempt = attempt
        self.subject: Any = None
        """For its home: what it is an attempt of."""
        self.lane: Lane | None = None
        """The slot that it holds."""
        self.home: Home | None = home
        """None: nobody waits for it any more."""
        self.details: str | None = None
        """Newest heartbeat details of this attempt, sent or not."""
        self._executor = executor
        self._clock = clock
        self._throttle = throttle
        self._wanted: CancelReason | None = None
        """What its next heartbeat learns."""
        self._cancel_delivered = self._shutdown = self._unsent = False
        self._stopped = False
        """Paused: its clocks do not run."""
        self._last_beat_ms = attempt.started_ms
        self._last_flush_ms: int | None = None
        self._flush_timer: TimerHandle | None = None
        self._timer: TimerHandle | None = None
        self._heartbeat_timer: TimerHandle | None = None
        self._arm()

    # -- from the executor -----------------------------------------------------------------------------------------

    def completed(self, outcome: AttemptOutcome) -> None:
        """Its function returned. Late outcomes are dropped."""
        home = self.home
        if home is None:
            return
        if outcome.kind is OutcomeKind.CANCELED and self._shutdown and not self._cancel_delivered:
            # It stopped since its worker shuts down, not since its workflow wants it to: somebody else shall do it.
            record = None if self._executor is None else self._executor.shutdown_record
            outcome = AttemptOutcome(
                kind=OutcomeKind.FAILED, record=record, error_type="WorkerShutdown", identity=outcome.identity
            )
        self._end(home, outcome)

    def beat(self, details: str | None) -> None:
        """``activity.heartbeat(details)``."""
        home = self.home
        if home is None:
            self._deliver(CancelReason.NOT_FOUND)
            return
        now = self._clock.now_ms()
        self.details = details
        self._last_beat_ms = now
        self._unsent = True
        if self._flush_timer is None:
            next_ms = now if self._last_flush_ms is None else self._last_flush_ms + self._interval_ms()
            if self._wanted is not None or next_ms <= now:
                self._flush(home)
            else:
                self._flush_timer = self._clock.call_at(next_ms, self._flush_clock)

    def beat_outside(self, details: str | None) -> None:
        """A heartbeat by somebody else, who alone is told what it learns. It is not throttled."""
        if self.home is not None:
            self.details = details
            self._last_beat_ms = self._clock.now_ms()
            self._send(self.home)

    def leave_open(self) -> None:
        """It runs nowhere from now on; clocks and heartbeats go on."""
        self._executor = None

    @property
    def worker(self) -> str:
        """Identity of the worker that runs it; empty if it is open in no process."""
        return "" if self._executor is None else self._executor.identity

    # -- from its home ---------------------------------------------------------------------------------------------

    def request_cancel(self) -> None:
        """Let its next heartbeat learn it; one that the throttle holds back goes through now.

        An attempt that never heartbeats never learns (temporal-seam §2.6).
        """
        self._want(CancelReason.CANCELLED)

    def deliver_cancel(self) -> None:
        """A heartbeat of it has been answered with "cancel"."""
        self._wanted = CancelReason.CANCELLED
        self._deliver(CancelReason.CANCELLED)

    @property
    def cancel_requested(self) -> bool:
        return self._wanted is CancelReason.CANCELLED

    def operated(self, spec: ActivitySpec, *, paused: bool, reset: bool) -> None:
        """What an operator wants of it by now: its next heartbeat learns it; a paused one has no clocks."""
        self.attempt = replace(self.attempt, spec=spec)
        self._stopped = paused
        self._disarm()
        self._arm()
        if self._wanted is not CancelReason.CANCELLED:
            self._want(CancelReason.PAUSED if paused else CancelReason.RESET if reset else None)

    @property
    def is_operated(self) -> bool:
        """Was it told of an operator?"""
        return self._stopped or self._wanted in (CancelReason.PAUSED, CancelReason.RESET)

    def operated_elsewhere(self, spec: ActivitySpec, *, paused: bool, reset: bool) -> None:
        """The same, for the process that does not own the run: the answer of a heartbeat."""
        self.operated(spec, paused=paused, reset=reset)
        if self._wanted is not None:
            self._deliver(self._wanted)

    def shut_down(self) -> None:
        """Its worker stops and will wait no longer."""
        if not self._cancel_delivered:
            self._shutdown = True
            if self._executor is not None:
                self._executor.cancel(self.attempt.token, CancelReason.WORKER_SHUTDOWN)

    def abort(self) -> None:
        """Its time is up, as its home knows: it is told at once, and its outcome is dropped."""
        self._disown()
        self._deliver(CancelReason.TIMED_OUT)

    def not_found(self) -> None:
        """A heartbeat of it has been answered with "nobody waits for it"."""
        self._disown()
        self._deliver(CancelReason.NOT_FOUND)

    def disown(self) -> None:
        """Its run closed or went elsewhere: its next heartbeat learns it, its outcome is dropped."""
        self._disown()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _want(self, reason: CancelReason | None) -> None:
        self._wanted = reason
        if reason is not None and self._unsent and self.home is not None:
            self._flush(self.home)

    def _arm(self) -> None:
        """Start the clocks that run now. One that would have rung while it was stopped rings at once."""
        if self.home is None or self._stopped:
            return
        attempt, spec = self.attempt, self.attempt.spec
        if spec.start_to_close_ms is not None:
            self._timer = self._clock.call_at(attempt.started_ms + spec.start_to_close_ms, self._start_to_close)
        if spec.heartbeat_ms is not None:
            self._heartbeat_timer = self._clock.call_at(self._last_beat_ms + spec.heartbeat_ms, self._heartbeat_clock)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heartbeat_timer is not None:
            self._heartbeat_timer.cancel()
            self._heartbeat_timer = None

    def _interval_ms(self) -> int:
        return self._throttle.interval_ms(self.attempt.spec.heartbeat_ms)

    def _flush_clock(self) -> None:
        self._flush_timer = None
        if self._unsent and self.home is not None:
            self._flush(self.home)

    def _flush(self, home: Home) -> None:
        self._send(home)
        if self._wanted is not None:
            self._deliver(self._wanted)

    def _send(self, home: Home) -> None:
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        self._unsent = False
        self._last_flush_ms = self._clock.now_ms()
        home.attempt_beat(self, self.details)

    def _deliver(self, reason: CancelReason) -> None:
        if self._cancel_delivered or self._executor is None:
            return
        self._cancel_delivered = True
        self._executor.cancel(self.attempt.token, reason)

    def _start_to_close(self) -> None:
        self._timer = None
        self._time_out(TimeoutKind.START_TO_CLOSE)

    def _heartbeat_clock(self) -> None:
        self._heartbeat_timer = None
        timeout_ms = self.attempt.spec.heartbeat_ms
        if self.home is None or timeout_ms is None:
            return
        deadline_ms = self._last_beat_ms + timeout_ms
        if deadline_ms > self._clock.now_ms():
            self._heartbeat_timer = self._clock.call_at(deadline_ms, self._heartbeat_clock)
            return
        self._time_out(TimeoutKind.HEARTBEAT)

    def _time_out(self, kind: TimeoutKind) -> None:
        home = self.home
        if home is None:
            return
        self._end(home, AttemptOutcome(kind=OutcomeKind.TIMED_OUT, timeout=kind))
        self._deliver(CancelReason.TIMED_OUT)

    def _end(self, home: Home, outcome: AttemptOutcome) -> None:
        self._disown()
        kind = outcome.kind
        if kind is not OutcomeKind.COMPLETED and outcome.heartbeat is None:
            outcome.heartbeat = self.details  # also what the throttle held back
        home.attempt_ended(self, outcome)

    def _disown(self) -> None:
        self.home = None
        self._disarm()
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
