"""Many workflows that sleep: started by an ordinary Temporal program on dbos-compat, then left alone.

A start rate is measured first, so that the first sleeper falls due when all of them have been started and have
had time to be parked. The due time is in each workflow's id, where the parent reads it again.
"""

import asyncio
import time

from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import dbos_compat
from benchmarks.load import serve_task
from benchmarks.protocol import Job, emit

TASK_QUEUE = "sleepers"
STARTS_IN_FLIGHT = 64
CALIBRATION = 500
REPORTS = 20
"""Progress is told so many times while all are being started."""
MARGIN = 2.0
"""The starts may take this much longer than calibrated before the first sleeper falls due."""


@workflow.defn
class Sleeper:
    @workflow.run
    async def run(self, due: float) -> None:
        await asyncio.sleep(max(due - workflow.time(), 0))


async def start_all(client: Client, sleepers: list[tuple[str, float]]) -> None:
    """Start them in this order, some at a time; keeps no handles, tells how far it is."""
    remaining = enumerate(sleepers, start=1)
    report_every = max(1, len(sleepers) // REPORTS)
    told = time.perf_counter()

    async def starter() -> None:
        nonlocal told
        for index, (workflow_id, due) in remaining:
            await client.start_workflow(Sleeper.run, due, id=workflow_id, task_queue=TASK_QUEUE)
            if index % report_every == 0:
                now = time.perf_counter()
                emit("starting", started=index, per_second=report_every / (now - told))
                told = now

    async with asyncio.TaskGroup() as group:
        for _ in range(STARTS_IN_FLIGHT):
            group.create_task(starter())


async def put_to_sleep(job: Job) -> None:
    client = await dbos_compat.connect(job.url)
    worker = Worker(client, task_queue=TASK_QUEUE, workflows=[Sleeper], workflow_runner=UnsandboxedWorkflowRunner())
    async with worker:
        emit("ready")
        begun = time.perf_counter()
        await start_all(client, [(f"calibration-{index}", 0.0) for index in range(CALIBRATION)])
        per_second = CALIBRATION / (time.perf_counter() - begun)
        first_due = time.time() + MARGIN * job.sleepers / per_second + job.settle_seconds
        dues = [first_due + index / job.wake_rate for index in range(job.sleepers)]
        emit("calibrated", starts_per_second=per_second, first_due=first_due, last_due=dues[-1])
        begun = time.perf_counter()
        await start_all(client, [(f"sleeper-{index}-{int(due * 1000)}", due) for index, due in enumerate(dues)])
        emit("started", seconds=time.perf_counter() - begun, at=time.time())
        await asyncio.Event().wait()  # the parent ends this process when all have woken


if __name__ == "__main__":
    serve_task(put_to_sleep)
