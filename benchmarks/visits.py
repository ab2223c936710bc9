"""One visit: a contender's process runs one job while the parent reads the meters.

A fresh process each time, so that no contender's idle threads steal time from another's window, and so that one
that crashes or hangs spoils this one cell and nothing else.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.environments import CACHE, Environment
from benchmarks.load import DRAIN_SECONDS, SHUTDOWN_SECONDS
from benchmarks.meters import Meter, Reading
from benchmarks.protocol import Job, parse

START_SECONDS = 90.0
LINE_BYTES_MAX = 1 << 20


class VisitFailed(RuntimeError):
    """The contender crashed, hung or measured nothing; the message is its own error where it gave one."""


@dataclass(frozen=True, kw_only=True)
class Visit:
    """What one visit measured: the contender's own report and the meters around its window."""

    report: dict[str, Any]
    opened: Reading
    closed: Reading
    commits: int | None


@asynccontextmanager
async def contender_process(
    module: str, environment: Environment, job: Job, log: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The process, in a group of its own; whatever of the group is left at the end is killed."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            environment.python,
            *("-m", module, job.to_json()),
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            cwd=CACHE,
            env=environment.variables(),
            start_new_session=True,
            limit=LINE_BYTES_MAX,
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def patience_seconds(job: Job) -> float:
    """How long a visit may take before it counts as hung."""
    return START_SECONDS + 3 * (job.warmup_seconds + job.seconds) + DRAIN_SECONDS + SHUTDOWN_SECONDS


async def visit(module: str, environment: Environment, job: Job, meter: Meter, log: Path) -> Visit:
    """Run the job to its end and return what was measured; raises VisitFailed, never hangs."""
    readings: dict[str, Reading] = {}
    report: dict[str, Any] | None = None
    error: str | None = None
    try:
        async with asyncio.timeout(patience_seconds(job)), contender_process(module, environment, job, log) as process:
            async for event in events(process, log):
                match event["event"]:
                    case "window-open" | "window-close":
                        readings[event["event"]] = await meter.read()
                    case "measured":
                        report = event
                    case "failed":
                        error = event["error"]
            status = await process.wait()
    except TimeoutError:
        status, error = -1, error or f"no end after {patience_seconds(job):.0f} s"
    if report is None or len(readings) != 2:
        raise VisitFailed(error or f"ended with status {status}: {last_line(log)}")
    opened, closed = readings["window-open"], readings["window-close"]
    return Visit(report=report, opened=opened, closed=closed, commits=await meter.commits(opened, closed))


async def events(process: asyncio.subprocess.Process, log: Path) -> AsyncIterator[dict[str, Any]]:
    """The contender's messages; what its engine prints beside them goes to the log."""
    assert process.stdout is not None
    with log.open("a") as prints:
        async for raw in process.stdout:
            line = raw.decode(errors="replace")
            event = parse(line)
            if event is not None:
                yield event
            else:
                prints.write(line)


def last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"{lines[-1].strip()} (all of it: {log})" if lines else f"no output ({log})"
