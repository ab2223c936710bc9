"""Single operations of an ordinary Temporal program, one kind after the other: how long each takes its caller.

Shared by every contender of the part: a Postgres URL is answered by dbos-compat, host:port by a Temporal server.
"""

import asyncio
import statistics
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from temporalio.client import Client, WorkflowHandle, WorkflowQueryFailedError
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from benchmarks.load import expected, measure_window, percentile, serve_task
from benchmarks.operation_workflows import ACTIVITIES, WORKFLOWS, FanOut, Inbox, Long, Parent, Timer
from benchmarks.protocol import Job, emit

TASK_QUEUE = "operations"
NEVER = 1_000_000_000
"""More messages than any inbox gets: it stays open until it is terminated."""

SAMPLES_MIN = 5
WARMUP_SHARE = 30
"""One in so many samples is made beforehand and does not count."""

CHILDREN_IN_FLIGHT = 32
FAN_OUT_WIDTH = 100
BURST_SENDERS = 50
BURST_EACH = 20
"""Every sender sends so many signals, each after the answer to the one before."""

ACTIVITIES_AT_ONCE = 100
QUERY_PAUSE_SECONDS = 0.02

Figures = dict[str, float]


@dataclass(frozen=True)
class Bench:
    """What an operation needs: a client with a worker beside it, and the limits of the job."""

    client: Client
    job: Job
    visit: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    def new_id(self, kind: str, number: int = 0) -> str:
        return f"{kind}-{self.visit}-{number}"

    async def run(self, workflow: Callable[..., Any], argument: int, kind: str, number: int) -> Any:
        return await self.client.execute_workflow(
            workflow, argument, id=self.new_id(kind, number), task_queue=TASK_QUEUE
        )

    @asynccontextmanager
    async def inbox(self, kind: str) -> AsyncIterator[WorkflowHandle[Any, Any]]:
        handle = await self.client.start_workflow(Inbox.run, NEVER, id=self.new_id(kind), task_queue=TASK_QUEUE)
        yield handle
        await handle.terminate()

    async def latencies_ms(self, once: Callable[[int], Awaitable[None]], samples: int) -> list[float]:
        """Sorted times of ``once``, called with 1, 2, ...

        Ends after so many samples, or when the job's seconds are over and there are enough of them to say anything.
        """
        numbers = count(1)
        begun = time.perf_counter()
        for _ in range(max(1, samples // WARMUP_SHARE)):
            await once(next(numbers))
            if time.perf_counter() - begun > self.job.seconds / 2:
                break
        found: list[float] = []
        begun = time.perf_counter()
        while len(found) < samples and (len(found) < SAMPLES_MIN or time.perf_counter() - begun < self.job.seconds):
            called = time.perf_counter()
            await once(next(numbers))
            found.append((time.perf_counter() - called) * 1000)
        return sorted(found)


def check(what: str, found: object, right: object) -> None:
    """A number that comes from a wrong answer is worth nothing."""
    if found != right:
        raise ValueError(f"{what}: {found!r} instead of {right!r}")


def p50_p99(sorted_ms: list[float]) -> Figures:
    return {"p50_ms": statistics.median(sorted_ms), "p99_ms": percentile(sorted_ms, 0.99)}


async def signal(bench: Bench) -> Figures:
    """A signal, and a query that shows what it did."""
    async with bench.inbox("signal") as handle:

        async def once(number: int) -> None:
            await handle.signal(Inbox.put, args=[0, number])
            while await handle.query(Inbox.count) < number:
                pass

        return p50_p99(await bench.latencies_ms(once, bench.job.samples))


async def update(bench: Bench) -> Figures:
    async with bench.inbox("update") as handle:

        async def once(number: int) -> None:
            check("update", await handle.execute_update(Inbox.put_and_count, number), number)

        return p50_p99(await bench.latencies_ms(once, bench.job.samples))


async def child(bench: Bench) -> Figures:
    """A parent that awaits one child, alone and with many beside it."""

    async def execute(number: int) -> int:
        result: int = await bench.run(Parent.run, number, "parent", number)
        return result

    async def once(number: int) -> None:
        check("parent", await execute(-number), expected(-number))  # negative: the window below counts from 0 up

    alone = await bench.latencies_ms(once, bench.job.samples // 3)
    window = replace(bench.job, inflight=CHILDREN_IN_FLIGHT, turns_min=1)
    together = await measure_window(execute, window)
    if together["failures"]:
        raise RuntimeError(f"{together['failures']} parents failed, the first with {together['first_failure']}")
    return {
        "p50_ms": statistics.median(alone),
        "per_second": together["completed"] / together["seconds"],
    }


async def timer(bench: Bench) -> Figures:
    async def once(number: int) -> None:
        check("timer", await bench.run(Timer.run, number, "timer", number), expected(number))

    return {"p50_ms": statistics.median(await bench.latencies_ms(once, bench.job.samples // 3))}


async def fan_out(bench: Bench) -> Figures:
    total = sum(range(FAN_OUT_WIDTH)) + FAN_OUT_WIDTH

    async def once(number: int) -> None:
        check("fan-out", await bench.run(FanOut.run, FAN_OUT_WIDTH, "fan-out", number), total)

    return {"p50_ms": statistics.median(await bench.latencies_ms(once, bench.job.samples // 10))}


async def burst(bench: Bench) -> Figures:
    """Many senders at once to one workflow, until it has seen everything; what one sender sent must stay in order."""
    handle = await bench.client.start_workflow(
        Inbox.run, BURST_SENDERS * BURST_EACH, id=bench.new_id("burst"), task_queue=TASK_QUEUE
    )
    await handle.query(Inbox.count)  # its first task is over

    async def send(sender: int) -> None:
        for number in range(BURST_EACH):
            await handle.signal(Inbox.put, args=[sender, number])

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for sender in range(BURST_SENDERS):
            group.create_task(send(sender))
    heard = await handle.result()
    seconds = time.perf_counter() - begun
    for sender in range(BURST_SENDERS):
        check(f"sender {sender}", [n for by, n in heard if by == sender], list(range(BURST_EACH)))
    return {"seconds": seconds}


async def answer(handle: WorkflowHandle[Any, Any], right: int) -> None:
    """Ask until the workflow answers; an engine that cannot yet may say so as it likes."""
    while True:
        try:
            check("progress", await handle.query(Long.progress), right)
            return
        except (RPCError, WorkflowQueryFailedError):
            await asyncio.sleep(QUERY_PAUSE_SECONDS)


async def history(bench: Bench) -> Figures:
    """A workflow with a long history, left open."""
    activities = bench.job.activities
    begun = time.perf_counter()
    handle = await bench.client.start_workflow(
        Long.run, args=[activities, ACTIVITIES_AT_ONCE], id=bench.job.workflow_id, task_queue=TASK_QUEUE
    )
    while (done := await handle.query(Long.progress)) < activities:
        emit("progress", done=done)
        await asyncio.sleep(0.2)
    return {"activities_per_second": activities / (time.perf_counter() - begun)}


OPERATIONS: dict[str, Callable[[Bench], Awaitable[Figures]]] = {
    "signal": signal,
    "update": update,
    "child": child,
    "timer": timer,
    "fan-out": fan_out,
    "burst": burst,
    "history": history,
}


@asynccontextmanager
async def connected(job: Job) -> AsyncIterator[Client]:
    if "://" not in job.url:
        yield await Client.connect(job.url)
        return
    import dbos_compat  # not in the environment of a Temporal contender

    client = await dbos_compat.connect(job.url)
    try:
        yield client
    finally:
        await dbos_compat.disconnect(client)


def worker_of(client: Client, *, sandboxed: bool) -> Worker:
    return Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=WORKFLOWS,
        activities=ACTIVITIES,
        workflow_runner=SandboxedWorkflowRunner() if sandboxed else UnsandboxedWorkflowRunner(),
    )


@asynccontextmanager
async def worker_beside(job: Job) -> AsyncIterator[Client]:
    """A client, with a stock worker beside it."""
    async with connected(job) as client, worker_of(client, sandboxed=job.sandboxed):
        yield client


async def operate(job: Job) -> None:
    """Each operation of the job in turn; one that fails costs only its own row. Then wait to be killed."""
    async with worker_beside(job) as client:
        emit("ready")
        for name in job.operations:
            emit("doing", operation=name)
            try:
                async with asyncio.timeout(job.operation_seconds):
                    figures = await OPERATIONS[name](Bench(client, job))
            except Exception as error:
                emit("operation-failed", operation=name, error=f"{type(error).__name__}: {error}")
            else:
                emit("operation", operation=name, figures=figures)
        emit("done")
        await asyncio.Event().wait()


async def recover(job: Job) -> None:
    """The worker that made a long history was killed; this is the next one, and the one after an orderly restart."""
    figures: Figures = {}
    async with asyncio.timeout(job.operation_seconds):
        for name in ("recover_seconds", "restart_seconds"):
            begun = time.perf_counter()
            async with worker_beside(job) as client:
                handle = client.get_workflow_handle(job.workflow_id, result_type=int)
                await answer(handle, job.activities)
                figures[name] = time.perf_counter() - begun
                if name == "restart_seconds":
                    await handle.signal(Long.finish)
                    total = sum(range(job.activities)) + job.activities
                    check("result", await handle.result(), total)
    emit("operation", operation="history", figures=figures)
    emit("done")


async def main(job: Job) -> None:
    await (recover(job) if job.mode == "recover" else operate(job))


if __name__ == "__main__":
    serve_task(main)
