"""The side-by-side run: every contender visits at every concurrency, round after round.

Inside a round and a concurrency the contenders follow each other, and every other round goes backwards, so that
a noisy minute, a warm cache or a growing table hits all of them and not always the same one.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.contenders import Contender
from benchmarks.environments import CACHE, Environment, EnvironmentFailed, environment
from benchmarks.meters import Meter, PostgresMeter, ProcessMeter
from benchmarks.postgres import Postgres, ServerUnavailable, start_with_contrib
from benchmarks.protocol import Job
from benchmarks.results import Cell, Failure, Throughput
from benchmarks.temporal_server import temporal_server
from benchmarks.visits import Visit, VisitFailed, visit

CONTRIB_EXTENSION = "uuid-ossp"
"""What dbos 2, under dbosify, creates on its first start."""

LOGS = CACHE / "logs"


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
class Stand:
    """A contender that is ready to run: its interpreter, its server and its database."""

    contender: Contender
    environment: Environment
    postgres: Postgres | None = None
    database: str = ""

    @property
    def log(self) -> Path:
        return LOGS / f"{self.contender.name}.log"

    @asynccontextmanager
    async def backend(self) -> AsyncIterator[tuple[str, Meter]]:
        """The URL to give to the contender, and the meter of what is behind it."""
        if self.postgres is None:
            durable = self.contender.backend == "temporal-file"
            async with temporal_server(self.environment, durable=durable) as (address, pid):
                yield address, ProcessMeter(pid)
            return
        connection = await self.postgres.connect()
        try:
            if self.postgres.data_dir is not None:
                await connection.execute("checkpoint")  # nobody pays for the pages that a neighbour has left dirty
            yield self.postgres.url(self.database), PostgresMeter(self.postgres, self.database, connection)
        finally:
            await connection.close()


@dataclass
class Runner:
    """Prepares the stands, makes the visits, collects the cells."""

    plan: Plan
    embedded: Postgres
    watcher: Watcher = field(default_factory=Watcher)
    results: Throughput = field(default_factory=Throughput)

    async def run(self) -> Throughput:
        async with AsyncExitStack() as stack:
            stands = await self._stands(stack)
            for round_, inflight, contender in self.plan.order():
                if stand := stands.get(contender.name):
                    self.watcher.doing(f"round {round_ + 1} · {inflight} in flight · {contender.title}")
                    await self._visit(stand, round_, inflight)
        return self.results

    async def _stands(self, stack: AsyncExitStack) -> dict[str, Stand]:
        stands: dict[str, Stand] = {}
        for contender in self.plan.contenders:
            self.watcher.doing(f"preparing {contender.title}")
            try:
                stand = await self._stand(contender, stack)
            except Exception as error:  # whatever it is, the others can still run
                reason = describe_error(error)
                self.results.skipped[contender.name] = reason
                self.watcher.skipped(contender.name, reason)
            else:
                stands[contender.name] = stand
                self.results.versions[contender.name] = await stand.environment.versions()
        return stands

    async def _stand(self, contender: Contender, stack: AsyncExitStack) -> Stand:
        made = await environment(contender.requirements, progress=self.watcher.doing)
        LOGS.mkdir(parents=True, exist_ok=True)
        (LOGS / f"{contender.name}.log").write_text("")
        if contender.backend in ("temporal-file", "temporal-memory"):
            kept = "a SQLite file" if contender.backend == "temporal-file" else "memory (not durable)"
            self.results.servers[contender.name] = {"label": f"Temporal dev server, state in {kept}"}
            return Stand(contender, made)
        postgres = self.embedded
        if contender.backend == "contrib-postgres":
            postgres = await start_with_contrib(CONTRIB_EXTENSION, self.embedded)
            if postgres is not self.embedded:
                stack.push_async_callback(postgres.stop)
        database = f"bench_{contender.name.replace('-', '_')}"
        await postgres.fresh_database(database)
        stack.push_async_callback(postgres.drop_database, database)
        self.results.servers[contender.name] = await postgres.describe()
        return Stand(contender, made, postgres, database)

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


OWN_ERRORS = (VisitFailed, EnvironmentFailed, ServerUnavailable)


def describe_error(error: Exception) -> str:
    """Our own errors are sentences; for others the class tells half of the story."""
    return str(error) if isinstance(error, OWN_ERRORS) else f"{type(error).__name__}: {error}"


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
