"""The operations: how long single things that a Temporal program does take on each engine that runs it.

A contender's process (``contenders/operations.py``) makes all kinds of a round one after the other. The long history
has processes of its own, since the worker that made it is killed; it is made in the first round only.
"""

import asyncio
import statistics
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.contenders import Contender
from benchmarks.postgres import Postgres
from benchmarks.protocol import Job
from benchmarks.stands import Stand, Stands, describe_error
from benchmarks.visits import START_SECONDS, VisitFailed, contender_process, events, last_line

MODULE = "benchmarks.contenders.operations"
HISTORY = "history"
ACTIVITIES_PER_SECOND_MIN = 40.0
"""A contender that is slower than this does not get to the end of the long history."""
OPERATION_SECONDS = 60.0
"""How long one kind may take with all its samples; a slow engine then lacks that row and nothing else."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: a figure of an operation."""

    operation: str
    figure: str
    title: str
    higher_is_better: bool = False


ROWS: tuple[Row, ...] = (
    Row(operation="signal", figure="p50_ms", title="signal, then a query that shows it · p50, ms"),
    Row(operation="signal", figure="p99_ms", title="the same · p99, ms"),
    Row(operation="update", figure="p50_ms", title="update, to its result · p50, ms"),
    Row(operation="update", figure="p99_ms", title="the same · p99, ms"),
    Row(operation="child", figure="p50_ms", title="parent that awaits a child · p50, ms"),
    Row(operation="child", figure="per_second", title="the same, 32 in flight · per second", higher_is_better=True),
    Row(operation="timer", figure="p50_ms", title="workflow with a timer of 0 s · p50, ms"),
    Row(operation="fan-out", figure="p50_ms", title="100 activities at once · p50, ms"),
    Row(operation="burst", figure="seconds", title="1,000 signals by 50 senders, until all are seen · s"),
    Row(
        operation=HISTORY,
        figure="activities_per_second",
        title="a long history is made · activities per second",
        higher_is_better=True,
    ),
    Row(operation=HISTORY, figure="recover_seconds", title="its worker is killed, the next one answers after · s"),
    Row(operation=HISTORY, figure="restart_seconds", title="an orderly restart, it answers after · s"),
)

OPERATIONS = tuple(dict.fromkeys(row.operation for row in ROWS))


