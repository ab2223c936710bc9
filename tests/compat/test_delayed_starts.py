"""Runs that begin later than they are asked for: how long they may take, and what is seen of them until then."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import RetryPolicy
from temporalio.exceptions import ChildWorkflowError

from .chains import began, retry_states, runs
from .support import MakeWorker, chain, eventually

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


@workflow.defn(name="delayed-waits")
class Waits:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.signal
    def nudge(self) -> None: ...


@workflow.defn(name="delayed-parent")
class Parent:
    @workflow.run
    async def run(self) -> str:
        child = await workflow.start_child_workflow(
            Waits.run, id=f"{workflow.info().workflow_id}-child", cron_schedule="@every 60s", execution_timeout=SECOND
        )
        try:
            await child
        except ChildWorkflowError as error:
            return chain(error)[-1]
        return "it ended"


@activity.defn(name="tells-timeouts")
async def tells_timeouts() -> list[str]:
    info = activity.info()
    return [str(info.start_to_close_timeout), str(info.schedule_to_close_timeout)]


@workflow.defn(name="asks-timeouts")
class AsksTimeouts:
    @workflow.run
    async def run(self) -> list[str]:
        return await workflow.execute_activity(tells_timeouts, start_to_close_timeout=HOUR)


async def times_out(client: Client, handle: WorkflowHandle[Any, Any]) -> tuple[float, float, list[str]]:
    """Seconds from the start request until the chain is over by the clock, and until its last run was; how its runs ended."""
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert chain(failed.value.cause) == ["TimeoutError 'Workflow timed out' START_TO_CLOSE"]
    histories = await runs(client, handle)
    asked_ms = histories[0][0].event_time.ToMilliseconds()
    expires_ms = began(histories[0]).workflow_execution_expiration_time.ToMilliseconds()
    closed_ms = histories[-1][-1].event_time.ToMilliseconds()
    last = await client.get_workflow_handle(handle.id).describe()
    extended = last.raw_description.workflow_extended_info
    assert extended.execution_expiration_time.ToMilliseconds() == expires_ms
    return (expires_ms - asked_ms) / 1000, (closed_ms - asked_ms) / 1000, retry_states(histories)


@pytest.mark.parametrize(
    ("options", "seconds", "begins"),
    [
        ({"start_delay": SECOND, "execution_timeout": 3 * SECOND}, 3, True),
        ({"start_delay": 5 * SECOND, "execution_timeout": 2 * SECOND}, 2, False),
        ({"start_delay": SECOND, "run_timeout": 3 * SECOND, "execution_timeout": 3 * SECOND}, 3, True),
        ({"cron_schedule": "@every 60s", "execution_timeout": 2 * SECOND}, 2, False),
        ({"cron_schedule": "@every 1s", "run_timeout": 2 * SECOND, "execution_timeout": 2 * SECOND}, 2, True),
    ],
    ids=["delay", "never begins", "run and chain", "cron", "cron that begins"],
)
async def test_the_time_of_a_chain_counts_from_the_request(
    client: Client,
    make_worker: MakeWorker,
    queue: str,
    wid: str,
    options: dict[str, Any],
    seconds: float,
    begins: bool,
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Waits]):
        handle = await client.start_workflow(Waits.run, id=wid, task_queue=queue, **options)
        expires, closed, states = await times_out(client, handle)
    assert expires == pytest.approx(seconds, abs=0.25)
    assert seconds - 0.1 <= closed < seconds + 2.5
    assert states == ["TIMEOUT"]
    (events,) = await runs(client, handle)
    assert (len(events) > 2) is begins


async def test_it_counts_for_the_runs_that_follow_too(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    """The second attempt would be due after the end of the chain."""
    async with make_worker(client, task_queue=queue, workflows=[Waits]):
        handle = await client.start_workflow(
            Waits.run,
            id=wid,
            task_queue=queue,
            start_delay=SECOND,
            run_timeout=SECOND,
            execution_timeout=4 * SECOND,
            retry_policy=RetryPolicy(initial_interval=SECOND, maximum_attempts=5),
        )
        expires, closed, states = await times_out(client, handle)
    assert expires == pytest.approx(4, abs=0.25)
    assert 2.9 <= closed < 6.5
    assert states[0] == "IN_PROGRESS"
    assert states[-1] == "TIMEOUT"


async def test_a_child_has_the_time_from_its_request(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Parent, Waits]):
        said = await client.execute_workflow(Parent.run, id=wid, task_queue=queue)
    assert said == "TimeoutError 'Timed out' START_TO_CLOSE"


async def test_activities_are_bounded_by_the_run_timeout_as_asked_for(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[AsksTimeouts], activities=[tells_timeouts]):
        handle = await client.start_workflow(
            AsksTimeouts.run,
            id=wid,
            task_queue=queue,
            start_delay=SECOND,
            run_timeout=20 * SECOND,
            execution_timeout=20 * SECOND,
        )
        assert await handle.result() == ["0:00:20", "0:00:20"]


async def test_nothing_is_pending_until_it_is_due(client: Client, queue: str, wid: str) -> None:
    cases: list[dict[str, Any]] = [{"start_delay": HOUR}, {"cron_schedule": "@every 1h"}]
    for number, options in enumerate(cases):
        handle = await client.start_workflow(
            Waits.run, id=f"{wid}-{number}", task_queue=queue, static_summary="s", **options
        )
        await handle.signal(Waits.nudge)
        described = await handle.describe()
        assert not described.raw_description.HasField("pending_workflow_task")
        assert described.history_length == 2
        await handle.terminate()


async def test_what_is_due_and_has_no_worker_is_pending(client: Client, queue: str, wid: str) -> None:
    handle = await client.start_workflow(Waits.run, id=wid, task_queue=queue, start_delay=SECOND)
    assert [event.event_type for event in (await handle.fetch_history()).events] == [
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED
    ]

    async def due() -> None:
        assert (await handle.describe()).raw_description.HasField("pending_workflow_task")

    await eventually(due)
    kinds = [event.event_type for event in (await handle.fetch_history()).events]
    assert kinds == [
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED,
        EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED,
    ]
    assert (await handle.describe()).history_length == 2
    await handle.terminate()
    kinds = [event.event_type for event in (await handle.fetch_history()).events]
    assert kinds[1:] == [
        EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED,
    ]


async def test_a_cancel_request_makes_it_due(client: Client, queue: str, wid: str) -> None:
    handle = await client.start_workflow(Waits.run, id=wid, task_queue=queue, start_delay=HOUR)
    await handle.cancel()
    described = await handle.describe()
    assert described.raw_description.HasField("pending_workflow_task")
    assert described.history_length == 3
    kinds = [event.event_type for event in (await handle.fetch_history()).events]
    assert kinds[1:] == [
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED,
        EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED,
    ]
    await handle.terminate()
