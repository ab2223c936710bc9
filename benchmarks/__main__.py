"""``python -m benchmarks``: run what is asked for, print tables, write JSON, plot and, on request, README.md."""

import asyncio
import json
import signal
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.contenders import BY_NAME, CONTENDERS, Contender
from benchmarks.document import LATEST, PLOT_NAME, load, plot, save
from benchmarks.idle import STATEMENTS_PER_SECOND_BUDGET
from benchmarks.machine import VOLATILE_FILESYSTEMS, describe_machine
from benchmarks.operations import OPERATIONS, OperationsPlan
from benchmarks.readme import write_readme
from benchmarks.report import grids, print_grids
from benchmarks.runner import Plan
from benchmarks.suite import Suite, SuiteOptions


class Part(StrEnum):
    """What can be run."""

    THROUGHPUT = "throughput"
    SLEEPERS = "sleepers"
    IDLE = "idle"
    OPERATIONS = "operations"
    MIRROR = "mirror"
    SHADOW = "shadow"
    DETERMINISM = "determinism"


DEFAULT_CONTENDERS = ",".join(contender.name for contender in CONTENDERS if contender.default)


def chosen_contenders(names: str) -> list[Contender]:
    unknown = [name for name in names.split(",") if name not in BY_NAME]
    if unknown:
        raise typer.BadParameter(f"no such contender: {', '.join(unknown)}. There are: {', '.join(BY_NAME)}.")
    return [BY_NAME[name] for name in names.split(",")]


def chosen_operations(names: str) -> list[str]:
    unknown = [name for name in names.split(",") if name not in OPERATIONS]
    if unknown:
        raise typer.BadParameter(f"no such operation: {', '.join(unknown)}. There are: {', '.join(OPERATIONS)}.")
    return [name for name in OPERATIONS if name in names.split(",")]


