"""Delay arithmetic: Temporal's backoff, initial × coefficient^(attempt - 1), held to the maximum interval."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbos_core.retry import RetryPolicy

policies = st.builds(
    RetryPolicy,
    initial_ms=st.integers(1, 10**9),
    coefficient=st.floats(1.0, 1e6),
    maximum_interval_ms=st.integers(1, 10**12),
)


@pytest.mark.parametrize(
    ("attempt", "delay_ms"),
    [(1, 1_000), (2, 2_000), (3, 4_000), (7, 64_000), (8, 100_000), (9, 100_000), (1_000_000, 100_000)],
)
def test_the_default_policy_doubles_from_one_second_to_a_hundred(attempt, delay_ms):
    assert RetryPolicy().delay_ms(attempt) == delay_ms


@pytest.mark.parametrize(
    ("initial_ms", "coefficient", "maximum_ms", "delays"),
    [
        (100, 1.0, 10_000, [100, 100, 100, 100]),
        (200, 3.0, 5_000, [200, 600, 1_800, 5_000]),
        (1_000, 1.5, 100_000, [1_000, 1_500, 2_250, 3_375]),
        (1, 1.5, 100, [1, 1, 2, 3]),
        (5_000, 2.0, 1_000, [1_000, 1_000, 1_000, 1_000]),
        (1, 1.0, 1, [1, 1, 1, 1]),
    ],
)
def test_other_policies(initial_ms, coefficient, maximum_ms, delays):
    policy = RetryPolicy(initial_ms=initial_ms, coefficient=coefficient, maximum_interval_ms=maximum_ms)

    assert [policy.delay_ms(attempt) for attempt in range(1, 5)] == delays


@pytest.mark.parametrize("attempt", [1_025, 10**6, 2**31, 2**63])
@pytest.mark.parametrize("coefficient", [2.0, 1e6, sys.float_info.max])
def test_a_delay_too_large_for_a_float_is_the_maximum_interval(coefficient, attempt):
    assert RetryPolicy(coefficient=coefficient).delay_ms(attempt) == 100_000


@given(policies, st.integers(1, 2**31))
def test_a_delay_is_a_whole_number_between_nothing_and_the_maximum(policy, attempt):
    delay_ms = policy.delay_ms(attempt)

    assert isinstance(delay_ms, int)
    assert 0 <= delay_ms <= policy.maximum_interval_ms


@given(policies, st.integers(1, 2_000))
def test_delays_never_shrink_from_attempt_to_attempt(policy, attempt):
    assert policy.delay_ms(attempt) <= policy.delay_ms(attempt + 1)


@given(policies)
def test_the_first_delay_is_the_initial_interval(policy):
    assert policy.delay_ms(1) == min(policy.initial_ms, policy.maximum_interval_ms)


@pytest.mark.parametrize(("maximum_attempts", "bounded"), [(0, False), (1, True), (3, True)])
def test_attempts_are_bounded_when_the_policy_counts_them(maximum_attempts, bounded):
    assert RetryPolicy(maximum_attempts=maximum_attempts).bounded is bounded


def test_a_coefficient_that_is_no_number_waits_as_long_as_it_may():
    assert RetryPolicy(coefficient=float("nan")).delay_ms(2) == RetryPolicy().maximum_interval_ms
