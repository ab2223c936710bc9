"""What queries may do, and every way in which a clock or a cancellation may end an attempt."""

from __future__ import annotations

import time
from collections import Counter
from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, TimeoutType
from temporalio.workflow import ActivityCancellationType

from dbos_shadow.determinism import (
    DeterminismError,
    Kind,
    Lived,
    Plan,
    Profile,
    Rule,
    check_workflow,
    plan,
    returns,
    run_schedule,
)
from dbos_shadow.trace import Plain

MINUTE = timedelta(minutes=1)
FEW = Profile(name="few", schedules=300, seconds=120, hash_seeds=0)


@activity.defn
async def look(number: int) -> int:
    return number


# -- queries -------------------------------------------------------------------------------------------------------------


class Asked:
    def __init__(self) -> None:
        self.seen = 0

    async def _steps(self) -> None:
        for number in range(2):
            await workflow.execute_activity(look, number, start_to_close_timeout=MINUTE)
            self.seen += 1


@workflow.defn
class Answers(Asked):
    """Its query reads, and fails when there is nothing to read yet."""

    @workflow.run
    async def run(self) -> None:
        await self._steps()

    @workflow.query
    def state(self) -> int:
        if not self.seen:
            raise ValueError("nothing has been seen yet")
        return self.seen


@workflow.defn
class Counts(Asked):
    """Its query writes down that it was asked."""

    @workflow.run
    async def run(self) -> None:
        await self._steps()

    @workflow.query
    def state(self) -> int:
        self.seen += 1
        return self.seen


@workflow.defn
class Obeys(Asked):
    """Its query changes what the workflow does, and answers the same."""

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(look, 1, start_to_close_timeout=MINUTE)
        if self.seen:
            await workflow.sleep(1)
        await workflow.execute_activity(look, 2, start_to_close_timeout=MINUTE)

    @workflow.query
    def state(self) -> str:
        self.seen = 1
        return "ready"


@workflow.defn
class Wanders(Asked):
    """Its query answers from something that is not the workflow's."""

    @workflow.run
    async def run(self) -> None:
        await self._steps()

    @workflow.query
    def state(self) -> int:
        return time.perf_counter_ns()


def asked(cls: type, **options: object) -> Plan:
    handler = vars(cls)["state"]
    return plan(cls, activities={look: returns(1)}, queries=[handler], sandboxed=False, **options)  # type: ignore[arg-type]


def test_a_query_that_reads_may_come_any_time() -> None:
    assert check_workflow(
        asked(Answers), profile=Profile(name="few", schedules=120, seconds=60, hash_seeds=0)
    ).schedules


@pytest.mark.parametrize(
    ("cls", "words"),
    [(Counts, "once more"), (Obeys, "does not ask for without it"), (Wanders, "once more")],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_query_that_does_more_is_found(cls: type, words: str) -> None:
    with pytest.raises(DeterminismError) as caught:
        check_workflow(asked(cls), profile=FEW)
    error = caught.value
    assert error.rule is Rule.QUERY
    assert words in error.what
    assert sum(h.fault for h in error.happenings) <= 1
    assert [h.name for h in error.happenings if h.kind is Kind.QUERY] == ["state"]


def test_answers_from_elsewhere_can_be_allowed() -> None:
    explored = check_workflow(
        asked(Wanders, allow=["query-answers"]), profile=Profile(name="few", schedules=60, seconds=60, hash_seeds=0)
    )
    assert explored.schedules


# -- clocks --------------------------------------------------------------------------------------------------------------


@workflow.defn
class Times:
    """Says by which clock its activity ended, once it has been tried as often as it may be."""

    @workflow.run
    async def run(self, to_start_s: float, to_close_s: float) -> str:
        try:
            await workflow.execute_activity(
                look,
                1,
                start_to_close_timeout=MINUTE,
                heartbeat_timeout=timedelta(seconds=20),
                schedule_to_start_timeout=timedelta(seconds=to_start_s) if to_start_s else None,
                schedule_to_close_timeout=timedelta(seconds=to_close_s) if to_close_s else None,
                retry_policy=RetryPolicy(maximum_attempts=0 if to_close_s else 1),
            )
        except ActivityError as error:
            kind = getattr(error.cause, "type", None)
            return kind.name if isinstance(kind, TimeoutType) else repr(error.cause)
        return "completed"


SAYS: dict[str, tuple[list[float], int]] = {
    "SCHEDULE_TO_START": ([30.0, 0.0], 1),
    "SCHEDULE_TO_CLOSE": ([0.0, 90.0], 0),
    "START_TO_CLOSE": ([0.0, 0.0], 0),
    "HEARTBEAT": ([0.0, 0.0], 0),
}
"""Which clock, with which time-outs it rings, and how many workers are needed that take nothing."""


def times(clock: str) -> Plan:
    return plan(Times.run, args=SAYS[clock][0], activities={look: returns(1)}, cancels=False, sandboxed=False)


def result(lived: Lived) -> str:
    (value,) = lived.traces[0].outcome.values
    assert isinstance(value, Plain)
    return value.text.strip('"')


@pytest.mark.parametrize("clock", SAYS)
def test_every_clock_may_end_an_attempt(clock: str) -> None:
    """With one thing out of the ordinary, so that it is among the first schedules that are tried."""
    ways = [[value] for value in range(1, 4)] + [[0, 1, how] for how in range(3)]
    lives = [run_schedule(times(clock), way) for way in ways]
    assert not [lived.error for lived in lives if lived.error is not None]
    found = [lived for lived in lives if len(lived.traces) == 1 and result(lived) == clock]
    assert found
    for lived in found:
        kinds = Counter(happening.kind for happening in lived.happenings)
        assert kinds[Kind.ACTIVITY_TIMED_OUT] >= 1
        assert kinds[Kind.WORKERS_BUSY] == SAYS[clock][1]
        assert kinds[Kind.ACTIVITY_STARTED] == kinds[Kind.ACTIVITY_TIMED_OUT] - SAYS[clock][1]


@workflow.defn
class Stops:
    """Cancels its activity, and waits for what becomes of it."""

    @workflow.run
    async def run(self) -> str:
        task = workflow.start_activity(
            look,
            1,
            start_to_close_timeout=MINUTE,
            heartbeat_timeout=timedelta(seconds=20),
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        await workflow.sleep(1)
        task.cancel()
        try:
            await task
        except ActivityError as error:
            return type(error.cause).__name__
        return "completed"


def test_an_attempt_that_heartbeats_hears_that_it_is_cancelled() -> None:
    tested = plan(Stops.run, activities={look: returns(1)}, cancels=False, sandboxed=False)
    assert result(run_schedule(tested, [])) == "completed"
    lives = [run_schedule(tested, [0, value, *more]) for value in range(1, 12) for more in ([], [0, 1], [0, 0, 1])]
    assert not [lived.error for lived in lives if lived.error is not None]
    ended = Counter(result(lived) for lived in lives if len(lived.traces) == 1)
    assert ended["CancelledError"]
    assert ended["completed"]
