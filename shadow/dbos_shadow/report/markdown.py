"""The report as Markdown for a pull request: the decision first, details folded."""

from __future__ import annotations

import re

from dbos_shadow.report.figures import counted, percent
from dbos_shadow.report.model import GroupReport, Report, Row, TypeReport
from dbos_shadow.report.rule import Decision
from dbos_shadow.report.words import bound, sentences, side_words, taken_over

__all__ = ["render_markdown"]

SIGN = {Decision.GO: "✅", Decision.NO_GO: "❌", Decision.CANNOT_TELL: "⚠️"}
GROUPS_MAX = 10
TYPES_MAX = 50
LINES_MAX = 20
ROWS_AROUND = 3

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~$@&])")


def render_markdown(report: Report) -> str:
    """GitHub's Markdown. It stays below the 65,536 characters that a comment may have."""
    counts, campaign = report.counts, report.campaign
    parts = [
        f"## {SIGN[report.decision]} {report.decision.label}: {_text(campaign.title)}",
        _text(report.why),
        f"**{counts.total:,}** runs: {counts.match:,} the same, {counts.accepted:,} accepted, **{counts.mismatch:,} differ**, "
        f"{counts.without_answer:,} without an answer."
        + (f" {_text(taken_over(report))}." if taken_over(report) else ""),
        _types(report),
    ]
    if report.groups:
        parts.append("### What differs")
        shown = [group for group in report.groups if group.first_in][:GROUPS_MAX]
        parts += [_group(group) for group in shown]
        more = len(report.groups) - len(shown) + report.groups_left_out
        parts += [f"and {counted(more, 'more difference')}."] if more > 0 else []
    told = sentences(report)
    parts += ["### What was not checked", "\n".join(f"- {_text(line)}" for line in told[:LINES_MAX])]
    parts += [f"and {len(told) - LINES_MAX} more."] if len(told) > LINES_MAX else []
    if report.trend is not None and report.trend.changes:
        lines = [
            f"- {'🔺' if change.worse else '🔹'} {_text(change.text)}" for change in report.trend.changes[:LINES_MAX]
        ]
        parts += ["### Since the last report", "\n".join(lines)]
    parts.append(f"<sub>{_text(_made(report))}</sub>")
    return "\n\n".join(parts) + "\n"


def _types(report: Report) -> str:
    lines = ["| | workflow type | runs | same | differ | no answer | why |", "|---|---|--:|--:|--:|--:|---|"]
    lines += [_type(found) for found in report.types[:TYPES_MAX]]
    if len(report.types) > TYPES_MAX:
        lines.append(f"| | and {len(report.types) - TYPES_MAX} more | | | | | |")
    return "\n".join(lines)


def _type(found: TypeReport) -> str:
    counts = found.counts
    why = f"{found.why}, {bound(found)} (95 %)" if bound(found) else found.why
    cells = (
        f"{SIGN[found.decision]} {found.decision.label}",
        _code(found.workflow_type),
        f"{counts.total:,}",
        f"{counts.same:,}",
        f"{counts.mismatch:,}",
        f"{counts.without_answer:,}",
        _text(why),
    )
    return f"| {' | '.join(cells)} |"


def _group(group: GroupReport) -> str:
    exemplar = group.exemplar
    lines = [
        "<details>",
        f"<summary><b>{group.level}</b> {_html(group.workflow_type)}: {_html(group.title)} "
        f"({counted(group.runs, 'run')})</summary>",
        "",
    ]
    if exemplar.rows:
        lines += ["```diff", *_rows(exemplar.rows), "```", ""]
    lines += ["| | path | expected | actual |", "|---|---|---|---|"]
    for found in exemplar.shown[:10]:
        before, after = (_code(side.short) if side else "nothing" for side in (found.expected, found.actual))
        lines.append(f"| {'▶' if found.here else ''} | {_code(found.path)} | {before} | {after} |")
    lines += [
        "",
        f"Fingerprint `{group.fingerprint}`. To see it again, offline:",
        "",
        "```sh",
        _fenced(exemplar.command),
        "```",
    ]
    return "\n".join([*lines, "</details>"])


def _rows(rows: tuple[Row, ...]) -> list[str]:
    here = next((index for index, row in enumerate(rows) if row.here), 0)
    lines: list[str] = []
    for row in rows[max(0, here - ROWS_AROUND) : here + ROWS_AROUND + 1]:
        before, after = side_words(row)
        if row.differs:
            lines += [f"- {before}"] if before else []
            lines += [f"+ {after}"] if after else []
        else:
            lines.append(f"  {before}")
    return [_fenced(line) for line in lines]


def _made(report: Report) -> str:
    campaign, rule = report.campaign, report.rule
    parts = (
        f"rule: {rule.sample_floor:,} runs or more, {rule.mismatches_max:,} may differ, "
        f"{percent(rule.undecided_share_max)} may be without an answer",
        f"sample: {campaign.sample}" if campaign.sample else "",
        f"temporalio {campaign.versions.temporalio}, dbos-compat {campaign.versions.dbos_compat}, "
        f"Python {campaign.versions.python}",
        f"configuration {campaign.config_hash}" if campaign.config_hash else "",
    )
    return " · ".join(part for part in parts if part)


def _text(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text.replace("\n", " "))


def _fenced(text: str) -> str:
    return text.replace("```", "'''").replace("\n", " ")


def _code(text: str) -> str:
    return f"<code>{_html(text.replace(chr(10), ' '))}</code>"


_ENTITIES = str.maketrans({sign: f"&#{ord(sign)};" for sign in "&<>*_`@|[]"})


def _html(text: str) -> str:
    return text.translate(_ENTITIES)
