"""The idle worker: how many statements a second it sends to its database when there is nothing to do.

Counted in the server's own log (``log_statement = all`` on the database of the idle process), so that every
BEGIN, COMMIT and ping counts and nothing is sampled.
"""

import re
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.contenders import Contender
from benchmarks.environments import Environment
from benchmarks.meters import Reading
from benchmarks.postgres import Postgres
from benchmarks.protocol import Job
from benchmarks.stands import LOGS
from benchmarks.visits import visit

STATEMENTS_PER_SECOND_BUDGET = 1.0
SETTLE_SECONDS = 5.0
STATEMENT = re.compile(r"LOG:  (?:statement|execute [^:]*): (.*)")
SHOWN = 5
SHOWN_CHARACTERS = 100


@dataclass(frozen=True, kw_only=True)
class Idle:
    """What an idle process said to the database."""

    contender: str
    seconds: float
    statements_per_second: float
    client_cpu_percent: float
    most_frequent: list[tuple[str, int]]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class LogMeter:
    """Marks positions in the server's log instead of reading counters."""

    log: Path
    positions: list[int]

    async def read(self) -> Reading:
        self.positions.append(self.log.stat().st_size)
        return Reading()

    async def commits(self, opened: Reading, closed: Reading) -> int | None:
        return None

    def statements(self, database: str) -> Counter[str]:
        """Statements of this database between the first and the last position, by their text."""
        begin, end = self.positions[0], self.positions[-1]
        with self.log.open("rb") as file:
            file.seek(begin)
            text = file.read(end - begin).decode(errors="replace")
        text = text.replace("\n\t", " ")  # the server indents the further lines of a statement
        found: Counter[str] = Counter()
        for line in text.splitlines():
            if f"db={database} " in line and (match := STATEMENT.search(line)):
                found[" ".join(match.group(1).split())[:SHOWN_CHARACTERS]] += 1
        return found


async def measure_idle(server: Postgres, contender: Contender, environment: Environment, *, seconds: float) -> Idle:
    """Leave this contender alone for a while and count; raises VisitFailed when it does not even start."""
    database = f"idle_{contender.name.replace('-', '_')}"
    url = await server.fresh_database(database)
    assert server.log is not None, "the embedded server has its log on this machine"
    connection = await server.connect()
    try:
        await connection.execute(f"alter database \"{database}\" set log_statement = 'all'")
    finally:
        await connection.close()
    job = Job(mode="idle", url=url, sandboxed=contender.sandboxed, seconds=seconds, warmup_seconds=SETTLE_SECONDS)
    meter = LogMeter(server.log, [])
    try:
        made = await visit(contender.module, environment, job, meter, LOGS / f"idle-{contender.name}.log")
    finally:
        await server.drop_database(database)
    statements = meter.statements(database)
    return Idle(
        contender=contender.name,
        seconds=seconds,
        statements_per_second=statements.total() / seconds,
        client_cpu_percent=100 * made.report["client_cpu_seconds"] / seconds,
        most_frequent=statements.most_common(SHOWN),
    )
