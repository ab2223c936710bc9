"""What was torn down is gone at once, without the cycle collector: memory must not grow with the runs that went by."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import dbos_compat
from dbos_compat.connect import connect_store
from dbos_core.clock import SystemClock
from dbos_core.store.memory import MemoryStore

QUEUE = "memory"
SOON = timedelta(seconds=30)

ALIVE: weakref.WeakSet[object] = weakref.WeakSet()
"""The workflow objects that are in memory."""


@activity.defn
async def step(number: int) -> int:
    return number + 1


@workflow.defn
class Many:
    """Has a bit of everything that could hold an instance: handlers, tasks, timers, exceptions with their frames."""

    def __init__(self) -> None:
        ALIVE.add(self)
        self.told = False

    @workflow.run
    async def run(self, how: str) -> int:
        if how == "waits":
            background = asyncio.create_task(asyncio.sleep(3600))
            try:
                await workflow.wait_condition(lambda: self.told)
            finally:
                background.cancel()
        elif how == "fails":
            try:
                raise ValueError("no")
            except ValueError as error:
                raise ApplicationError("failed", non_retryable=True) from error
        first = await workflow.execute_activity(step, 1, start_to_close_timeout=SOON)
        return await workflow.execute_local_activity(step, first, start_to_close_timeout=SOON)

    @workflow.signal
    def tell(self) -> None:
        self.told = True

    @workflow.update
    async def ask(self) -> bool:
        await asyncio.sleep(0)
        return self.told

    @workflow.query
    def was_told(self) -> bool:
        return self.told


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    client = await connect_store(MemoryStore(SystemClock()))
    yield client
    await dbos_compat.disconnect(client)


def worker(client: Client) -> Worker:
    return Worker(
        client,
        task_queue=QUEUE,
        workflows=[Many],
        activities=[step],
        max_cached_workflows=1,
        workflow_runner=UnsandboxedWorkflowRunner(),
    )


@pytest.mark.usefixtures("no_collector")
async def test_evicted_and_finished_instances_are_freed_without_the_cycle_collector(client: Client) -> None:
    async with worker(client):
        waiting = [
            await client.start_workflow(Many.run, "waits", id=f"waits-{number}", task_queue=QUEUE)
            for number in range(8)
        ]
        for handle in waiting:  # each answer brings one instance back and drives another out
            assert await handle.execute_update(Many.ask) is False
            assert await handle.query(Many.was_told) is False
        assert len(ALIVE) <= 2  # the one that may stay, and one that is about to be driven out

        with pytest.raises(WorkflowFailureError):
            await client.execute_workflow(Many.run, "fails", id="fails", task_queue=QUEUE)
        for handle in waiting:
            await handle.signal(Many.tell)
            assert await handle.result() == 3
    assert not ALIVE
