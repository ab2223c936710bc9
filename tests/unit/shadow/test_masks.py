"""Masks hide what no engine owes the other, count it, and hide nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from dbos_shadow.diff import diff
from dbos_shadow.difference import Kind
from dbos_shadow.masks import CLOCK, FREE_RUN, LED, RUN_IDS, TRACING, UUIDS, masked
from dbos_shadow.trace import Outcome, Plain, Status, Step, StepKind, Trace

A = "3f2b8f0e-0000-4000-8000-00000000000a"
B = "3f2b8f0e-0000-4000-8000-00000000000b"


def trace(value: Any, run_id: str = A) -> Trace:
    step = Step(kind=StepKind.ACTIVITY, activation=1, name="charge", id="1", inputs=(Plain.of(value),))
    return Trace(workflow_type="Order", run_id=run_id, steps=(step,), outcome=Outcome(status=Status.COMPLETED))


@pytest.mark.parametrize(
    ("mine", "theirs", "hidden"),
    [
        (f"key-{A}", f"key-{B}", {"run_ids": 1}),
        (f"key-{A[:-1]}c", f"key-{B[:-1]}d", {"uuids": 1}),
        ("2026-01-02T03:04:05.123456+00:00", "2026-01-02 03:04:06+00:00", {"clock": 1}),
        ({"at": "2026-01-02T03:04:05Z", "id": A}, {"at": "2026-01-02T03:04:07Z", "id": B}, {"clock": 1, "run_ids": 1}),
    ],
)
def test_hidden_and_counted(mine: Any, theirs: Any, hidden: dict[str, int]) -> None:
    expected, actual = trace(mine), trace(theirs, B)
    comparison, counts = masked(diff(expected, actual), FREE_RUN, expected, actual)
    assert comparison.differences == ()
    assert counts == hidden


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (f"key-{A}", f"lock-{B}"),
        (A, None),
        (5, 6),
        ("2026-01-02", "2026-01-03"),
        ([A], [A, B]),
        (f"{A} paid 5", f"{B} paid 6"),
    ],
)
def test_not_hidden(mine: Any, theirs: Any) -> None:
    expected, actual = trace(mine), trace(theirs, B)
    comparison, counts = masked(diff(expected, actual), FREE_RUN, expected, actual)
    assert comparison.differences
    assert counts == {}


def test_a_mask_alone() -> None:
    expected, actual = trace(A), trace(B, B)
    found = diff(expected, actual)
    assert masked(found, (CLOCK,), expected, actual) == (found, {})
    assert masked(found, (RUN_IDS,), expected, actual)[1] == {"run_ids": 1}
    assert masked(found, (UUIDS,), expected, actual)[1] == {"uuids": 1}


def carrying(**headers: Any) -> Trace:
    named = tuple((f"headers.{name.replace('__', '-')}", Plain.of(value)) for name, value in sorted(headers.items()))
    step = Step(kind=StepKind.ACTIVITY, activation=1, name="charge", id="1", named=named)
    return Trace(workflow_type="Order", steps=(step,), outcome=Outcome(status=Status.COMPLETED))


@pytest.mark.parametrize("name", ["_tracer__data", "_dd__trace__data"])
def test_headers_of_tracers(name: str) -> None:
    """Temporal's own interceptor adds none while it replays; a run by itself has ids of its own."""
    there = carrying(**{name: {"traceparent": "00-1-1-01", "tracestate": "a=1"}}, tenant="a")
    other = carrying(**{name: {"traceparent": "00-2-2-01"}}, tenant="a")
    for expected, actual, places in (
        (there, carrying(tenant="a"), 1),
        (carrying(tenant="a"), there, 1),
        (there, other, 2),
    ):
        comparison, counts = masked(diff(expected, actual), LED, expected, actual)
        assert comparison.differences == ()
        assert counts == {"tracing": places}


def test_other_headers_count() -> None:
    expected = carrying(_tracer__data={"traceparent": "1"}, _tracer__database="a", tenant="a")
    actual = carrying(_tracer__data={"traceparent": "2"}, tenant="b")
    comparison, counts = masked(diff(expected, actual), (TRACING,), expected, actual)
    assert [(found.path.partition(": ")[2], found.kind) for found in comparison.differences] == [
        ("headers._tracer-database", Kind.MISSING),
        ("headers.tenant", Kind.VALUE),
    ]
    assert counts == {"tracing": 1}


def test_steps_are_paired_whatever_their_tracer_says() -> None:
    """The first of two equal steps is left out, and not the second."""

    def steps(*given: tuple[int, str]) -> Trace:
        made = [
            Step(
                kind=StepKind.ACTIVITY,
                activation=place,
                name="charge",
                id=str(place),
                inputs=(Plain.of(cents),),
                named=(("headers._tracer-data", Plain.of(span)),),
            )
            for place, (cents, span) in enumerate(given, 1)
        ]
        return Trace(workflow_type="Order", steps=tuple(made), outcome=Outcome(status=Status.COMPLETED))

    expected, actual = steps((1, "a"), (2, "b"), (3, "c")), steps((2, "d"), (3, "e"))
    comparison, _ = masked(diff(expected, actual), LED, expected, actual)
    (found,) = comparison.differences
    assert (found.kind, found.step) == (Kind.MISSING, 0)
