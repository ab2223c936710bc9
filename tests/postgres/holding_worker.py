"""A worker that another process can freeze, kill or have block its loop: ``python -m tests.postgres.holding_worker url
identity workflow-queue activity-queue lease-seconds``; a queue ``-`` is not served."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import dbos_compat


@dataclass
class Call:
    name: str
    queue: str
    attempts: int = 0
    seconds: float = 0.0
    retry_s: float = 3600.0


@activity.defn
async def hold(seconds: float) -> None:
    await asyncio.sleep(seconds or 600)


@activity.defn
async def block(seconds: float) -> None:
    await asyncio.sleep(0.5)
    print("blocked", flush=True)
    time.sleep(seconds)


@activity.defn
async def refuse(seconds: float) -> None:
    raise ApplicationError("not today")


@activity.defn
async def later(seconds: float) -> None:
    activity.raise_complete_async()


@workflow.defn
class Calls:
    @workflow.run
    async def run(self, call: Call) -> None:
        await workflow.execute_activity(
            call.name,
            call.seconds,
            task_queue=call.queue,
            start_to_close_timeout=timedelta(minutes=10),
            retry_policy=RetryPolicy(initial_interval=timedelta(seconds=call.retry_s), maximum_attempts=call.attempts),
        )


async def main(url: str, identity: str, workflow_queue: str, activity_queue: str, lease_s: str) -> None:
    client = await dbos_compat.connect(url, identity=identity, lease=timedelta(seconds=float(lease_s)))
    async with AsyncExitStack() as workers:
        if workflow_queue != "-":
            calls = Worker(
                client, task_queue=workflow_queue, workflows=[Calls], workflow_runner=UnsandboxedWorkflowRunner()
            )
            await workers.enter_async_context(calls)
        if activity_queue != "-":
            hands = Worker(client, task_queue=activity_queue, activities=[hold, block, refuse, later])
            await workers.enter_async_context(hands)
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
