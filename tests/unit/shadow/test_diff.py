"""What counts as a difference, at which level, of which kind, and where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from dbos_shadow.diff import diff
from dbos_shadow.difference import Difference, Kind, Level
from dbos_shadow.trace import Arrival, ArrivalKind, Failure, Incomplete, Opaque, Outcome, Status, Step, StepKind, Trace
from tests.unit.shadow.traces import CHECKOUT, activity, plain, result, signal, timer, trace, traces, with_step

Found = tuple[Level, Kind, str, int | None]


def found(difference: Difference) -> Found:
    return (difference.level, difference.kind, difference.path, difference.step)


def without(before: Trace, *, step: int) -> Trace:
    """The workflow did not ask for it. What resolved it is gone as well, and later steps have other numbers."""

    def shifted(index: int | None) -> int | None:
        return index if index is None or index < step else index - 1

    return replace(
        before,
        steps=tuple(replace(s, target=shifted(s.target)) for i, s in enumerate(before.steps) if i != step),
        arrivals=tuple(replace(a, step=shifted(a.step)) for a in before.arrivals if a.step != step),
    )


def swapped(before: Trace, i: int, j: int) -> Trace:
    steps = list(before.steps)
    steps[i], steps[j] = steps[j], steps[i]
    swap = {i: j, j: i}
    return replace(
        before,
        steps=tuple(steps),
        arrivals=tuple(replace(a, step=swap.get(a.step, a.step)) if a.step is not None else a for a in before.arrivals),
    )


def signals(before: Trace, change: Callable[[list[Arrival]], list[Arrival]]) -> Trace:
    kept = [a for a in before.arrivals if a.kind is ArrivalKind.SIGNAL]
    others = [a for a in before.arrivals if a.kind is not ArrivalKind.SIGNAL]
    together = sorted([*others, *change(kept)], key=lambda a: a.activation)
    return replace(before, arrivals=tuple(together))


TOTAL = Outcome(status=Status.COMPLETED, values=plain({"total": 11}))
FAILED = Outcome(status=Status.FAILED, failure=Failure(kind="application", message="no", type="Refused"))

MUTATIONS: dict[str, tuple[Trace, Found]] = {
    "an outcome field": (
        replace(CHECKOUT, outcome=TOTAL),
        (Level.OUTCOME, Kind.VALUE, "outcome: values[0].total", None),
    ),
    "failed for completed": (replace(CHECKOUT, outcome=FAILED), (Level.OUTCOME, Kind.TYPE, "outcome: status", None)),
    "another workflow": (
        replace(CHECKOUT, workflow_type="Cart"),
        (Level.SEQUENCE, Kind.VALUE, "start: workflow_type", None),
    ),
    "a step too few": (without(CHECKOUT, step=3), (Level.SEQUENCE, Kind.MISSING, "activity charge: step", 3)),
    "a step too many": (
        replace(CHECKOUT, steps=(*CHECKOUT.steps, activity("thank", activation=6))),
        (Level.SEQUENCE, Kind.EXTRA, "activity thank: step", None),
    ),
    "another activity": (
        with_step(CHECKOUT, 3, name="bill"),
        (Level.SEQUENCE, Kind.TYPE, "activity charge: step", 3),
    ),
    "a gather swapped": (swapped(CHECKOUT, 0, 1), (Level.SEQUENCE, Kind.ORDER, "activity quote: step", 1)),
    "another timer cancelled": (
        with_step(trace([timer(1), timer(2), Step(kind=StepKind.CANCEL_TIMER, target=0, activation=2)]), 2, target=1),
        (Level.SEQUENCE, Kind.VALUE, "cancel_timer: target", 2),
    ),
    "a signal lost": (
        signals(CHECKOUT, lambda kept: kept[:1]),
        (Level.SEQUENCE, Kind.MISSING, "arrival signal hurry: arrival", None),
    ),
    "signals in another order": (
        signals(CHECKOUT, lambda kept: kept[::-1]),
        (Level.SEQUENCE, Kind.ORDER, "arrival signal hurry: arrival", None),
    ),
    "a signal seen later": (
        signals(CHECKOUT, lambda kept: [kept[0], replace(kept[1], activation=4)]),
        (Level.SEQUENCE, Kind.ORDER, "arrival signal hurry: where", None),
    ),
    "another input": (
        with_step(CHECKOUT, 3, inputs=plain({"cents": 999}, "card")),
        (Level.INPUTS, Kind.VALUE, "activity charge: inputs[0].cents", 3),
    ),
    "a string for a number": (
        with_step(CHECKOUT, 3, inputs=plain({"cents": "1000"}, "card")),
        (Level.INPUTS, Kind.TYPE, "activity charge: inputs[0].cents", 3),
    ),
    "an argument too few": (
        with_step(CHECKOUT, 3, inputs=plain({"cents": 1000})),
        (Level.INPUTS, Kind.MISSING, "activity charge: inputs[1]", 3),
    ),
    "a key too many": (
        with_step(CHECKOUT, 3, inputs=plain({"cents": 1000, "tip me": 1}, "card")),
        (Level.INPUTS, Kind.EXTRA, 'activity charge: inputs[0]["tip me"]', 3),
    ),
    "a list in another order": (
        with_step(CHECKOUT, 0, inputs=plain({"item": "book", "pieces": [2, 1]})),
        (Level.INPUTS, Kind.ORDER, "activity reserve: inputs[0].pieces", 0),
    ),
    "another child id": (with_step(CHECKOUT, 5, id="ship-43"), (Level.INPUTS, Kind.VALUE, "child Ship: id", 5)),
    "another retry count": (
        with_step(CHECKOUT, 3, options=(("queue", "q"), ("retry_maximum_attempts", 4), ("start_to_close_ms", 20_000))),
        (Level.OPTIONS, Kind.VALUE, "activity charge: options.retry_maximum_attempts", 3),
    ),
    "no timeout": (
        with_step(CHECKOUT, 3, options=(("queue", "q"), ("retry_maximum_attempts", 3))),
        (Level.OPTIONS, Kind.MISSING, "activity charge: options.start_to_close_ms", 3),
    ),
    "a header": (
        with_step(CHECKOUT, 3, named=(("headers.tenant", *plain("a")),)),
        (Level.OPTIONS, Kind.EXTRA, "activity charge: headers.tenant", 3),
    ),
    "a memo": (
        with_step(CHECKOUT, 5, named=(("memo.note", *plain("a")),)),
        (Level.INPUTS, Kind.EXTRA, "child Ship: memo.note", 5),
    ),
    "another duration": (
        with_step(CHECKOUT, 2, duration_ms=61_000),
        (Level.TIMING, Kind.VALUE, "timer: duration_ms", 2),
    ),
}
BEFORE = {
    "another timer cancelled": trace([timer(1), timer(2), Step(kind=StepKind.CANCEL_TIMER, target=0, activation=2)])
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_each_mutation_is_found_once_at_its_level_and_place(name: str) -> None:
    after, expected = MUTATIONS[name]
    before = BEFORE.get(name, CHECKOUT)
    assert [found(difference) for difference in diff(before, after).differences] == [expected]
    assert diff(before, before).clean


def _cancelling(*cancelled: tuple[StepKind, int]) -> Trace:
    asked = [activity("wait", 1), activity("wait", 2), timer(5), timer(6)]
    return trace(asked + [Step(kind=kind, target=target, activation=2) for kind, target in cancelled])


ONE, TWO = (StepKind.CANCEL_ACTIVITY, 0), (StepKind.CANCEL_ACTIVITY, 1)
THREE, FOUR = (StepKind.CANCEL_TIMER, 2), (StepKind.CANCEL_TIMER, 3)


def test_neighbours_of_one_kind_are_cancelled_in_any_order() -> None:
    """As on Temporal: a task group cancels its tasks in the order of a set."""
    expected = _cancelling(ONE, TWO, THREE, FOUR)
    assert diff(expected, _cancelling(TWO, ONE, FOUR, THREE)).clean
    assert diff(_cancelling(ONE, THREE, TWO), _cancelling(ONE, THREE, TWO)).clean
    assert not diff(expected, _cancelling(THREE, TWO, ONE, FOUR)).clean  # of another kind
    assert not diff(_cancelling(ONE, THREE, TWO), _cancelling(TWO, THREE, ONE)).clean  # no neighbours
    assert not diff(_cancelling(THREE, FOUR), _cancelling(THREE, THREE)).clean  # of another one


def test_branches_that_were_woken_in_another_order_may_go_on_in_another_order() -> None:
    both = [activity("a"), activity("b")]
    one = trace(
        [*both, activity("then", "a", activation=2), activity("then", "b", activation=2)],
        [result(0, "ok", 2, "a"), result(1, "ok", 2, "b"), result(3, "b done", 3, "then")],
    )
    other = trace(
        [*both, activity("then", "b", activation=2), activity("then", "a", activation=2)],
        [result(1, "ok", 2, "b"), result(0, "ok", 2, "a"), result(2, "b done", 3, "then")],
    )
    assert diff(one, other).clean
    assert diff(one, other).rows == ((0, 0), (1, 1), (2, 3), (3, 2))
    same_arrivals = replace(other, arrivals=(result(0, "ok", 2, "a"), result(1, "ok", 2, "b"), other.arrivals[2]))
    assert [(d.level, d.kind) for d in diff(one, same_arrivals).differences] == [(Level.SEQUENCE, Kind.ORDER)]


def test_signals_of_one_activation_are_seen_in_order() -> None:
    steps = [activity("a"), activity("b", 1, activation=2), activity("b", 2, activation=2)]
    one = trace(steps, [signal("go", 1, activation=2), signal("go", 2, activation=2)])
    other = trace([steps[0], steps[2], steps[1]], [signal("go", 2, activation=2), signal("go", 1, activation=2)])
    assert {d.kind for d in diff(one, other).differences} == {Kind.ORDER}
    assert {d.level for d in diff(one, other).differences} == {Level.SEQUENCE}


def test_a_step_left_out_of_a_loop_is_one_missing_step() -> None:
    loop = [activity("poll", n, activation=n, id=str(n)) for n in range(1, 7)]
    shorter = loop[:2] + [replace(step, id=str(int(step.id) - 1)) for step in loop[3:]]
    differences = diff(trace(loop), trace(shorter)).differences
    assert [(d.kind, d.step, d.expected) for d in differences] == [(Kind.MISSING, 2, '"activity poll"')]


def test_batching_alone_is_no_difference() -> None:
    steps = [activity("a"), activity("b"), activity("c", activation=3)]
    apart = trace(steps, [result(0, 1, 2), result(1, 2, 3)])
    together = trace([*steps[:2], activity("c", activation=2)], [result(0, 1, 2), result(1, 2, 2)])
    assert diff(apart, together).clean


def local(name: str, activation: int) -> Step:
    return Step(kind=StepKind.LOCAL_ACTIVITY, name=name, inputs=None, options=None, activation=activation)


def ended(step: int, activation: int) -> Arrival:
    return Arrival(kind=ArrivalKind.LOCAL_ACTIVITY, step=step, values=plain("ok"), activation=activation)


def test_local_activities_may_share_a_task_and_what_nobody_recorded_is_unchecked() -> None:
    one_task = trace([local("a", 1), local("b", 1)], [ended(0, 1), ended(1, 1)])
    two_tasks = trace([local("a", 1), local("b", 2)], [ended(0, 1), ended(1, 2)])
    for comparison in (diff(one_task, two_tasks), diff(one_task, one_task)):
        assert comparison.clean
        assert [(entry.path, entry.step) for entry in comparison.unchecked] == [
            (f"local_activity {name}: {part}", step) for step, name in enumerate("ab") for part in ("inputs", "options")
        ]


def test_behind_a_cut_nothing_is_missing() -> None:
    cut = replace(
        CHECKOUT,
        steps=CHECKOUT.steps[:3],
        arrivals=CHECKOUT.arrivals[:2],
        outcome=Outcome(status=Status.UNKNOWN),
        incomplete=Incomplete(code="gap", reason="…"),
    )
    for one, other in ((cut, CHECKOUT), (CHECKOUT, cut)):
        comparison = diff(one, other)
        assert comparison.clean
        assert comparison.incomplete == (cut.incomplete,)
        assert {entry.reason for entry in comparison.unchecked} == {"incomplete"}
    changed = diff(cut, with_step(CHECKOUT, 1, inputs=plain({"item": "pen"})))
    assert [found(d) for d in changed.differences] == [(Level.INPUTS, Kind.VALUE, "activity quote: inputs[0].item", 1)]
    gone = diff(cut, without(CHECKOUT, step=1))
    assert [d.kind for d in gone.differences] == [Kind.MISSING]


def test_what_only_a_codec_can_read_is_unchecked_and_bytes_that_are_the_value_are_compared() -> None:
    def secret(encoding: str, data: bytes) -> Trace:
        return trace([activity("a", inputs=(Opaque(encoding, data),))])

    sealed = diff(secret("binary/encrypted", b"1"), secret("binary/encrypted", b"2"))
    assert sealed.clean
    assert [(entry.reason, entry.path) for entry in sealed.unchecked] == [("sealed", "activity a: inputs[0]")]
    plainly = diff(secret("binary/plain", b"1"), secret("binary/plain", b"2"))
    (found,) = plainly.differences
    assert found.kind is Kind.VALUE
    assert found.expected == '{"bytes":1,"encoding":"binary/plain","sha256":"6b86b273ff34fce1"}'
    assert found.actual != found.expected


def test_an_outcome_that_nobody_waited_for_is_not_missed() -> None:
    given_up = [activity("a"), Step(kind=StepKind.CANCEL_ACTIVITY, name="a", target=0, activation=2)]
    with_late = trace(given_up, [result(0, "late", 3, "a")])
    comparison = diff(with_late, trace(given_up))
    assert comparison.clean
    assert [entry.reason for entry in comparison.unchecked] == ["given_up"]
    assert not diff(trace([activity("a")], [result(0, "ok", 2, "a")]), trace([activity("a")])).clean


def test_a_fingerprint_is_over_type_level_path_and_kind_and_not_over_values_or_places() -> None:
    def one(index: int, cents: int, workflow_type: str = "Order") -> Difference:
        def run(value: int) -> Trace:
            steps = [timer(1)] * index + [activity("charge", {"lines": [0] * index + [value]})]
            return trace(steps, workflow_type=workflow_type)

        (difference,) = diff(run(-1), run(cents)).differences
        return difference

    assert one(0, 7).fingerprint == one(3, 9).fingerprint
    assert one(0, 7).path != one(3, 9).path
    assert one(0, 7).fingerprint != one(0, 7, "Cart").fingerprint


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(traces())
def test_a_trace_does_not_differ_from_itself(drawn: Trace) -> None:
    moved_in_time = replace(drawn, steps=tuple(replace(step, at_ms=step.at_ms + 7) for step in drawn.steps))
    for comparison in (diff(drawn, drawn), diff(drawn, moved_in_time)):
        assert comparison.clean
        assert not comparison.unchecked
        assert comparison.rows == tuple((i, i) for i in range(len(drawn.steps)))


TURNED = {Kind.MISSING: Kind.EXTRA, Kind.EXTRA: Kind.MISSING}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(traces(), traces())
def test_what_is_missing_one_way_is_extra_the_other(one: Trace, other: Trace) -> None:
    there, back = diff(one, other).differences, diff(other, one).differences
    alone = (Kind.MISSING, Kind.EXTRA)
    assert Counter((d.level, d.kind, d.path, d.step, d.actual_step) for d in there if d.kind in alone) == Counter(
        (d.level, TURNED[d.kind], d.path, d.actual_step, d.step) for d in back if d.kind in alone
    )
    assert len(there) == len(back)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(traces(), traces())
def test_traces_that_ask_for_different_things_differ(one: Trace, other: Trace) -> None:
    if sorted(step.key for step in one.steps) != sorted(step.key for step in other.steps):
        assert Level.SEQUENCE in {difference.level for difference in diff(one, other).differences}
    if one.outcome.status is not other.outcome.status:
        assert (Level.OUTCOME, Kind.TYPE) in {(d.level, d.kind) for d in diff(one, other).differences}


# -- patches -----------------------------------------------------------------------------------------------------------


def patched(*, deprecated: bool) -> Step:
    return Step(kind=StepKind.PATCH, name="old", activation=0, options=(("deprecated", True),) if deprecated else ())


def test_a_patch_may_become_deprecated_and_then_go() -> None:
    def run(*before: Step) -> Trace:
        """Something arrives behind it, and has another number of steps before it then."""
        steps = [*before, activity("charge", activation=0)]
        end = result(len(before), 1, activation=1)
        return trace(steps, [end])

    one, deprecated, none = run(patched(deprecated=False)), run(patched(deprecated=True)), run()
    assert diff(one, deprecated).clean
    assert diff(deprecated, one).clean
    gone = diff(deprecated, none)
    assert gone.clean
    assert [(gap.reason, gap.path) for gap in gone.unchecked] == [("deprecated", "patch old: step")]
    assert [(d.kind, d.path) for d in diff(one, none).differences] == [(Kind.MISSING, "patch old: step")]
    assert [(d.kind, d.path) for d in diff(none, deprecated).differences] == [(Kind.EXTRA, "patch old: step")]
