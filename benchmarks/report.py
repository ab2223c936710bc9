"""The results as tables: for the terminal with rich, for README.md as Markdown. One model, two printers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.budgets import Verdict, judge
from benchmarks.contenders import BY_NAME
from benchmarks.idle import STATEMENTS_PER_SECOND_BUDGET, Idle
from benchmarks.mirror import ADDED_BUDGET, MirrorFigures
from benchmarks.operations import ROWS, Operations
from benchmarks.replays import AT_LEAST, Replays
from benchmarks.results import Failure, Summary, Throughput
from benchmarks.schedules import AT_LEAST as SCHEDULES_AT_LEAST
from benchmarks.schedules import JUDGED as JUDGED_ROW
from benchmarks.schedules import ROWS as SCHEDULE_ROWS
from benchmarks.schedules import Schedules
from benchmarks.sleepers import RSS_BUDGET_MB, Sleepers

KEPT, MISSED, UNMEASURED = "pass", "MISS", "not measured"
LEGEND = (
    "wf/s: workflows per second, median of the rounds, and half their range as spread; for the floor, commits. "
    "p50, p99: latency in ms. client, server: CPU in ms per workflow. commits: per workflow."
)
STYLES = {KEPT: "bold green", MISSED: "bold red", UNMEASURED: "yellow"}


@dataclass
class Grid:
    """A table before it is printed: a title, a heading per column, rows of text."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    left: int = 1
    """So many columns on the left hold words, the others numbers."""
    note: str = ""


def number(value: float | None) -> str:
    """Three significant digits, no exponent; a dash for what this contender has no meter for."""
    if value is None:
        return "–"
    for bound, digits in ((100, 0), (10, 1), (1, 2)):
        if abs(value) >= bound:
            return f"{value:,.{digits}f}"
    return f"{value:.3f}"


def verdict_word(kept: bool | None) -> str:
    return UNMEASURED if kept is None else KEPT if kept else MISSED


def throughput_grids(results: Throughput) -> list[Grid]:
    """One grid per concurrency, the contenders in their order; ``LEGEND`` tells the columns."""
    summaries = results.summaries()
    order = list(BY_NAME)
    columns = (
        "contender",
        "wf/s",
        "spread",
        "p50",
        "p99",
        "client",
        "server",
        "commits",
    )
    grids = []
    for inflight in sorted({summary.inflight for summary in summaries}):
        grid = Grid(f"{inflight} in flight", columns)
        rows = sorted(
            (summary for summary in summaries if summary.inflight == inflight),
            key=lambda summary: order.index(summary.contender),
        )
        grid.rows = [_throughput_row(summary) for summary in rows]
        grids.append(grid)
    if grids:
        grids[-1].note = LEGEND
    return grids


def _throughput_row(summary: Summary) -> Sequence[str]:
    failures = f" ({summary.failures} failed)" if summary.failures else ""
    spread = (summary.per_second_max - summary.per_second_min) / 2 / summary.per_second
    return (
        summary.contender + failures,
        number(summary.per_second),
        f"±{spread:.0%}",
        number(summary.p50_ms),
        number(summary.p99_ms),
        number(summary.client_cpu_ms),
        number(summary.server_cpu_ms),
        number(summary.commits),
    )


def budget_grid(verdicts: Iterable[Verdict]) -> Grid:
    grid = Grid("Budgets", ("budget", "in flight", "bound", "measured", "verdict"))
    for verdict in verdicts:
        budget = verdict.budget
        unit = "×" if budget.rival else ""
        measured = "–" if verdict.value is None else number(verdict.value) + unit
        grid.rows.append((budget.what, str(budget.inflight), budget.bound, measured, verdict_word(verdict.kept)))
    return grid


def absence_grid(results: Throughput) -> Grid:
    """Who is missing, and why: one row per contender that was skipped, one per distinct error."""
    grid = Grid("Not measured", ("contender", "when", "reason"), left=3)
    for name, reason in results.skipped.items():
        grid.rows.append((name, "skipped", reason))
    groups: dict[tuple[str, str], list[Failure]] = {}
    for failure in results.failed:
        groups.setdefault((failure.contender, failure.error), []).append(failure)
    for (name, error), failures in groups.items():
        when = ", ".join(f"{inflight}" for inflight in sorted({failure.inflight for failure in failures}))
        grid.rows.append((name, f"{len(failures)} visits at {when} in flight", error))
    return grid


