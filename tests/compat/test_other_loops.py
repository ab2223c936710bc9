"""A client is used from other threads and event loops than the one that connected: synchronous activities do."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from .support import MakeWorker

AT_ONCE = 8


@workflow.defn
class Collector:
    def __init__(self) -> None:
        self.heard: list[int] = []

    @workflow.run
    async def run(self, senders: int) -> list[int]:
        limit = timedelta(seconds=25)
        await asyncio.gather(
            *[workflow.execute_activity("signal_back", n, start_to_close_timeout=limit) for n in range(senders)]
        )
        return sorted(self.heard)

    @workflow.signal
    def hear(self, number: int) -> None:
        self.heard.append(number)

    @workflow.query
    def count(self) -> int:
        return len(self.heard)


class Sender:
    def __init__(self, client: Client) -> None:
        self.client = client

    @activity.defn
    def signal_back(self, number: int) -> None:
        async def talk() -> None:
            handle = self.client.get_workflow_handle(activity.info().workflow_id or "")
            for again in range(5):
                await handle.signal(Collector.hear, number * 10 + again)
            assert await handle.query(Collector.count) >= 5

        asyncio.run(talk())


async def test_activities_on_loops_of_their_own(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    with ThreadPoolExecutor(AT_ONCE) as threads:
        worker = make_worker(
            client,
            task_queue=queue,
            workflows=[Collector],
            activities=[Sender(client).signal_back],
            activity_executor=threads,
            max_concurrent_activities=AT_ONCE,
        )
        async with worker:
            heard = await client.execute_workflow(Collector.run, AT_ONCE, id=wid, task_queue=queue)
    assert heard == sorted(number * 10 + again for number in range(AT_ONCE) for again in range(5))


async def test_errors_reach_the_other_loop(client: Client, wid: str) -> None:
    def ask() -> None:
        asyncio.run(client.get_workflow_handle(wid).signal("hello"))

    with pytest.raises(RPCError) as refused:
        await asyncio.to_thread(ask)
    assert refused.value.status is RPCStatusCode.NOT_FOUND


async def test_a_wait_on_another_loop_can_be_given_up(client: Client, queue: str, wid: str) -> None:
    handle = await client.start_workflow("Collector", 1, id=wid, task_queue=queue)

    async def wait() -> None:
        await asyncio.wait_for(client.get_workflow_handle(wid).result(), 0.2)

    with pytest.raises(TimeoutError):
        await asyncio.to_thread(lambda: asyncio.run(wait()))
    await handle.terminate()
