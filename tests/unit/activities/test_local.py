"""Local activities: slots, retries, clocks, cancellation, and a worker that goes away; on a virtual clock."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dbos_core.activities.attempt import Attempt, CancelReason
from dbos_core.activities.local import LocalActivity, LocalLane, LocalOutcome, LocalSpec
from dbos_core.activities.spec import OutcomeKind, TimeoutKind
from dbos_core.retry import RetryPolicy
from dbos_core.testing.clock import VirtualClock
from tests.unit.activities.support import RUN, START, Notes, bounded, canceled, completed, failed

SPEC = LocalSpec(
    seq=1,
    activity_id="1",
    activity_type="look up",
    task_queue="orders",
    record='{"in":[]}',
    schedule_to_close_ms=None,
    schedule_to_start_ms=None,
    start_to_close_ms=10_000,
    heartbeat_ms=None,
    retry=RetryPolicy(),
    scheduled_ms=START,
)


class World:
    """A lane, its executor, and what was reported."""

    def __init__(self, slots: int = 1) -> None:
        self.clock = VirtualClock(START)
        self.executor = Notes()
        self.lane = LocalLane(slots)
        self.lane.open(self.executor)
        self.reported: list[LocalOutcome] = []

    def begin(self, **changes: Any) -> LocalActivity:
        activity = LocalActivity(RUN, replace(SPEC, **changes), self.lane, self.clock, self.reported.append)
        activity.begin()
        return activity

    def end(self, outcome: Any, attempt: Attempt | None = None) -> None:
        assert self.lane.completed((attempt or self.executor.last).token, outcome)

    @property
    def outcome(self) -> LocalOutcome:
        (one,) = self.reported
        return one


@pytest.fixture
def world() -> World:
    return World()


def test_it_runs_and_its_result_is_reported(world: World) -> None:
    world.begin()
    world.end(completed())
    assert (world.outcome.kind, world.outcome.record, world.outcome.attempt) == (OutcomeKind.COMPLETED, '"done"', 1)
    assert world.lane.free == 1
    assert not world.lane.completed(world.executor.last.token, completed()), "a token is good for one outcome"


def test_first_come_first_served(world: World) -> None:
    for seq in (1, 2, 3):
        world.begin(seq=seq)
    assert [attempt.spec.seq for attempt in world.executor.started] == [1]
    world.end(completed())
    world.end(completed())
    assert [attempt.spec.seq for attempt in world.executor.started] == [1, 2, 3]


async def test_a_failure_is_tried_again_here_until_attempts_are_used_up(world: World) -> None:
    world.begin(retry=bounded(3))
    for attempt, wait_ms in ((1, 1_000), (2, 2_000)):
        assert world.executor.last.attempt == attempt
        world.end(failed())
        await world.clock.advance(wait_ms - 1)
        assert world.executor.last.attempt == attempt
        await world.clock.advance(1)
    world.end(failed())
    assert (world.outcome.kind, world.outcome.attempt, world.outcome.backoff_ms) == (OutcomeKind.FAILED, 3, None)


@pytest.mark.parametrize(
    ("outcome", "policy"),
    [
        (failed(non_retryable=True), RetryPolicy()),
        (failed(error_type="BOOM"), RetryPolicy(non_retryable_types=("boom",))),
    ],
)
def test_what_is_not_tried_again(world: World, outcome: Any, policy: RetryPolicy) -> None:
    world.begin(retry=policy)
    world.end(outcome)
    assert (world.outcome.kind, world.outcome.attempt) == (OutcomeKind.FAILED, 1)


def test_a_long_wait_is_left_to_the_interpreter(world: World) -> None:
    world.begin(retry_threshold_ms=999, attempt=4, retry=RetryPolicy(coefficient=1.0))
    assert world.executor.last.attempt == 4
    world.end(failed())
    assert (world.outcome.backoff_ms, world.outcome.attempt) == (1_000, 4)


def test_the_failure_says_when_to_try_again(world: World) -> None:
    world.begin(retry_threshold_ms=60_000)
    world.end(failed(next_retry_delay_ms=61_000))
    assert world.outcome.backoff_ms == 61_000


async def test_an_attempt_that_takes_too_long_is_told_and_tried_again(world: World) -> None:
    world.begin(retry=bounded(2))
    await world.clock.advance(10_000)
    assert world.executor.cancels == [(1, CancelReason.TIMED_OUT)]
    first = world.executor.last
    await world.clock.advance(1_000)
    assert world.executor.last is first, "its function holds the only slot until it returns"
    world.end(completed(), first)
    assert not world.reported, "what comes late is dropped"
    assert world.executor.last.attempt == 2
    await world.clock.advance(10_000)
    assert (world.outcome.kind, world.outcome.timeout) == (OutcomeKind.TIMED_OUT, TimeoutKind.START_TO_CLOSE)


async def test_schedule_to_close_ends_it_also_between_two_attempts(world: World) -> None:
    world.begin(schedule_to_close_ms=5_000, retry=RetryPolicy(initial_ms=20_000))
    world.end(failed())
    await world.clock.advance(5_000)
    assert (world.outcome.kind, world.outcome.timeout) == (OutcomeKind.TIMED_OUT, TimeoutKind.SCHEDULE_TO_CLOSE)
    await world.clock.advance(60_000)
    assert len(world.executor.started) == 1


def test_one_whose_time_is_over_never_starts(world: World) -> None:
    world.begin(schedule_to_close_ms=5_000, scheduled_ms=START - 5_000)
    assert world.outcome.timeout is TimeoutKind.SCHEDULE_TO_CLOSE
    assert not world.executor.started


async def test_schedule_to_start_ends_one_that_waits_for_a_slot(world: World) -> None:
    world.begin()
    world.begin(seq=2, schedule_to_start_ms=500)
    await world.clock.advance(500)
    assert (world.outcome.spec.seq, world.outcome.timeout) == (2, TimeoutKind.SCHEDULE_TO_START)
    world.end(completed())
    assert len(world.executor.started) == 1


def test_cancelling_one_that_runs_is_said_once_and_its_end_awaited(world: World) -> None:
    activity = world.begin()
    activity.cancel()
    activity.cancel()
    assert world.executor.cancels == [(1, CancelReason.CANCELLED)]
    assert not world.reported
    world.end(canceled())
    assert (world.outcome.kind, world.outcome.record) == (OutcomeKind.CANCELED, '"stopped"')


def test_a_failure_after_the_request_is_final(world: World) -> None:
    world.begin().cancel()
    world.end(failed())
    assert (world.outcome.kind, world.outcome.attempt) == (OutcomeKind.FAILED, 1)


async def test_cancelling_one_that_waits_ends_it_at_once(world: World) -> None:
    world.begin()
    world.begin(seq=2).cancel()
    assert (world.outcome.spec.seq, world.outcome.kind, world.outcome.record) == (2, OutcomeKind.CANCELED, None)
    world.reported.clear()
    third = World()
    waits = third.begin()
    third.end(failed())
    waits.cancel()
    assert third.outcome.kind is OutcomeKind.CANCELED
    await third.clock.advance(60_000)
    assert len(third.executor.started) == 1


def test_one_that_nobody_wants_any_more_reports_nothing(world: World) -> None:
    world.begin().drop(CancelReason.CANCELLED)
    assert world.executor.cancels == [(1, CancelReason.CANCELLED)]
    world.end(completed())
    assert not world.reported
    assert world.lane.free == 1


def test_a_worker_that_goes_away_starts_nothing_and_reports_what_still_ends(world: World) -> None:
    world.begin()
    world.begin(seq=2)
    world.lane.close()
    world.end(completed())
    assert world.outcome.spec.seq == 1
    assert len(world.executor.started) == 1


def test_what_a_shutdown_interrupts_is_no_outcome(world: World) -> None:
    world.begin()
    world.lane.close()
    world.lane.shut_down()
    assert world.executor.cancels == [(1, CancelReason.WORKER_SHUTDOWN)]
    world.end(failed())
    assert not world.reported, "it begins anew where its run goes"


def test_nothing_starts_while_it_is_not_sure_whose_the_runs_are(world: World) -> None:
    world.lane.may_start = lambda: False
    world.begin()
    assert not world.executor.started
    world.lane.may_start = lambda: True
    world.lane.pump()
    assert len(world.executor.started) == 1


async def test_one_that_says_it_will_be_completed_from_outside_times_out(world: World) -> None:
    world.begin(retry=bounded(1))
    world.end(None)
    assert world.lane.free == 1
    await world.clock.advance(10_000)
    assert world.outcome.timeout is TimeoutKind.START_TO_CLOSE


def test_an_executor_that_cannot_start_it_fails_the_attempt(world: World) -> None:
    def refuse(attempt: Attempt) -> None:
        raise RuntimeError("no room")

    world.executor.start = refuse  # type: ignore[method-assign]
    world.begin(retry=bounded(1))
    assert world.outcome.kind is OutcomeKind.FAILED
    assert "no room" in (world.outcome.record or "")
    assert world.lane.free == 1
