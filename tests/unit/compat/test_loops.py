"""Which event loop a connection lives on, and what happens on others."""

from __future__ import annotations

import asyncio

import pytest
from temporalio import activity
from temporalio.worker import Worker

from dbos_compat.connect import connect_store, disconnect
from dbos_compat.engine import ConnectionClosed
from dbos_core.clock import SystemClock
from dbos_core.store.memory import MemoryStore


@activity.defn
async def nothing() -> None: ...


def test_a_connection_whose_loop_has_ended_says_so() -> None:
    loop = asyncio.new_event_loop()
    client = loop.run_until_complete(connect_store(MemoryStore(SystemClock())))
    with pytest.raises(ConnectionClosed, match=r"call dbos_compat\.connect on the loop"):
        asyncio.run(client.get_workflow_handle("order-42").signal("hello"))
    loop.run_until_complete(disconnect(client))
    loop.close()


async def test_a_worker_runs_on_the_loop_of_its_connection() -> None:
    client = await connect_store(MemoryStore(SystemClock()))

    def run_elsewhere() -> None:
        async def run() -> None:
            await Worker(client, task_queue="queue", activities=[nothing]).run()

        asyncio.run(run())

    with pytest.raises(RuntimeError, match=r"^Worker validation failed: .* another event loop"):
        await asyncio.to_thread(run_elsewhere)
    await disconnect(client)
