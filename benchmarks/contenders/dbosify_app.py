# dbosify lives in an environment of its own, so a type checker that runs in the project's does not see it.
# mypy: disable-error-code="import-not-found,untyped-decorator,no-any-return,misc"
"""dbosify: the Temporal program with its imports rewritten, as dbosify's README describes."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from dbosify import activity, workflow
from dbosify.client import Client
from dbosify.worker import Worker

from benchmarks.load import Execute, serve
from benchmarks.protocol import Job

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
async def session(job: Job) -> AsyncIterator[Execute]:
    visit = uuid.uuid4().hex[:12]
    worker = Worker(job.url, task_queue=TASK_QUEUE, workflows=[TwoSteps], activities=[first_step, second_step])
    async with worker, await Client.connect(job.url) as client:

        async def execute(number: int) -> int:
            return await client.execute_workflow(
                TwoSteps.run, number, id=f"bench-{visit}-{number}", task_queue=TASK_QUEUE
            )

        yield execute


if __name__ == "__main__":
    serve(session)
