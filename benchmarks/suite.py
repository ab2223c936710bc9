"""All parts of a run on one embedded Postgres, with their progress on the terminal."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks.budgets import judge
from benchmarks.contenders import Contender
from benchmarks.document import load
from benchmarks.environments import environment
from benchmarks.idle import Idle, measure_idle
from benchmarks.machine import describe_run
from benchmarks.meters import COMMITS_METHOD
from benchmarks.mirror import measure_mirror
from benchmarks.operations import Measured, OperationFailed, OperationsPlan, OperationsRunner
from benchmarks.postgres import Postgres, start_embedded
from benchmarks.replays import Visit as ReplayVisit
from benchmarks.replays import measure_replays
from benchmarks.report import number
from benchmarks.results import Cell, Failure
from benchmarks.runner import Plan, Runner, Watcher
from benchmarks.schedules import ROWS as SCHEDULE_ROWS
from benchmarks.schedules import Visit as ScheduleVisit
from benchmarks.schedules import measure_schedules
from benchmarks.sleepers import measure_sleepers
from benchmarks.stands import describe_error


@dataclass(frozen=True, kw_only=True)
class SuiteOptions:
    """What to run: no plan, no contenders or no sleepers leaves that part out."""

    throughput: Plan | None
    idle_contenders: Sequence[Contender]
    idle_seconds: float
    sleepers: int
    wake_rate: float
    settle_seconds: float
    operations: OperationsPlan | None
    mirror_starts: int = 0
    mirror_rounds: int = 3
    histories: int = 0
    replay_rounds: int = 3
    schedules: int = 0
    schedule_rounds: int = 3


@dataclass
class Suite:
    """Runs the parts one after the other; a part that fails says so in its section."""

    options: SuiteOptions
    console: Console
    progress: Progress = field(init=False)

    def __post_init__(self) -> None:
        self.progress = Progress(
            SpinnerColumn(),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            console=self.console,
            transient=True,
        )

    async def run(self) -> dict[str, Any]:
        """The last document with the sections of this run in it."""
        document = load()
        with self.progress:
            if self.options.histories:
                document["shadow"] = await self._shadow()
            if self.options.schedules:
                document["determinism"] = await self._schedules()
            if not self._needs_a_database:
                return document
            starting = self.progress.add_task("starting an embedded Postgres", total=None)
            server = await start_embedded()
            self.progress.remove_task(starting)
            try:
                if self.options.throughput is not None:
                    document["throughput"] = await self._throughput(server, self.options.throughput)
                if self.options.sleepers:
                    document["sleepers"] = await self._sleepers(server)
                if self.options.idle_contenders:
                    document["idle"] = await self._idle(server)
                if self.options.operations is not None:
                    document["operations"] = await self._operations(server, self.options.operations)
                if self.options.mirror_starts:
                    document["mirror"] = await self._mirror(server)
            finally:
                await server.stop()
        return document

    @property
    def _needs_a_database(self) -> bool:
        options = self.options
        parts = options.throughput, options.sleepers, options.idle_contenders, options.operations, options.mirror_starts
        return any(parts)

    async def _shadow(self) -> dict[str, Any]:
        run = describe_run()
        bar = self.progress.add_task("replays", total=2 * self.options.replay_rounds)

        def told(one: ReplayVisit) -> None:
            self.progress.advance(bar)
            self._say(
                f"{one.way:<10}{number(one.cpu_seconds / one.histories * 1000):>8} ms of CPU a history  "
                f"{number(one.memory_mb):>6} MB"
            )

        try:
            found = await measure_replays(
                self.options.histories,
                self.options.replay_rounds,
                doing=lambda text: self.progress.update(bar, description=text),
                told=told,
            )
        except Exception as error:
            self._say(f"[red]replays:[/] {escape(describe_error(error))}")
            return {"run": run, "results": None, "error": describe_error(error)}
        finally:
            self.progress.remove_task(bar)
        return {"run": run, "results": found.to_json(), "error": None}

    async def _schedules(self) -> dict[str, Any]:
        run = describe_run()
        rounds = self.options.schedule_rounds
        bar = self.progress.add_task("schedules", total=len(SCHEDULE_ROWS) * rounds)

        def told(one: ScheduleVisit) -> None:
            self.progress.advance(bar)
            self._say(f"{one.row:<10}{number(one.schedules / one.cpu_seconds):>8} schedules a second of CPU")

        try:
            found = await measure_schedules(self.options.schedules, rounds, told=told)
        except Exception as error:
            self._say(f"[red]schedules:[/] {escape(describe_error(error))}")
            return {"run": run, "results": None, "error": describe_error(error)}
        finally:
            self.progress.remove_task(bar)
        return {"run": run, "results": found.to_json(), "error": None}

    async def _throughput(self, server: Postgres, plan: Plan) -> dict[str, Any]:
        run = describe_run()
        bar = self.progress.add_task("side by side", total=len(plan.order()))

        def measured(cell: Cell) -> None:
            self.progress.advance(bar)
            self._say(
                f"round {cell.round + 1} {cell.inflight:>4} in flight  {cell.contender:<20}"
                f"{number(cell.per_second):>8}/s  p50 {number(cell.p50_ms):>7} ms"
                + (f"  [red]{cell.failures} failed: {escape(cell.note or '')}[/]" if cell.failures else "")
            )

        def failed(failure: Failure) -> None:
            self.progress.advance(bar)
            self._say(
                f"round {failure.round + 1} {failure.inflight:>4} in flight  {failure.contender:<20}"
                f"[red]{escape(failure.error)}[/]"
            )

        def skipped(name: str, reason: str) -> None:
            self.progress.update(bar, total=sum(c.name != name for _, _, c in plan.order()))
            self._say(f"[yellow]{name} is skipped:[/] {escape(reason)}")

        watcher = Watcher(
            doing=lambda text: self.progress.update(bar, description=text),
            measured=measured,
            failed=failed,
            skipped=skipped,
        )
        results = await Runner(plan, server, watcher).run()
        results.settings = {
            "rounds": plan.rounds,
            "seconds": plan.seconds,
            "warmup_seconds": plan.warmup_seconds,
            "inflight": list(plan.inflight),
            "commits": COMMITS_METHOD,
        }
        self.progress.remove_task(bar)
        verdicts = [verdict.to_json() for verdict in judge(results.summaries())]
        return {"run": run, "results": results.to_json(), "verdicts": verdicts}

    async def _sleepers(self, server: Postgres) -> dict[str, Any]:
        run = describe_run()
        task = self.progress.add_task("sleepers", total=None)
        try:
            found = await measure_sleepers(
                server,
                sleepers=self.options.sleepers,
                wake_rate=self.options.wake_rate,
                settle_seconds=self.options.settle_seconds,
                doing=lambda text: self.progress.update(task, description=text),
            )
        except Exception as error:
            self._say(f"[red]sleepers:[/] {escape(describe_error(error))}")
            return {"run": run, "results": None, "error": describe_error(error), "verdicts": {}}
        finally:
            self.progress.remove_task(task)
        verdicts = {"memory of sleepers": found.within_memory, "sleepers on time": found.on_time}
        return {"run": run, "results": found.to_json(), "error": None, "verdicts": verdicts}

    async def _mirror(self, server: Postgres) -> dict[str, Any]:
        run = describe_run()
        task = self.progress.add_task("mirror", total=None)
        try:
            found = await measure_mirror(
                server,
                starts=self.options.mirror_starts,
                rounds=self.options.mirror_rounds,
                doing=lambda text: self.progress.update(task, description=text),
            )
        except Exception as error:
            self._say(f"[red]mirror:[/] {escape(describe_error(error))}")
            return {"run": run, "results": None, "error": describe_error(error), "verdicts": {}}
        finally:
            self.progress.remove_task(task)
        verdicts = {"latency that the mirror adds to a start": found.within_budget, "all runs match": found.all_match}
        return {"run": run, "results": found.to_json(), "error": None, "verdicts": verdicts}

    async def _idle(self, server: Postgres) -> dict[str, Any]:
        run = describe_run()
        found: list[Idle] = []
        failed: dict[str, str] = {}
        for contender in self.options.idle_contenders:
            task = self.progress.add_task(f"idle: {contender.title}", total=None)
            try:
                made = await environment(contender.requirements, progress=self._say)
                found.append(await measure_idle(server, contender, made, seconds=self.options.idle_seconds))
            except Exception as error:
                failed[contender.name] = describe_error(error)
                self._say(f"[red]idle {contender.name}:[/] {escape(describe_error(error))}")
            finally:
                self.progress.remove_task(task)
        return {"run": run, "results": [idle.to_json() for idle in found], "failed": failed}

    async def _operations(self, server: Postgres, plan: OperationsPlan) -> dict[str, Any]:
        run = describe_run()
        bar = self.progress.add_task("operations", total=len(plan.order()))

        def told(one: Measured | OperationFailed) -> None:
            if isinstance(one, Measured):
                figures = "  ".join(f"{name} {number(value)}" for name, value in one.figures.items())
            else:
                figures = f"[red]{escape(one.error)}[/]"
            self._say(f"round {one.round + 1} {one.operation:>10}  {one.contender:<20}{figures}")

        runner = OperationsRunner(
            plan,
            server,
            doing=lambda text: self.progress.update(bar, description=text),
            told=told,
            visited=lambda: self.progress.advance(bar),
        )
        results = await runner.run()
        for name, reason in results.skipped.items():
            self._say(f"[yellow]{name} is skipped:[/] {escape(reason)}")
        self.progress.remove_task(bar)
        return {"run": run, "results": results.to_json()}

    def _say(self, text: str) -> None:
        self.progress.console.print(text, highlight=False)
