"""Judgements for reports: made-up runs of a few workflow types, some of them changed, judged by the real diff."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from typing import Any

from dbos_shadow.allow import Allowances
from dbos_shadow.diff import diff
from dbos_shadow.report import Campaign, ReportConfig, Rule, Versions, Window
from dbos_shadow.trace import Arrival, ArrivalKind, Failure, Outcome, Plain, Status, Step, StepKind, Trace
from dbos_shadow.verdict import Judgement, Reason, Verdict, Way, judge
from tests.unit.shadow.traces import RETRY, activity, plain, result, signal, trace

TYPES = ("Checkout", "Refund", "Onboarding", "Billing", "Shipment", "Subscription")
KEY = b"a key of a report for tests only"
MORNING_MS = 1_790_000_000_000

Change = Callable[[Trace], Trace]


def run(workflow_type: str, number: int, random: Random) -> Trace:
    """One run: two activities at once, some in a loop, a timer, sometimes a signal or a child."""
    items = random.randint(1, 6)
    name = workflow_type.lower()
    at = MORNING_MS + number * 37_000
    steps = [
        activity(f"load_{name}", {"id": number, "customer": f"c-{number % 97}"}, activation=1),
        activity("quote", {"items": items, "currency": "EUR"}, activation=1),
    ]
    arrivals = [result(0, {"ok": True}, 2, f"load_{name}"), result(1, 1000 * items, 2, "quote")]
    steps += [activity("reserve", {"item": n, "pieces": 1 + n % 3}, activation=2) for n in range(items)]
    arrivals += [result(2 + n, "reserved", 3, "reserve") for n in range(items)]
    steps.append(Step(kind=StepKind.TIMER, duration_ms=60_000, id="9", activation=3))
    if number % 5 == 0:
        arrivals.append(signal("hurry", {"by": f"agent-{number}"}, activation=4))
    else:
        arrivals.append(Arrival(kind=ArrivalKind.TIMER, step=len(steps) - 1, activation=4))
    charge = len(steps)
    steps.append(activity("charge", {"cents": 1000 * items, "card": f"tok_{number}"}, activation=4))
    arrivals.append(result(charge, {"receipt": f"r-{number}"}, 5, "charge"))
    if number % 3 == 0:
        steps.append(
            Step(
                kind=StepKind.CHILD,
                name="Ship",
                id=f"ship-{number}",
                inputs=plain({"order": number}),
                options=RETRY,
                activation=5,
            )
        )
        arrivals.append(Arrival(kind=ArrivalKind.CHILD, name="Ship", step=len(steps) - 1, activation=6))
    outcome = Outcome(
        status=Status.COMPLETED,
        values=plain({"total": 1000 * items, "state": "done"}),
        at_ms=at + 61_000 + random.randint(0, 40_000) + 900 * items,
    )
    return trace(
        steps,
        arrivals,
        workflow_type=workflow_type,
        workflow_id=f"{name}-{number}",
        run_id=f"0192f0c4-0000-7000-8000-{number:012d}",
        inputs=plain({"id": number}),
        outcome=outcome,
        at_ms=at,
    )


def find(of: Trace, name: str) -> int:
    return next(index for index, step in enumerate(of.steps) if step.name == name)


def changed(of: Trace, name: str, /, **fields: Any) -> Trace:
    steps = list(of.steps)
    index = find(of, name)
    steps[index] = replace(steps[index], **fields)
    return replace(of, steps=tuple(steps))


def without(of: Trace, name: str) -> Trace:
    gone = find(of, name)
    arrivals = [
        a if a.step is None or a.step < gone else replace(a, step=a.step - 1) for a in of.arrivals if a.step != gone
    ]
    return replace(of, steps=of.steps[:gone] + of.steps[gone + 1 :], arrivals=tuple(arrivals))


def other_charge(of: Trace) -> Trace:
    index = find(of, "charge")
    inputs = of.steps[index].inputs
    assert inputs
    assert isinstance(inputs[0], Plain)
    return changed(of, "charge", inputs=plain({**inputs[0].value, "cents": inputs[0].value["cents"] + 1}))


def other_queue(of: Trace) -> Trace:
    return changed(of, "quote", options=(("queue", "fast"), *RETRY[1:]))


def other_timer(of: Trace) -> Trace:
    index = next(i for i, step in enumerate(of.steps) if step.kind is StepKind.TIMER)
    steps = list(of.steps)
    steps[index] = replace(steps[index], duration_ms=90_000)
    return replace(of, steps=tuple(steps))


def other_end(of: Trace) -> Trace:
    failure = Failure(kind="application", type="PaymentRefused", message="card 4711 was refused")
    return replace(of, outcome=replace(of.outcome, status=Status.FAILED, values=(), failure=failure))


def other_result(of: Trace) -> Trace:
    return replace(of, outcome=replace(of.outcome, values=plain({"total": 1, "state": "done"})))


def no_quote(of: Trace) -> Trace:
    return without(of, "quote")


def renamed(of: Trace) -> Trace:
    return changed(of, "quote", name="quote_v2")


CHANGES: tuple[Change, ...] = (no_quote, other_charge, other_end, renamed, other_queue, other_timer, other_result)


def judged(expected: Trace, actual: Trace, allowances: Allowances | None = None, **fields: Any) -> Judgement:
    comparison = diff(expected, actual, allowances or Allowances())
    verdict, reason = judge(comparison)
    steps = len(expected.steps)
    kinds = {step.kind.value for step in expected.steps}
    messages = {arrival.kind.value for arrival in expected.arrivals if arrival.is_message}
    return Judgement(
        **{
            "workflow_type": expected.workflow_type,
            "workflow_id": expected.workflow_id,
            "run_id": expected.run_id,
            "verdict": verdict,
            "reason": reason,
            "comparison": comparison,
            "expected": expected,
            "actual": actual,
            "shape": " ".join(step.label for step in expected.steps)[:200],
            "features": frozenset(kinds | messages),
            "steps": steps,
            "events": 5 + 6 * steps,
            "masked": {"now": 1} if steps > 7 else {},
            **fields,
        }
    )


def same_runs(runs: int, *, types: tuple[str, ...] = TYPES, seed: int = 1) -> Iterator[Judgement]:
    """Nothing differs."""
    random = Random(seed)
    for number in range(runs):
        expected = run(types[number % len(types)], number, random)
        yield judged(expected, expected)


def mixed_runs(runs: int, *, types: tuple[str, ...] = TYPES, groups: int = 3, seed: int = 1) -> Iterator[Judgement]:
    """In each type some runs differ in so many ways, and some have no answer."""
    random = Random(seed)
    for number in range(runs):
        place = number % len(types)
        expected = run(types[place], number, random)
        luck = random.random()
        if luck < 0.06 * groups:
            change = CHANGES[(place + random.randrange(groups)) % len(CHANGES)]
            yield judged(expected, change(expected))
        elif luck > 0.97:
            yield no_answer(expected, random.choice(NO_ANSWERS))
        else:
            yield judged(expected, expected)


NO_ANSWERS: tuple[tuple[Verdict, Reason, str], ...] = (
    (Verdict.INCONCLUSIVE, Reason.NO_STUB, "send_mail"),
    (Verdict.INCONCLUSIVE, Reason.NONDETERMINISTIC, ""),
    (Verdict.INCONCLUSIVE, Reason.TRUNCATED, "cut_at_end"),
    (Verdict.NOT_RUN, Reason.STILL_RUNNING, ""),
)


def no_answer(of: Trace, why: tuple[Verdict, Reason, str]) -> Judgement:
    verdict, reason, subject = why
    return judged(of, of, verdict=verdict, reason=reason, subject=subject, comparison=None)


def config(**fields: Any) -> ReportConfig:
    """A configuration that gives the same bytes twice."""
    return ReportConfig(
        **{
            "campaign": Campaign(
                title="Shop on Postgres",
                label="2026-11-22",
                selection='WorkflowType in ("Checkout", "Refund", …) and ExecutionStatus = "Completed"',
                window=Window(start="2026-11-15T00:00:00Z", end="2026-11-22T00:00:00Z"),
                selected=184_220,
                sample="10 %, seed 7, rare shapes first",
                config_hash="6d1f0c22ab90",
                versions=Versions(temporalio="1.35.0", dbos_compat="0.1.0", python="3.11.9"),
            ),
            "rule": Rule(),
            "key": KEY,
            "masks": {
                "now": "workflow.now() in inputs is the time of the task, which no two engines share",
                "run_id": "an engine gives run ids",
            },
            **fields,
        }
    )


def mirrored(judgement: Judgement) -> Judgement:
    return replace(judgement, way=Way.MIRROR)
