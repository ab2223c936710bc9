"""The first workflow task: where it runs, and how long the history is that it and a query see."""

from __future__ import annotations

from temporalio import workflow
from temporalio.client import Client

from .support import MakeWorker


@workflow.defn
class Measured:
    def __init__(self) -> None:
        self.done = False
        self.seen: list[int] = []

    @workflow.run
    async def run(self) -> list[int]:
        self.seen.append(workflow.info().get_current_history_length())
        await workflow.wait_condition(lambda: self.done)
        return self.seen

    @workflow.signal
    def end(self) -> None:
        self.seen.append(workflow.info().get_current_history_length())
        self.done = True

    @workflow.query
    def length(self) -> int:
        return workflow.info().get_current_history_length()


async def test_a_worker_that_was_just_made_starts_eagerly(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Measured]):
        handle = await client.start_workflow(Measured.run, id=wid, task_queue=queue, request_eager_start=True)
        assert getattr(handle, "__temporal_eagerly_started")
        await handle.signal(Measured.end)
        await handle.result()


async def test_without_a_worker_nothing_starts_eagerly(client: Client, queue: str, wid: str) -> None:
    handle = await client.start_workflow("Measured", id=wid, task_queue=queue, request_eager_start=True)
    assert not getattr(handle, "__temporal_eagerly_started")
    await handle.terminate()


async def test_a_query_sees_the_length_of_the_last_task(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Measured]):
        handle = await client.start_workflow(Measured.run, id=wid, task_queue=queue)
        assert await handle.query(Measured.length) == 3
        await handle.signal(Measured.end)
        seen = await handle.result()
        assert seen[0] == 3