def sleepers_grid(found: Sleepers) -> Grid:
    grid = Grid(f"{found.sleepers:,} sleeping workflows", ("figure", "measured", "budget", "verdict"))
    grid.rows = [
        (
            "memory while all sleep",
            f"{found.rss_parked_mb:.0f} MB",
            f"< {RSS_BUDGET_MB:.0f} MB",
            verdict_word(found.within_memory),
        ),
        ("memory before · peak", f"{found.rss_before_mb:.0f} · {found.rss_peak_mb:.0f} MB", "", ""),
        (
            "started per second · first and last 5 %",
            f"{number(found.starts_per_second)} · {number(found.starts_per_second_over_time[0])}, "
            f"{number(found.starts_per_second_over_time[-1])}",
            "",
            "",
        ),
        ("fell due · woke per second", f"{number(found.wake_rate)} · {number(found.wakes_per_second)}", "", ""),
        (
            "lateness p50 · p99 · max",
            f"{number(found.late_p50_ms)} · {number(found.late_p99_ms)} · {number(found.late_max_ms)} ms",
            "on time",
            verdict_word(found.on_time),
        ),
        (
            "woke too early · lost",
            f"{found.early} · {found.lost}",
            "0 · 0",
            verdict_word(found.early + found.lost == 0),
        ),
    ]
    return grid


def idle_grid(found: Sequence[Idle]) -> Grid:
    grid = Grid("Idle worker", ("contender", "statements/s", "CPU %", "budget", "verdict"))
    for idle in found:
        ours = idle.contender.startswith("compat")
        kept = idle.statements_per_second <= STATEMENTS_PER_SECOND_BUDGET
        grid.rows.append(
            (
                idle.contender,
                number(idle.statements_per_second),
                number(idle.client_cpu_percent),
                f"≤ {STATEMENTS_PER_SECOND_BUDGET:g}" if ours else "",
                verdict_word(kept) if ours else "",
            )
        )
        if ours and not kept:
            grid.note = "Most frequent: " + "; ".join(f"{count}× {text}" for text, count in idle.most_frequent)
    return grid


def replays_grid(found: Replays) -> Grid:
    grid = Grid(
        f"{found.histories:,} histories of {found.events} events, unsandboxed",
        ("replayed by", "CPU ms/history", "histories/s and core", "memory MB"),
    )
    for name, cpu_ms, memory_mb in (
        ("the core, every command compared", found.core_ms, found.core_memory_mb),
        ("Temporal's Replayer", found.replayer_ms, found.replayer_memory_mb),
    ):
        grid.rows.append((name, number(cpu_ms), number(1000 / cpu_ms), number(memory_mb)))
    grid.note = (
        f"{found.times:.1f} times faster, budget ≥ {AT_LEAST:g}×: {verdict_word(found.kept)}. Of the core's time "
        f"{found.inside_ms:.2f} ms a history are temporalio's own workflow instances, which no replay can do without: "
        f"{found.replayer_ms / found.inside_ms:.1f} times is the end of the scale."
    )
    return grid


def schedules_grid(found: Schedules) -> Grid:
    grid = Grid(
        "Schedules of a five-step workflow, every step replayed",
        ("what happens", "schedules per CPU second", "steps per schedule", "budget", "verdict"),
    )
    for row, what in SCHEDULE_ROWS.items():
        judged = row == JUDGED_ROW
        grid.rows.append(
            (
                what,
                number(found.per_second[row]),
                number(found.steps[row]),
                f"≥ {SCHEDULES_AT_LEAST:g}" if judged else "",
                verdict_word(found.kept) if judged else "",
            )
        )
    grid.note = "Processor time of one process, medians over the rounds; every eighth schedule is run twice."
    return grid


