"""A worker whose activities cannot be served ends, and says so."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import dbos_compat
from dbos_compat.connect import connect_store
from dbos_core.activities.service import ActivityService
from dbos_core.clock import SystemClock
from dbos_core.store.memory import MemoryStore


@activity.defn
async def nothing() -> None:
    pass


@workflow.defn
class Done:
    @workflow.run
    async def run(self) -> str:
        return "done"


def broken(*args: Any, **kwargs: Any) -> None:
    raise ZeroDivisionError("by zero")


async def test_a_worker_that_cannot_begin_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    client = await connect_store(MemoryStore(SystemClock()))
    options: dict[str, Any] = {
        "task_queue": "q",
        "workflows": [Done],
        "activities": [nothing],
        "workflow_runner": UnsandboxedWorkflowRunner(),
    }
    with monkeypatch.context() as patch:
        patch.setattr(ActivityService, "serve", broken)
        with pytest.raises(RuntimeError, match="Activity worker failed"):
            async with asyncio.timeout(10):
                await Worker(client, **options).run()
    async with Worker(client, **options):
        assert await client.execute_workflow(Done.run, id="after", task_queue="q") == "done"
    await dbos_compat.disconnect(client)
