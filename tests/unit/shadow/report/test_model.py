"""The report as data: what it counts, what it decides, that it is the same twice, and that its schema is published."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from random import Random
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from rich.console import Console

from dbos_shadow.allow import Accepted
from dbos_shadow.difference import Kind, Level
from dbos_shadow.report import (
    Campaign,
    Decision,
    Report,
    ReportBuilder,
    ReportConfig,
    Rule,
    from_json,
    jsonl_lines,
    lines_schema_text,
    render_html,
    render_junit,
    render_markdown,
    render_text,
    run_line,
    schema_text,
    scrubber,
    to_json,
)
from dbos_shadow.report.explain import REASONS
from dbos_shadow.report.words import sentences
from dbos_shadow.select import Stratum
from dbos_shadow.verdict import Judgement, Noise, Reason, Verdict
from tests.unit.shadow.judgements import (
    NO_ANSWERS,
    TYPES,
    config,
    judged,
    mixed_runs,
    no_answer,
    no_quote,
    other_charge,
    other_end,
    run,
    same_runs,
)

SCHEMAS = Path(__file__).parents[4] / "docs" / "schemas"


def report(*judgements: Judgement, **fields: Any) -> Report:
    builder = ReportBuilder(config(**fields))
    for judgement in judgements:
        builder.add(judgement)
    return builder.finish()


@pytest.mark.parametrize(
    ("name", "text"), [("shadow-report", schema_text()), ("shadow-report-line", lines_schema_text())]
)
def test_the_published_schemas_are_the_models_own(name: str, text: str) -> None:
    published = (SCHEMAS / f"{name}.schema.json").read_text()
    assert json.loads(published) == json.loads(text), (
        "python -m dbos_shadow.report.schemas writes them; raise VERSION if it breaks readers"
    )


def test_every_run_the_same_is_a_go() -> None:
    found = report(*same_runs(120))
    assert (found.decision, found.exit_code) == (Decision.GO, 0)
    assert [(t.workflow_type, t.counts.match, t.rule) for t in found.types] == [(n, 20, "clean") for n in sorted(TYPES)]
    assert found.types[0].differ_at_most == pytest.approx(0.1391, abs=1e-4)
    assert found.counts.total == found.counts.compared == 120
    assert not found.groups
    assert not found.runs


def test_one_difference_is_a_no_go_and_shows_where() -> None:
    expected = run("Checkout", 3, Random(1))
    found = report(*same_runs(60), judged(expected, no_quote(expected)))
    assert (found.decision, found.exit_code) == (Decision.NO_GO, 1)
    assert found.types[0].workflow_type == "Checkout"
    assert found.types[0].rule == "mismatches"
    (group,) = found.groups
    assert (group.level, group.kind, group.title) == (Level.SEQUENCE, Kind.MISSING, "activity quote is not asked for")
    (row,) = [row for row in group.exemplar.rows if row.differs]
    assert row.first
    assert row.here
    assert row.expected is not None
    assert row.expected.name == "quote"
    assert row.actual is None
    assert group.exemplar.command.endswith(f"--id checkout-3 --run-id {expected.run_id}")
    assert [line.workflow_id for line in found.runs] == ["checkout-3"]


def test_the_exemplar_is_the_clearest_run() -> None:
    short, long = (run("Checkout", 3, Random(1)), run("Checkout", 6, Random(5)))
    assert len(long.steps) > len(short.steps)
    for order in ((short, long), (long, short)):
        found = report(*(judged(of, other_charge(of)) for of in order))
        (group,) = found.groups
        assert (group.runs, group.exemplar.workflow_id) == (2, "checkout-3")


def test_first_divergences_come_before_what_follows_them() -> None:
    expected = run("Checkout", 3, Random(1))
    found = report(judged(expected, other_end(no_quote(expected))), judged(expected, other_end(expected), run_id="2"))
    assert [(group.level, group.runs, group.first_in) for group in found.groups] == [
        (Level.OUTCOME, 2, 1),
        (Level.SEQUENCE, 1, 1),
    ]
    found = report(judged(expected, other_end(no_quote(expected))))
    assert [(group.level, group.first_in) for group in found.groups] == [(Level.SEQUENCE, 1), (Level.OUTCOME, 0)]
    assert [shown.here for shown in found.groups[1].exemplar.shown] == [True, False]


def test_differences_that_no_step_has_are_in_the_columns_too() -> None:
    expected = run("Checkout", 3, Random(1))
    found = report(judged(expected, other_end(expected)))
    (row,) = [row for row in found.groups[0].exemplar.rows if row.differs]
    assert (row.part, row.actual_text) == ("outcome", "failed application PaymentRefused")


def test_a_long_run_is_shown_around_what_differs() -> None:
    expected = run("Checkout", 3, Random(1))
    many = expected.steps[:3] + expected.steps[2:3] * 500 + expected.steps[3:]
    before = replace(expected, steps=many, arrivals=())
    found = report(judged(before, other_charge(before)))
    rows = found.groups[0].exemplar.rows
    assert len(rows) < 20
    assert len(rows) + sum(row.left_out for row in rows) + found.groups[0].exemplar.rows_left_out == len(many) + 2
    assert any(row.here for row in rows)


def test_what_could_not_be_compared_is_never_a_go() -> None:
    of = run("Checkout", 3, Random(1))
    skipped = report(*(no_answer(of, why) for why in NO_ANSWERS * 30))
    assert (skipped.decision, skipped.exit_code, skipped.types[0].rule) == (Decision.CANNOT_TELL, 3, "nothing_compared")
    nothing = report()
    assert (nothing.decision, nothing.exit_code) == (Decision.CANNOT_TELL, 3)
    unseen = report(*same_runs(60, types=("Checkout",)), types=("Checkout", "Refund"))
    assert (unseen.decision, unseen.types[0].workflow_type) == (Decision.CANNOT_TELL, "Refund")
    few = report(*same_runs(9, types=("Checkout",)))
    assert (few.decision, few.types[0].rule) == (Decision.CANNOT_TELL, "sample_floor")
    cut = next(why for why in NO_ANSWERS if why[1] is Reason.TRUNCATED)
    some = report(*same_runs(90, types=("Checkout",)), *(no_answer(of, cut) for _ in range(10)))
    assert (some.decision, some.types[0].rule) == (Decision.CANNOT_TELL, "undecided_share")
    for reason in (Reason.UNSUPPORTED, Reason.NO_STUB):
        one = report(*same_runs(90, types=("Checkout",)), no_answer(of, (Verdict.INCONCLUSIVE, reason, "that")))
        assert (one.decision, one.exit_code, one.types[0].rule) == (Decision.CANNOT_TELL, 3, "unmet"), "one is enough"
    running = report(*same_runs(90, types=("Checkout",)), *(no_answer(of, NO_ANSWERS[3]) for _ in range(10)))
    assert running.decision is Decision.GO, "nobody meant to compare what is still running"


def test_our_own_failure_has_a_code_of_its_own() -> None:
    of = run("Checkout", 3, Random(1))
    ours = no_answer(of, (Verdict.NOT_RUN, Reason.FAILED, "dbos_shadow.replay"))
    assert report(*same_runs(60, types=("Checkout",)), ours).exit_code == 4
    assert report(judged(of, no_quote(of)), ours).exit_code == 1


def test_an_acceptance_that_is_over_is_a_no_go_whether_it_was_met_or_not() -> None:
    entry = Accepted(fingerprint="0c1f5ab2d9e87744", reason="agreed", owner="ada", expires=date(2026, 1, 1))
    found = report(*same_runs(60), expired=(entry,))
    assert (found.decision, found.exit_code) == (Decision.NO_GO, 1)
    assert found.why.endswith("Accepted differences have expired: 0c1f5ab2d9e87744 of ada.")
    assert [(of.fingerprint, of.runs, of.expired) for of in found.accepted] == [("0c1f5ab2d9e87744", 0, True)]
    assert "met by no run" in render_html(found)
    assert 'type="expired"' in render_junit(found)


def test_a_rule_says_what_is_wrong_with_it() -> None:
    with pytest.raises(ValueError, match="sample_floor is 0"):
        Rule(sample_floor=0)
    with pytest.raises(ValueError, match="undecided_share_max is 5"):
        Rule(undecided_share_max=5)
    with pytest.raises(ValueError, match="key of a report has 5 bytes"):
        ReportBuilder(ReportConfig(key=b"short"))


def test_the_same_runs_in_any_order_give_the_same_bytes() -> None:
    runs = list(mixed_runs(600))
    first = report(*runs, runs_max=20)
    Random(3).shuffle(runs)
    second = report(*runs, runs_max=20)
    assert to_json(first) == to_json(second)
    assert from_json(to_json(first)) == first
    assert first.runs_left_out > 0


def test_a_finished_report_can_go_on() -> None:
    runs = list(mixed_runs(200))
    builder = ReportBuilder(config())
    for judgement in runs[:100]:
        builder.add(judgement)
    builder.finish()
    for judgement in runs[100:]:
        builder.add(judgement)
    assert to_json(builder.finish()) == to_json(report(*runs))


def test_json_lines_tell_every_run_once() -> None:
    runs = list(mixed_runs(90))
    found = report(*runs)
    scrub = scrubber(config())
    lines = [json.loads(line) for line in jsonl_lines(found, (run_line(judgement, scrub) for judgement in runs))]
    kinds = [line["line"] for line in lines]
    assert kinds == ["header"] + ["run"] * 90 + ["group"] * len(found.groups) + ["footer"]
    assert sum(line["verdict"] == "mismatch" for line in lines[1:91]) == found.counts.mismatch > 0
    assert lines[-1]["decision"] == "no_go"
    known = Draft202012Validator(json.loads(lines_schema_text()))
    for line in lines:
        known.validate(line)
    assert not known.is_valid({**lines[1], "payload": "secret"})


def test_strata_and_what_is_likely_unseen_are_told() -> None:
    strata = (
        Stratum(workflow_type="Checkout", name="completed short", seen=900, chosen=90, judged=90),
        Stratum(workflow_type="Checkout", name="failed long", seen=7, chosen=0, judged=0),
    )
    found = report(*same_runs(60, types=("Checkout",)), strata=strata)
    assert [(one.name, one.seen, one.judged) for one in found.strata] == [
        ("failed long", 7, 0),
        ("completed short", 900, 90),
    ]
    assert "Checkout failed long" in render_markdown(found)
    assert "failed long" in render_html(found)
    alone = replace(next(same_runs(1, types=("Checkout",))), shape="alone")
    (of,) = report(*(replace(one, shape="often") for one in same_runs(39, types=("Checkout",))), alone).types
    assert (of.shapes_once, of.unseen_share) == (1, 1 / 40)
    many = [*(replace(one, shape="often") for one in same_runs(39, types=("Checkout",))), alone]
    (of,) = report(*many, passed_over={"Checkout": 360}).types
    assert of.unseen_share == 1 / 400, "those that were read and known need not be judged to count"


def test_what_was_compared_with_itself_is_counted() -> None:
    steady, wavers = Noise(refused=(None, None)), Noise(refused=(None, "NondeterminismError"))
    refused = Noise(refused=("NondeterminismError",) * 2, unsteady=frozenset({"outcome: status"}))
    noises = (None, steady, wavers, refused, Noise(missing=True))
    runs = [replace(one, noise=noise) for one, noise in zip(same_runs(5), noises, strict=True)]
    found = report(*runs)
    assert found.noise.model_dump() == {"runs": 4, "unsteady": 2, "refused": 1, "missing": 1}
    assert "4 runs were replayed twice on the core" in render_html(found)
    said = "whether the code has changed is not known of 1 run: Temporal's own replayer did not answer"
    assert said in sentences(found)
    assert "about 1 it did not answer" in render_html(found)
    assert "No run had to be compared with itself" in render_html(report(runs[0]))


def test_what_was_read_beside_the_sample_is_said() -> None:
    config = ReportConfig(campaign=Campaign(selected=900, scouted=120))
    builder = ReportBuilder(config)
    builder.add(next(iter(same_runs(1))))
    found = builder.finish()
    said = "899 of 900 selected runs were not in the sample"
    assert f"{said}; 120 were read beside it" in render_markdown(found)
    assert f"{said}. 120 more were read beside it" in render_html(found)


def test_masks_features_and_shapes_are_counted() -> None:
    runs = list(same_runs(60))
    found = report(*runs)
    assert {mask.name: mask.places for mask in found.masks} == {
        "now": sum("now" in r.masked for r in runs),
        "run_id": 0,
    }
    assert "activity" in {feature.name for feature in found.features}
    assert "nexus" in found.features_unseen
    assert all(of.shapes_seen == of.shapes_compared >= 1 for of in found.types)
    assert found.duration is not None
    assert found.duration.lowest >= 61_000
    assert found.duration.median <= found.duration.p90 <= found.duration.p99 <= found.duration.highest


def test_a_record_without_a_type_has_a_name_all_the_same() -> None:
    headless = replace(
        next(iter(same_runs(1))), workflow_type="", verdict=Verdict.INCONCLUSIVE, reason=Reason.TRUNCATED
    )
    found = report(headless, strata=(Stratum(workflow_type="", name="running", seen=1),))
    assert [of.workflow_type for of in found.types] == ["(unknown type)"]
    assert {found.undecided[0].workflow_type, found.runs[0].workflow_type, found.strata[0].workflow_type} == {
        "(unknown type)"
    }
    assert "Runs of (unknown type) cannot be judged" in found.why


def test_how_to_find_out_about_the_order_of_sets_is_said_where_runs_differ() -> None:
    """All replays are of one process and one hash seed, so no baseline finds it, and no reason may claim so."""
    differ = report(*mixed_runs(20))
    assert differ.counts.mismatch
    screen = io.StringIO()
    render_text(differ, Console(file=screen, width=400))
    for output in (screen.getvalue(), render_markdown(differ), render_html(differ)):
        assert "PYTHONHASHSEED=1" in output
    same = report(*same_runs(5))
    assert not any("PYTHONHASHSEED" in told for told in sentences(same))
    assert "PYTHONHASHSEED" not in render_html(same)
    assert "sets" not in " ".join(REASONS[Reason.NONDETERMINISTIC])
