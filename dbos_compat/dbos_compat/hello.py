"""``python -m dbos_compat.hello``: the workflow of the README's first screen, on your embedded Postgres.

Two greetings. The first is for measuring. The second is killed: the process that runs it gets a SIGKILL in the middle of
its second activity, and another process goes on. All figures are measured, none is written down here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    import dbos_compat
    from dbos_compat.embedded import EmbeddedPostgresError, start_embedded
    from dbos_compat.engine import Engine
    from dbos_compat.private import EngineServiceClient

NAMESPACE = "hello"
LEASE = timedelta(seconds=2)
"""Short, so that nobody waits long for a process that is dead. The default is 10 s."""
VICTIM = "DBOS_COMPAT_HELLO_VICTIM"
"""Set in the process that is to die: it kills itself in its second activity."""


@activity.defn
async def find_greeting(language: str) -> str:
    return {"en": "Hello", "fr": "Bonjour"}[language]


@activity.defn
async def compose(greeting: str, name: str) -> str:
    if VICTIM in os.environ:
        os.kill(os.getpid(), signal.SIGKILL)
    return f"{greeting}, {name}!"


@workflow.defn
class Greet:
    """An ordinary Temporal workflow."""

    @workflow.run
    async def run(self, name: str) -> str:
        greeting = await workflow.execute_activity(find_greeting, "en", start_to_close_timeout=timedelta(seconds=10))
        return await workflow.execute_activity(
            compose, args=[greeting, name], start_to_close_timeout=timedelta(seconds=10)
        )


@dataclass(frozen=True, slots=True)
class Measured:
    greeting: str
    activities: int
    commits: int
    milliseconds: float


def main() -> int:
    """Greet twice; the exit status is 0 if both greetings arrived."""
    logging.getLogger("dbos_core").setLevel(logging.ERROR)  # a take-over is worth a warning, but not here
    try:
        with start_embedded() as server:
            if VICTIM in os.environ:
                asyncio.run(work_until_killed(server.url, os.environ[VICTIM]))
                return 1  # it should not have come so far
            return asyncio.run(greet(server.url, str(server.data_dir)))
    except EmbeddedPostgresError as error:
        sys.stderr.write(f"{error}\n")
        return 1


async def greet(url: str, data_dir: str) -> int:
    print(f"Your embedded Postgres keeps its data in {data_dir}\n")
    client = await dbos_compat.connect(url, namespace=NAMESPACE, lease=LEASE)
    try:
        queue = f"hello-{uuid.uuid4().hex[:8]}"
        async with worker(client, queue):
            await measure(client, queue, "you")  # the first run of a process imports and prepares things
            one = await measure(client, queue, "Ada")
        print(
            f"{one.greeting}     {one.activities} activities, {one.commits} commits, {one.milliseconds:.0f} ms",
            flush=True,
        )

        queue = f"hello-{uuid.uuid4().hex[:8]}"
        handle = await client.start_workflow(Greet.run, "Grace", id=f"{queue}-Grace", task_queue=queue)
        victim = await asyncio.to_thread(run_victim, queue)
        if victim != -signal.SIGKILL:
            sys.stderr.write(f"the process that was to be killed ended with status {victim}\n")
            return 1
        killed = time.monotonic()
        async with worker(client, queue):
            greeting = await handle.result()
        seconds = time.monotonic() - killed
        activities = await completed_activities(handle)
        print(
            f"{greeting}   {activities} activities   ·   killed once on the way, and it did not notice:\n"
            f"                SIGKILL in the second one; another process had it done {seconds:.1f} s later, most of which\n"
            f"                was the dead one's lease of {LEASE.total_seconds():g} s"
        )
        return 0 if (one.greeting, greeting) == ("Hello, Ada!", "Hello, Grace!") else 1
    finally:
        await dbos_compat.disconnect(client)


def worker(client: Client, queue: str) -> Worker:
    return Worker(client, task_queue=queue, workflows=[Greet], activities=[find_greeting, compose])


async def measure(client: Client, queue: str, name: str) -> Measured:
    """One greeting, from the caller's request to the caller's answer."""
    service = client.service_client
    assert isinstance(service, EngineServiceClient)
    assert isinstance(service.engine, Engine)
    writer = service.engine.kernel.writer
    before, began = writer.statistics().flushes, time.perf_counter()
    handle = await client.start_workflow(Greet.run, name, id=f"{queue}-{name}", task_queue=queue)
    greeting = await handle.result()
    took_s = time.perf_counter() - began
    commits = writer.statistics().flushes - before
    return Measured(greeting, await completed_activities(handle), commits, took_s * 1000)


async def completed_activities(handle: WorkflowHandle[Greet, str]) -> int:
    events = (await handle.fetch_history()).events
    return sum(event.HasField("activity_task_completed_event_attributes") for event in events)


def run_victim(queue: str) -> int:
    """Run the workflow in a process of its own, which dies on the way. Returns how it ended."""
    command = [sys.executable, "-m", "dbos_compat.hello"]
    return subprocess.run(command, env={**os.environ, VICTIM: queue}, timeout=60, check=False).returncode


async def work_until_killed(url: str, queue: str) -> None:
    """In the victim."""
    client = await dbos_compat.connect(url, namespace=NAMESPACE, lease=LEASE)
    async with worker(client, queue):
        await asyncio.sleep(30)


if __name__ == "__main__":
    sys.exit(main())
