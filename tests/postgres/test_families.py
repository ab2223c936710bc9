"""Parents and children under the hands of stock DBOS tools, and with a parent that is loaded while its child ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.exceptions import ChildWorkflowError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import dbos_compat
from tests.fixtures.waiting import eventually
from tests.postgres.stock import client as stock_client

QUEUE = "families"


@workflow.defn
class Child:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)


@workflow.defn
class Parent:
    @workflow.run
    async def run(self) -> str:
        try:
            await workflow.execute_child_workflow(Child.run, id="child")
        except ChildWorkflowError as error:
            return error.message
        return "done"


async def has_status(client: Client, workflow_id: str, status: WorkflowExecutionStatus) -> None:
    async def fact() -> bool:
        return (await client.get_workflow_handle(workflow_id).describe()).status is status

    await eventually(fact, what=f"{workflow_id} is {status.name}")


@pytest.mark.timeout(60)
async def test_a_stock_cancel_reaches_the_children_and_a_stock_resume_hears_of_them(postgres_url: str) -> None:
    client = await dbos_compat.connect(postgres_url)
    options: dict[str, Any] = {"workflows": [Parent, Child], "workflow_runner": UnsandboxedWorkflowRunner()}
    async with Worker(client, task_queue=QUEUE, **options):
        handle = await client.start_workflow(Parent.run, id="parent", task_queue=QUEUE)

        async def child_is_awaited() -> bool:
            described = (await handle.describe()).raw_description
            return any(child.run_id for child in described.pending_children)

        await eventually(child_is_awaited)
        await asyncio.to_thread(stock_client, postgres_url, ("cancel_workflow", ["parent"]))
        await has_status(client, "parent", WorkflowExecutionStatus.CANCELED)
        await has_status(client, "child", WorkflowExecutionStatus.TERMINATED)

        await asyncio.to_thread(stock_client, postgres_url, ("resume_workflow", ["parent"]))
        await has_status(client, "parent", WorkflowExecutionStatus.COMPLETED)
        assert await handle.result() == "Child Workflow execution terminated"
    await dbos_compat.disconnect(client)
