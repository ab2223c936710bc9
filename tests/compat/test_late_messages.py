"""What arrives while a run is closing is not lost: the closing step is taken back and done again with it.

The moment is made by a codec: it is called with the result after the workflow code has ended and before anybody
has been told, and sends the message then.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError
from temporalio.converter import DataConverter, PayloadCodec

from .support import Connect, MakeWorker, chain


class AtTheLastMoment(PayloadCodec):
    """Calls `tell` once, when the first result passes through."""

    def __init__(self) -> None:
        self.tell: Callable[[], Awaitable[Any]] | None = None

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        if self.tell is not None and any(b"closing" in payload.data for payload in payloads):
            tell, self.tell = self.tell, None
            await tell()
        return list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)


@workflow.defn
class Closing:
    def __init__(self) -> None:
        self.seen: list[str] = []
        self.done = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.done)
        return f"closing after {self.seen}"

    @workflow.signal
    def finish(self) -> None:
        self.done = True

    @workflow.signal
    def add(self, text: str) -> None:
        self.seen.append(text)


async def test_a_late_signal_is_part_of_the_result(
    connect: Connect, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    codec = AtTheLastMoment()
    client = await connect(data_converter=dataclasses.replace(DataConverter.default, payload_codec=codec))
    handle = await client.start_workflow(Closing.run, id=wid, task_queue=queue)
    codec.tell = lambda: handle.signal(Closing.add, "late")
    async with make_worker(client, task_queue=queue, workflows=[Closing]):
        await handle.signal(Closing.finish)
        assert await handle.result() == "closing after ['late']"
    assert codec.tell is None


async def test_several_late_signals_keep_their_order(
    connect: Connect, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    codec = AtTheLastMoment()
    client = await connect(data_converter=dataclasses.replace(DataConverter.default, payload_codec=codec))
    handle = await client.start_workflow(Closing.run, id=wid, task_queue=queue)

    async def tell() -> None:
        for number in range(5):
            await handle.signal(Closing.add, str(number))

    codec.tell = tell
    async with make_worker(client, task_queue=queue, workflows=[Closing]):
        await handle.signal(Closing.finish)
        assert await handle.result() == "closing after ['0', '1', '2', '3', '4']"


async def test_a_late_cancellation_wins(connect: Connect, make_worker: MakeWorker, queue: str, wid: str) -> None:
    codec = AtTheLastMoment()
    client = await connect(data_converter=dataclasses.replace(DataConverter.default, payload_codec=codec))
    handle = await client.start_workflow(Closing.run, id=wid, task_queue=queue)
    codec.tell = handle.cancel
    async with make_worker(client, task_queue=queue, workflows=[Closing]):
        await handle.signal(Closing.finish)
        with pytest.raises(WorkflowFailureError) as cancelled:
            await handle.result()
        assert chain(cancelled.value)[1] == "CancelledError 'Workflow cancelled'"
        assert (await handle.describe()).status == WorkflowExecutionStatus.CANCELED


async def test_a_late_termination_wins(connect: Connect, make_worker: MakeWorker, queue: str, wid: str) -> None:
    codec = AtTheLastMoment()
    client = await connect(data_converter=dataclasses.replace(DataConverter.default, payload_codec=codec))
    handle = await client.start_workflow(Closing.run, id=wid, task_queue=queue)
    codec.tell = lambda: handle.terminate(reason="enough")
    async with make_worker(client, task_queue=queue, workflows=[Closing]):
        await handle.signal(Closing.finish)
        with pytest.raises(WorkflowFailureError) as terminated:
            await handle.result()
        assert chain(terminated.value)[1] == "TerminatedError 'enough'"
