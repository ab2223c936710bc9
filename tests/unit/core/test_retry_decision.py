"""Is there another attempt? The order of the reasons is Temporal's (docs of the seam, §2.3): first match wins."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dbos_core.activities.spec import AttemptOutcome, OutcomeKind, RetryState, TimeoutKind
from dbos_core.retry import GiveUp, RetryAt, RetryPolicy, bad_timeout_type, decide, normalise

NOW = 1_700_000_100_000
SCHEDULED = 1_700_000_000_000
DEFAULT = RetryPolicy()
FAILED = AttemptOutcome(kind=OutcomeKind.FAILED, error_type="Boom")


def timed_out(kind: TimeoutKind) -> AttemptOutcome:
    return AttemptOutcome(kind=OutcomeKind.TIMED_OUT, timeout=kind)


def ask(outcome=FAILED, *, attempt=1, policy=DEFAULT, close_ms=None, cancel=False):
    return decide(
        policy,
        attempt,
        outcome,
        now_ms=NOW,
        scheduled_ms=SCHEDULED,
        schedule_to_close_ms=close_ms,
        cancel_requested=cancel,
    )


def test_a_failure_is_tried_again_after_the_delay():
    assert ask() == RetryAt(NOW + 1_000)
    assert ask(attempt=4) == RetryAt(NOW + 8_000)


def test_a_cancelled_activity_is_not_tried_again():
    assert ask(cancel=True) == GiveUp(RetryState.CANCEL_REQUESTED)


def test_a_failure_that_says_so_is_not_tried_again():
    assert ask(replace(FAILED, non_retryable=True)) == GiveUp(RetryState.NON_RETRYABLE_FAILURE)


def test_a_type_that_the_policy_names_is_not_tried_again():
    policy = RetryPolicy(non_retryable_types=("Other", "Boom"))

    assert ask(policy=policy) == GiveUp(RetryState.NON_RETRYABLE_FAILURE)


@pytest.mark.parametrize("name", ["boom", "Boo", "Boomerang", "BOOM", " Boom"])
def test_types_are_compared_exactly(name):
    assert isinstance(ask(policy=RetryPolicy(non_retryable_types=(name,))), RetryAt)


def test_a_failure_without_a_type_matches_no_name():
    policy = RetryPolicy(non_retryable_types=("", "None"))

    assert isinstance(ask(replace(FAILED, error_type=None), policy=policy), RetryAt)


def test_the_last_attempt_has_no_successor():
    policy = RetryPolicy(maximum_attempts=3)

    assert isinstance(ask(attempt=2, policy=policy), RetryAt)
    assert ask(attempt=3, policy=policy) == GiveUp(RetryState.MAXIMUM_ATTEMPTS_REACHED)
    assert ask(attempt=4, policy=policy) == GiveUp(RetryState.MAXIMUM_ATTEMPTS_REACHED)


def test_unlimited_attempts_never_run_out():
    assert isinstance(ask(attempt=10**9), RetryAt)


def test_a_non_retryable_failure_of_the_last_attempt_is_reported_as_that():
    policy = RetryPolicy(maximum_attempts=1)

    assert ask(replace(FAILED, non_retryable=True), policy=policy) == GiveUp(RetryState.NON_RETRYABLE_FAILURE)


def test_a_cancel_request_is_reported_before_every_other_reason():
    policy = RetryPolicy(maximum_attempts=1)

    assert ask(replace(FAILED, non_retryable=True), policy=policy, cancel=True) == GiveUp(RetryState.CANCEL_REQUESTED)


@pytest.mark.parametrize("kind", [TimeoutKind.START_TO_CLOSE, TimeoutKind.HEARTBEAT])
def test_an_attempt_that_ran_out_of_time_is_tried_again(kind):
    assert ask(timed_out(kind)) == RetryAt(NOW + 1_000)


@pytest.mark.parametrize("kind", [TimeoutKind.SCHEDULE_TO_START, TimeoutKind.SCHEDULE_TO_CLOSE])
def test_an_activity_that_ran_out_of_time_is_not(kind):
    assert ask(timed_out(kind)) == GiveUp(RetryState.TIMEOUT)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (TimeoutKind.START_TO_CLOSE, "TemporalTimeout:StartToClose"),
        (TimeoutKind.HEARTBEAT, "TemporalTimeout:Heartbeat"),
    ],
)
def test_the_policy_may_name_a_timeout(kind, name):
    policy = RetryPolicy(non_retryable_types=(name,))

    assert ask(timed_out(kind), policy=policy) == GiveUp(RetryState.NON_RETRYABLE_FAILURE)
    assert isinstance(ask(replace(FAILED, error_type="StartToClose"), policy=policy), RetryAt)


def test_no_attempt_begins_after_schedule_to_close():
    left = NOW - SCHEDULED

    assert ask(close_ms=left + 1_000) == RetryAt(NOW + 1_000)
    assert ask(close_ms=left + 999) == GiveUp(RetryState.TIMEOUT)


def test_the_failure_may_ask_for_its_own_delay_beyond_the_maximum_interval():
    assert ask(replace(FAILED, next_retry_delay_ms=500_000)) == RetryAt(NOW + 500_000)
    assert ask(replace(FAILED, next_retry_delay_ms=1), attempt=7) == RetryAt(NOW + 1)


def test_an_own_delay_of_zero_counts_as_absent():
    assert ask(replace(FAILED, next_retry_delay_ms=0)) == RetryAt(NOW + 1_000)


def test_an_own_delay_does_not_lift_the_other_limits():
    own = replace(FAILED, next_retry_delay_ms=500_000)

    assert ask(own, close_ms=NOW - SCHEDULED + 400_000) == GiveUp(RetryState.TIMEOUT)
    assert ask(own, policy=RetryPolicy(maximum_attempts=1)) == GiveUp(RetryState.MAXIMUM_ATTEMPTS_REACHED)


def test_a_misspelt_timeout_name_is_found():
    assert bad_timeout_type(("Boom", "TemporalTimeout:Heartbeat")) is None
    assert bad_timeout_type(("Boom", "TemporalTimeout:Hartbeat")) == "TemporalTimeout:Hartbeat"


def timeouts(close=None, start=None, work=None, heartbeat=None, run=None):
    return tuple(
        normalise(
            schedule_to_close_ms=close,
            schedule_to_start_ms=start,
            start_to_close_ms=work,
            heartbeat_ms=heartbeat,
            run_timeout_ms=run,
        )
    )


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ({"work": 5}, (None, None, 5, None)),
        ({"close": 9}, (9, 9, 9, None)),
        ({"close": 9, "work": 5}, (9, 9, 5, None)),
        ({"close": 9, "work": 50, "start": 60}, (9, 9, 9, None)),
        ({"close": 9, "work": 5, "heartbeat": 7}, (9, 9, 5, 5)),
        ({"work": 5, "heartbeat": 2}, (None, None, 5, 2)),
        ({"work": 5, "run": 3}, (3, 3, 3, None)),
        ({"close": 9, "run": 30}, (9, 9, 9, None)),
        ({"close": 0, "work": 5, "heartbeat": 0, "run": 0}, (None, None, 5, None)),
    ],
)
def test_timeouts_are_filled_in_and_held_to_each_other(asked, given):
    assert timeouts(**asked) == given
