"""The side-by-side run: every contender visits at every concurrency, round after round.

Inside a round and a concurrency the contenders follow each other, and every other round goes backwards, so that
a noisy minute, a warm cache or a growing table hits all of them and not always the same one.
"""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from benchmarks.contenders import Contender
from benchmarks.postgres import Postgres
from benchmarks.protocol import Job
from benchmarks.results import Cell, Failure, Throughput
from benchmarks.stands import Stand, Stands, describe_error
from benchmarks.visits import Visit, visit


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure."""

    contenders: Sequence[Contender]
    inflight: Sequence[int]
    rounds: int
    seconds: float
    warmup_seconds: float

    def order(self) -> list[tuple[int, int, Contender]]:
        """Round, concurrency, contender: in the order of the visits."""
        return [
            (round_, inflight, contender)
            for round_ in range(self.rounds)
            for inflight in self.inflight
            for contender in (self.contenders if round_ % 2 == 0 else list(reversed(self.contenders)))
        ]


@dataclass
class Watcher:
    """Who is told how the run goes; the terminal's progress display, or nobody."""

    doing: Callable[[str], None] = lambda _: None
    measured: Callable[[Cell], None] = lambda _: None
    failed: Callable[[Failure], None] = lambda _: None
    skipped: Callable[[str, str], None] = lambda _name, _reason: None


@dataclass
class Runner:
    """Makes the visits, collects the cells."""

    plan: Plan
    embedded: Postgres
    watcher: Watcher = field(default_factory=Watcher)
    results: Throughput = field(default_factory=Throughput)

    async def run(self) -> Throughput:
        async with AsyncExitStack() as stack:
            stands = Stands(
                embedded=self.embedded,
                stack=stack,
                doing=self.watcher.doing,
                skipped=self.results.skipped,
                servers=self.results.servers,
                versions=self.results.versions,
            )
            await stands.prepare(self.plan.contenders)
            for name, reason in stands.skipped.items():
                self.watcher.skipped(name, reason)
            for round_, inflight, contender in self.plan.order():
                if stand := stands.ready.get(contender.name):
                    self.watcher.doing(f"round {round_ + 1} · {inflight} in flight · {contender.title}")
                    await self._visit(stand, round_, inflight)
        return self.results

    async def _visit(self, stand: Stand, round_: int, inflight: int) -> None:
        name = stand.contender.name
        try:
            async with stand.backend() as (url, meter):
                job = Job(
                    mode="load",
                    url=url,
                    sandboxed=stand.contender.sandboxed,
                    inflight=inflight,
                    seconds=self.plan.seconds,
                    warmup_seconds=self.plan.warmup_seconds,
                )
                made = await visit(stand.contender.module, stand.environment, job, meter, stand.log)
        except Exception as error:  # a contender, its server or its connection: this cell fails, the run goes on
            failure = Failure(contender=name, inflight=inflight, round=round_, error=describe_error(error))
            self.results.failed.append(failure)
            self.watcher.failed(failure)
        else:
            cell = cell_of(name, inflight, round_, made)
            self.results.cells.append(cell)
            self.watcher.measured(cell)


def cell_of(contender: str, inflight: int, round_: int, made: Visit) -> Cell:
    """Per-workflow figures from what a visit measured."""
    report, opened, closed = made.report, made.opened, made.closed
    completed = report["completed"]

    def each(before: float | None, after: float | None, scale: float = 1.0) -> float | None:
        return None if before is None or after is None else (after - before) * scale / completed

    return Cell(
        contender=contender,
        inflight=inflight,
        round=round_,
        completed=completed,
        failures=report["failures"],
        per_second=completed / report["seconds"],
        p50_ms=report["p50_ms"],
        p99_ms=report["p99_ms"],
        client_cpu_ms=report["client_cpu_seconds"] * 1000 / completed,
        server_cpu_ms=each(opened.server_cpu_seconds, closed.server_cpu_seconds, 1000),
        commits=None if made.commits is None else made.commits / completed,
        transactions=each(opened.transactions, closed.transactions),
        wal_bytes=each(opened.wal_bytes, closed.wal_bytes),
        note=report["first_failure"],
    )
