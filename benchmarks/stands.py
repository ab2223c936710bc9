"""Stands: contenders made ready to run, each with its interpreter, its server and its database."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.contenders import Contender
from benchmarks.environments import CACHE, Environment, EnvironmentFailed, environment
from benchmarks.meters import Meter, PostgresMeter, ProcessMeter
from benchmarks.postgres import Postgres, ServerUnavailable, start_with_contrib
from benchmarks.temporal_server import temporal_server
from benchmarks.visits import VisitFailed

CONTRIB_EXTENSION = "uuid-ossp"
"""What dbos 2, under dbosify, creates on its first start."""

LOGS = CACHE / "logs"

OWN_ERRORS = (VisitFailed, EnvironmentFailed, ServerUnavailable)


def describe_error(error: Exception) -> str:
    """Our own errors are sentences; for others the class tells half of the story."""
    return str(error) if isinstance(error, OWN_ERRORS) else f"{type(error).__name__}: {error}"


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


@dataclass(kw_only=True)
class Stands:
    """The contenders of a part; one that cannot be made ready is skipped, and the others still run."""

    embedded: Postgres
    stack: AsyncExitStack
    """Takes back what was made."""
    doing: Callable[[str], None] = lambda _: None
    ready: dict[str, Stand] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    """Contender to the reason why it does not run."""
    servers: dict[str, dict[str, str]] = field(default_factory=dict)
    """Contender to a description of the server that it runs on."""
    versions: dict[str, dict[str, str]] = field(default_factory=dict)

    async def prepare(self, contenders: Iterable[Contender]) -> None:
        for contender in contenders:
            self.doing(f"preparing {contender.title}")
            try:
                stand = await self._stand(contender)
            except Exception as error:  # whatever it is, the others can still run
                self.skipped[contender.name] = describe_error(error)
            else:
                self.ready[contender.name] = stand
                self.versions[contender.name] = await stand.environment.versions()

    async def _stand(self, contender: Contender) -> Stand:
        made = await environment(contender.requirements, progress=self.doing)
        LOGS.mkdir(parents=True, exist_ok=True)
        (LOGS / f"{contender.name}.log").write_text("")
        if contender.backend in ("temporal-file", "temporal-memory"):
            kept = "a SQLite file" if contender.backend == "temporal-file" else "memory (not durable)"
            self.servers[contender.name] = {"label": f"Temporal dev server, state in {kept}"}
            return Stand(contender, made)
        postgres = self.embedded
        if contender.backend == "contrib-postgres":
            postgres = await start_with_contrib(CONTRIB_EXTENSION, self.embedded)
            if postgres is not self.embedded:
                self.stack.push_async_callback(postgres.stop)
        database = f"bench_{contender.name.replace('-', '_')}"
        await postgres.fresh_database(database)
        self.stack.push_async_callback(postgres.drop_database, database)
        self.servers[contender.name] = await postgres.describe()
        return Stand(contender, made, postgres, database)
