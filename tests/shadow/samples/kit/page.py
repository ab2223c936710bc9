"""docs/determinism-samples.md: the generated part, between two markers."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

from tests.fixtures.process import REPOSITORY
from tests.shadow.samples.kit.outcome import Outcome
from tests.shadow.samples.kit.told import KNOWN, LEFT_OUT, TOLD

PAGE = REPOSITORY / "docs" / "determinism-samples.md"
BEGIN = "<!-- results: written by `python -m tests.shadow.samples.kit --write-docs`, not by hand -->"
END = "<!-- end of results -->"


def write(outcomes: Sequence[Outcome], revision: str, page: Path = PAGE) -> None:
    """Put the results between the markers.

    Raises:
        ValueError: the page has no such markers.
    """
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for results: {BEGIN} … {END}")
    page.write_text(f"{before}{BEGIN}\n\n{render(outcomes, revision)}\n{END}{after}", encoding="utf-8")


def render(outcomes: Sequence[Outcome], revision: str) -> str:
    """The table, what breaks, and what is left out, as Markdown."""
    tried = [outcome for outcome in outcomes if outcome.was_tried]
    holds = sum(outcome.verdict == "holds" for outcome in tried)
    breaks = sum(outcome.verdict == "breaks" for outcome in tried)
    lines = [
        f"Samples at `{revision[:12]}`, temporalio {version('temporalio')}: **{len(tried)} workflows, "
        f"{sum(outcome.schedules for outcome in tried):,} schedules: {holds} hold, {breaks} break a rule as told "
        f"below**, {len(tried) - holds - breaks} to be looked at.",
        "",
        "| Workflow | Schedules | Tasks | Verdict | Remark |",
        "|---|---:|---:|---|---|",
    ]
    for outcome in tried:
        remark = "see below" if outcome.verdict == "breaks" else outcome.remark if not outcome.well else ""
        remark = remark or ("with arguments or options from the table" if outcome.place in TOLD else "")
        lines.append(
            f"| {outcome.place} | {outcome.schedules:,} | {outcome.tasks:,} | {outcome.verdict} | {_cell(remark)} |"
        )
    for outcome in tried:
        if outcome.verdict == "breaks":
            lines += ["", f"`{outcome.place}` breaks the rule that {outcome.told['rule']}. {KNOWN[outcome.place].why}"]
            lines += ["", "```text", _story(str(outcome.told["story"])), "```"]
    lines += ["", "Not tried:", ""]
    lines += [f"* {outcome.place}: {outcome.remark}" for outcome in outcomes if not outcome.was_tried]
    by_why = groupby(
        sorted(LEFT_OUT, key=lambda folder: (LEFT_OUT[folder], folder)), key=lambda folder: LEFT_OUT[folder]
    )
    lines += [f"* {', '.join(folders)}: {why}" for why, folders in by_why]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")[:200]


def _story(text: str) -> str:
    """Without the decisions, which belong to one release of the kit, and without the middle of a long one."""
    lines = [line.rstrip() for line in text.partition("decisions=")[0].strip().splitlines()]
    return "\n".join(lines if len(lines) <= LINES_MAX else [*lines[: LINES_MAX - 5], "     ...", *lines[-4:]])


LINES_MAX = 24
