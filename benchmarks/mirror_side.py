"""The two workers beside the mirror's benchmark: ``python -m benchmarks.mirror_side worker|shadow <temporal> <database>``."""

import asyncio
import sys

from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from benchmarks.two_steps import TwoSteps, first_step, second_step
from dbos_shadow.mirror import MirrorWorker

TASK_QUEUE = "bench-mirror"


async def main(role: str, address: str, url: str) -> None:
    client = await Client.connect(address)
    if role == "worker":
        side: Worker | MirrorWorker = Worker(
            client,
            task_queue=TASK_QUEUE,
            workflows=[TwoSteps],
            activities=[first_step, second_step],
            workflow_runner=UnsandboxedWorkflowRunner(),
        )
    else:
        side = MirrorWorker(client, url=url, workflows=[TwoSteps], workflow_runner=UnsandboxedWorkflowRunner())
    async with side:
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
