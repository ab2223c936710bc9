"""What comes in one moment, much that is to be taken back, and tests of which nothing can be tried."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.common import RetryPolicy

from dbos_shadow.determinism import DeterminismError, Profile, check_workflow, may_fail, plan, returns, run_schedule
from dbos_shadow.determinism.actions import TURNS, _turns
from dbos_shadow.determinism.failure import Rule
from dbos_shadow.trace import Trace

from .test_tricky import PLANS

SOME = Profile(name="some", schedules=400, seconds=20, hash_seeds=0)
TEN = timedelta(seconds=10)


@workflow.defn
class Trip:
    """Takes its hold back when a booking fails, but not when both fail in the same moment."""

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity("hold", start_to_close_timeout=TEN)
        legs = [
            asyncio.create_task(workflow.execute_activity(leg, start_to_close_timeout=TEN)) for leg in ("fly", "stay")
        ]
        done, pending = await workflow.wait(legs, return_when=asyncio.FIRST_EXCEPTION)
        failed = [leg for leg in done if leg.exception()]
        if not failed:
            return
        for leg in pending:
            leg.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for leg in done:
            if leg is not failed[0]:
                leg.result()  # the bug: raises when it has failed as well
        await workflow.execute_activity("release", start_to_close_timeout=TEN)


def nothing_is_left_held(trace: Trace) -> bool:
    held = any(arrival.name == "hold" and arrival.how == "completed" for arrival in trace.arrivals)
    return not held or trace.outcome.status.value != "failed"


@workflow.defn
class Races:
    """Takes for granted that an activity and a timer never end in one moment."""

    @workflow.run
    async def run(self) -> int:
        ends = [
            asyncio.create_task(workflow.execute_activity("work", start_to_close_timeout=timedelta(minutes=5))),
            asyncio.create_task(workflow.sleep(5)),
        ]
        done, pending = await workflow.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for one in pending:
            one.cancel()
        return len(done)


def one_has_ended(trace: Trace) -> bool:
    return [getattr(value, "value", 1) for value in trace.outcome.values] in ([], [1])


@pytest.mark.parametrize(
    "tested",
    [
        plan(
            Trip.run,
            activities={
                "hold": returns().never_hangs(),
                "fly": may_fail().never_hangs(),
                "stay": may_fail().never_hangs(),
                "release": returns().never_hangs(),
            },
            cancels=False,
            invariants=[nothing_is_left_held],
            sandboxed=False,
        ),
        plan(Races.run, activities={"work": returns()}, cancels=False, invariants=[one_has_ended], sandboxed=False),
    ],
    ids=["two activities fail", "a timer rings as an activity ends"],
)
def test_one_activation_sees_both(tested: Any) -> None:
    with pytest.raises(DeterminismError) as found:
        check_workflow(tested, profile=SOME)
    assert found.value.rule is Rule.INVARIANT
    assert run_schedule(tested, found.value.decisions).error is not None


def test_a_process_is_cut_off_late_in_a_long_step_too() -> None:
    turns = [_turns(chosen) for chosen in range(TURNS)]
    assert turns[:16] == list(range(16))
    assert turns == sorted(set(turns))
    assert turns[-1] > 200


@workflow.defn
class TakesMuchBack:
    @workflow.run
    async def run(self) -> None:
        try:
            await workflow.sleep(10_000)
        except asyncio.CancelledError:
            for number in range(80):
                await workflow.execute_activity("release", number, start_to_close_timeout=TEN)
            raise


def test_much_that_is_taken_back_is_an_end() -> None:
    tested = plan(TakesMuchBack.run, activities={"release": returns()}, sandboxed=False)
    lived = [run_schedule(tested, [0, chosen]) for chosen in range(12)]
    assert [one.error for one in lived] == [None] * len(lived)
    assert any(sum(step.name == "release" for step in one.traces[0].steps) == 80 for one in lived)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"taskqueue": "typo"}, "has 'taskqueue', which"),
        ({"cron_schedule": "every day"}, "CronSchedule"),
        ({"retry_policy": RetryPolicy(maximum_attempts=-1)}, "cannot be negative"),
        ({"run_timeout": timedelta(seconds=-1)}, "negative duration"),
        ({"memo": {"given": object()}}, "not JSON serializable"),
    ],
)
def test_a_workflow_that_cannot_be_started_is_no_success(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        check_workflow(
            plan(Races.run, activities={"work": returns()}, start_options=options, sandboxed=False), profile=SOME
        )
    assert "'Races'" in str(refused.value)
    assert "start_options=" in str(refused.value)


def test_a_run_that_is_due_this_very_moment_is_not_lost() -> None:
    """The next pulse of a process finds it."""
    assert run_schedule(PLANS["against time"], [0, 0, 0, 0, 10, 2, 10]).error is None
