"""The report as SARIF 2.1.0, for tools that show findings beside the code.

One result for each difference (kind *fail*), for each reason why runs have no answer (*open*: the check is not finished),
and for each workflow type that is a go (*pass*). Where a type is defined is told if whoever made the report knew it.
"""

from __future__ import annotations

import json
from typing import Any

from dbos_shadow.difference import Kind, Level
from dbos_shadow.report.explain import LEVELS, REASONS
from dbos_shadow.report.model import GroupReport, Report, Source, TypeReport, Undecided
from dbos_shadow.report.rule import Decision

__all__ = ["render_sarif"]

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
Json = dict[str, Any]


def render_sarif(report: Report) -> str:
    """The JSON text of a SARIF log with one run."""
    sources = {found.workflow_type: found.source for found in report.types if found.source}
    rules = _rules()
    index = {rule["id"]: place for place, rule in enumerate(rules)}
    results = [_difference(group, sources) for group in report.groups]
    results += [_open(found, sources) for found in report.undecided]
    results += [_decision(found, sources) for found in report.types]
    for result in results:
        result["ruleIndex"] = index[result["ruleId"]]
    campaign = report.campaign
    driver: Json = {
        "name": "dbos-compat shadow",
        "rules": rules,
    }
    if campaign.versions.dbos_compat:
        driver["version"] = campaign.versions.dbos_compat
    run: Json = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": results,
        "properties": {
            "decision": report.decision.value,
            "why": report.why,
            "configHash": campaign.config_hash,
            "temporalio": campaign.versions.temporalio,
            "python": campaign.versions.python,
            "runs": report.counts.total,
        },
    }
    if campaign.label:
        run["automationDetails"] = {"id": f"shadow/{campaign.label}"}
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=1, ensure_ascii=False) + "\n"


def _rules() -> list[Json]:
    rules = [
        _rule(
            f"shadow/{level}-{kind.value}",
            f"{LEVELS[level].capitalize()}: {kind.value}",
            f"The {LEVELS[level]} differ.",
        )
        for level in Level
        for kind in Kind
    ]
    rules += [_rule(f"shadow/{reason.value}", meaning, what_to_do) for reason, (meaning, what_to_do) in REASONS.items()]
    rules += [
        _rule("shadow/no-answer", "Runs have no answer.", "No reason was given."),
        _rule(
            "shadow/decision",
            "Do the runs of a workflow type the same?",
            "A go needs enough runs, and none that differs.",
        ),
    ]
    return rules


def _rule(name: str, short: str, long: str) -> Json:
    return {"id": name, "shortDescription": {"text": short}, "fullDescription": {"text": long}}


def _difference(group: GroupReport, sources: dict[str, Source]) -> Json:
    exemplar = group.exemplar
    found = exemplar.shown[0]
    before, after = (side.short if side else "nothing" for side in (found.expected, found.actual))
    return {
        "ruleId": f"shadow/{group.level}-{group.kind.value}",
        "kind": "fail",
        "level": "error" if group.level <= Level.INPUTS else "warning",
        "message": {
            "text": f"{group.workflow_type}: {group.title}, in {group.runs:,} runs. Expected {before}, got {after}. "
            f"Shown by {exemplar.workflow_id}: {exemplar.command}"
        },
        "locations": [_location(group.workflow_type, group.pattern, sources)],
        "partialFingerprints": {"shadow/v1": group.fingerprint},
        "occurrenceCount": group.occurrences,
        "properties": {"runs": group.runs, "workflowId": exemplar.workflow_id, "runId": exemplar.run_id},
    }


def _open(found: Undecided, sources: dict[str, Source]) -> Json:
    subject = f" ({found.subject})" if found.subject else ""
    return {
        "ruleId": f"shadow/{found.reason.value}" if found.reason else "shadow/no-answer",
        "kind": "open",
        "level": "none",
        "message": {
            "text": f"{found.workflow_type}: {found.runs:,} runs have no answer{subject}. "
            f"{found.meaning} {found.what_to_do}".strip()
        },
        "locations": [_location(found.workflow_type, found.subject, sources)],
        "properties": {"runs": found.runs, "verdict": found.verdict.value, "workflowId": found.workflow_id},
    }


def _decision(found: TypeReport, sources: dict[str, Source]) -> Json:
    kinds = {Decision.GO: "pass", Decision.NO_GO: "fail", Decision.CANNOT_TELL: "open"}
    return {
        "ruleId": "shadow/decision",
        "kind": kinds[found.decision],
        "level": "error" if found.decision is Decision.NO_GO else "none",
        "message": {"text": f"{found.workflow_type}: {found.decision.label}: {found.why}."},
        "locations": [_location(found.workflow_type, "", sources)],
        "properties": {"rule": found.rule, **found.counts.model_dump()},
    }


def _location(workflow_type: str, path: str, sources: dict[str, Source]) -> Json:
    logical: Json = {"name": workflow_type, "kind": "type"}
    if path:
        logical["fullyQualifiedName"] = f"{workflow_type}/{path}"
    location: Json = {"logicalLocations": [logical]}
    if source := sources.get(workflow_type):
        location["physicalLocation"] = {
            "artifactLocation": {"uri": source.uri},
            "region": {"startLine": source.line},
        }
    return location
