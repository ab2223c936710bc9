"""A client in a process that runs no worker: every answer comes from the process that owns the run, or waits for one."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
)
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import dbos_compat
from tests.fixtures.waiting import eventually


@activity.defn
async def later() -> str:
    activity.raise_complete_async()


@workflow.defn
class Tally:
    def __init__(self) -> None:
        self.total = 0
        self.done = False

    @workflow.run
    async def run(self, call: bool) -> str:
        if call:
            return await workflow.execute_activity(
                later,
                activity_id="L",
                start_to_close_timeout=timedelta(minutes=5),
                heartbeat_timeout=timedelta(minutes=5),
            )
        await workflow.wait_condition(lambda: self.done)
        return "done"

    @workflow.signal
    def add(self, number: int) -> None:
        self.total += number

    @workflow.signal
    def finish(self) -> None:
        self.done = True

    @workflow.query
    def sum(self) -> int:
        return self.total

    @workflow.query
    def broken(self) -> int:
        raise ValueError("no idea")

    @workflow.update
    async def raised(self, number: int) -> int:
        self.total += number
        return self.total

    @raised.validator
    def positive(self, number: int) -> None:
        if number < 0:
            raise ValueError("negative")


@pytest.fixture
async def client(postgres_url: str) -> AsyncIterator[Client]:
    """The client whose process has no worker."""
    client = await dbos_compat.connect(postgres_url)
    yield client
    await dbos_compat.disconnect(client)


@pytest.fixture
async def worker(postgres_url: str) -> AsyncIterator[Callable[[], Worker]]:
    """Makes workers on a connection of their own, which is to the engine what another process is."""
    connection = await dbos_compat.connect(postgres_url)
    yield lambda: Worker(
        connection,
        task_queue="tally",
        workflows=[Tally],
        activities=[later],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    await dbos_compat.disconnect(connection)


async def begun(client: Client, call: bool = False) -> WorkflowHandle[Tally, str]:
    return await client.start_workflow(Tally.run, call, id=f"tally-{uuid.uuid4()}", task_queue="tally")


async def test_queries_see_the_signals_before_them(client: Client, worker: Callable[[], Worker]) -> None:
    async with worker():
        handle = await begun(client)
        for number in range(1, 6):
            await handle.signal(Tally.add, number)
            assert await handle.query(Tally.sum) == sum(range(number + 1))
        with pytest.raises(WorkflowQueryFailedError, match="no idea"):
            await handle.query(Tally.broken)
        await handle.signal(Tally.finish)
        assert await handle.result() == "done"
        assert await handle.query(Tally.sum) == 15


async def test_updates_and_their_rejections(client: Client, worker: Callable[[], Worker]) -> None:
    async with worker():
        handle = await begun(client)
        assert await handle.execute_update(Tally.raised, 3) == 3
        with pytest.raises(WorkflowUpdateFailedError) as rejected:
            await handle.execute_update(Tally.raised, -1, id="again")
        assert isinstance(rejected.value.cause, ApplicationError)
        assert rejected.value.cause.message == "negative"
        assert await handle.execute_update(Tally.raised, 2, id="again") == 5
        assert await handle.execute_update(Tally.raised, 7, id="again") == 5


async def test_update_with_start(client: Client, worker: Callable[[], Worker]) -> None:
    async with worker():
        start = WithStartWorkflowOperation(
            Tally.run, False, id="uws", task_queue="tally", id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING
        )
        assert await client.execute_update_with_start_workflow(Tally.raised, 5, start_workflow_operation=start) == 5
        again = WithStartWorkflowOperation(
            Tally.run, False, id="uws", task_queue="tally", id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING
        )
        assert await client.execute_update_with_start_workflow(Tally.raised, 1, start_workflow_operation=again) == 6


async def left_open(client: Client, handle: WorkflowHandle[Tally, str]) -> None:
    """The activity has started and waits for somebody outside."""

    async def fact() -> bool:
        described = await handle.describe()
        return any(one.HasField("last_started_time") for one in described.raw_description.pending_activities)

    await eventually(fact)


async def test_an_activity_is_completed_once(client: Client, worker: Callable[[], Worker]) -> None:
    async with worker():
        handle = await begun(client, call=True)
        await left_open(client, handle)
        outside = client.get_async_activity_handle(workflow_id=handle.id, run_id=None, activity_id="L")
        await outside.heartbeat("half")

        async def told() -> bool:
            [pending] = (await handle.describe()).raw_description.pending_activities
            return [payload.data for payload in pending.heartbeat_details.payloads] == [b'"half"']

        await eventually(told)
        with pytest.raises(RPCError, match="without activity being request canceled first"):
            await outside.report_cancellation()
        await outside.complete("by hand")
        assert await handle.result() == "by hand"
        with pytest.raises(RPCError) as refused:
            await outside.complete("twice")
        assert refused.value.status is RPCStatusCode.NOT_FOUND


async def test_an_activity_is_completed_while_no_worker_is_alive(client: Client, worker: Callable[[], Worker]) -> None:
    async with worker():
        handle = await begun(client, call=True)
        await left_open(client, handle)
    outside = client.get_async_activity_handle(workflow_id=handle.id, run_id=None, activity_id="L")
    await outside.heartbeat("half")
    await outside.complete("meanwhile")
    unknown = client.get_async_activity_handle(workflow_id=handle.id, run_id=None, activity_id="M")
    with pytest.raises(RPCError, match="cannot find pending activity with ActivityID M"):
        await unknown.complete("never")
    async with worker():
        async with asyncio.timeout(20):
            assert await handle.result() == "meanwhile"
