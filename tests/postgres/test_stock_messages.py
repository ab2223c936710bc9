"""What a stock DBOS client sends to a workflow: plain data is a signal, the rest is dropped and holds nothing up."""

from __future__ import annotations

import asyncio
import base64
import pickle
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from dbos import DBOSClient
from temporalio import workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.worker import Worker

import dbos_compat
from dbos_compat.bridge.stock_messages import why_unreadable
from dbos_core.commit import Mail


@workflow.defn(sandboxed=False)
class Listen:
    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.finished = False

    @workflow.run
    async def run(self) -> list[Any]:
        await workflow.wait_condition(lambda: self.finished)
        return self.heard

    @workflow.signal
    def approve(self, what: Any) -> None:
        self.heard.append(what)

    @workflow.signal
    def finish(self) -> None:
        self.finished = True

    @workflow.query
    def so_far(self) -> list[Any]:
        return self.heard


@pytest.fixture
async def client(postgres_url: str) -> AsyncIterator[Client]:
    client = await dbos_compat.connect(postgres_url)
    yield client
    await dbos_compat.disconnect(client)


def send(url: str, workflow_id: str, *values: Any) -> None:
    stock = DBOSClient(system_database_url=url)
    try:
        for value in values:
            stock.send(workflow_id, value, "approve")
    finally:
        stock.destroy()


async def test_what_cannot_be_read_is_dropped_and_the_rest_is_heard(
    client: Client, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    handle = await client.start_workflow(Listen.run, id="order-42", task_queue="orders")
    unreadable: list[Any] = [{1}, b"x", datetime(2026, 1, 1, tzinfo=UTC), {(1, 2): 3}, uuid.UUID(int=1)]
    await asyncio.to_thread(send, postgres_url, "order-42", {"by": "ada"}, *unreadable, [1, None])

    async with Worker(client, task_queue="orders", workflows=[Listen]):
        await asyncio.to_thread(send, postgres_url, "order-42", {2}, (3, 4))
        await handle.signal(Listen.finish)
        heard = await asyncio.wait_for(handle.result(), 20)

    assert heard == [{"by": "ada"}, [1, None], [3, 4]]
    dropped = [r.getMessage() for r in caplog.records if "is dropped" in r.getMessage()]
    assert len(dropped) == 6
    assert all("'order-42' with the topic 'approve'" in text and "PORTABLE" in text for text in dropped)


async def test_a_reset_passes_over_what_cannot_be_read(client: Client, postgres_url: str) -> None:
    handle = await client.start_workflow(Listen.run, id="order-42", task_queue="orders")
    async with Worker(client, task_queue="orders", workflows=[Listen]):
        await handle.signal(Listen.approve, "first")
        assert await handle.query(Listen.so_far) == ["first"]
    completed = [
        event.event_id
        async for event in handle.fetch_history_events()
        if event.HasField("workflow_task_completed_event_attributes")
    ]
    await asyncio.to_thread(send, postgres_url, "order-42", {1}, "second")
    description = await handle.describe()
    await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id="order-42", run_id=description.run_id),
            workflow_task_finish_event_id=completed[0],
            request_id="reset-1",
            reason="a test",
        )
    )
    async with Worker(client, task_queue="orders", workflows=[Listen]):
        again = client.get_workflow_handle("order-42")
        await again.signal(Listen.finish)
        assert await asyncio.wait_for(again.result(), 20) == ["first", "second"]


@pytest.mark.parametrize(
    ("message", "serialization"),
    [
        ("no base64!", "py_pickle"),
        (base64.b64encode(b"nonsense").decode(), "py_pickle"),
        (base64.b64encode(pickle.dumps(print)).decode(), "py_pickle"),
        (base64.b64encode(pickle.dumps(object())).decode(), "py_pickle"),
        ("{", "portable_json"),
    ],
)
def test_why_a_message_cannot_be_read(message: str, serialization: str) -> None:
    mail = Mail(mail_id="1", workflow_uuid="order-42", topic="approve", message=message, serialization=serialization)

    assert "it cannot be read (" in (why_unreadable(mail) or "")
