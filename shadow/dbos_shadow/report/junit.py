"""The report as JUnit XML: a suite for each workflow type, in it what a CI should show.

The first case of a suite is the decision: it fails unless it is a go, so that a suite in which nothing was compared is
never green. Then come one failed case for each difference and one skipped case for each reason why runs have no answer.
There is no case for each run: a report is of any number of them. (The pytest plug-in makes a test of each history.)
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from dbos_shadow.report.model import GroupReport, Report, TypeReport, Undecided
from dbos_shadow.report.rule import Decision
from dbos_shadow.report.words import side_words

__all__ = ["render_junit"]

# What XML 1.0 has no way to write.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render_junit(report: Report) -> str:
    """The XML text."""
    root = ElementTree.Element("testsuites", name=_clean(report.campaign.title))
    for found in report.types:
        _suite(root, report, found)
    _expired(root, report)
    if not report.types:
        suite = ElementTree.SubElement(root, "testsuite", name="shadow")
        _failure(_case(suite, "shadow", "decision"), report.decision.label, report.why, "")
        _count(suite)
    for name in ("tests", "failures", "skipped"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    ElementTree.indent(root, " ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(root: ElementTree.Element, report: Report, found: TypeReport) -> None:
    suite = ElementTree.SubElement(root, "testsuite", name=_clean(found.workflow_type))
    properties = ElementTree.SubElement(suite, "properties")
    counts = found.counts
    for name, value in (
        ("runs", counts.total),
        ("compared", counts.compared),
        ("decision", found.decision.value),
        ("rule", found.rule),
        ("config_hash", report.campaign.config_hash),
    ):
        ElementTree.SubElement(properties, "property", name=name, value=_clean(str(value)))
    decision = _case(suite, found.workflow_type, "decision")
    if found.decision is not Decision.GO:
        _failure(decision, found.decision.label, found.why, "")
    for group in report.groups:
        if group.workflow_type == found.workflow_type:
            _difference(suite, group)
    for undecided in report.undecided:
        if undecided.workflow_type == found.workflow_type:
            _skipped(suite, undecided)
    _count(suite)


def _expired(root: ElementTree.Element, report: Report) -> None:
    """Acceptances whose day is over: each is a failure, met or not."""
    over = [found for found in report.accepted if found.expired]
    if over:
        suite = ElementTree.SubElement(root, "testsuite", name="accepted differences")
        for found in over:
            case = _case(suite, "accepted differences", found.fingerprint)
            _failure(case, "expired", f"Expired on {found.expires}; {found.owner} accepted it: {found.reason}", "")
        _count(suite)


def _difference(suite: ElementTree.Element, group: GroupReport) -> None:
    exemplar = group.exemplar
    lines = [f"{group.runs:,} runs, {group.level} {group.kind.value}, fingerprint {group.fingerprint}"]
    for found in exemplar.shown:
        before, after = (side.short if side else "nothing" for side in (found.expected, found.actual))
        lines.append(f"{'>' if found.here else ' '} {found.path}: {before} -> {after}")
    for row in exemplar.rows:
        if row.differs:
            before, after = side_words(row)
            lines.append(f"{'>' if row.here else ' '} {before or '-'}  |  {after or '-'}")
    lines.append(f"$ {exemplar.command}")
    case = _case(suite, group.workflow_type, f"{group.level} {group.title} [{group.fingerprint}]")
    _failure(case, f"{group.level}-{group.kind.value}", group.title, "\n".join(lines))


def _skipped(suite: ElementTree.Element, found: Undecided) -> None:
    name = " ".join(part for part in (found.reason.value if found.reason else "no reason", found.subject) if part)
    case = _case(suite, found.workflow_type, f"{found.verdict.value}: {name}")
    text = f"{found.runs:,} runs, such as {found.workflow_id}. {found.meaning} {found.what_to_do}".strip()
    ElementTree.SubElement(case, "skipped", message=_clean(text))


def _case(suite: ElementTree.Element, workflow_type: str, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(suite, "testcase", classname=_clean(workflow_type), name=_clean(name))


def _failure(case: ElementTree.Element, kind: str, message: str, text: str) -> None:
    failure = ElementTree.SubElement(case, "failure", type=_clean(kind), message=_clean(message))
    failure.text = _clean(text)


def _count(suite: ElementTree.Element) -> None:
    cases = suite.findall("testcase")
    suite.set("tests", str(len(cases)))
    suite.set("failures", str(sum(case.find("failure") is not None for case in cases)))
    suite.set("errors", "0")
    suite.set("skipped", str(sum(case.find("skipped") is not None for case in cases)))


def _clean(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)