def chosen_inflight(values: str) -> list[int]:
    try:
        numbers = [int(value) for value in values.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(1 <= value <= 256 for value in numbers):
        raise typer.BadParameter("numbers from 1 to 256 separated by commas, such as 1,8,32,128")
    return numbers


def main(
    part: Annotated[list[Part] | None, typer.Option(help="What to run; may be given several times.")] = None,
    contenders: Annotated[
        str, typer.Option(help=f"Separated by commas, out of: {', '.join(BY_NAME)}.")
    ] = DEFAULT_CONTENDERS,
    rounds: Annotated[int, typer.Option(min=1, help="Alternating rounds; the tables show medians over them.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.5, help="The measuring window of each visit.")] = 5.0,
    warmup: Annotated[float, typer.Option(min=0.1, help="Load before the window opens.")] = 2.0,
    inflight: Annotated[str, typer.Option(help="Workflows in flight, separated by commas.")] = "1,8,32,128",
    sleepers: Annotated[int, typer.Option(min=1, help="How many workflows sleep; the budget is for 100000.")] = 10_000,
    wake_rate: Annotated[float, typer.Option(min=1, help="Sleepers that fall due per second.")] = 200.0,
    settle: Annotated[float, typer.Option(min=6, help="Seconds between the last start and the first wake.")] = 20.0,
    idle_seconds: Annotated[float, typer.Option(min=1, help="How long the idle worker is watched.")] = 30.0,
    op: Annotated[
        str, typer.Option(help=f"Operations, separated by commas, out of: {', '.join(OPERATIONS)}.")
    ] = ",".join(OPERATIONS),
    op_seconds: Annotated[float, typer.Option(min=0.5, help="At most so long for the samples of an operation.")] = 2.0,
    activities: Annotated[int, typer.Option(min=100, help="In the long history that is made and recovered.")] = 10_000,
    history_by: Annotated[
        str, typer.Option(help="Contenders that make the long history; the durable dev server takes minutes for it.")
    ] = "compat-unsandboxed,compat-sandboxed,temporal",
    starts: Annotated[int, typer.Option(min=50, help="Starts per round with and without the mirror.")] = 400,
    histories: Annotated[int, typer.Option(min=100, help="Histories that the shadow replays.")] = 10_000,
    schedules: Annotated[int, typer.Option(min=100, help="Schedules per row that the determinism kit tries.")] = 1_500,
    json_: Annotated[bool, typer.Option("--json", help="Print the JSON instead of tables.")] = False,
    check: Annotated[bool, typer.Option(help="Exit 1 when a budget is missed or could not be measured.")] = False,
    write_readme_: Annotated[
        bool, typer.Option("--write-readme", help="Put the tables into benchmarks/README.md.")
    ] = False,
    render: Annotated[bool, typer.Option(help="Measure nothing; show the results of the last run.")] = False,
) -> None:
    """Benchmarks side by side: dbos-compat, DBOS, dbosify, the Temporal dev server, and the floor."""
    parts = part or list(Part)
    options = SuiteOptions(
        throughput=Plan(
            contenders=chosen_contenders(contenders),
            inflight=chosen_inflight(inflight),
            rounds=rounds,
            seconds=seconds,
            warmup_seconds=warmup,
        )
        if Part.THROUGHPUT in parts
        else None,
        idle_contenders=[contender for contender in chosen_contenders(contenders) if contender.can_idle]
        if Part.IDLE in parts
        else [],
        idle_seconds=idle_seconds,
        sleepers=sleepers if Part.SLEEPERS in parts else 0,
        wake_rate=wake_rate,
        settle_seconds=settle,
        operations=OperationsPlan(
            contenders=[contender for contender in chosen_contenders(contenders) if contender.has_operations],
            operations=chosen_operations(op),
            rounds=rounds,
            seconds=op_seconds,
            activities=activities,
            history_contenders=[contender.name for contender in chosen_contenders(history_by)],
        )
        if Part.OPERATIONS in parts
        else None,
        mirror_starts=starts if Part.MIRROR in parts else 0,
        mirror_rounds=rounds,
        histories=histories if Part.SHADOW in parts else 0,
        replay_rounds=rounds,
        schedules=schedules if Part.DETERMINISM in parts else 0,
        schedule_rounds=rounds,
    )
    progress = Console(stderr=True)
    document = load() if render else measure(options, progress)
    if not json_:
        print_grids(Console(), grids(document))
    else:
        print(json.dumps(document, indent=2))
    if write_readme_:
        write_readme(document, [f"results/{PLOT_NAME}"] if "throughput" in document else [])
    problems = missed(document, parts)
    if check and problems:
        progress.print(*(f"[red]missed or not measured:[/] {problem}" for problem in problems), sep="\n")
        raise typer.Exit(1)
    if Part.THROUGHPUT in parts and not render and not document["throughput"]["results"]["cells"]:
        progress.print("[red]No contender could be measured; the reasons are above.[/]")
        raise typer.Exit(1)


def measure(options: SuiteOptions, progress: Console) -> dict[str, Any]:
    """Run the suite, merge its sections into the last document, write that and the plot."""
    if describe_machine()["filesystem"] in VOLATILE_FILESYSTEMS:
        progress.print("[yellow]The checkout is on a file system in memory: commits are not durable here.[/]")
    try:
        document = asyncio.run(interruptible(Suite(options, progress)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        progress.print("interrupted: the servers are stopped, nothing was written")
        raise typer.Exit(130) from None
    save(document)
    progress.print(f"written: {shown(LATEST)}")
    if options.throughput is not None and document["throughput"]["results"]["cells"]:
        try:
            plot(document, progress)
            progress.print(f"written: {shown(LATEST.with_name(PLOT_NAME))}")
        except Exception as error:
            progress.print(f"[yellow]no plot:[/] {error}")
    return document


async def interruptible(suite: Suite) -> dict[str, Any]:
    """SIGTERM ends the run as Ctrl-C does: every server is stopped on the way out."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await suite.run()


def shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def missed(document: dict[str, Any], parts: Sequence[Part]) -> list[str]:
    """The budgets of these parts that were not kept, or not measured."""
    problems = []
    if Part.THROUGHPUT in parts and (section := document.get("throughput")):
        problems += [verdict["what"] for verdict in section["verdicts"] if verdict["kept"] is not True]
    if Part.SLEEPERS in parts and (section := document.get("sleepers")):
        problems += [name for name, kept in section["verdicts"].items() if not kept]
        problems += [f"sleepers: {section['error']}"] if section["error"] else []
    if Part.IDLE in parts and (section := document.get("idle")):
        problems += [
            f"idle statements of {idle['contender']}"
            for idle in section["results"]
            if idle["contender"].startswith("compat") and idle["statements_per_second"] > STATEMENTS_PER_SECOND_BUDGET
        ]
        problems += [f"idle {name}: {error}" for name, error in section["failed"].items()]
    if Part.MIRROR in parts and (section := document.get("mirror")):
        problems += [name for name, kept in section["verdicts"].items() if not kept]
        problems += [f"mirror: {section['error']}"] if section["error"] else []
    if Part.SHADOW in parts and (section := document.get("shadow")):
        kept = section["results"] is not None and section["results"]["kept"]
        problems += [] if kept else ["replay of recorded histories over Temporal's replayer"]
    if Part.DETERMINISM in parts and (section := document.get("determinism")):
        kept = section["results"] is not None and section["results"]["kept"]
        problems += [] if kept else ["schedules per second of the determinism kit"]
    if Part.OPERATIONS in parts and (section := document.get("operations")):
        problems += [
            f"{failed['operation']} of {failed['contender']}: {failed['error']}"
            for failed in section["results"]["failed"]
            if failed["contender"].startswith("compat")
        ]
    return problems


if __name__ == "__main__":
    typer.run(main)
