"""Queries that arrive while a workflow is being activated neither see nor disturb it half-way."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload
from temporalio.converter import DataConverter, PayloadCodec

from .support import Connect, MakeWorker

STEPS = 12
ASKERS = 4


class Reversing(PayloadCodec):
    """A codec: with one, activations take the SDK's way through its thread pool."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload(metadata={"encoding": b"reversed"}, data=p.SerializeToString()[::-1]) for p in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload.FromString(p.data[::-1]) for p in payloads]


@activity.defn
async def next_number(number: int) -> int:
    return number + 1


@workflow.defn
class Counting:
    def __init__(self) -> None:
        self.reached = 0

    @workflow.run
    async def run(self) -> int:
        while self.reached < STEPS:
            self.reached = await workflow.execute_activity(
                next_number, self.reached, start_to_close_timeout=timedelta(seconds=10)
            )
        return self.reached

    @workflow.query
    def how_far(self) -> int:
        return self.reached


async def test_a_workflow_that_is_asked_all_the_time_goes_on_undisturbed(
    connect: Connect, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    converter = dataclasses.replace(DataConverter.default, payload_codec=Reversing())
    client = await connect(data_converter=converter)
    # The askers have a connection of their own, as a process elsewhere has.
    asking = await connect(data_converter=converter)
    async with make_worker(client, task_queue=queue, workflows=[Counting], activities=[next_number]):
        handle = await client.start_workflow(Counting.run, id=wid, task_queue=queue)

        async def ask() -> list[int]:
            answers: list[int] = []
            while not answers or answers[-1] < STEPS:
                answers.append(await asking.get_workflow_handle(wid).query(Counting.how_far))
            return answers

        askers = [asyncio.create_task(ask()) for _ in range(ASKERS)]
        assert await asyncio.wait_for(handle.result(), 20) == STEPS
        for answers in await asyncio.wait_for(asyncio.gather(*askers), 20):
            assert answers == sorted(answers)
