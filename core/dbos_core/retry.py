"""Retry arithmetic: policy, attempt, outcome → the next attempt, or why there is none.

The order of the checks and the meaning of each field are Temporal's (temporal-seam §2.2 to §2.4), observed on a
Temporal development server where documents are silent; pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from dbos_core.activities.spec import AttemptOutcome, OutcomeKind, RetryState, TimeoutKind

TIMEOUT_TYPE_PREFIX = "TemporalTimeout:"
"""``non_retryable_error_types`` may name a timeout: ``TemporalTimeout:StartToClose``, ``TemporalTimeout:Heartbeat``."""

_TIMEOUT_NAMES = {
    TimeoutKind.START_TO_CLOSE: "StartToClose",
    TimeoutKind.SCHEDULE_TO_START: "ScheduleToStart",
    TimeoutKind.SCHEDULE_TO_CLOSE: "ScheduleToClose",
    TimeoutKind.HEARTBEAT: "Heartbeat",
}


@dataclass(slots=True, kw_only=True, frozen=True)
class RetryPolicy:
    """A completed retry policy (defaults filled in: 1 s, ×2, 100 × initial, unlimited)."""

    initial_ms: int = 1_000
    coefficient: float = 2.0
    maximum_interval_ms: int = 100_000
    maximum_attempts: int = 0
    """0: unlimited."""
    non_retryable_types: tuple[str, ...] = ()

    @property
    def bounded(self) -> bool:
        """True when attempts must be recorded before they start."""
        return self.maximum_attempts > 0

    def delay_ms(self, attempt: int) -> int:
        """Wait after the failure of ``attempt`` (from 1)."""
        try:
            delay = self.initial_ms * self.coefficient ** (attempt - 1)
        except OverflowError:
            return self.maximum_interval_ms
        return int(delay) if delay < self.maximum_interval_ms else self.maximum_interval_ms  # a coefficient may be NaN


@dataclass(slots=True, frozen=True)
class RetryAt:
    """There is a next attempt, not before ``due_ms``."""

    due_ms: int


@dataclass(slots=True, frozen=True)
class GiveUp:
    """There is none."""

    state: RetryState


def decide(
    policy: RetryPolicy,
    attempt: int,
    outcome: AttemptOutcome,
    *,
    now_ms: int,
    scheduled_ms: int,
    schedule_to_close_ms: int | None,
    cancel_requested: bool,
) -> RetryAt | GiveUp:
    """Is there an attempt after this failed one? ``outcome`` is a failure or a timeout.

    The order matters, since it decides which reason is reported: a non-retryable failure of the last attempt is
    NON_RETRYABLE_FAILURE and not MAXIMUM_ATTEMPTS_REACHED (observed).
    """
    if cancel_requested:
        return GiveUp(RetryState.CANCEL_REQUESTED)
    if outcome.timeout in (TimeoutKind.SCHEDULE_TO_START, TimeoutKind.SCHEDULE_TO_CLOSE):
        return GiveUp(RetryState.TIMEOUT)
    if outcome.non_retryable or _named(policy, outcome):
        return GiveUp(RetryState.NON_RETRYABLE_FAILURE)
    if 0 < policy.maximum_attempts <= attempt:
        return GiveUp(RetryState.MAXIMUM_ATTEMPTS_REACHED)
    # A next_retry_delay of zero counts as absent (observed). A longer one is not held to the maximum interval.
    due_ms = now_ms + (outcome.next_retry_delay_ms or policy.delay_ms(attempt))
    if schedule_to_close_ms is not None and due_ms > scheduled_ms + schedule_to_close_ms:
        return GiveUp(RetryState.TIMEOUT)
    return RetryAt(due_ms)


def _named(policy: RetryPolicy, outcome: AttemptOutcome) -> bool:
    """Is the failure's type among the non-retryable ones? Compared exactly, case included (observed)."""
    if not policy.non_retryable_types:
        return False
    if outcome.kind is OutcomeKind.TIMED_OUT:
        if outcome.timeout is None:
            return False
        return TIMEOUT_TYPE_PREFIX + _TIMEOUT_NAMES[outcome.timeout] in policy.non_retryable_types
    return outcome.error_type is not None and outcome.error_type in policy.non_retryable_types


def bad_timeout_type(types: tuple[str, ...]) -> str | None:
    """The first entry that begins like the name of a timeout but is none; Temporal refuses such a schedule command
    (``BadScheduleActivityAttributes: Invalid timeout type value: ...``)."""
    for name in types:
        if name.startswith(TIMEOUT_TYPE_PREFIX) and name[len(TIMEOUT_TYPE_PREFIX) :] not in _TIMEOUT_NAMES.values():
            return name
    return None


class Timeouts(NamedTuple):
    """The four clocks of an activity; None: that clock does not run."""

    schedule_to_close_ms: int | None
    schedule_to_start_ms: int | None
    start_to_close_ms: int | None
    heartbeat_ms: int | None


def normalise(
    *,
    schedule_to_close_ms: int | None,
    schedule_to_start_ms: int | None,
    start_to_close_ms: int | None,
    heartbeat_ms: int | None,
    run_timeout_ms: int | None,
) -> Timeouts:
    """Fill in and clamp the timeouts as they were asked for. None and 0 both mean absent."""
    if not (run_timeout_ms or schedule_to_close_ms):  # nearly always: nothing to clamp by
        hb = _least(heartbeat_ms, start_to_close_ms or None) if heartbeat_ms else None
        return Timeouts(None, schedule_to_start_ms or None, start_to_close_ms or None, hb)
    run = run_timeout_ms or None
    close = _least(schedule_to_close_ms or run, run)
    start = _least(schedule_to_start_ms or close, close)
    work = _least(start_to_close_ms or close, close)
    return Timeouts(close, start, work, _least(heartbeat_ms, work) if heartbeat_ms else None)


def _least(value: int | None, limit: int | None) -> int | None:
    if value is None or limit is None:
        return value if limit is None else limit
    return min(value, limit)