def operations_grids(results: Operations) -> list[Grid]:
    """One line per figure: every contender, then how many times better we are than each of theirs."""
    names = [name for name in BY_NAME if name in results.contenders]
    ours = next((name for name in names if name.startswith("compat")), None)
    theirs = [] if ours is None else [name for name in names if not name.startswith("compat")]
    grid = Grid("Operations", ("operation", *names, *(f"vs {name}" for name in theirs)))
    for row in ROWS:
        medians = [results.median(name, row) for name in names]
        if any(value is not None for value in medians):
            better = [results.times_better(row, ours, name) for name in theirs] if ours is not None else []
            grid.rows.append(
                (row.title, *map(number, medians), *(number(b) + ("" if b is None else "×") for b in better))
            )
    if theirs:
        grid.note = (
            f"Medians over the rounds. vs: {ours} beside that contender, above 1 in favour of {ours}. "
            f"The long history has {results.settings['activities']:,} activities and is made once."
        )
    failed: dict[str, str] = {}
    for failure in results.failed:
        failed.setdefault(f"{failure.operation} of {failure.contender}", failure.error)
    failed |= results.skipped
    return [grid, *([failure_grid("Operations: not measured", failed)] if failed else [])]


def mirror_grid(found: MirrorFigures) -> Grid:
    grid = Grid(
        "Starts with and without the mirror",
        (
            "way",
            "starts",
            "plain p50",
            "mirrored p50",
            "plain p99",
            "mirrored p99",
            "added",
            "rounds",
            "budget",
            "verdict",
        ),
    )
    for name, way, judged in (("each in turn", found.each, True), ("in blocks", found.blocks, False)):
        grid.rows.append(
            (
                name,
                f"{way.starts:,}",
                *map(number, (way.plain_p50_ms, way.mirrored_p50_ms, way.plain_p99_ms, way.mirrored_p99_ms)),
                f"{way.added:+.1%}",
                f"{way.added_least:+.1%} … {way.added_most:+.1%}",
                f"< {ADDED_BUDGET:.0%}" if judged else "",
                verdict_word(found.within_budget) if judged else "",
            )
        )
    verdicts = ", ".join(f"{count:,} {verdict}" for verdict, count in sorted(found.verdicts.items()))
    grid.note = (
        f"Milliseconds. Added: median over the rounds of the medians' ratio; rounds: least and most. The front itself takes "
        f"{number(found.front_us)} µs of a start. In blocks the shadow's own work, on the same machine, is felt as well. "
        f"Verdicts: {verdicts}."
    )
    return grid


def failure_grid(title: str, failed: dict[str, str]) -> Grid:
    return Grid(title, ("what", "error"), list(failed.items()), left=2)


def grids(document: dict[str, Any]) -> list[Grid]:
    """All tables that the document has numbers for, and what could not be measured."""
    found: list[Grid] = []
    if section := document.get("throughput"):
        results = Throughput.from_json(section["results"])
        found += [*throughput_grids(results), budget_grid(judge(results.summaries()))]
        absences = absence_grid(results)
        if absences.rows:
            found.append(absences)
    if section := document.get("sleepers"):
        if section["results"] is None:
            found.append(failure_grid("Sleepers: not measured", {"sleepers": section["error"]}))
        else:
            found.append(sleepers_grid(Sleepers(**section["results"])))
    if section := document.get("idle"):
        if section["results"]:
            found.append(idle_grid([Idle(**idle) for idle in section["results"]]))
        if section["failed"]:
            found.append(failure_grid("Idle worker: not measured", section["failed"]))
    if section := document.get("shadow"):
        if section["results"] is None:
            found.append(failure_grid("Replays: not measured", {"replays": section["error"]}))
        else:
            figures = {field.name: section["results"][field.name] for field in fields(Replays)}
            found.append(replays_grid(Replays(**figures)))
    if section := document.get("determinism"):
        if section["results"] is None:
            found.append(failure_grid("Schedules: not measured", {"schedules": section["error"]}))
        else:
            results = section["results"]
            found.append(schedules_grid(Schedules(per_second=results["per_second"], steps=results["steps"])))
    if section := document.get("operations"):
        found += operations_grids(Operations.from_json(section["results"]))
    if section := document.get("mirror"):
        if section["results"] is None:
            found.append(failure_grid("Mirror: not measured", {"mirror": section["error"]}))
        else:
            found.append(mirror_grid(MirrorFigures.from_json(section["results"])))
    return found


def print_grids(console: Console, found: Iterable[Grid]) -> None:
    for grid in found:
        table = Table(title=grid.title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
        for index, column in enumerate(grid.columns):
            table.add_column(column, justify="left" if index < grid.left else "right", overflow="fold")
        for row in grid.rows:
            table.add_row(*(f"[{STYLES[text]}]{text}[/]" if text in STYLES else text for text in row))
        console.print(table)
        if grid.note:
            console.print(grid.note, style="dim")
