"""The measured numbers as values: cells of single visits, and their medians over the rounds."""

import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One visit of one contender at one concurrency. Per-workflow figures are for completions in the window."""

    contender: str
    inflight: int
    round: int
    completed: int
    failures: int
    per_second: float
    p50_ms: float
    p99_ms: float
    client_cpu_ms: float
    server_cpu_ms: float | None
    commits: float | None
    transactions: float | None
    """From pg_stat_database: read-only ones too, and up to a second late; for orientation."""
    wal_bytes: float | None
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A visit that measured nothing, and why."""

    contender: str
    inflight: int
    round: int
    error: str


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Medians over the rounds, with the range of the throughput."""

    contender: str
    inflight: int
    rounds: int
    per_second: float
    per_second_min: float
    per_second_max: float
    p50_ms: float
    p99_ms: float
    client_cpu_ms: float
    server_cpu_ms: float | None
    commits: float | None
    transactions: float | None
    wal_bytes: float | None
    failures: int


@dataclass(kw_only=True)
class Throughput:
    """The side-by-side run."""

    cells: list[Cell] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    """Contender to the reason why it did not run."""
    servers: dict[str, dict[str, str]] = field(default_factory=dict)
    """Contender to a description of the server that it ran on."""
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def summaries(self) -> list[Summary]:
        """One per contender and concurrency that was measured at least once."""
        keys = dict.fromkeys((cell.contender, cell.inflight) for cell in self.cells)
        return [
            summarise([cell for cell in self.cells if (cell.contender, cell.inflight) == key]) for key in sorted(keys)
        ]

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"summaries": [asdict(summary) for summary in self.summaries()]}

    @staticmethod
    def from_json(data: dict[str, Any]) -> "Throughput":
        return Throughput(
            cells=[Cell(**cell) for cell in data["cells"]],
            failed=[Failure(**failure) for failure in data["failed"]],
            skipped=data["skipped"],
            servers=data["servers"],
            versions=data["versions"],
            settings=data["settings"],
        )


def summarise(cells: list[Cell]) -> Summary:
    """The medians of cells of one contender at one concurrency."""
    rates = [cell.per_second for cell in cells]
    return Summary(
        contender=cells[0].contender,
        inflight=cells[0].inflight,
        rounds=len(cells),
        per_second=statistics.median(rates),
        per_second_min=min(rates),
        per_second_max=max(rates),
        p50_ms=statistics.median(cell.p50_ms for cell in cells),
        p99_ms=statistics.median(cell.p99_ms for cell in cells),
        client_cpu_ms=statistics.median(cell.client_cpu_ms for cell in cells),
        server_cpu_ms=median_of_known(cell.server_cpu_ms for cell in cells),
        commits=median_of_known(cell.commits for cell in cells),
        transactions=median_of_known(cell.transactions for cell in cells),
        wal_bytes=median_of_known(cell.wal_bytes for cell in cells),
        failures=sum(cell.failures for cell in cells),
    )


def median_of_known(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
