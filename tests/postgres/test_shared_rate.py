"""The rate of a task queue, over all processes that serve it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import cast

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import dbos_compat
from dbos_compat.engine import Engine
from dbos_compat.private import EngineServiceClient
from dbos_core.kernel import Kernel
from tests.fixtures.waiting import eventually

PER_SECOND = 4.0
CALLS = 14


@activity.defn
async def call(number: int) -> int:
    return number


@workflow.defn
class Calls:
    @workflow.run
    async def run(self) -> int:
        made = [
            workflow.execute_activity(call, number, task_queue="limited", start_to_close_timeout=timedelta(seconds=60))
            for number in range(CALLS)
        ]
        return len(await asyncio.gather(*made))


def kernel_of(client: Client) -> Kernel:
    return cast(Engine, cast(EngineServiceClient, client.service_client).engine).kernel


async def test_two_processes_keep_to_the_rate_together(postgres_url: str) -> None:
    clients = [await dbos_compat.connect(postgres_url) for _ in range(2)]

    def limited(client: Client) -> Worker:
        return Worker(client, task_queue="limited", activities=[call], max_task_queue_activities_per_second=PER_SECOND)

    async def known() -> bool:
        pulses = [await kernel_of(client).store.pulse(kernel_of(client).process, 10_000) for client in clients]
        for client, pulse in zip(clients, pulses, strict=True):
            kernel_of(client).activities.share_rates(pulse.sharers)
        return all(pulse.sharers == {"limited": 2} for pulse in pulses)

    orders = Worker(clients[0], task_queue="calls", workflows=[Calls], workflow_runner=UnsandboxedWorkflowRunner())
    async with limited(clients[0]), limited(clients[1]), orders:
        await eventually(known)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        assert await clients[0].execute_workflow(Calls.run, id="calls", task_queue="calls") == CALLS
        # Two buckets of two are full at first; the other ten come at four a second. Each with the whole rate: 0.75 s.
        assert loop.time() - begun >= 2.0
    for client in clients:
        await dbos_compat.disconnect(client)
