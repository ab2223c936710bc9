"""The process that gets killed: a worker, which on request also starts workflows itself.

Environment: ``DBOS_SYSTEM_DATABASE_URL``, ``CRASH_LEDGER``, ``CRASH_LEASE_SECONDS``, and ``CRASH_STARTS``: how many
workflows it keeps in flight that it started itself (a start in a process that serves the queue takes the optimistic
way: the first activation happens before the starting commit). Each start that was acknowledged is in the ledger.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
from collections.abc import Mapping
from datetime import timedelta

from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import dbos_compat
from dbos_core import failpoints
from tests.crash.programs.workload import ACTIVITIES, QUEUE, WORKFLOWS, Pipeline, note


async def main() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    lease = timedelta(seconds=float(os.environ["CRASH_LEASE_SECONDS"]))
    client = await dbos_compat.connect(os.environ["DBOS_SYSTEM_DATABASE_URL"], lease=lease)
    worker = Worker(
        client,
        task_queue=QUEUE,
        workflows=WORKFLOWS,
        activities=ACTIVITIES,
        workflow_runner=UnsandboxedWorkflowRunner(),
        graceful_shutdown_timeout=timedelta(seconds=10),
    )
    async with worker:
        print("worker ready", flush=True)
        own = [asyncio.create_task(keep_starting(client, n)) for n in range(int(os.environ.get("CRASH_STARTS", "0")))]
        await stop.wait()
        for task in own:
            task.cancel()
        await asyncio.gather(*own, return_exceptions=True)
    await dbos_compat.disconnect(client)
    print("worker stopped", flush=True)


async def keep_starting(client: Client, line: int) -> None:
    """One workflow after the other; the ledger knows which starts were acknowledged."""
    for number in itertools.count():
        workflow_id = f"own-{os.getpid()}-{line}-{number}"
        handle = await client.start_workflow(Pipeline.run, args=[2, 0.01], id=workflow_id, task_queue=QUEUE)
        note("started", workflow_id=workflow_id)
        # Not ``wait_for``: that of Python 3.11 forgets a cancellation that comes with the result.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(30):
                await handle.result()


def run(env: Mapping[str, str], output: str) -> None:
    """The body of a forked process: like a program of its own, with this environment, printing into that file."""
    os.setsid()
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.update(env)
    failpoints.arm_from(env.get(failpoints.ENVIRONMENT, ""))
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s", force=True)
    asyncio.run(main())
