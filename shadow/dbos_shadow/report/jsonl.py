"""The report as JSON lines, for machines: a header, one line a run, one a group, a footer.

Each line has its kind under ``line``. The header holds what is known before any run, the footer the whole report without
what the lines above have told. Lines of runs come in the order in which they are given: give them sorted, to get the same
bytes twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter, create_model

from dbos_shadow.report.model import FORMAT, VERSION, GroupReport, Part, Report, RunLine

__all__ = ["jsonl_lines", "lines_schema_text", "render_jsonl"]

_IN_LINES = {"format", "version", "campaign", "rule", "groups", "runs", "runs_left_out"}


def _line_of(kind: str, base: type[BaseModel], names: Iterable[str]) -> type[BaseModel]:
    """The model of a line: its kind, and fields of another model."""
    fields: dict[str, Any] = {"line": (Literal[kind], ...)}
    for name in names:
        field = base.model_fields[name]
        fields[name] = (field.annotation, field)
    made: type[BaseModel] = create_model(f"{kind.capitalize()}Line", __base__=Part, **fields)
    made.__doc__ = None
    return made


_MODELS = {
    "header": _line_of("header", Report, ["format", "version", "campaign", "rule"]),
    "run": _line_of("run", RunLine, RunLine.model_fields),
    "group": _line_of("group", GroupReport, GroupReport.model_fields),
    "footer": _line_of("footer", Report, [name for name in Report.model_fields if name not in _IN_LINES]),
}


def lines_schema_text() -> str:
    """The JSON schema of one line (draft 2020-12), as it is published."""
    header, run, group, footer = _MODELS.values()
    one: Any = Annotated[header | run | group | footer, Field(discriminator="line")]
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{FORMAT}-line/{VERSION}",
        "title": "A line of a shadow report",
        **TypeAdapter(one).json_schema(mode="serialization"),
    }
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def jsonl_lines(report: Report, runs: Iterable[RunLine] | None = None) -> Iterator[str]:
    """The lines, each with its line break.

    Args:
        report: the report.
        runs: a line for every run (``run_line``); without it, the few that the report itself keeps.
    """
    yield _line("header", report.model_dump(mode="json", include={"format", "version", "campaign", "rule"}))
    for run in report.runs if runs is None else runs:
        yield _line("run", run.model_dump(mode="json"))
    for group in report.groups:
        yield _line("group", group.model_dump(mode="json"))
    yield _line("footer", report.model_dump(mode="json", exclude=_IN_LINES))


def render_jsonl(report: Report, runs: Iterable[RunLine] | None = None) -> str:
    """All lines as one text."""
    return "".join(jsonl_lines(report, runs))


def _line(kind: str, fields: dict[str, Any]) -> str:
    return json.dumps({"line": kind, **fields}, ensure_ascii=False, separators=(",", ":")) + "\n"
