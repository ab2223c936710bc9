"""The report as JSON lines, for machines: a header, one line a run, one a group, a footer.

Each line has its kind under ``line``. The header holds what is known before any run, the footer the whole report without
what the lines above have told. Lines of runs come in the order in which they are given: give them sorted, to get the same
bytes twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from dbos_shadow.report.model import FORMAT, VERSION, Report, RunLine

__all__ = ["jsonl_lines", "render_jsonl"]

_IN_LINES = {"format", "version", "campaign", "rule", "groups", "runs", "runs_left_out"}


def jsonl_lines(report: Report, runs: Iterable[RunLine] | None = None) -> Iterator[str]:
    """The lines, each with its line break.

    Args:
        report: the report.
        runs: a line for every run (``run_line``); without it, the few that the report itself keeps.
    """
    header = {"format": FORMAT, "version": VERSION, **_json(report, {"campaign", "rule"})}
    yield _line("header", header)
    for run in report.runs if runs is None else runs:
        yield _line("run", run.model_dump(mode="json"))
    for group in report.groups:
        yield _line("group", group.model_dump(mode="json"))
    yield _line("footer", report.model_dump(mode="json", exclude=_IN_LINES))


def render_jsonl(report: Report, runs: Iterable[RunLine] | None = None) -> str:
    """All lines as one text."""
    return "".join(jsonl_lines(report, runs))


def _json(report: Report, parts: set[str]) -> dict[str, Any]:
    return report.model_dump(mode="json", include=parts)


def _line(kind: str, fields: dict[str, Any]) -> str:
    return json.dumps({"line": kind, **fields}, ensure_ascii=False, separators=(",", ":")) + "\n"
