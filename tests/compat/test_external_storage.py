"""Payloads that a converter puts elsewhere: the engine keeps the reference, whole, on every path."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.converter import (
    DataConverter,
    ExternalStorage,
    StorageDriver,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
)

from .support import Connect, MakeWorker

LONG = "x" * 4000


class Shelf(StorageDriver):
    """Keeps payloads in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, Payload] = {}

    def name(self) -> str:
        return "shelf"

    async def store(self, context: StorageDriverStoreContext, payloads: Sequence[Payload]) -> list[StorageDriverClaim]:
        claims = []
        for payload in payloads:
            key = str(len(self.kept))
            self.kept[key] = payload
            claims.append(StorageDriverClaim(claim_data={"key": key}))
        return claims

    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        return [self.kept[claim.claim_data["key"]] for claim in claims]


@pytest.fixture
async def storing(connect: Connect) -> Client:
    storage = ExternalStorage(drivers=[Shelf()], payload_size_threshold=1000)
    return await connect(data_converter=dataclasses.replace(DataConverter.default, external_storage=storage))


@activity.defn
async def double(text: str) -> str:
    return text + text


@workflow.defn
class Long:
    def __init__(self) -> None:
        self.heard = ""

    @workflow.run
    async def run(self, text: str) -> list[int]:
        doubled = await workflow.execute_activity(double, text, start_to_close_timeout=timedelta(seconds=20))
        await workflow.wait_condition(lambda: bool(self.heard))
        return [len(text), len(doubled), len(self.heard)]

    @workflow.signal
    def say(self, text: str) -> None:
        self.heard = text

    @workflow.update
    def measure(self, text: str) -> int:
        return len(text)


@pytest.mark.no_replay("the replayer would need the shelf")
async def test_long_payloads_come_back(storing: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(storing, task_queue=queue, workflows=[Long], activities=[double]):
        handle = await storing.start_workflow(Long.run, LONG, id=wid, task_queue=queue, memo={"long": LONG})
        assert await handle.execute_update(Long.measure, LONG) == len(LONG)
        await handle.signal(Long.say, LONG)
        assert await handle.result() == [4000, 8000, 4000]


@pytest.mark.no_replay("the replayer would need the shelf")
async def test_the_history_has_the_references(storing: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(storing, task_queue=queue, workflows=[Long], activities=[double]):
        handle = await storing.start_workflow(Long.run, LONG, id=wid, task_queue=queue)
        await handle.signal(Long.say, "short")
        await handle.result()
    events = [event async for event in handle.fetch_history_events()]
    argument = events[0].workflow_execution_started_event_attributes.input.payloads[0]
    assert len(argument.data) < 1000
    assert [details.size_bytes > 4000 for details in argument.external_payloads] == [True]
