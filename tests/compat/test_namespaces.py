"""Namespaces are worlds of their own: what happens in one is neither seen nor felt in another."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration
from temporalio import activity, workflow
from temporalio.api.batch.v1 import BatchOperationTermination
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import (
    DescribeBatchOperationRequest,
    RegisterNamespaceRequest,
    StartBatchOperationRequest,
)
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from .support import Connect, MakeWorker, eventually


@activity.defn
async def where_am_i() -> str:
    return activity.info().workflow_namespace or ""


@workflow.defn
class Resident:
    def __init__(self) -> None:
        self.heard: list[str] = []
        self.done = False

    @workflow.run
    async def run(self) -> list[str]:
        place = await workflow.execute_activity(where_am_i, start_to_close_timeout=timedelta(seconds=10))
        await workflow.wait_condition(lambda: self.done)
        return [workflow.info().namespace, place, *self.heard]

    @workflow.signal
    def tell(self, text: str) -> None:
        self.heard.append(text)

    @workflow.signal
    def finish(self) -> None:
        self.done = True


@dataclass
class Worlds:
    """Two namespaces, with the same queue and the same workflow id in each."""

    left: Client
    right: Client
    queue: str
    workflow_id: str

    @property
    def both(self) -> list[Client]:
        return [self.left, self.right]


@pytest_asyncio.fixture
async def worlds(engine: str, connect: Connect, queue: str, wid: str) -> AsyncIterator[Worlds]:
    names = [f"{side}-{uuid.uuid4().hex[:8]}" for side in ("left", "right")]
    if engine == "temporal":
        admin = await connect()
        for name in names:
            await admin.workflow_service.register_namespace(
                RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=Duration(seconds=86_400))
            )
    clients = [await connect(namespace=name) for name in names]
    for client in clients:

        async def ready(client: Client = client) -> None:
            try:
                await client.count_workflows("")
            except RPCError as error:
                raise AssertionError(error.message) from error

        await eventually(ready)
    yield Worlds(clients[0], clients[1], queue, wid)


async def test_the_same_id_lives_twice(worlds: Worlds, make_worker: MakeWorker) -> None:
    left, right = [
        await client.start_workflow("Resident", id=worlds.workflow_id, task_queue=worlds.queue)
        for client in worlds.both
    ]
    assert left.result_run_id != right.result_run_id
    await left.signal("tell", "to the left")
    await left.signal("finish")
    async with (
        make_worker(worlds.left, task_queue=worlds.queue, workflows=[Resident], activities=[where_am_i]),
        make_worker(worlds.right, task_queue=worlds.queue, workflows=[Resident], activities=[where_am_i]),
    ):
        assert await left.result() == [worlds.left.namespace, worlds.left.namespace, "to the left"]
        assert (await right.describe()).status == WorkflowExecutionStatus.RUNNING
        await right.signal("finish")
        assert await right.result() == [worlds.right.namespace, worlds.right.namespace]


async def test_a_worker_takes_nothing_from_another_namespace(worlds: Worlds, make_worker: MakeWorker) -> None:
    waiting = await worlds.right.start_workflow("Resident", id="waiting", task_queue=worlds.queue)
    async with make_worker(worlds.left, task_queue=worlds.queue, workflows=[Resident], activities=[where_am_i]):
        busy = await worlds.left.start_workflow("Resident", id="busy", task_queue=worlds.queue)
        await busy.signal("finish")
        await busy.result()
        history = await waiting.fetch_history()
        assert [event.event_id for event in history.events] == [1, 2]


async def test_lists_counts_and_ids_stop_at_the_border(worlds: Worlds) -> None:
    await worlds.left.start_workflow("Resident", id="only-left", task_queue=worlds.queue)

    async def listed() -> None:
        assert [run.id async for run in worlds.left.list_workflows("")] == ["only-left"]

    await eventually(listed)
    assert [run.id async for run in worlds.right.list_workflows("")] == []
    assert (await worlds.right.count_workflows("")).count == 0
    stranger = worlds.right.get_workflow_handle("only-left")
    for call in (stranger.describe(), stranger.signal("tell", "x"), stranger.cancel(), stranger.terminate()):
        with pytest.raises(RPCError) as unknown:
            await call
        assert unknown.value.status == RPCStatusCode.NOT_FOUND


async def test_search_attributes_are_added_to_one_namespace(worlds: Worlds) -> None:
    await worlds.left.operator_service.add_search_attributes(
        AddSearchAttributesRequest(
            namespace=worlds.left.namespace,
            search_attributes={"OnlyLeft": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD},
        )
    )

    async def names(client: Client) -> list[str]:
        answer = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=client.namespace)
        )
        return sorted(answer.custom_attributes)

    async def added() -> None:
        assert "OnlyLeft" in await names(worlds.left)

    await eventually(added)
    assert "OnlyLeft" not in await names(worlds.right)


async def test_a_batch_operation_stays_at_home(worlds: Worlds) -> None:
    for client in worlds.both:
        await client.start_workflow("Resident", id=worlds.workflow_id, task_queue=worlds.queue)

        async def listed(client: Client = client) -> None:
            assert (await client.count_workflows("ExecutionStatus = 'Running'")).count == 1

        await eventually(listed)
    order = StartBatchOperationRequest(
        namespace=worlds.left.namespace,
        job_id="clear",
        reason="moving out",
        visibility_query="WorkflowType = 'Resident'",
        termination_operation=BatchOperationTermination(identity="operator"),
    )
    await worlds.left.workflow_service.start_batch_operation(order)

    async def gone() -> None:
        found = await worlds.left.get_workflow_handle(worlds.workflow_id).describe()
        assert found.status == WorkflowExecutionStatus.TERMINATED

    await eventually(gone)
    assert (
        await worlds.right.get_workflow_handle(worlds.workflow_id).describe()
    ).status == WorkflowExecutionStatus.RUNNING
    with pytest.raises(RPCError) as unknown:
        await worlds.right.workflow_service.describe_batch_operation(
            DescribeBatchOperationRequest(namespace=worlds.right.namespace, job_id="clear")
        )
    assert unknown.value.status == RPCStatusCode.NOT_FOUND


async def test_a_request_of_another_namespace_is_refused_on_this_connection(worlds: Worlds, engine: str) -> None:
    request = DescribeBatchOperationRequest(namespace="nowhere", job_id="clear")
    with pytest.raises(RPCError) as refused:
        await asyncio.wait_for(worlds.left.workflow_service.describe_batch_operation(request), 10)
    assert refused.value.message == "Namespace nowhere is not found."
