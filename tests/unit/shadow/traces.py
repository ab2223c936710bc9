"""Traces by hand, and traces that Hypothesis draws: what a workflow might have done, activation by activation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from dbos_shadow.trace import (
    NULL,
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


def plain(*values: Any) -> tuple[Plain, ...]:
    return tuple(Plain.of(value) for value in values)


RETRY = (("queue", "q"), ("retry_maximum_attempts", 3), ("start_to_close_ms", 20_000))


def activity(name: str, *args: Any, activation: int = 1, **fields: Any) -> Step:
    return Step(
        **{
            "kind": StepKind.ACTIVITY,
            "name": name,
            "id": "1",
            "inputs": plain(*args),
            "options": RETRY,
            "activation": activation,
            **fields,
        }
    )


def timer(ms: int, activation: int = 1) -> Step:
    return Step(kind=StepKind.TIMER, duration_ms=ms, activation=activation)


def signal(name: str, *args: Any, activation: int = 1) -> Arrival:
    return Arrival(kind=ArrivalKind.SIGNAL, name=name, values=plain(*args), activation=activation)


def result(step: int, value: Any, activation: int, name: str = "") -> Arrival:
    return Arrival(kind=ArrivalKind.ACTIVITY, name=name, step=step, values=plain(value), activation=activation)


def trace(steps: list[Step], arrivals: list[Arrival] | None = None, **fields: Any) -> Trace:
    return Trace(
        **{
            "workflow_type": "Order",
            "task_queue": "q",
            "inputs": plain({"id": 42}),
            "steps": tuple(steps),
            "arrivals": tuple(arrivals or ()),
            "outcome": Outcome(status=Status.COMPLETED, values=plain({"total": 10})),
            **fields,
        }
    )


CHECKOUT = trace(
    [
        activity("reserve", {"item": "book", "pieces": [1, 2]}, activation=1),
        activity("quote", {"item": "book"}, activation=1),
        timer(60_000, activation=2),
        activity("charge", {"cents": 1000}, "card", activation=3),
        Step(kind=StepKind.CANCEL_TIMER, target=2, activation=3),
        Step(kind=StepKind.CHILD, name="Ship", id="ship-42", inputs=plain("book"), options=RETRY, activation=4),
    ],
    [
        result(0, "ok", 2, "reserve"),
        result(1, 1000, 2, "quote"),
        signal("hurry", 1, activation=3),
        signal("hurry", 2, activation=3),
        result(3, "paid", 4, "charge"),
        Arrival(kind=ArrivalKind.CHILD_STARTED, name="Ship", step=5, activation=5),
        Arrival(kind=ArrivalKind.CHILD, name="Ship", step=5, values=plain("sent"), activation=6),
    ],
)
"""Two activities at once, a timer that signals make needless, a payment, a child."""


def with_step(before: Trace, index: int, **fields: Any) -> Trace:
    """The trace with one step changed."""
    steps = list(before.steps)
    steps[index] = replace(steps[index], **fields)
    return replace(before, steps=tuple(steps))


# -- drawn ---------------------------------------------------------------------------------------------------------------

names = st.sampled_from(["reserve", "charge", "ship"])
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=True) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c d"]), inner, max_size=3),
    max_leaves=5,
)
values = st.lists(
    st.builds(Plain.of, json_values)
    | st.just(NULL)
    | st.builds(Opaque, st.just("binary/plain"), st.binary(max_size=2)),
    max_size=2,
).map(tuple)
failures = st.none() | st.builds(
    Failure, kind=st.sampled_from(["application", "timeout"]), message=st.text("xy", max_size=2), details=values
)


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """A run: each activation has arrivals for steps of earlier ones, and asks for some steps."""
    steps: list[Step] = []
    arrivals: list[Arrival] = []
    waiting: list[int] = []
    for activation in range(1, draw(st.integers(1, 4)) + 1):
        for _ in range(draw(st.integers(0, 2))):
            if draw(st.booleans()) and waiting:
                index = waiting.pop(draw(st.integers(0, len(waiting) - 1)))
                kind = ArrivalKind.TIMER if steps[index].kind is StepKind.TIMER else ArrivalKind.ACTIVITY
                arrivals.append(
                    Arrival(
                        kind=kind,
                        name=steps[index].name,
                        step=index,
                        activation=activation,
                        values=draw(values),
                        failure=draw(failures),
                    )
                )
            else:
                name = draw(names)
                arrivals.append(Arrival(kind=ArrivalKind.SIGNAL, name=name, values=draw(values), activation=activation))
        for _ in range(draw(st.integers(0, 3))):
            waiting.append(len(steps))
            if draw(st.booleans()):
                steps.append(activity(draw(names), activation=activation, inputs=draw(values)))
            else:
                steps.append(timer(draw(st.integers(1, 3)), activation))
    status = draw(st.sampled_from([Status.COMPLETED, Status.FAILED]))
    outcome = Outcome(status=status, values=draw(values), failure=draw(failures))
    return trace(steps, arrivals, inputs=draw(values), outcome=outcome)
