"""The two-activity workflow as an ordinary Temporal program; it and the workflow import only temporalio.

Shared by the ``temporal`` and ``compat`` contenders, which differ in how they connect.
"""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from benchmarks.two_steps import TwoSteps, first_step, second_step

TASK_QUEUE = "bench"


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
