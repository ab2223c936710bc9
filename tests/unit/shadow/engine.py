"""Runs of our own engine in memory, for the tests of the shadow: a client on a memory store, and what it recorded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from dbos_compat.connect import connect_store, disconnect
from dbos_core.clock import SystemClock
from dbos_core.store.memory import MemoryStore
from dbos_shadow.recorded import Recorded


@asynccontextmanager
async def engine(
    workflows: Sequence[type], activities: Sequence[Any], *, queue: str = "q", **options: Any
) -> AsyncIterator[Client]:
    """A client with one worker; ``options`` are of the client."""
    client = await connect_store(MemoryStore(SystemClock()), **options)
    try:
        async with Worker(
            client,
            task_queue=queue,
            workflows=list(workflows),
            activities=list(activities),
            workflow_runner=UnsandboxedWorkflowRunner(),
        ):
            yield client
    finally:
        await disconnect(client)


async def recorded(handle: WorkflowHandle[Any, Any], run_id: str | None = None) -> Recorded:
    """The history of a run, as it would be read from a server."""
    history = await handle.fetch_history()
    started = history.events[0].workflow_execution_started_event_attributes
    return Recorded(
        workflow_id=history.workflow_id,
        run_id=run_id or started.original_execution_run_id,
        workflow_type=started.workflow_type.name,
        events=list(history.events),
        source="temporal:default",
    )
