"""The closed loop that drives every contender alike. Standard library only.

``inflight`` slots each run one workflow after the other. After the warm-up a measuring window opens *while the
load goes on*, and closes before it stops: what is counted are the completions inside the window, so neither
the ramp at the start nor the drain at the end flatters or hurts anyone.
"""

import asyncio
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from benchmarks.protocol import Job, emit

Execute = Callable[[int], Awaitable[int]]
"""Runs the two-step workflow on this number to its end and returns its result."""

Session = Callable[[Job], AbstractAsyncContextManager[Execute]]
"""Brings the engine up, yields the way to run one workflow on it, and takes it down."""

FAILURES_MAX = 50
DRAIN_SECONDS = 20.0
SHUTDOWN_SECONDS = 15.0
TICK_SECONDS = 0.01
PATIENCE = 10


def expected(number: int) -> int:
    """What the two-step workflow returns: each of its steps adds one."""
    return number + 2


@dataclass(kw_only=True)
class Tally:
    """What the slots have finished so far, in order of completion."""

    latencies: list[float] = field(default_factory=list)
    failures: int = 0
    first_failure: str | None = None

    def fail(self, error: Exception) -> None:
        self.failures += 1
        if self.first_failure is None:
            self.first_failure = f"{type(error).__name__}: {error}"


def percentile(sorted_values: list[float], fraction: float) -> float:
    """Nearest-rank percentile of values sorted ascending; there must be at least one."""
    rank = min(len(sorted_values) - 1, int(fraction * len(sorted_values)))
    return sorted_values[rank]


async def slot(execute: Execute, numbers: AsyncIterator[int], tally: Tally) -> None:
    async for number in numbers:
        begun = time.perf_counter()
        try:
            result = await execute(number)
            if result != expected(number):
                raise ValueError(f"workflow {number} returned {result!r}, not {expected(number)}")
        except Exception as error:
            tally.fail(error)
            if tally.failures >= FAILURES_MAX:
                return
        else:
            tally.latencies.append(time.perf_counter() - begun)


async def closed_loop(execute: Execute, job: Job) -> None:
    """Warm up, open the window, close it, drain; emits ``window-open``, ``window-close`` and ``measured``."""
    emit("measured", **await measure_window(execute, job, emit))


async def measure_window(
    execute: Execute, job: Job, mark: Callable[[str], None] = lambda _event: None
) -> dict[str, Any]:
    """What was measured between the marks ``window-open`` and ``window-close``."""
    tally = Tally()
    stopping = False
    counter = count()

    async def numbers() -> AsyncIterator[int]:
        while not stopping:
            yield next(counter)

    slots = [asyncio.create_task(slot(execute, numbers(), tally)) for _ in range(job.inflight)]

    async def until(seconds: float, completions: int) -> None:
        """At least this long, and up to ``PATIENCE`` times as long to reach that many completions."""
        begun = time.perf_counter()
        while not all(task.done() for task in slots):
            elapsed = time.perf_counter() - begun
            if elapsed >= PATIENCE * seconds or (elapsed >= seconds and len(tally.latencies) >= completions):
                return
            await asyncio.sleep(min(TICK_SECONDS, max(seconds - elapsed, 0.001)))

    await until(job.warmup_seconds, 2 * job.inflight)
    mark("window-open")
    opened, cpu_opened, first = time.perf_counter(), cpu_seconds(), len(tally.latencies)
    await until(job.seconds, len(tally.latencies) + job.turns_min * job.inflight)
    closed, cpu_closed, last = time.perf_counter(), cpu_seconds(), len(tally.latencies)
    mark("window-close")
    stopping = True
    _, undone = await asyncio.wait(slots, timeout=DRAIN_SECONDS)
    for task in undone:
        task.cancel()
    measured = sorted(tally.latencies[first:last])
    if not measured:
        raise RuntimeError(
            f"no workflow finished within {closed - opened:.1f} s at {job.inflight} in flight; "
            f"{tally.failures} failed, the first with: {tally.first_failure}"
        )
    return {
        "completed": len(measured),
        "seconds": closed - opened,
        "p50_ms": statistics.median(measured) * 1000,
        "p99_ms": percentile(measured, 0.99) * 1000,
        "client_cpu_seconds": cpu_closed - cpu_opened,
        "failures": tally.failures,
        "first_failure": tally.first_failure,
        "undrained": len(undone),
    }


def cpu_seconds() -> float:
    """CPU time of this process and of its finished children so far."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


async def stay_idle(job: Job) -> None:
    """Do nothing for a while; the parent counts what the engine says to the database meanwhile."""
    await asyncio.sleep(job.warmup_seconds)
    emit("window-open")
    cpu_opened = cpu_seconds()
    await asyncio.sleep(job.seconds)
    emit("window-close")
    emit("measured", seconds=job.seconds, client_cpu_seconds=cpu_seconds() - cpu_opened)


async def visit(session: Session, job: Job) -> None:
    async with session(job) as execute:
        emit("ready")
        await (stay_idle(job) if job.mode == "idle" else closed_loop(execute, job))
        # The numbers are out; an engine that hangs while it stops must not hold up the run.
        asyncio.get_running_loop().call_later(SHUTDOWN_SECONDS, os._exit, 0)


def serve(session: Session) -> None:
    """A contender's main: run the job of the command line, report a failure as an event, exit."""
    serve_task(lambda job: visit(session, job))


def serve_task(task: Callable[[Job], Coroutine[Any, Any, None]]) -> None:
    """The same for a contender that is not a closed loop."""
    try:
        asyncio.run(task(Job.from_argv()))
    except Exception as error:
        emit("failed", error=f"{type(error).__name__}: {error}")
        raise
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)  # threads that an engine leaves behind must not keep the process alive
