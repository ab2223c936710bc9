"""Operators at activities that run in another process than their workflow, or whose workflow nobody runs just now."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.activity import ActivityCancellationDetails
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import dbos_compat
from tests.compat.calls import Call, Order, Retry, start_call
from tests.compat.operators import Operator, Workshop, s
from tests.fixtures.waiting import eventually


class Processes:
    """Connections of their own, which are to the engine what processes are."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.open: list[Client] = []

    async def connect(self) -> Client:
        client = await dbos_compat.connect(self.url)
        self.open.append(client)
        return client

    async def worker(self, queue: str, **options: Any) -> Worker:
        return Worker(await self.connect(), task_queue=queue, workflow_runner=UnsandboxedWorkflowRunner(), **options)


@pytest.fixture
async def processes(postgres_url: str) -> AsyncIterator[Processes]:
    made = Processes(postgres_url)
    yield made
    for client in made.open:
        await dbos_compat.disconnect(client)


@pytest.fixture
def queue() -> str:
    return f"queue-{uuid.uuid4()}"


async def state_is(ops: Operator, wanted: str) -> None:
    async def fact() -> bool:
        try:
            return await ops.state() == wanted
        except AssertionError:  # not asked for yet
            return False

    await eventually(fact)


async def test_an_attempt_in_another_process_is_paused_told_and_goes_on(processes: Processes, queue: str) -> None:
    shop, client = Workshop(), await processes.connect()
    ops = Operator(client, queue)
    workflows = await processes.worker(f"{queue}-w", workflows=[Call])
    activities = await processes.worker(queue, activities=[shop.beating])
    async with workflows, activities:
        order = Order("beating", queue=queue, heartbeat=1.0, retry=Retry(initial=0.1))
        handle = await start_call(client, f"{queue}-w", queue, order)
        await shop.starts()
        await ops.pause(id="1")
        await state_is(ops, "PAUSED")
        assert shop.cancelled == [ActivityCancellationDetails(paused=True)]
        await ops.unpause(id="1")
        assert (await shop.starts()).attempt == 2
        await ops.reset(id="1")
        again = await shop.starts()
        assert (again.attempt, len(shop.cancelled)) == (2, 2)
        shop.say.put_nowait("ok")
        assert await handle.result() == "done"


async def test_an_offer_is_taken_back_before_anybody_takes_it(processes: Processes, queue: str) -> None:
    shop, client = Workshop(), await processes.connect()
    ops = Operator(client, queue)
    async with await processes.worker(f"{queue}-w", workflows=[Call]):
        handle = await start_call(client, f"{queue}-w", queue, Order("silent", queue=queue))
        await state_is(ops, "SCHEDULED")
        await ops.pause(id="1")
        async with await processes.worker(queue, activities=[shop.silent]):
            wanted = ActivityOptions(start_to_close_timeout=s(7))
            await ops.change(wanted, "start_to_close_timeout", id="1")
            assert (await ops.state(), shop.started.empty()) == ("PAUSED", True)
            await ops.unpause(id="1")
            assert (await shop.starts()).start_to_close_timeout.total_seconds() == 7  # type: ignore[union-attr]
            shop.say.put_nowait("ok")
            assert await handle.result() == "done"


async def test_commands_wait_for_whoever_runs_the_workflow_next(processes: Processes, queue: str) -> None:
    shop, client = Workshop(), await processes.connect()
    ops = Operator(client, queue)
    async with await processes.worker(queue, workflows=[Call]):
        handle = await start_call(client, queue, queue, Order("silent", queue=f"{queue}-a"))
        await state_is(ops, "SCHEDULED")
    # Nobody has the workflow now.
    await ops.pause(id="1", reason="night")
    moved = ActivityOptions(task_queue=TaskQueue(name=queue), start_to_close_timeout=s(9))
    changed = await ops.change(moved, "task_queue.name", "start_to_close_timeout", id="1")
    assert (changed.task_queue.name, changed.start_to_close_timeout) == (queue, s(9))
    seen = await ops.sees()
    assert (await ops.state(), seen.pause_info.manual.reason) == ("PAUSED", "night")
    assert seen.activity_options.start_to_close_timeout == s(9)
    async with await processes.worker(queue, workflows=[Call], activities=[shop.silent]):
        await handle.query(Call.current)  # it has been taken up
        assert (await ops.state(), shop.started.empty()) == ("PAUSED", True)
        await ops.unpause(id="1")
        assert (await shop.starts()).start_to_close_timeout.total_seconds() == 9  # type: ignore[union-attr]
        shop.say.put_nowait("ok")
        assert await handle.result() == "done"


async def test_a_pause_outlives_the_process_that_heard_of_it(processes: Processes, queue: str) -> None:
    shop, client = Workshop(), await processes.connect()
    ops = Operator(client, queue)
    async with await processes.worker(queue, workflows=[Call], activities=[shop.silent]):
        handle = await start_call(client, queue, queue, Order("silent", retry=Retry(initial=0.1)))
        await shop.starts()
        await ops.pause(type="silent")
        shop.say.put_nowait("fail")
        await state_is(ops, "PAUSED")
    async with await processes.worker(queue, workflows=[Call], activities=[shop.silent]):
        await handle.query(Call.current)
        seen = await ops.sees()
        assert (await ops.state(), seen.attempt, shop.started.empty()) == ("PAUSED", 2, True)
        await ops.reset(match_all=True)
        assert (await asyncio.wait_for(shop.starts(), 10)).attempt == 1
        shop.say.put_nowait("ok")
        assert await handle.result() == "done"
