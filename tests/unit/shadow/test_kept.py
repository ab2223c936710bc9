"""Judgements that are kept: no payload in them, and the same report of them as of the judgements themselves."""

from __future__ import annotations

from datetime import date

import pytest

from dbos_shadow.allow import Accepted, Allowances
from dbos_shadow.diff import diff
from dbos_shadow.report import Report, ReportBuilder, ReportConfig, Scrubber, to_json
from dbos_shadow.results.kept import Keeper, KeptScrubber, restore
from dbos_shadow.trace import (
    Arrival,
    ArrivalKind,
    Failure,
    Opaque,
    Outcome,
    Plain,
    Status,
    Step,
    StepKind,
    Trace,
)
from dbos_shadow.verdict import Judgement, Noise, Reason, Verdict, judge

KEY = b"k" * 32
CANARY = "canary 4711@example.com"


def trace(*, cents: int = 5, extra: bool = False, fails: bool = False, steps: int = 1) -> Trace:
    values = (Plain.of({"card": CANARY, CANARY: {"cents": cents}}), Opaque("binary/plain", CANARY.encode()))
    asked = [Step(kind=StepKind.ACTIVITY, activation=1, name="charge", id="1", inputs=values)] * steps
    if extra:
        asked.append(Step(kind=StepKind.TIMER, activation=2, id="9", duration_ms=70))
    failure = Failure(kind="application", type="CardRefused", message=CANARY, details=(Plain.of(CANARY),))
    outcome = (
        Outcome(status=Status.FAILED, failure=failure, at_ms=90)
        if fails
        else Outcome(status=Status.COMPLETED, at_ms=50)
    )
    signal = Arrival(kind=ArrivalKind.SIGNAL, activation=1, name="go", values=(Plain.of(CANARY),))
    return Trace(
        workflow_type="Order",
        inputs=(Plain.of(CANARY),),
        steps=tuple(asked),
        arrivals=(signal,),
        outcome=outcome,
        at_ms=10,
    )


def judgement(number: int, expected: Trace, actual: Trace, allowances: Allowances | None = None) -> Judgement:
    comparison = diff(expected, actual, allowances or Allowances())
    verdict, reason = judge(comparison)
    return Judgement(
        workflow_type="Order",
        workflow_id=f"order-{number}",
        run_id=f"r{number}",
        verdict=verdict,
        reason=reason,
        note=f"It said {CANARY}.",
        comparison=comparison,
        expected=expected,
        actual=actual,
        shape="s",
        features=frozenset({"activity"}),
        steps=len(expected.steps),
        events=7,
        masked={"run_ids": 2},
        noise=Noise(refused=("NondeterminismError",) * 2, unsteady=frozenset({f"activity charge: inputs[0].{CANARY}"})),
    )


def judgements() -> list[Judgement]:
    changed = diff(trace(), trace(cents=6)).differences[0]
    accepted = Allowances(
        (Accepted(fingerprint=changed.fingerprint, reason="agreed", owner="ada", expires=date(2027, 1, 1)),),
        date(2026, 1, 1),
    )
    over = Allowances(accepted.accepted, date(2028, 1, 1))
    return [
        judgement(1, trace(), trace()),
        judgement(2, trace(steps=3), trace(cents=6, steps=3)),
        judgement(3, trace(), trace(cents=6)),
        judgement(4, trace(), trace(extra=True, fails=True)),
        judgement(5, trace(fails=True), trace()),
        judgement(6, trace(), trace(cents=6), accepted),
        judgement(7, trace(), trace(cents=6), over),
        Judgement(
            workflow_type="Order",
            workflow_id="order-8",
            run_id="r8",
            verdict=Verdict.INCONCLUSIVE,
            reason=Reason.NO_STUB,
            subject="charge",
            note=f"charge({CANARY}) has no stub",
            noise=Noise(missing=True),
        ),
    ]


def report(found: list[Judgement], config: ReportConfig, *, kept: bool) -> Report:
    named = {"values": config.values, "ids": config.ids, "notes": config.notes}
    builder = ReportBuilder(config, scrub=KeptScrubber(config.key, **named) if kept else None)  # type: ignore[arg-type]
    keep = Keeper(Scrubber(config.key, values=config.values, notes=config.notes))
    for one in found:
        builder.add(restore(keep(one)) if kept else one)
    return builder.finish()


@pytest.mark.parametrize(
    "config",
    [
        ReportConfig(key=KEY),
        ReportConfig(key=KEY, ids=False),
        ReportConfig(key=KEY, notes=True),
        ReportConfig(key=KEY, values=("*cents*",)),
        ReportConfig(key=KEY, values=("*",)),
    ],
    ids=["default", "ids hashed", "notes", "some values", "all values"],
)
def test_the_report_is_the_same_of_what_was_kept(config: ReportConfig) -> None:
    found = judgements()
    assert to_json(report(found, config, kept=True)) == to_json(report(found, config, kept=False))


def test_no_payload_is_in_what_is_kept() -> None:
    keep = Keeper(Scrubber(KEY))
    documents = [keep(one) for one in judgements()]
    assert not [document for document in documents if CANARY in document]
    shown = Keeper(Scrubber(KEY, values=("*",), notes=True))
    assert all(CANARY in shown(one) for one in judgements()[1:])


def test_a_difference_keeps_its_fingerprint_though_its_path_is_hashed() -> None:
    (one,) = [found for found in judgements() if found.workflow_id == "order-3"]
    again = restore(Keeper(Scrubber(KEY))(one))
    assert again.comparison is not None
    assert one.comparison is not None
    assert [found.fingerprint for found in again.comparison.differences] == [
        found.fingerprint for found in one.comparison.differences
    ]
    assert CANARY in one.comparison.differences[0].path
    assert CANARY not in again.comparison.differences[0].path


def test_steps_are_kept_of_the_clearest_example_only() -> None:
    keep = Keeper(Scrubber(KEY))
    first, worse = restore(keep(judgements()[2])), restore(keep(judgements()[1]))
    assert first.expected is not None
    assert worse.expected is not None
    assert len(first.expected.steps) == 1
    assert worse.expected.steps == ()
    assert worse.expected.outcome.at_ms == 50


def test_what_a_newer_release_has_kept_is_refused() -> None:
    with pytest.raises(ValueError, match="newer release"):
        restore('{"v": 99}')
