"""Commands that are checked live, with the search attributes that the worker knows of, and never again on replay.

Temporal's refusals themselves: ``tests/compat/test_refused_commands.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from temporalio import workflow
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, RemoveSearchAttributesRequest
from temporalio.client import Client, WorkflowHandle
from temporalio.common import SearchAttributeKey
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import dbos_compat
from dbos_compat.connect import connect_store
from dbos_core.clock import SystemClock
from dbos_core.store.memory import MemoryStore


@workflow.defn
class Upserts:
    def __init__(self) -> None:
        self.go = False

    @workflow.run
    async def run(self, name: str) -> str:
        workflow.upsert_search_attributes([SearchAttributeKey.for_keyword(name).value_set("x")])
        await workflow.wait_condition(lambda: self.go)
        return "done"

    @workflow.signal
    def leave(self) -> None:
        self.go = True


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    client = await connect_store(MemoryStore(SystemClock()))
    yield client
    await dbos_compat.disconnect(client)


def worker(client: Client) -> Worker:
    return Worker(client, task_queue="q", workflows=[Upserts], workflow_runner=UnsandboxedWorkflowRunner())


async def add(client: Client, name: str, kind: IndexedValueType.ValueType) -> None:
    await client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(namespace="default", search_attributes={name: kind})
    )


async def refused(handle: WorkflowHandle[Upserts, str]) -> str:
    async with asyncio.timeout(10):
        while True:
            for event in (await handle.fetch_history()).events:
                if event.HasField("workflow_task_failed_event_attributes"):
                    return event.workflow_task_failed_event_attributes.failure.message
            await asyncio.sleep(0.01)


async def test_our_own_key_is_refused(client: Client) -> None:
    async with worker(client):
        handle = await client.start_workflow(Upserts.run, "@types", id="u", task_queue="q")
        assert await refused(handle) == "BadSearchAttributes: @types attribute can't be set in SearchAttributes"
        await handle.terminate()


async def test_any_value_for_a_name_that_nobody_added(client: Client) -> None:
    async with worker(client):
        handle = await client.start_workflow(Upserts.run, "Anything", id="u", task_queue="q", start_signal="leave")
        assert await handle.result() == "done"


async def test_what_was_taken_is_replayed_whatever_is_refused_now(client: Client) -> None:
    async with worker(client):
        handle = await client.start_workflow(Upserts.run, "Later", id="u", task_queue="q")
        while (await handle.describe()).history_length < 5:
            await asyncio.sleep(0.01)
    await add(client, "Later", IndexedValueType.INDEXED_VALUE_TYPE_INT)
    async with worker(client):
        await handle.signal(Upserts.leave)
        assert await handle.result() == "done"


async def test_a_refusal_looks_again_what_was_added(client: Client) -> None:
    await add(client, "Changes", IndexedValueType.INDEXED_VALUE_TYPE_INT)
    async with worker(client):
        handle = await client.start_workflow(Upserts.run, "Changes", id="u", task_queue="q", start_signal="leave")
        assert await refused(handle) == (
            "BadSearchAttributes: invalid value for search attribute Changes of type Int: x"
        )
        await client.operator_service.remove_search_attributes(
            RemoveSearchAttributesRequest(namespace="default", search_attributes=["Changes"])
        )
        await add(client, "Changes", IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD)
        async with asyncio.timeout(20):
            assert await handle.result() == "done"
