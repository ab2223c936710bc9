"""Each renderer tells the decision, every difference, and what was not checked; and what it writes is what it says it is."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections import Counter
from random import Random
from xml.etree import ElementTree

import pytest
from jsonschema import Draft202012Validator
from rich.console import Console

from dbos_shadow.report import (
    Report,
    ReportBuilder,
    Source,
    render_junit,
    render_markdown,
    render_sarif,
    render_text,
    schema_text,
    to_json,
)
from tests.unit.shadow.judgements import NO_ANSWERS, config, judged, mixed_runs, no_answer, no_quote, run, same_runs


@pytest.fixture(scope="module")
def mixed() -> Report:
    return built(mixed_runs(900))


def built(judgements, **fields) -> Report:
    builder = ReportBuilder(config(**fields))
    for judgement in judgements:
        builder.add(judgement)
    return builder.finish()


def in_terminal(report: Report, width: int = 140) -> str:
    out = io.StringIO()
    render_text(report, Console(file=out, width=width))
    return out.getvalue()


def test_json_keeps_the_published_schema(mixed: Report) -> None:
    for report in (mixed, built([])):
        Draft202012Validator(json.loads(schema_text())).validate(json.loads(to_json(report)))


def test_the_terminal_says_go_or_not_first(mixed: Report) -> None:
    lines = in_terminal(mixed).splitlines()
    assert "NO-GO  All 6 workflow types differ." in lines[1]
    text = "\n".join(lines)
    assert "What was not checked" in text
    assert "$ dbos-compat shadow export shadow-run --id" in text
    assert "no stub (send_mail)" in text
    assert "GO  All 6 workflow types do the same." in in_terminal(built(same_runs(120)))
    assert "CANNOT TELL  There was no run to compare." in in_terminal(built([]))


def test_the_terminal_takes_names_as_they_are() -> None:
    of = run("[red]Order[/red]", 1, Random(1))
    assert "[red]Order[/red]" in in_terminal(built([judged(of, no_quote(of))]))


def test_a_narrow_terminal_will_do(mixed: Report) -> None:
    assert max(len(line) for line in in_terminal(mixed, 60).splitlines()) <= 60


def test_junit_fails_for_what_is_no_go_and_is_never_green_for_nothing(mixed: Report) -> None:
    root = ElementTree.fromstring(render_junit(mixed))
    assert [suite.get("name") for suite in root] == [found.workflow_type for found in mixed.types]
    failed = root.findall(".//testcase[failure]")
    assert len(failed) == len(mixed.groups) + 6 == int(root.get("failures", ""))
    assert len(root.findall(".//testcase[skipped]")) == len(mixed.undecided) == int(root.get("skipped", ""))
    text = " ".join((case.findtext("failure") or "") for case in failed)
    for group in mixed.groups:
        assert group.fingerprint in text
        assert group.exemplar.command in text

    clean = ElementTree.fromstring(render_junit(built(same_runs(120))))
    assert (clean.get("tests"), clean.get("failures")) == ("6", "0")
    of = run("Checkout", 1, Random(1))
    for report in (built([]), built([no_answer(of, NO_ANSWERS[3])] * 20)):
        assert ElementTree.fromstring(render_junit(report)).get("failures") == "1"


def test_junit_writes_what_xml_cannot_hold() -> None:
    of = run("Order\x00<&>\ud800", 1, Random(1))
    assert "Order\ufffd<&>\ufffd" in {
        s.get("name") for s in ElementTree.fromstring(render_junit(built([judged(of, of)])))
    }


def test_sarif_has_a_result_for_each_difference_reason_and_type(mixed: Report) -> None:
    source = Source(uri="shop/checkout.py", line=17)
    log = json.loads(render_sarif(built(mixed_runs(900), sources={"Checkout": source})))
    (found,) = log["runs"]
    rules = [rule["id"] for rule in found["tool"]["driver"]["rules"]]
    assert len(rules) == len(set(rules))
    assert all(rules[result["ruleIndex"]] == result["ruleId"] for result in found["results"])
    kinds = Counter(result["kind"] for result in found["results"])
    assert kinds == {"fail": len(mixed.groups) + 6, "open": len(mixed.undecided)}
    assert all(result["level"] == "none" for result in found["results"] if result["kind"] != "fail"), "section 3.27.10"
    prints = {
        result["partialFingerprints"]["shadow/v1"] for result in found["results"] if "partialFingerprints" in result
    }
    assert prints == {group.fingerprint for group in mixed.groups}
    places = [
        result["locations"][0]["physicalLocation"]
        for result in found["results"]
        if result["locations"][0]["logicalLocations"][0]["name"] == "Checkout"
    ]
    assert all(place["artifactLocation"]["uri"] == "shop/checkout.py" for place in places)
    clean = json.loads(render_sarif(built(same_runs(120))))["runs"][0]["results"]
    assert [result["kind"] for result in clean] == ["pass"] * 6


def test_markdown_fits_into_a_comment_and_folds_details(mixed: Report) -> None:
    text = render_markdown(mixed)
    assert text.startswith("## ❌ NO-GO: Shop on Postgres\n")
    assert len(text) < 65_536
    assert text.count("<details>") == text.count("</details>") == 10
    assert "### What was not checked" in text
    assert render_markdown(built(same_runs(120))).startswith("## ✅ GO")
    assert render_markdown(built([])).startswith("## ⚠️ CANNOT TELL")


def test_markdown_takes_names_as_they_are() -> None:
    of = run("Order | <img src=x> `@all` ```", 1, Random(1))
    text = render_markdown(built([judged(of, no_quote(of))]))
    assert text.count("```") == 4
    outside = re.sub("```.*?```", "", text, flags=re.DOTALL)
    assert not re.search(r"(?<!\\)<img|(?<![\\`])@all", outside)


@pytest.mark.parametrize("name", ["pydantic", "jinja2"])
def test_without_the_extra_it_is_said_what_to_install(name: str) -> None:
    program = f"import sys; sys.modules[{name!r}] = None; import dbos_shadow.report"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert f"Reports need {name}. Install it with: pip install 'dbos-compat[shadow]'" in found.stderr
