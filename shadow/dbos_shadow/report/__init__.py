"""What many judgements say together: go, no-go or cannot tell, why, and what was not checked.

``ReportBuilder`` makes a ``Report`` (``model``) of judgements; every renderer reads that and nothing else. Payload values
are scrubbed on the way in (``scrub``), so that no renderer can show them.

Needs the ``shadow`` extra: ``pip install 'dbos-compat[shadow]'``.
"""

from dbos_shadow.report.build import ReportBuilder, ReportConfig, run_line, scrubber
from dbos_shadow.report.html import render_html
from dbos_shadow.report.jsonl import jsonl_lines, lines_schema_text, render_jsonl
from dbos_shadow.report.junit import render_junit
from dbos_shadow.report.markdown import render_markdown
from dbos_shadow.report.model import (
    Campaign,
    Report,
    RunLine,
    Source,
    Versions,
    Window,
    from_json,
    schema_text,
    to_json,
)
from dbos_shadow.report.rule import Decision, Rule
from dbos_shadow.report.sarif import render_sarif
from dbos_shadow.report.scrub import Scrubber, Shown
from dbos_shadow.report.text import render_text
from dbos_shadow.report.trend import trend_between, with_trend

__all__ = [
    "Campaign",
    "Decision",
    "Report",
    "ReportBuilder",
    "ReportConfig",
    "Rule",
    "RunLine",
    "Scrubber",
    "Shown",
    "Source",
    "Versions",
    "Window",
    "from_json",
    "jsonl_lines",
    "lines_schema_text",
    "render_html",
    "render_jsonl",
    "render_junit",
    "render_markdown",
    "render_sarif",
    "render_text",
    "run_line",
    "schema_text",
    "scrubber",
    "to_json",
    "trend_between",
    "with_trend",
]
