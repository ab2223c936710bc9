"""The report for a terminal: the decision, why, and what was not checked; on one or two screens."""

from __future__ import annotations

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from dbos_shadow.report.explain import LEVELS
from dbos_shadow.report.figures import counted, percent, short_ms
from dbos_shadow.report.model import DifferenceShown, GroupReport, Report, Row, TypeReport
from dbos_shadow.report.rule import Decision
from dbos_shadow.report.scrub import Shown
from dbos_shadow.report.words import bound, sentences, side_words, taken_over

__all__ = ["render_text"]

STYLE = {Decision.GO: "bold green", Decision.NO_GO: "bold red", Decision.CANNOT_TELL: "bold yellow"}
GROUPS_MAX = 8
LINES_MAX = 12
ROWS_AROUND = 2


def render_text(report: Report, console: Console) -> None:
    """Print the report; what is long is cut, and it says where the rest is."""
    console.print(_headline(report))
    console.print(_types(report))
    shown = [group for group in report.groups if group.first_in][:GROUPS_MAX]
    for number, group in enumerate(shown, 1):
        console.print(_group(number, group))
    left = len(report.groups) - len(shown) + report.groups_left_out
    if left > 0:
        console.print(Text(f"  and {counted(left, 'more difference')}, in the HTML page and the JSON\n", style="dim"))
    console.print(_not_checked(report))
    if report.trend is not None and report.trend.changes:
        console.print(_section("Since the last report", [Text(change.text) for change in report.trend.changes]))
    console.print(_footer(report))


def _headline(report: Report) -> RenderableType:
    style = STYLE[report.decision]
    counts = report.counts
    told = Text()
    told.append(report.decision.label, style=style)
    told.append("  ")
    told.append(report.why)
    numbers = [counted(counts.total, "run"), f"{counts.match:,} the same"]
    numbers += [f"{counts.accepted:,} accepted"] if counts.accepted else []
    numbers += [f"{counts.mismatch:,} differ"] if counts.mismatch else []
    numbers += [f"{counts.without_answer:,} without an answer"] if counts.without_answer else []
    numbers += [taken_over(report)] if taken_over(report) else []
    told.append("\n" + " · ".join(numbers), style="dim")
    return Panel(told, title=report.campaign.title, title_align="left", border_style=style.split()[-1], padding=(0, 1))


def _types(report: Report) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("")
    table.add_column("workflow type", overflow="fold")
    for name in ("runs", "same", "differ", "no answer"):
        table.add_column(name, justify="right")
    table.add_column("why", overflow="fold")
    for found in report.types:
        table.add_row(
            Text(found.decision.label, style=STYLE[found.decision]),
            Text(found.workflow_type),
            f"{found.counts.total:,}",
            f"{found.counts.same:,}",
            Text(f"{found.counts.mismatch:,}", style="red" if found.counts.mismatch else "dim"),
            Text(f"{found.counts.without_answer:,}", style="yellow" if found.counts.without_answer else "dim"),
            Text(_why(found)),
        )
    return table


def _why(found: TypeReport) -> str:
    return f"{found.why}, {bound(found)} (95 %)" if bound(found) else found.why


def _group(number: int, group: GroupReport) -> RenderableType:
    runs = counted(group.runs, "run")
    head = Text()
    head.append(f"{number}. ", style="bold")
    head.append(f"{group.level} ", style="bold red")
    head.append(group.title, style="bold")
    head.append(f"\n{group.workflow_type} · {runs} · ", style="dim")
    head.append(f"{LEVELS[group.level]}, {group.kind.value} · {group.fingerprint}", style="dim")
    parts: list[RenderableType] = [head]
    exemplar = group.exemplar
    if exemplar.rows:
        parts.append(_columns(exemplar.rows))
    parts.append(_values(exemplar.shown[0]))
    if exemplar.differences > 1:
        parts.append(Text(f"{counted(exemplar.differences - 1, 'more difference')} in this run", style="dim"))
    parts.append(Text(f"$ {exemplar.command}", style="cyan", overflow="fold"))
    return Padding(Group(*parts), (0, 2, 1, 2))


def _columns(rows: tuple[Row, ...]) -> RenderableType:
    here = next((index for index, row in enumerate(rows) if row.here), 0)
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column(" ")
    table.add_column("recorded by Temporal", overflow="fold")
    table.add_column("on the core", overflow="fold")
    for row in rows[max(0, here - ROWS_AROUND) : here + ROWS_AROUND + 1]:
        style = "red" if row.here else "yellow" if row.differs else "dim"
        before, after = side_words(row)
        table.add_row(
            Text("▶" if row.here else " ", style="red"),
            Text(before or "—", style=style),
            Text(after or "—", style=style),
        )
    return table


def _values(found: DifferenceShown) -> RenderableType:
    text = Text()
    text.append(found.path + "  ", style="bold")
    text.append(_shown(found.expected), style="green")
    text.append(" → ", style="dim")
    text.append(_shown(found.actual), style="red")
    return text


def _shown(shown: Shown | None) -> str:
    return "nothing" if shown is None else shown.short


def _not_checked(report: Report) -> RenderableType:
    return _section("What was not checked", [Text(told) for told in sentences(report)])


def _section(title: str, lines: list[Text]) -> RenderableType:
    shown: list[RenderableType] = [Text(title, style="bold")]
    shown += [Padding(Text("· ") + line, (0, 0, 0, 2)) for line in lines[:LINES_MAX]]
    if len(lines) > LINES_MAX:
        shown.append(Text(f"  and {len(lines) - LINES_MAX} more", style="dim"))
    return Padding(Group(*shown), (0, 0, 1, 0))


def _footer(report: Report) -> RenderableType:
    campaign, rule = report.campaign, report.rule
    made = [
        f"rule: {rule.sample_floor:,} runs or more, {rule.mismatches_max:,} may differ, "
        f"{percent(rule.undecided_share_max)} may be without an answer",
        f"sample: {campaign.sample}" if campaign.sample else "",
        f"temporalio {campaign.versions.temporalio}" if campaign.versions.temporalio else "",
        f"dbos-compat {campaign.versions.dbos_compat}" if campaign.versions.dbos_compat else "",
        f"Python {campaign.versions.python}" if campaign.versions.python else "",
        f"configuration {campaign.config_hash}" if campaign.config_hash else "",
        f"median run {short_ms(report.duration.median)}" if report.duration else "",
    ]
    return Text(" · ".join(part for part in made if part), style="dim")
