"""Any run, and one thing changed in it: exactly that is found, once, at its level and its step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from dbos_shadow.branches import content
from dbos_shadow.diff import diff
from dbos_shadow.difference import Difference, Kind, Level
from dbos_shadow.json_paths import differing
from dbos_shadow.trace import ArrivalKind, Plain, Step, StepKind, Trace, canonical
from tests.unit.shadow.traces import json_values, plain, traces, with_step

NEW = Plain.of("nobody else has this")
shortly = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow]
)


def only(before: Trace, after: Trace) -> Difference:
    (difference,) = diff(before, after).differences
    return difference


def a_step(draw: st.DataObject, trace: Trace, kind: StepKind | None = None) -> tuple[int, Step]:
    indexes = [index for index, step in enumerate(trace.steps) if kind is None or step.kind is kind]
    assume(indexes)
    index = draw.draw(st.sampled_from(indexes))
    return index, trace.steps[index]


def without_step(before: Trace, gone: int) -> Trace:
    arrivals = [
        a if a.step is None or a.step < gone else replace(a, step=a.step - 1) for a in before.arrivals if a.step != gone
    ]
    return replace(before, steps=before.steps[:gone] + before.steps[gone + 1 :], arrivals=tuple(arrivals))


@shortly
@given(traces(), st.data())
def test_another_input(before: Trace, data: st.DataObject) -> None:
    index, step = a_step(data, before)
    assert step.inputs is not None
    found = only(before, with_step(before, index, inputs=(*step.inputs, NEW)))
    assert (found.level, found.kind, found.step) == (Level.INPUTS, Kind.EXTRA, index)
    assert found.path == f"{step.label}: inputs[{len(step.inputs)}]"
    assert found.actual == NEW.text


@shortly
@given(traces(), st.data())
def test_another_option(before: Trace, data: st.DataObject) -> None:
    index, step = a_step(data, before, StepKind.ACTIVITY)
    found = only(before, with_step(before, index, options=(*(step.options or ()), ("zeal", 1))))
    assert (found.level, found.kind, found.step) == (Level.OPTIONS, Kind.EXTRA, index)


@shortly
@given(traces(), st.data())
def test_another_duration(before: Trace, data: st.DataObject) -> None:
    index, step = a_step(data, before, StepKind.TIMER)
    found = only(before, with_step(before, index, duration_ms=(step.duration_ms or 0) + 100))
    assert (found.level, found.kind, found.step) == (Level.TIMING, Kind.VALUE, index)


@shortly
@given(traces(), st.data())
def test_another_activity(before: Trace, data: st.DataObject) -> None:
    index, _ = a_step(data, before, StepKind.ACTIVITY)
    found = only(before, with_step(before, index, name="unheard of"))
    assert (found.level, found.kind, found.step, found.actual_step) == (Level.SEQUENCE, Kind.TYPE, index, index)


@shortly
@given(traces(), st.data())
def test_a_step_too_few_and_a_step_too_many(before: Trace, data: st.DataObject) -> None:
    index, step = a_step(data, before)
    after = without_step(before, index)
    missing, extra = only(before, after), only(after, before)
    assert (missing.level, missing.kind) == (Level.SEQUENCE, Kind.MISSING)
    assert (extra.level, extra.kind) == (Level.SEQUENCE, Kind.EXTRA)
    assert missing.step is not None
    assert content(before.steps[missing.step]) == content(step)  # of several alike, any
    assert extra.actual_step == missing.step


@shortly
@given(traces(), st.data())
def test_a_signal_too_few(before: Trace, data: st.DataObject) -> None:
    signals = [arrival for arrival in before.arrivals if arrival.kind is ArrivalKind.SIGNAL]
    assume(signals)
    assume(len({(a.name, a.values) for a in signals}) == len(signals))
    gone = data.draw(st.sampled_from(signals))
    after = replace(before, arrivals=tuple(arrival for arrival in before.arrivals if arrival is not gone))
    found = only(before, after)
    assert (found.level, found.kind) == (Level.SEQUENCE, Kind.MISSING)
    assert found.path == f"arrival signal {gone.name}: arrival"


@shortly
@given(traces())
def test_another_result(before: Trace) -> None:
    outcome = replace(before.outcome, values=(*before.outcome.values, NEW))
    found = only(before, replace(before, outcome=outcome))
    assert (found.level, found.kind, found.step) == (Level.OUTCOME, Kind.EXTRA, None)


@shortly
@given(traces(), st.data())
def test_an_activity_that_ended_otherwise(before: Trace, data: st.DataObject) -> None:
    places = [index for index, arrival in enumerate(before.arrivals) if arrival.step is not None]
    assume(places)
    index = data.draw(st.sampled_from(places))
    arrivals = list(before.arrivals)
    arrivals[index] = replace(arrivals[index], how="timed_out")
    found = only(before, replace(before, arrivals=tuple(arrivals)))
    assert (found.level, found.kind, found.step) == (Level.INPUTS, Kind.TYPE, arrivals[index].step)


# -- JSON ----------------------------------------------------------------------------------------------------------------

TURNED = {Kind.MISSING: Kind.EXTRA, Kind.EXTRA: Kind.MISSING}


@given(json_values, json_values)
def test_json_differs_where_it_is_unequal_and_either_way_round(one: Any, other: Any) -> None:
    there, back = list(differing(one, other)), list(differing(other, one))
    assert bool(there) == (canonical(one) != canonical(other))
    assert not list(differing(one, one))
    assert [(s.path, TURNED.get(s.kind, s.kind), s.right, s.left) for s in there] == [tuple(s) for s in back]


@pytest.mark.parametrize(
    ("one", "other", "spots"),
    [
        (1, 1.0, [("$", "type")]),
        (1, True, [("$", "type")]),
        (None, {}, [("$", "type")]),
        ([1, 2, 3], [1, 3], [("$[1]", "value"), ("$[2]", "missing")]),
        ([{"a": 1}, {"a": 2}], [{"a": 2}, {"a": 1}], [("$", "order")]),
        ({"a": [{"b": "x"}]}, {"a": [{"b": "y"}]}, [("$.a[0].b", "value")]),
        ({"a b": 1}, {"a-b": 1}, [('$["a b"]', "missing"), ("$.a-b", "extra")]),
    ],
)
def test_the_smallest_place_is_named(one: Any, other: Any, spots: list[tuple[str, str]]) -> None:
    assert [(spot.path, spot.kind.value) for spot in differing(one, other)] == spots


def test_values_are_equal_by_what_they_say() -> None:
    assert plain({"a": 1, "b": 2}) == plain({"b": 2, "a": 1})
    assert plain(1) != plain(1.0) != plain(True)
