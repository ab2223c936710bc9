"""Timers ring on time, or no sooner than on a Temporal server, for code that has come to count on that."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import dbos_compat
from dbos_compat.connect import connect_store
from dbos_compat.engine import Engine
from dbos_compat.private import EngineServiceClient
from dbos_core.store.memory import MemoryStore
from dbos_core.testing.clock import VirtualClock


@workflow.defn
class Naps:
    @workflow.run
    async def run(self, seconds: float) -> None:
        await workflow.sleep(seconds)


async def due_ms(client: Client) -> int:
    """When the timer of the run is to ring, once it is armed."""
    service = client.service_client
    assert isinstance(service, EngineServiceClient)
    assert isinstance(service.engine, Engine)
    async with asyncio.timeout(30):
        while True:
            run = service.engine.kernel.live_runs.get("naps")
            if run is not None and run.timers:
                [(due, _)] = run.timers.values()
                return due
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("shortest", "asked", "slept_ms"),
    [(0, 0.1, 100), (0, 2.5, 2500), (1, 0, 1000), (1, 0.1, 1000), (1, 1, 1000), (1, 2.5, 2500)],
)
async def test_a_timer_rings_no_sooner(shortest: float, asked: float, slept_ms: int) -> None:
    """Nor with the worker that takes the run up."""
    clock = VirtualClock()
    client = await connect_store(MemoryStore(clock), clock=clock, shortest_timer=timedelta(seconds=shortest))
    began_ms = clock.now_ms()

    def worker() -> Worker:
        return Worker(client, task_queue="q", workflows=[Naps], workflow_runner=UnsandboxedWorkflowRunner())

    async with worker():
        handle = await client.start_workflow(Naps.run, asked, id="naps", task_queue="q")
        assert await due_ms(client) == began_ms + slept_ms
    async with worker():
        assert await due_ms(client) == began_ms + slept_ms
        await clock.advance(slept_ms)
        await handle.result()
    await dbos_compat.disconnect(client)
