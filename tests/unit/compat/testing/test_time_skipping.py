"""The environment that skips time: what Temporal's test server does, and what its own tests assert."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from time import monotonic

import pytest
from temporalio import activity, workflow
from temporalio.client import (
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleIntervalSpec,
    ScheduleSpec,
    WorkflowExecutionStatus,
    WorkflowFailureError,
)
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutType
from temporalio.exceptions import TimeoutError as TimedOut

from dbos_compat.testing import WorkflowEnvironment

from .programs import (
    DAY,
    Asserts,
    FailsTasks,
    Parent,
    Races,
    Retries,
    Sleeps,
    Stumbles,
    Waits,
    real_work,
    third_time_lucky,
    worker,
)

WORKFLOWS = [Asserts, FailsTasks, Parent, Races, Retries, Sleeps, Stumbles, Waits]
ACTIVITIES = [real_work, third_time_lucky]


@pytest.fixture
async def env() -> AsyncIterator[WorkflowEnvironment]:
    async with (
        await WorkflowEnvironment.start_time_skipping() as env,
        worker(env.client, task_queue="q", workflows=WORKFLOWS, activities=ACTIVITIES),
    ):
        yield env


def wid() -> str:
    return f"wf-{uuid.uuid4()}"


def near(found: datetime | float, expected_in_s: float, begun: datetime) -> bool:
    found_s = found.timestamp() if isinstance(found, datetime) else found
    passed_s = found_s - begun.timestamp()
    return expected_in_s - 0.01 <= passed_s < expected_in_s + 30


async def test_a_result_is_awaited_through_weeks(env: WorkflowEnvironment) -> None:
    begun = datetime.now(UTC)
    assert env.supports_time_skipping
    assert near(await env.get_current_time(), 0, begun)
    week = timedelta(weeks=2).total_seconds()
    assert await env.client.execute_workflow(Sleeps.run, week, id=wid(), task_queue="q") == "awake"
    assert near(await env.get_current_time(), week, begun)
    # Once more, from there on; and through a handle that was found by its id.
    await env.client.start_workflow(Sleeps.run, week, id="second", task_queue="q")
    assert await env.client.get_workflow_handle("second").result() == "awake"
    assert near(await env.get_current_time(), 2 * week, begun)


async def test_time_is_moved_by_hand(env: WorkflowEnvironment) -> None:
    begun = datetime.now(UTC)
    handle = await env.client.start_workflow(Sleeps.run, 100_000.0, id=wid(), task_queue="q")
    await handle.signal(Sleeps.poke)  # a query tells the time of the last task
    assert near(await handle.query(Sleeps.now), 0, begun)
    await env.sleep(1000)
    await handle.signal(Sleeps.poke)
    assert near(await handle.query(Sleeps.now), 1000, begun)
    assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
    await env.sleep(timedelta(seconds=99_001))
    assert (await handle.describe()).status is WorkflowExecutionStatus.COMPLETED


async def test_nothing_is_skipped_while_nobody_awaits(env: WorkflowEnvironment) -> None:
    handle = await env.client.start_workflow(Waits.run, id=wid(), task_queue="q")
    before = await env.get_current_time()
    await asyncio.sleep(0.1)
    assert (await env.get_current_time()) - before < timedelta(hours=1)
    await handle.signal(Waits.say, "hello")
    assert await handle.result() == "hello"


async def test_a_condition_times_out(env: WorkflowEnvironment) -> None:
    assert await env.client.execute_workflow(Waits.run, id=wid(), task_queue="q") == "nobody spoke"


async def test_an_update_that_sleeps_goes_on_when_time_is_moved(env: WorkflowEnvironment) -> None:
    handle = await env.client.start_workflow(Waits.run, id=wid(), task_queue="q")
    update = asyncio.create_task(handle.execute_update(Waits.slowly, "at last"))
    while not (await handle.describe()).raw_description.workflow_execution_info.history_length > 4:
        await asyncio.sleep(0.01)
    await env.sleep(61)
    assert await update == "said"
    assert await handle.result() == "at last"


@pytest.mark.parametrize("local", [False, True], ids=["activity", "local"])
async def test_retries_of_activities_are_hours_apart(env: WorkflowEnvironment, local: bool) -> None:
    took_s = await env.client.execute_workflow(Retries.run, local, id=wid(), task_queue="q")
    assert 3 * 3600 <= took_s < 3 * 3600 + 30


async def test_a_workflow_is_tried_again_a_day_later(env: WorkflowEnvironment) -> None:
    begun = datetime.now(UTC)
    attempt = await env.client.execute_workflow(
        Stumbles.run, id=wid(), task_queue="q", retry_policy=RetryPolicy(initial_interval=DAY, maximum_attempts=3)
    )
    assert attempt == 2
    assert near(await env.get_current_time(), DAY.total_seconds(), begun)


async def test_time_does_not_skip_an_activity_that_runs(env: WorkflowEnvironment) -> None:
    assert await env.client.execute_workflow(Races.run, id=wid(), task_queue="q") == "work"


async def test_children_and_their_timers(env: WorkflowEnvironment) -> None:
    begun = datetime.now(UTC)
    assert await env.client.execute_workflow(Parent.run, id=wid(), task_queue="q") == "awake"
    assert near(await env.get_current_time(), 2 * DAY.total_seconds(), begun)


async def test_a_start_that_is_delayed(env: WorkflowEnvironment) -> None:
    begun = datetime.now(UTC)
    handle = await env.client.start_workflow(Sleeps.run, 60.0, id=wid(), task_queue="q", start_delay=DAY)
    assert await handle.result() == "awake"
    assert near(await env.get_current_time(), DAY.total_seconds() + 60, begun)


async def test_a_start_that_is_delayed_beyond_its_time(env: WorkflowEnvironment) -> None:
    begun = datetime.now(UTC)
    handle = await env.client.start_workflow(
        Sleeps.run, 60.0, id=wid(), task_queue="q", start_delay=DAY, execution_timeout=timedelta(hours=1)
    )
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, TimedOut)
    assert near(await env.get_current_time(), 3600, begun)
    assert len((await handle.fetch_history()).events) == 2


async def test_a_cron_workflow_runs_day_after_day(env: WorkflowEnvironment) -> None:
    handle = await env.client.start_workflow(Sleeps.run, 1.0, id="cron", task_queue="q", cron_schedule="0 6 * * *")
    await env.sleep(timedelta(days=3))
    ends = [
        execution.close_time
        async for execution in env.client.list_workflows("WorkflowId = 'cron' and ExecutionStatus != 'Running'")
    ]
    assert len(ends) == 3
    assert {end.hour for end in ends if end is not None} == {6}
    await handle.terminate()


async def test_a_schedule_fires_hour_after_hour(env: WorkflowEnvironment) -> None:
    await env.client.create_schedule(
        "hourly",
        Schedule(
            action=ScheduleActionStartWorkflow(Sleeps.run, 1.0, id="hour", task_queue="q"),
            spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(hours=1))]),
        ),
    )
    await env.sleep(timedelta(hours=5))
    closed = await env.client.count_workflows("TemporalScheduledById = 'hourly' and ExecutionStatus = 'Completed'")
    assert closed.count == 5


async def test_timeouts_of_workflows(env: WorkflowEnvironment) -> None:
    with pytest.raises(WorkflowFailureError) as caught:
        await env.client.execute_workflow(
            Sleeps.run, 2 * DAY.total_seconds(), id=wid(), task_queue="q", execution_timeout=DAY
        )
    assert isinstance(caught.value.cause, TimedOut)
    # Also of one that no worker serves.
    begun = await env.get_current_time()
    handle = await env.client.start_workflow(Waits.run, id=wid(), task_queue="nobody", run_timeout=timedelta(seconds=1))
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    assert (await env.get_current_time()) - begun < timedelta(hours=1)  # a task that waits for a worker is not skipped


async def test_skipping_may_be_forbidden(env: WorkflowEnvironment) -> None:
    begun = monotonic()
    assert await env.client.execute_workflow(Sleeps.run, 2.0, id=wid(), task_queue="q") == "awake"
    skipped_s = monotonic() - begun
    with env.auto_time_skipping_disabled():
        with env.auto_time_skipping_disabled():
            pass
        begun = monotonic()
        assert await env.client.execute_workflow(Sleeps.run, 2.0, id=wid(), task_queue="q") == "awake"
        assert monotonic() - begun > 1.9  # the inner block did not end the outer one
        handle = await env.client.start_workflow(Sleeps.run, 3600.0, id=wid(), task_queue="q")
        await env.sleep(3601)  # by hand it may
        assert (await handle.describe()).status is WorkflowExecutionStatus.COMPLETED
    assert skipped_s < 60


async def test_a_task_that_fails_does_not_make_time_race(env: WorkflowEnvironment) -> None:
    handle = await env.client.start_workflow(FailsTasks.run, id=wid(), task_queue="q")
    before = await env.get_current_time()
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(handle.result(), 0.5)
    assert (await env.get_current_time()) - before < timedelta(minutes=1)
    await handle.terminate()


async def test_assertions_fail_the_workflow(env: WorkflowEnvironment) -> None:
    with pytest.raises(WorkflowFailureError) as caught:
        await env.client.execute_workflow(Asserts.run, False, id=wid(), task_queue="q")
    assert isinstance(caught.value.cause, ApplicationError)
    assert (caught.value.cause.type, caught.value.cause.non_retryable) == ("AssertionError", True)
    assert caught.value.cause.message.startswith("not this one")
    handle = await env.client.start_workflow(Asserts.run, True, id=wid(), task_queue="q")
    await handle.signal(Asserts.check)
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, ApplicationError)


# -- an activity that lets time pass ---------------------------------------------------------------------------------


class Sleeper:
    def __init__(self, env: WorkflowEnvironment) -> None:
        self.env = env

    @activity.defn
    async def forgets_to_beat(self) -> str:
        beat = activity.info().heartbeat_timeout
        assert beat is not None
        await self.env.sleep(beat.total_seconds() * 2)
        return "too late"


@workflow.defn
class Beats:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity_method(
            Sleeper.forgets_to_beat,
            schedule_to_close_timeout=timedelta(seconds=1000),
            heartbeat_timeout=timedelta(seconds=20),
            retry_policy=RetryPolicy(maximum_attempts=1),
        )


async def test_an_activity_misses_its_heartbeats() -> None:
    async with await WorkflowEnvironment.start_time_skipping() as env:
        async with worker(env.client, task_queue="q", workflows=[Beats], activities=[Sleeper(env).forgets_to_beat]):
            with pytest.raises(WorkflowFailureError) as caught:
                await env.client.execute_workflow(Beats.run, id=wid(), task_queue="q")
    assert isinstance(caught.value.cause, ActivityError)
    assert isinstance(caught.value.cause.cause, TimedOut)
    assert caught.value.cause.cause.type is TimeoutType.HEARTBEAT


# -- left open, parked, many ------------------------------------------------------------------------------------------


@activity.defn
async def left_open() -> str:
    activity.raise_complete_async()


@workflow.defn
class Open:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(left_open, start_to_close_timeout=timedelta(days=30), activity_id="open")


async def test_an_activity_that_is_completed_from_outside_is_under_way() -> None:
    async with await WorkflowEnvironment.start_time_skipping() as env:
        async with worker(env.client, task_queue="q", workflows=[Open], activities=[left_open]):
            handle = await env.client.start_workflow(Open.run, id="outside", task_queue="q")
            result = asyncio.create_task(handle.result())
            while not (await handle.describe()).raw_description.pending_activities:
                await asyncio.sleep(0.01)
            before = await env.get_current_time()
            await env.client.get_async_activity_handle(
                workflow_id="outside", run_id=handle.first_execution_run_id, activity_id="open"
            ).complete("from outside")
            assert await result == "from outside"
            assert await env.get_current_time() - before < timedelta(hours=1)


async def test_a_hundred_workflows_sleep_their_own_times(env: WorkflowEnvironment) -> None:
    begun = datetime.now(UTC)
    handles = [
        await env.client.start_workflow(Sleeps.run, 3600.0 * (n + 1), id=f"sleeper-{n}", task_queue="q")
        for n in range(100)
    ]
    assert await asyncio.gather(*(handle.result() for handle in handles)) == ["awake"] * 100
    assert near(await env.get_current_time(), 360_000, begun)
    history = await handles[40].fetch_history()
    lasted = history.events[-1].event_time.ToDatetime() - history.events[0].event_time.ToDatetime()
    assert timedelta(hours=41) <= lasted < timedelta(hours=41, seconds=30)


async def test_without_a_cache_every_step_is_a_replay() -> None:
    async with (
        await WorkflowEnvironment.start_time_skipping() as env,
        worker(env.client, task_queue="q", workflows=WORKFLOWS, activities=ACTIVITIES, max_cached_workflows=0),
    ):
        assert await env.client.execute_workflow(Parent.run, id=wid(), task_queue="q") == "awake"
        assert await env.client.execute_workflow(Retries.run, False, id=wid(), task_queue="q") >= 3 * 3600