@dataclass(frozen=True, kw_only=True)
class OperationsPlan:
    """What to measure."""

    contenders: Sequence[Contender]
    operations: Sequence[str]
    rounds: int
    seconds: float
    """At most so long for the samples of one operation, and as long for what runs at full speed."""
    activities: int
    """In the long history."""
    history_contenders: Sequence[str]
    """Who makes it: for some it takes minutes."""

    def order(self) -> list[tuple[int, Contender]]:
        """Round and contender, in the order of the visits; every other round goes backwards."""
        return [
            (round_, contender)
            for round_ in range(self.rounds)
            for contender in (self.contenders if round_ % 2 == 0 else list(reversed(self.contenders)))
        ]

    def operations_of(self, round_: int, contender: Contender) -> list[str]:
        """What this contender does in this round."""
        makes_history = round_ == 0 and contender.name in self.history_contenders
        return [name for name in self.operations if name != HISTORY or makes_history]

    def jobs(self, round_: int, contender: Contender, url: str) -> list[Job]:
        """The processes of one visit, one after the other; each is killed when it has done its work."""
        jobs = []
        if short := tuple(name for name in self.operations_of(round_, contender) if name != HISTORY):
            jobs.append(
                Job(
                    mode="operations",
                    url=url,
                    sandboxed=contender.sandboxed,
                    operations=short,
                    operation_seconds=OPERATION_SECONDS,
                    seconds=self.seconds,
                    warmup_seconds=self.seconds / 2,
                )
            )
        if HISTORY in self.operations_of(round_, contender):
            jobs += [
                Job(
                    mode=mode,
                    url=url,
                    sandboxed=contender.sandboxed,
                    operations=(HISTORY,),
                    operation_seconds=OPERATION_SECONDS + self.activities / ACTIVITIES_PER_SECOND_MIN,
                    activities=self.activities,
                    workflow_id="long-history",
                )
                for mode in ("operations", "recover")
            ]
        return jobs


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One operation in one visit."""

    contender: str
    round: int
    operation: str
    figures: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class OperationFailed:
    """An operation that has no figures in one visit, and why."""

    contender: str
    round: int
    operation: str
    error: str


@dataclass(kw_only=True)
class Operations:
    """What the part measured."""

    measured: list[Measured] = field(default_factory=list)
    failed: list[OperationFailed] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    servers: dict[str, dict[str, str]] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def contenders(self) -> list[str]:
        return list(dict.fromkeys(measured.contender for measured in self.measured))

    def median(self, contender: str, row: Row) -> float | None:
        """Of this figure over the rounds; None where it was not measured."""
        values = [
            measured.figures[row.figure]
            for measured in self.measured
            if measured.contender == contender
            and measured.operation == row.operation
            and row.figure in measured.figures
        ]
        return statistics.median(values) if values else None

    def times_better(self, row: Row, ours: str, theirs: str) -> float | None:
        """How many times better we are: above 1 is in our favour, for latencies and for rates alike."""
        our_value, their_value = self.median(ours, row), self.median(theirs, row)
        if our_value is None or their_value is None:
            return None
        return our_value / their_value if row.higher_is_better else their_value / our_value

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> "Operations":
        return Operations(
            measured=[Measured(**measured) for measured in data["measured"]],
            failed=[OperationFailed(**failed) for failed in data["failed"]],
            **{key: data[key] for key in ("skipped", "servers", "versions", "settings")},
        )


@dataclass
class OperationsRunner:
    """Makes the visits and collects what they measure."""

    plan: OperationsPlan
    embedded: Postgres
    doing: Callable[[str], None] = lambda _: None
    told: Callable[[Measured | OperationFailed], None] = lambda _: None
    visited: Callable[[], None] = lambda: None
    results: Operations = field(default_factory=Operations)

    async def run(self) -> Operations:
        plan, results = self.plan, self.results
        async with AsyncExitStack() as stack:
            stands = Stands(
                embedded=self.embedded,
                stack=stack,
                doing=self.doing,
                skipped=results.skipped,
                servers=results.servers,
                versions=results.versions,
            )
            await stands.prepare(plan.contenders)
            for round_, contender in plan.order():
                if stand := stands.ready.get(contender.name):
                    await self._visit(stand, round_)
                self.visited()
        results.settings = {
            "rounds": plan.rounds,
            "seconds": plan.seconds,
            "operations": list(plan.operations),
            "activities": plan.activities,
        }
        return results

    async def _visit(self, stand: Stand, round_: int) -> None:
        contender = stand.contender
        try:
            async with stand.backend() as (url, _):
                for job in self.plan.jobs(round_, contender, url):
                    if job.mode != "recover" or HISTORY in self._heard_of(contender, round_, self.results.measured):
                        await self._run(stand, job, round_)
        except Exception as error:  # a process, its server or its connection: the next visit goes on
            heard = self._heard_of(contender, round_, [*self.results.measured, *self.results.failed])
            for name in self.plan.operations_of(round_, contender):
                if name not in heard:
                    self._failed(contender, round_, name, describe_error(error))

    def _heard_of(self, contender: Contender, round_: int, told: Iterable["Measured | OperationFailed"]) -> set[str]:
        return {one.operation for one in told if one.contender == contender.name and one.round == round_}

    async def _run(self, stand: Stand, job: Job, round_: int) -> None:
        """One process, which is killed (SIGKILL, with its group) after its last word."""
        patience = START_SECONDS + job.operation_seconds * len(job.operations)
        try:
            async with (
                asyncio.timeout(patience),
                contender_process(MODULE, stand.environment, job, stand.log) as process,
            ):
                async for event in events(process, stand.log):
                    match event["event"]:
                        case "doing":
                            self.doing(f"round {round_ + 1} · {event['operation']} · {stand.contender.title}")
                        case "progress":
                            self.doing(f"{event['done']:,} of {job.activities:,} activities · {stand.contender.title}")
                        case "failed":
                            raise VisitFailed(event["error"])
                        case "done":
                            return
                        case _:
                            self._tell(stand.contender, round_, event)
                raise VisitFailed(f"ended with status {await process.wait()}: {last_line(stand.log)}")
        except TimeoutError:
            raise VisitFailed(f"no end after {patience:.0f} s") from None

    def _tell(self, contender: Contender, round_: int, event: dict[str, Any]) -> None:
        if event["event"] == "operation":
            measured = Measured(
                contender=contender.name, round=round_, operation=event["operation"], figures=event["figures"]
            )
            self.results.measured.append(measured)
            self.told(measured)
        elif event["event"] == "operation-failed":
            self._failed(contender, round_, event["operation"], event["error"])

    def _failed(self, contender: Contender, round_: int, operation: str, error: str) -> None:
        failed = OperationFailed(contender=contender.name, round=round_, operation=operation, error=error)
        self.results.failed.append(failed)
        self.told(failed)
