"""A synchronous program: every call on an event loop of its own, as from a web framework without one."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import dbos_compat
from dbos_compat.engine import ConnectionClosed


@workflow.defn
class Greet:
    @workflow.run
    async def run(self, name: str) -> str:
        return f"hello {name}"


def start(client: Client, workflow_id: str) -> None:
    asyncio.run(client.start_workflow(Greet.run, workflow_id, id=workflow_id, task_queue="queue"))


def calls_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "dbos_compat calls"]


def test_one_connection_and_a_loop_for_each_call(postgres_url: str) -> None:
    client = asyncio.run(dbos_compat.connect(postgres_url))
    start(client, "one")
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda n: start(client, f"many-{n}"), range(8)))
    assert len(calls_threads()) == 1

    async def work_it_off() -> list[str]:
        other = await dbos_compat.connect(postgres_url)
        async with Worker(other, task_queue="queue", workflows=[Greet], workflow_runner=UnsandboxedWorkflowRunner()):
            ids = ["one", *(f"many-{n}" for n in range(8))]
            results = [await other.get_workflow_handle(id_).result() for id_ in ids]
        await dbos_compat.disconnect(other)
        return results

    assert "hello many-7" in asyncio.run(work_it_off())
    assert asyncio.run(client.get_workflow_handle("one").result()) == "hello one"

    asyncio.run(dbos_compat.disconnect(client))
    for thread in calls_threads():
        thread.join(10)
    assert not calls_threads()
    with pytest.raises(ConnectionClosed):
        start(client, "late")


def test_a_loop_that_rests_while_another_runs(postgres_url: str) -> None:
    loop = asyncio.new_event_loop()
    client = loop.run_until_complete(dbos_compat.connect(postgres_url))
    start(client, "one")
    description = loop.run_until_complete(client.get_workflow_handle("one").describe())
    assert description.id == "one"
    loop.run_until_complete(dbos_compat.disconnect(client))
    loop.close()
