"""The mirror: what it adds to the start of a workflow, as its caller feels it.

Starts on a Temporal development server, one after the other, with and without the mirror in turn, from one process and over
one connection. Two ways:

* *each in turn*: a plain start, a mirrored one, a plain one …, and nobody who runs them: the difference is what the front
  itself adds, its writing to Postgres included;
* *in blocks*: a block of plain starts with nothing to mirror, then a block of mirrored ones while the shadow follows: with
  everything on this one machine (caller, server, worker, shadow, Postgres), the shadow's work is felt too.

The worker of the workflows and the worker of the mirror are processes of their own (``mirror_side.py``).
"""

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest, StartWorkflowExecutionResponse
from temporalio.client import Client
from temporalio.service import RPCError

from benchmarks.environments import project_environment
from benchmarks.load import percentile
from benchmarks.postgres import Postgres
from benchmarks.stands import LOGS
from benchmarks.temporal_server import temporal_server
from benchmarks.two_steps import TwoSteps
from dbos_shadow.mirror import Mirror, PostgresLedger
from dbos_shadow.mirror.front import NAMESPACE

DATABASE = "bench_mirror"
DATABASE_OF_THE_FRONT = "bench_mirror_front"
TASK_QUEUE = "bench-mirror"
NOBODY = "bench-mirror-nobody"
"""A task queue that no worker polls."""
ADDED_BUDGET = 0.01
"""Of the latency of a start."""
WARMUP_STARTS = 50
BLOCK_STARTS = 50
READY_SECONDS = 60.0
JUDGED_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to compare. Latencies in milliseconds, medians over all starts unless they say otherwise."""

    starts: int
    plain_p50_ms: float
    plain_p99_ms: float
    mirrored_p50_ms: float
    mirrored_p99_ms: float
    added: float
    """Median over the rounds of (mirrored p50 / plain p50) - 1."""
    added_least: float
    added_most: float


@dataclass(frozen=True, kw_only=True)
class MirrorFigures:
    """What the run measured."""

    each: Way
    blocks: Way
    front_us: float
    """Time that the front spends on one start, measured by itself: microseconds."""
    verdicts: dict[str, int]
    """Of the mirrored runs. Anything else than a match is a bug."""

    @property
    def within_budget(self) -> bool:
        return self.each.added < ADDED_BUDGET

    @property
    def all_match(self) -> bool:
        return set(self.verdicts) == {"match"}

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "MirrorFigures":
        return cls(**{**found, "each": Way(**found["each"]), "blocks": Way(**found["blocks"])})


async def measure_mirror(server: Postgres, *, starts: int, rounds: int, doing: Callable[[str], None]) -> MirrorFigures:
    """Raises RuntimeError when a process or a server does not come up, or some run gets no verdict."""
    url = await server.fresh_database(DATABASE)
    url_of_front = await server.fresh_database(DATABASE_OF_THE_FRONT)
    environment = project_environment()
    each, blocks = [], []
    try:
        async with temporal_server(environment, durable=False) as (address, _):
            plain = await _connected(address)
            async with Mirror(plain, url=url_of_front) as mirror:
                doing("mirror: warming up")
                await _in_turn(plain, mirror, WARMUP_STARTS, "warm")
                for number in range(rounds):
                    doing(f"mirror: each in turn, round {number + 1} of {rounds}")
                    each.append(await _in_turn(plain, mirror, starts, f"turn-{number}"))
                front_us = _front_us(mirror)
        async with temporal_server(environment, durable=False) as (address, _):
            plain = await _connected(address)
            ledger = PostgresLedger(url, namespace=NAMESPACE)
            await ledger.open()
            try:
                async with side(address, url), Mirror(plain, url=url) as mirror:
                    bench = _Blocks(plain, mirror, ledger)
                    await bench.timed(plain, WARMUP_STARTS)
                    for number in range(rounds):
                        doing(f"mirror: in blocks, round {number + 1} of {rounds}")
                        blocks.append(await bench.in_blocks(starts))
                    verdicts = dict(await bench.judged())
            finally:
                await ledger.close()
    finally:
        await server.drop_database(DATABASE)
        await server.drop_database(DATABASE_OF_THE_FRONT)
    return MirrorFigures(each=_way(each), blocks=_way(blocks), front_us=front_us, verdicts=verdicts)


async def _connected(address: str) -> Client:
    """A client of a server that has got as far as to know its namespace."""
    client = await Client.connect(address)
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            await client.count_workflows()
            return client
        except RPCError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)


async def _start(client: Client, name: str, task_queue: str) -> float:
    """Latency of one start, in milliseconds."""
    begun = time.perf_counter()
    await client.start_workflow(TwoSteps.run, 1, id=name, task_queue=task_queue)
    return (time.perf_counter() - begun) * 1000


async def _in_turn(plain: Client, mirror: Mirror, starts: int, name: str) -> tuple[list[float], list[float]]:
    found: tuple[list[float], list[float]] = ([], [])
    for number in range(starts):
        for which in (0, 1) if number % 2 else (1, 0):
            client = (plain, mirror.client)[which]
            found[which].append(await _start(client, f"{name}-{number}-{which}", NOBODY))
    return found


@asynccontextmanager
async def side(address: str, url: str) -> AsyncIterator[None]:
    """The two workers, each in a process of its own."""
    environment = project_environment()
    LOGS.mkdir(parents=True, exist_ok=True)
    processes = []
    with (LOGS / "mirror.log").open("wb") as log:
        try:
            for role in ("worker", "shadow"):
                process = await asyncio.create_subprocess_exec(
                    environment.python,
                    "-m",
                    "benchmarks.mirror_side",
                    role,
                    address,
                    url,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=log,
                    env=environment.variables(),
                )
                processes.append(process)
                assert process.stdout is not None
                line = await asyncio.wait_for(process.stdout.readline(), READY_SECONDS)
                if line.strip() != b"ready":
                    raise RuntimeError(f"the mirror's {role} did not come up; see {LOGS / 'mirror.log'}")
            yield
        finally:
            for process in processes:
                if process.returncode is None:
                    process.terminate()
                    await process.wait()


class _Blocks:
    def __init__(self, plain: Client, mirror: Mirror, ledger: PostgresLedger) -> None:
        self._plain = plain
        self._mirror = mirror
        self._ledger = ledger
        self._number = 0

    async def timed(self, client: Client, starts: int) -> list[float]:
        """Latencies of so many starts, one after the other."""
        found = []
        for _ in range(starts):
            self._number += 1
            found.append(await _start(client, f"start-{self._number}", TASK_QUEUE))
        return found

    async def in_blocks(self, starts: int) -> tuple[list[float], list[float]]:
        plain: list[float] = []
        mirrored: list[float] = []
        for _ in range(max(1, starts // BLOCK_STARTS)):
            plain += await self.timed(self._plain, BLOCK_STARTS)
            await self._all_closed()
            mirrored += await self.timed(self._mirror.client, BLOCK_STARTS)
            await self.judged()
        return plain, mirrored

    async def _all_closed(self) -> None:
        """Until the last workflow is over: nobody inherits a neighbour's work."""
        await self._plain.get_workflow_handle(f"start-{self._number}").result()

    async def judged(self) -> Counter[str]:
        """The verdicts, once every mirrored run has one."""
        await self._all_closed()
        deadline = time.monotonic() + JUDGED_SECONDS
        while time.monotonic() < deadline:
            entries = await self._ledger.entries()
            sent = self._mirror.sent
            if sent.noted == sent.sent and all(entry.verdict is not None for entry in entries):
                return Counter(f"{entry.verdict} {entry.reason or ''}".strip() for entry in entries)
            await asyncio.sleep(0.1)
        raise RuntimeError(f"some mirrored runs had no verdict after {JUDGED_SECONDS:.0f} s")


def _way(rounds: list[tuple[list[float], list[float]]]) -> Way:
    plain = sorted(value for found, _ in rounds for value in found)
    mirrored = sorted(value for _, found in rounds for value in found)
    added = [statistics.median(theirs) / statistics.median(mine) - 1 for mine, theirs in rounds]
    return Way(
        starts=len(plain),
        plain_p50_ms=statistics.median(plain),
        plain_p99_ms=percentile(plain, 0.99),
        mirrored_p50_ms=statistics.median(mirrored),
        mirrored_p99_ms=percentile(mirrored, 0.99),
        added=statistics.median(added),
        added_least=min(added),
        added_most=max(added),
    )


def _front_us(mirror: Mirror) -> float:
    """What the front does with one start, without the start."""
    request = StartWorkflowExecutionRequest(workflow_id="known")
    request.workflow_type.name = "TwoSteps"
    answer = StartWorkflowExecutionResponse(run_id="known")
    times = 20_000
    begun = time.perf_counter()
    for _ in range(times):
        mirror._observe("start_workflow_execution", request, answer)
    return (time.perf_counter() - begun) / times * 1e6
