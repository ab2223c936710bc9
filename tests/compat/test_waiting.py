"""Timers, conditions and asyncio inside a workflow."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.exceptions import ActivityError

from .support import MakeWorker


@activity.defn
async def echo(value: int) -> int:
    return value


@activity.defn
async def slow_echo(value: float) -> float:
    await asyncio.sleep(value)
    return value


LIMIT = timedelta(seconds=30)


@workflow.defn
class Timers:
    @workflow.run
    async def run(self) -> list[float]:
        times = [workflow.time()]
        await asyncio.sleep(0.1)
        times.append(workflow.time())
        await workflow.sleep(timedelta(milliseconds=100))
        times.append(workflow.time())
        await workflow.sleep(0)
        times.append(workflow.time())
        return times


@workflow.defn
class Conditions:
    """Conditions with and without a time limit."""

    def __init__(self) -> None:
        self.ready = False

    @workflow.signal
    def make_ready(self) -> None:
        self.ready = True

    @workflow.run
    async def run(self, limit: float) -> str:
        try:
            await workflow.wait_condition(lambda: self.ready, timeout=limit)
        except TimeoutError:
            return "too late"
        return "in time"


@workflow.defn
class Gather:
    @workflow.run
    async def run(self) -> dict[str, Any]:
        async def call(value: int) -> int:
            return await workflow.execute_activity(echo, value, start_to_close_timeout=LIMIT)

        async def slow(value: float) -> float:
            return await workflow.execute_activity(slow_echo, value, start_to_close_timeout=LIMIT)

        result: dict[str, Any] = {"gather": await asyncio.gather(call(1), call(2), call(3))}
        failing = asyncio.gather(call(1), self.fail(), return_exceptions=True)
        result["exceptions"] = [str(value) for value in await failing]

        tasks = [asyncio.create_task(slow(0.3)), asyncio.create_task(slow(0.0))]
        done, pending = await workflow.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        result["first"] = [task.result() for task in done]
        result["pending"] = len(pending)
        done, pending = await workflow.wait(tasks)
        result["all"] = [len(done), len(pending)]

        order = []
        for finished in workflow.as_completed([slow(0.3), slow(0.0)]):
            order.append(await finished)
        result["as_completed"] = order

        async with asyncio.TaskGroup() as group:
            one = group.create_task(call(1))
            two = group.create_task(call(2))
        result["group"] = [one.result(), two.result()]
        return result

    async def fail(self) -> None:
        raise ValueError("inside")


@workflow.defn
class Limits:
    """Time limits of asyncio."""

    @workflow.run
    async def run(self) -> list[str]:
        result = []
        try:
            async with asyncio.timeout(0.05):
                await workflow.wait_condition(lambda: False)
        except TimeoutError:
            result.append("asyncio.timeout")
        try:
            await asyncio.wait_for(workflow.wait_condition(lambda: False), 0.05)
        except TimeoutError:
            result.append("asyncio.wait_for")
        async with asyncio.timeout(30):
            result.append("inside")
        sleeping = asyncio.create_task(workflow.sleep(3600))
        await asyncio.sleep(0)
        sleeping.cancel()
        try:
            await sleeping
        except asyncio.CancelledError:
            result.append("cancelled sleep")
        try:
            async with asyncio.timeout(0.05):
                await workflow.execute_activity(slow_echo, 60.0, start_to_close_timeout=LIMIT)
        except ActivityError as error:  # not TimeoutError: the activity turned the cancellation into this
            result.append(f"activity given up: {error.cause!r}")
        return result


@workflow.defn
class Primitives:
    """Locks, events, queues and semaphores of asyncio."""

    @workflow.run
    async def run(self) -> list[int]:
        lock, event = asyncio.Lock(), asyncio.Event()
        queue: asyncio.Queue[int] = asyncio.Queue()
        semaphore = asyncio.Semaphore(2)
        at_once = most = 0

        async def produce(value: int) -> None:
            nonlocal at_once, most
            await event.wait()
            async with semaphore:
                at_once += 1
                most = max(most, at_once)
                await workflow.execute_activity(echo, value, start_to_close_timeout=LIMIT)
                at_once -= 1
            async with lock:
                queue.put_nowait(value)

        producers = [asyncio.create_task(produce(value)) for value in range(4)]
        event.set()
        await asyncio.gather(*producers)
        return [*sorted([await queue.get() for _ in range(4)]), most]


async def test_sleeping_takes_at_least_its_time(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    began = time.monotonic()
    async with make_worker(client, task_queue=queue, workflows=[Timers]):
        times = await client.execute_workflow(Timers.run, id=wid, task_queue=queue)
    assert time.monotonic() - began >= 0.2
    rounding = 0.001  # the workflow's clock is a float of milliseconds or better
    assert times[1] - times[0] >= 0.1 - rounding
    assert times[2] - times[1] >= 0.1 - rounding
    assert times[3] >= times[2]


async def test_a_condition_within_its_limit(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Conditions]):
        handle = await client.start_workflow(Conditions.run, 30, id=wid, task_queue=queue)
        await handle.signal(Conditions.make_ready)
        assert await handle.result() == "in time"


async def test_a_condition_beyond_its_limit(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Conditions]):
        assert await client.execute_workflow(Conditions.run, 0.05, id=wid, task_queue=queue) == "too late"


async def test_gather_wait_as_completed_and_groups(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Gather], activities=[echo, slow_echo]):
        assert await client.execute_workflow(Gather.run, id=wid, task_queue=queue) == {
            "gather": [1, 2, 3],
            "exceptions": ["1", "inside"],
            "first": [0.0],
            "pending": 1,
            "all": [2, 0],
            "as_completed": [0.0, 0.3],
            "group": [1, 2],
        }


async def test_asyncio_time_limits(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Limits], activities=[slow_echo]):
        handle = await client.start_workflow(Limits.run, id=wid, task_queue=queue)
        assert await handle.result() == [
            "asyncio.timeout",
            "asyncio.wait_for",
            "inside",
            "cancelled sleep",
            "activity given up: CancelledError('Cancelled')",
        ]


async def test_asyncio_primitives(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Primitives], activities=[echo]):
        assert await client.execute_workflow(Primitives.run, id=wid, task_queue=queue) == [0, 1, 2, 3, 2]


async def test_many_timers_side_by_side(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[ManyTimers]):
        assert await client.execute_workflow(ManyTimers.run, 30, id=wid, task_queue=queue) == list(range(30))


@workflow.defn
class ManyTimers:
    @workflow.run
    async def run(self, count: int) -> list[int]:
        fired: list[int] = []

        async def wait(number: int) -> None:
            await asyncio.sleep(0.01 + 0.001 * number)
            fired.append(number)

        await asyncio.gather(*[wait(number) for number in range(count)])
        return fired
