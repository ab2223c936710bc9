"""What may be seen of a run. Canaries are planted wherever a payload can be, and every output is searched for them."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date

import pytest
from rich.console import Console

from dbos_shadow.allow import Accepted, Allowances
from dbos_shadow.diff import diff
from dbos_shadow.report import (
    Report,
    ReportBuilder,
    Scrubber,
    jsonl_lines,
    render_html,
    render_junit,
    render_markdown,
    render_sarif,
    render_text,
    run_line,
    scrubber,
    to_json,
)
from dbos_shadow.trace import (
    Arrival,
    ArrivalKind,
    Failure,
    Incomplete,
    Opaque,
    Outcome,
    Plain,
    Status,
    Step,
    StepKind,
    Trace,
)
from dbos_shadow.verdict import Judgement, Reason, Verdict
from tests.unit.shadow.judgements import KEY, config, judged
from tests.unit.shadow.traces import activity, plain, trace

CANARY = re.compile(r"canary|63616e617279|Y2FuYXJ5", re.IGNORECASE)


def failure(mark: str) -> Failure:
    return Failure(
        kind="application",
        type=f"canary type {mark}",
        message=f"canary message {mark}",
        details=plain(f"canary details {mark}"),
        sealed=Opaque("binary/plain", f"canary sealed {mark}".encode()),
        cause=Failure(kind="application", message=f"canary cause {mark}", type="ValueError"),
    )


def planted(mark: str) -> Trace:
    """A run with a canary, told apart by a mark, in every place that can hold a payload."""
    secret = f"canary {mark}"
    values = (Plain.of({"note": secret, f"canary key {mark}@example.com": 1}), Opaque("binary/plain", secret.encode()))
    named = tuple(
        (name, Plain.of(f"{secret} {name}"))
        for name in ("headers.trace", "memo.note", "memo.canary, a strange key", "search_attributes.Owner")
    )
    steps = [
        activity("charge", activation=1, inputs=values),
        Step(kind=StepKind.UPSERT_MEMO, named=named, activation=1),
        Step(kind=StepKind.CHILD, name="Ship", id="ship-1", inputs=values, named=named, activation=1),
        Step(kind=StepKind.UPDATE_COMPLETED, name="edit", activation=1, failure=failure(mark), inputs=values),
        Step(kind=StepKind.SIGNAL_EXTERNAL, name="poke", id="other", inputs=values, activation=2),
    ]
    arrivals = [
        Arrival(
            kind=ArrivalKind.ACTIVITY, name="charge", step=0, activation=2, values=values, last_failure=failure("x")
        ),
        Arrival(kind=ArrivalKind.CHILD, name="Ship", step=2, activation=2, how="failed", failure=failure(mark)),
        Arrival(kind=ArrivalKind.SIGNAL, name="edit", activation=2, values=values),
        Arrival(kind=ArrivalKind.CANCEL, activation=2, values=values),
    ]
    outcome = Outcome(status=Status.FAILED, failure=failure(mark), values=values)
    return trace(steps, arrivals, inputs=values, outcome=outcome, workflow_id="order-1", run_id="run-1")


def judgements() -> list[Judgement]:
    one, two = planted("one"), planted("two")
    note = "canary note: the activity said canary"
    masked = {"now": 2}
    allowed = [
        Accepted(fingerprint=found.fingerprint, reason="reviewed", owner="ada", expires=date(2027, 1, 1))
        for found in diff(one, two).differences[:2]
    ]
    cut = replace(two, incomplete=Incomplete(code="gap", reason="canary in a reason"))
    return [
        judged(one, two, note=note, masked=masked),
        judged(one, two, Allowances(tuple(allowed), date(2026, 1, 1)), run_id="run-2", note=note),
        judged(one, two, Allowances(tuple(allowed), date(2028, 1, 1)), run_id="run-3", note=note),
        judged(one, cut, run_id="run-4", note=note),
        judged(one, replace(one, steps=one.steps[1:], arrivals=()), run_id="run-5", note=note),
        judged(
            one, one, run_id="run-6", verdict=Verdict.INCONCLUSIVE, reason=Reason.NO_STUB, subject="charge", note=note
        ),
        judged(one, one, run_id="run-7", verdict=Verdict.NOT_RUN, reason=Reason.FAILED, note=note),
    ]


def report(**fields: object) -> Report:
    builder = ReportBuilder(config(**fields))
    for judgement in judgements():
        builder.add(judgement)
    return builder.finish()


def in_terminal(found: Report) -> str:
    out = io.StringIO()
    render_text(found, Console(file=out, width=300))
    return out.getvalue()


def as_lines(found: Report) -> str:
    return "".join(jsonl_lines(found, [run_line(judgement, scrubber(config())) for judgement in judgements()]))


RENDERERS: dict[str, Callable[[Report], str]] = {
    "json": to_json,
    "jsonl": as_lines,
    "html": render_html,
    "junit": render_junit,
    "markdown": render_markdown,
    "sarif": render_sarif,
    "text": in_terminal,
}


@pytest.mark.parametrize("name", RENDERERS)
def test_no_canary_comes_out(name: str) -> None:
    text = RENDERERS[name](report())
    assert len(text) > 500
    assert CANARY.findall(text) == []
    assert KEY.decode() not in text
    assert KEY.hex() not in text


def test_the_canaries_are_there_and_are_what_differs() -> None:
    """The test above would be idle if nothing of a canary could be met."""
    found = {d.path for judgement in judgements() if judgement.comparison for d in judgement.comparison.differences}
    assert len(found) > 25
    for part in (
        "inputs",
        "memo",
        "headers",
        "search_attributes",
        "failure.message",
        "failure.details",
        "values",
        "cause",
    ):
        assert any(part in path for path in found), part
    shown = to_json(report(values=("*",), notes=True))
    assert {match.lower() for match in CANARY.findall(shown)} == {"canary"}
    assert "canary message" in shown
    assert "canary note" in shown


def test_values_of_allowed_paths_are_shown_and_no_others() -> None:
    text = to_json(report(values=("activity charge: inputs[0].note",)))
    assert '\\"canary one\\"' in text
    assert "canary one memo" not in text
    assert "canary message" not in text


def test_a_glob_knows_one_star_only() -> None:
    scrub = Scrubber(KEY, values=("activity *: inputs[0].items[*].cents",))
    assert scrub.allowed("activity charge: inputs[0].items[17].cents")
    assert not scrub.allowed("activity charge: inputs[0].items[17].card")
    assert not scrub.allowed("activity charge: inputs[1].items[17].cents")


def test_ids_are_shown_unless_they_shall_not_be() -> None:
    assert "order-1" in to_json(report())
    text = to_json(report(ids=False))
    for name in ("order-1", "run-1", "ship-1"):
        assert name not in text


def test_where_ids_are_hashed_no_command_names_a_run() -> None:
    """With a hash in it, it would find nothing."""
    asked = {group.exemplar.command for group in report(ids=False).groups}
    assert len(asked) == 1
    (told,) = asked
    assert told.startswith("# Its id is hashed here")
    assert "without --hash-ids" in told
    assert all("order-1" in group.exemplar.command for group in report().groups)


@pytest.mark.parametrize(
    ("path", "shown"),
    [("inputs[0].cents", True), ("inputs[0].ada", True), ("inputs[0].customer-4711", True)]
    + [(f'inputs[0]["{key}"]', False) for key in ("ada@example.com", "Ada Lovelace", "4711")],
)
def test_keys_are_shown_if_they_look_like_names(path: str, shown: bool) -> None:
    """As the guide says: nothing tells a customer who is called ``ada`` from a field."""
    assert (Scrubber(KEY).path(f"activity charge: {path}") == f"activity charge: {path}") is shown


def test_equal_values_have_equal_hashes_and_another_key_gives_others() -> None:
    one, other = Scrubber(KEY), Scrubber(b"another key, as long as is needed")
    path = "activity charge: inputs[0].cents"
    assert one.text(path, "100") == one.text(path, "100") == one.value(path, Plain.of(100))
    assert one.text(path, "100") != one.text(path, "101")
    assert one.text(path, "100") != other.text(path, "100")


def test_without_a_key_every_report_has_one_of_its_own() -> None:
    def hashed() -> str:
        builder = ReportBuilder()
        builder.add(judgements()[0])
        return to_json(builder.finish())

    assert hashed() != hashed()


@pytest.mark.parametrize(
    ("path", "text", "shown"),
    [
        ("activity charge: options.queue", '"fast"', "fast"),
        ("activity charge: options.fairness_key", '"ada"', None),
        ("workflow task: failed.KeyError", '"KeyError"', "KeyError"),
        ("timer: duration_ms", "60000", "60000"),
        ("outcome: status", '"failed"', "failed"),
        ("activity charge: step", '"activity charge"', "activity charge"),
        ("outcome: failure.cause.type", '"ValueError"', "ValueError"),
        ("child Ship: id", '"ship-42"', "ship-42"),
        ("outcome: failure.type", '"Ada Lovelace, 4711"', None),
        ("outcome: failure.message", '"status"', None),
        ("activity options.queue: inputs[0]", '"fast"', None),
        ("activity a: options.queue: inputs[0]", '"fast"', None),
        ("activity charge: headers.status", '"fast"', None),
    ],
)
def test_what_names_a_thing_is_shown_and_what_it_holds_is_not(path: str, text: str, shown: str | None) -> None:
    found = Scrubber(KEY).text(path, text)
    assert found is not None
    assert found.text == shown
    assert (found.hash is None) == (shown is not None)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("activity charge: inputs[0].items[*].cents", r"activity charge: inputs\[0\]\.items\[\*\]\.cents"),
        ('activity charge: inputs[0]["ada@example.com"].cents', r"activity charge: inputs\[0\]\[#\w{12}\]\.cents"),
        ("upsert_memo: memo.two words", r"upsert_memo: memo\.#\w{12}"),
        ("outcome: status", "outcome: status"),
    ],
)
def test_keys_of_objects_are_shown_if_they_look_like_names(path: str, shown: str) -> None:
    assert re.fullmatch(shown, Scrubber(KEY).path(path))
