"""The sleepers: memory of a process whose workflows all sleep, and how late they wake.

The process under test starts them (``contenders/sleepers.py``); from here its memory is watched and the wake
times are read from the database afterwards.
"""

import asyncio
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from benchmarks.environments import project_environment
from benchmarks.load import percentile
from benchmarks.postgres import Postgres
from benchmarks.protocol import Job
from benchmarks.stands import LOGS
from benchmarks.visits import VisitFailed, contender_process, events, last_line

DATABASE = "bench_sleepers"
RSS_BUDGET_MB = 300.0
RSS_TICK_SECONDS = 0.5
PARKED_SAMPLE_SECONDS = 5.0
"""The memory of the parked state is the median over this long before the first wake."""
LATE_BUDGET_MS = 1000.0
"""On time: the median sleeper wakes within a second of its due time, while they fall due at the wake rate."""
GRACE_SECONDS = 120.0

WOKEN = """
    select count(*) from dbos.workflow_status
     where workflow_uuid like 'sleeper-%' and status not in ('PENDING', 'ENQUEUED', 'DELAYED')"""

ENDS = """
    select status, completed_at, split_part(workflow_uuid, '-', 3)::bigint as due_ms
      from dbos.workflow_status where workflow_uuid like 'sleeper-%'"""


@dataclass(frozen=True, kw_only=True)
class Sleepers:
    """What the run measured."""

    sleepers: int
    starts_per_second: float
    starts_per_second_over_time: list[float]
    """In twenty steps: whether starting slows down as sleepers pile up."""
    wake_rate: float
    """How many fell due per second."""
    wakes_per_second: float
    """How many completed per second, from the first due time to the last completion."""
    rss_before_mb: float
    rss_parked_mb: float
    rss_peak_mb: float
    late_p50_ms: float
    late_p99_ms: float
    late_max_ms: float
    early: int
    """Sleepers that completed before they were due: always a bug."""
    lost: int
    """Sleepers that did not complete successfully in time: always a bug."""

    @property
    def within_memory(self) -> bool:
        return self.rss_parked_mb < RSS_BUDGET_MB

    @property
    def on_time(self) -> bool:
        return self.early == 0 and self.lost == 0 and self.late_p50_ms <= LATE_BUDGET_MS

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class MemoryWatch:
    """Samples of a process's resident memory, with the time of each."""

    pid: int
    samples: list[tuple[float, float]]

    async def run(self) -> None:
        process = psutil.Process(self.pid)
        while True:
            try:
                self.samples.append((time.time(), process.memory_info().rss / 1e6))
            except psutil.NoSuchProcess:
                return
            await asyncio.sleep(RSS_TICK_SECONDS)

    def between(self, begin: float, end: float) -> list[float]:
        return [rss for at, rss in self.samples if begin <= at <= end]


async def measure_sleepers(
    server: Postgres, *, sleepers: int, wake_rate: float, settle_seconds: float, doing: Callable[[str], None]
) -> Sleepers:
    """Start them, watch them sleep, wait for all to wake; raises VisitFailed when that does not come to an end."""
    url = await server.fresh_database(DATABASE)
    job = Job(mode="sleepers", url=url, sleepers=sleepers, wake_rate=wake_rate, settle_seconds=settle_seconds)
    log = LOGS / "sleepers.log"
    LOGS.mkdir(parents=True, exist_ok=True)
    log.write_text("")
    try:
        async with contender_process("benchmarks.contenders.sleepers", project_environment(), job, log) as process:
            watch = MemoryWatch(process.pid, [])
            watching = asyncio.create_task(watch.run())
            try:
                doing(f"starting {sleepers:,} sleepers")
                facts: dict[str, Any] = {}
                start_rates: list[float] = []
                stream = events(process, log)
                async for event in stream:
                    if event["event"] == "failed":
                        raise VisitFailed(event["error"])
                    if event["event"] == "starting" and "calibrated" in facts:
                        doing(f"{event['started']:,} of {sleepers:,} started, now {event['per_second']:,.0f}/s")
                        start_rates.append(event["per_second"])
                    facts[event["event"]] = event | {"seen": time.time()}
                    if event["event"] == "started":
                        break
                if "started" not in facts:
                    raise VisitFailed(f"the process ended while it started sleepers: {last_line(log)}")
                calibrated, started = facts["calibrated"], facts["started"]
                if started["at"] > calibrated["first_due"] - PARKED_SAMPLE_SECONDS:
                    raise VisitFailed(
                        f"starting {sleepers:,} sleepers took {started['seconds']:.0f} s, longer than the "
                        f"{calibrated['starts_per_second']:,.0f}/s of the first few promised (per second, in order: "
                        f"{', '.join(f'{rate:.0f}' for rate in start_rates)}), so the first fell due before the "
                        "parked state could be measured; raise --settle"
                    )
                draining = asyncio.create_task(_drain(stream))
                try:
                    await _until_woken(server, sleepers, calibrated["last_due"], process, doing)
                finally:
                    draining.cancel()
            finally:
                watching.cancel()
        return await _sum_up(server, job, watch, facts, start_rates)
    finally:
        await server.drop_database(DATABASE)


async def _drain(rest: Any) -> None:
    """Keep the pipe empty; there is nothing more to hear."""
    async for _ in rest:
        pass


async def _until_woken(
    server: Postgres,
    sleepers: int,
    last_due: float,
    process: asyncio.subprocess.Process,
    doing: Callable[[str], None],
) -> None:
    connection = await server.connect(DATABASE)
    try:
        while time.time() < last_due + GRACE_SECONDS:
            woken = await connection.fetchval(WOKEN)
            doing(f"{sleepers - woken:,} asleep, {woken:,} woken")
            if woken >= sleepers:
                return
            if process.returncode is not None:
                raise VisitFailed(f"the process ended with status {process.returncode} while they slept")
            await asyncio.sleep(1.0)
    finally:
        await connection.close()


async def _sum_up(
    server: Postgres, job: Job, watch: MemoryWatch, facts: dict[str, Any], start_rates: list[float]
) -> Sleepers:
    connection = await server.connect(DATABASE)
    try:
        rows = await connection.fetch(ENDS)
    finally:
        await connection.close()
    calibrated, started, ready = facts["calibrated"], facts["started"], facts["ready"]
    ended = [row for row in rows if row["status"] == "SUCCESS" and row["completed_at"] is not None]
    if not ended:
        raise VisitFailed(f"none of {job.sleepers:,} sleepers woke within {GRACE_SECONDS:.0f} s of its due time")
    late = sorted(float(row["completed_at"] - row["due_ms"]) for row in ended)
    first_due: float = calibrated["first_due"]
    span = max(row["completed_at"] for row in ended) / 1000 - first_due
    return Sleepers(
        sleepers=job.sleepers,
        starts_per_second=job.sleepers / started["seconds"],
        starts_per_second_over_time=[round(rate) for rate in start_rates],
        wake_rate=job.wake_rate,
        wakes_per_second=len(ended) / span,
        rss_before_mb=max(watch.between(0, ready["seen"]), default=0.0),
        rss_parked_mb=statistics.median(watch.between(first_due - PARKED_SAMPLE_SECONDS, first_due)),
        rss_peak_mb=max(rss for _, rss in watch.samples),
        late_p50_ms=statistics.median(late),
        late_p99_ms=percentile(late, 0.99),
        late_max_ms=late[-1],
        early=sum(value < 0 for value in late),
        lost=job.sleepers - len(ended),
    )
