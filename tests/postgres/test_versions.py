"""Runs of an old version: the report names those that nobody goes on with, and a command moves them."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from typer.testing import CliRunner

import dbos_compat
from dbos_compat.cli import app
from tests.compat.support import eventually

runner = CliRunner()


class Waits:
    def __init__(self) -> None:
        self.go = False

    @workflow.signal
    def proceed(self) -> None:
        self.go = True

    @workflow.query
    def here(self) -> bool:
        return True


@workflow.defn(name="Order")
class Old(Waits):
    @workflow.run
    async def run(self) -> str:
        await workflow.sleep(0.01)
        await workflow.wait_condition(lambda: self.go)
        return "by the old code"


@workflow.defn(name="Order")
class New(Waits):
    @workflow.run
    async def run(self) -> str:
        await workflow.execute_activity("reserve", schedule_to_close_timeout=timedelta(minutes=1))
        return "by the new code"


def worker(client: Client, queue: str, code: type) -> Worker:
    return Worker(client, task_queue=queue, workflows=[code], workflow_runner=UnsandboxedWorkflowRunner())


async def cli(url: str, *words: str, ends_with: int = 0) -> Any:
    answer = await asyncio.to_thread(runner.invoke, app, ["runs", *words, "--json", "--url", url])
    assert answer.exit_code == ends_with, answer.output
    return json.loads(answer.stdout) if answer.stdout else None


async def begun(client: Client, workflow_id: str) -> WorkflowHandle[Any, Any]:
    handle = await client.start_workflow("Order", id=workflow_id, task_queue="orders")
    assert await handle.query("here")
    return handle


async def test_a_run_that_new_code_cannot_follow_is_named_and_moved(postgres_url: str) -> None:
    old = await dbos_compat.connect(postgres_url, application_version="1")
    async with worker(old, "orders", Old):
        handle = await begun(old, "order-1")
        report = await cli(postgres_url, "report", "--check")
        assert report["stranded"] == []
        (group,) = report["open"]
        assert (group["version"], group["task_queue"], group["workflow_type"]) == ("1", "orders", "Order")
        assert (group["runs"], group["failing"], group["served_by"]) == (1, 0, ["1"])
    await dbos_compat.disconnect(old)

    (unserved,) = (await cli(postgres_url, "report", "--check", ends_with=1))["stranded"]
    assert (unserved["workflow_id"], unserved["version"]) == ("order-1", "1")
    assert unserved["reason"] == "no worker serves its queue"

    new = await dbos_compat.connect(postgres_url, application_version="2")
    async with worker(new, "orders", New):
        handle = new.get_workflow_handle("order-1")
        await handle.signal("proceed")

        async def named() -> dict[str, Any]:
            found = (await cli(postgres_url, "report"))["stranded"]
            assert [one["reason"] for one in found] == ["task fails"]
            return dict(found[0])

        failing = await eventually(named)
        assert failing["cause"] == "NON_DETERMINISTIC_ERROR"
        assert "[TMPRL1100]" in failing["message"]
        asked = ["move", "orders-v1", "--from-queue", "orders", "--stranded"]
        assert (await cli(postgres_url, *asked, "--dry-run"))["found"] == 1
        assert (await cli(postgres_url, *asked))["moved"] == ["order-1"]
        assert (await cli(postgres_url, *asked))["moved"] == []
        again = await dbos_compat.connect(postgres_url, application_version="1")
        async with worker(again, "orders-v1", Old):
            assert await handle.result() == "by the old code"
        await dbos_compat.disconnect(again)
        assert (await handle.describe()).task_queue == "orders-v1"
    await dbos_compat.disconnect(new)


async def test_only_what_was_asked_for_is_moved(postgres_url: str) -> None:
    client = await dbos_compat.connect(postgres_url)
    for number in range(3):
        await client.start_workflow("Order", id=f"order-{number}", task_queue="orders")
    await client.start_workflow("Order", id="other", task_queue="others")
    await cli(postgres_url, "move", "orders-v1", ends_with=2)
    assert (await cli(postgres_url, "move", "v1", "--workflow-id", "order-1"))["moved"] == ["order-1"]
    assert sorted((await cli(postgres_url, "move", "v2", "--from-queue", "orders"))["moved"]) == ["order-0", "order-2"]
    async with worker(client, "v1", Old), worker(client, "v2", Old):
        for number in range(3):
            handle = client.get_workflow_handle(f"order-{number}")
            await handle.signal("proceed")
            assert await handle.result() == "by the old code"
    (left,) = (await cli(postgres_url, "report"))["stranded"]
    assert left["workflow_id"] == "other"
    await dbos_compat.disconnect(client)
