"""The two-activity workflow as an ordinary Temporal program; imports only temporalio.

Shared by the ``temporal`` and ``compat`` contenders, which differ in how they connect.
"""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

TASK_QUEUE = "bench"


@activity.defn
async def first_step(number: int) -> int:
    return number + 1


@activity.defn
async def second_step(number: int) -> int:
    return number + 1


@workflow.defn
class TwoSteps:
    @workflow.run
    async def run(self, number: int) -> int:
        number = await workflow.execute_activity(first_step, number, start_to_close_timeout=timedelta(seconds=60))
        return await workflow.execute_activity(second_step, number, start_to_close_timeout=timedelta(seconds=60))


@asynccontextmanager
async def worker_session(client: Client, *, sandboxed: bool) -> AsyncIterator[Callable[[int], Awaitable[int]]]:
    """A stock worker beside this client, and the way to run one workflow on it."""
    visit = uuid.uuid4().hex[:12]

    async def execute(number: int) -> int:
        return await client.execute_workflow(TwoSteps.run, number, id=f"bench-{visit}-{number}", task_queue=TASK_QUEUE)

    worker = Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=[TwoSteps],
        activities=[first_step, second_step],
        workflow_runner=SandboxedWorkflowRunner() if sandboxed else UnsandboxedWorkflowRunner(),
    )
    async with worker:
        yield execute
