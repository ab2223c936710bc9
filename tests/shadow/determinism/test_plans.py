"""Plans: what makes no sense is refused at once, by an error that says what to write instead; invariants that fail."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import strategies as st
from temporalio import activity, workflow

from dbos_shadow.determinism import (
    BadPlan,
    DeterminismError,
    Profile,
    Rule,
    check_workflow,
    from_type,
    may_fail,
    plan,
    returns,
    run_schedule,
    sends,
)
from dbos_shadow.trace import Trace

SOON = timedelta(seconds=10)
FEW = Profile(name="few", schedules=200, seconds=60, hash_seeds=0)


@activity.defn
async def charge(name: str) -> str:
    return name


@activity.defn
async def ship(name: str) -> str:
    return name


@workflow.defn
class Buys:
    @workflow.run
    async def run(self, things: list[int]) -> str:
        paid = await workflow.execute_activity(charge, "ada", start_to_close_timeout=SOON)
        return paid + await workflow.execute_activity(ship, "ada", start_to_close_timeout=SOON)

    @workflow.signal
    def approve(self, who: str) -> None: ...


STUBS = {charge: returns("c"), ship: returns("s")}


def nobody(name: str) -> str:
    return name


async def later(trace: Trace) -> bool:
    return False


class Later:
    async def __call__(self, trace: Trace) -> bool:
        return False


def stub(value: Any) -> Callable[[], object]:
    return lambda: plan(Buys, activities={charge: value})


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "a value for a stub": (stub("x"), r"activities\[charge\] is 'x'.*write returns\('x'\)"),
    "from_type for a stub": (stub(from_type(str)), r"write returns\(from_type\(str\)\)"),
    "a strategy for a stub": (stub(st.just(5)), r"write returns\(just\(5\)\)"),
    "a type for a stub": (stub(str), r"write returns\(from_type\(str\)\)"),
    "an error for a stub": (stub(KeyError), r"write raises\(KeyError\)"),
    "returns without parentheses": (stub(returns), r"write returns\(...\), with parentheses"),
    "may_fail without parentheses": (stub(may_fail), r"write may_fail\(...\), with parentheses"),
    "a function for a stub": (stub(nobody), r"nobody.*it is never run; say what comes of it"),
    "None for a stub": (stub(None), r"write returns\(\)"),
    "no activity": (lambda: plan(Buys, activities={nobody: returns()}), r"nobody is no activity.*give its name"),
    "a list of stubs": (lambda: plan(Buys, activities=[charge]), r"takes a dictionary"),  # type: ignore[arg-type]
    "a list of children": (lambda: plan(Buys, children=["x"]), r"takes a dictionary"),  # type: ignore[arg-type]
    "a child's value": (
        lambda: plan(Buys, children={"x": 5}),  # type: ignore[dict-item]
        r"children\['x'\] is 5.*returns\(5\)",
    ),
    "a fallback": (lambda: plan(Buys, fallback=returns()), r"fallback=lambda name"),  # type: ignore[arg-type]
    "one signal": (lambda: plan(Buys, signals=Buys.approve), r"write signals=\[Buys.approve\]"),  # type: ignore[arg-type]
    "a signal's name": (lambda: plan(Buys, signals=["approve"]), r"write signals=\[Buys.approve\]"),
    "no handler": (lambda: plan(Buys, signals=[Buys.run]), r"signals= has Buys.run"),
    "too many for a signal": (
        lambda: plan(Buys, signals=[sends(Buys.approve, "a", "b")]),
        r"signal 'approve' takes 1 argument, and 2 would be given",
    ),
    "a list that is one argument": (lambda: plan(Buys, args=[1, 2]), r"run takes 1 argument.*args=\[\[1, 2\]\]"),
    "too few": (lambda: plan(Buys, args=[]), r"run takes 1 argument, and 0 would be given"),
    "one invariant": (lambda: plan(Buys, invariants=bool), r"takes a list; write invariants=\[bool\]"),  # type: ignore[arg-type]
    "no invariant": (lambda: plan(Buys, invariants=[True]), r"takes functions"),  # type: ignore[list-item]
    "an asynchronous invariant": (lambda: plan(Buys, invariants=[later]), r"later is asynchronous.*write def"),
    "an asynchronous object": (lambda: plan(Buys, invariants=[Later()]), r"is asynchronous"),
    "an asynchronous partial": (lambda: plan(Buys, invariants=[functools.partial(later)]), r"is asynchronous"),
    "an invariant of nothing": (lambda: plan(Buys, invariants=[lambda: True]), r"with one argument"),  # type: ignore[list-item,misc]
    "a typing error in allow": (
        lambda: plan(Buys, allow=["unfinished_handlers"]),
        r"allow= has 'unfinished_handlers'.*write \"unfinished-handlers\"",
    ),
    "nothing to allow": (lambda: plan(Buys, allow=["everything"]), r"there are: task-failures, .*query-answers"),
    "allow as text": (lambda: plan(Buys, allow="task-failures"), r"write allow=\['task-failures'\]"),
    "a start option": (lambda: plan(Buys, start_options={"cron_shedule": "* * * * *"}), r"write 'cron_schedule'"),
    "the start's id": (lambda: plan(Buys, start_options={"id": "x"}), r"'id', which the kit itself gives"),
    "a worker option": (lambda: plan(Buys, worker_options={"nope": 1}), r"worker_options= has 'nope'"),
    "a client option": (lambda: plan(Buys, client_options={"codec": 1}), r"client_options= has 'codec'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_makes_no_sense_is_refused(name: str) -> None:
    made, what = WRONG[name]
    with pytest.raises(BadPlan, match=what) as caught:
        made()
    assert "workflow 'Buys'" in str(caught.value)


def test_what_makes_sense_is_taken() -> None:
    made = plan(
        Buys,
        args=[[1, 2]],
        activities=STUBS,
        signals=(Buys.approve,),
        children={"other": returns(), Buys: None},
        allow=("task-failures", "unfinished-handlers", "unfinished-updates", "query-answers"),
        invariants=[functools.partial(max, 0), paid_first],
    )
    assert made.args == ([1, 2],)
    assert len(made.allow) == 4


# -- invariants ----------------------------------------------------------------------------------------------------------


def paid_first(trace: Trace) -> bool:
    """Stumbles over runs that never get to ship anything."""
    shipped = next(step for step in trace.steps if step.name == "ship")
    return trace.steps.index(shipped) > 0


def test_an_invariant_that_raises_is_broken_and_shrunk() -> None:
    tested = plan(
        Buys, args=[[1]], activities={charge: may_fail(ValueError, value="c"), ship: returns("s")},
        invariants=[paid_first], sandboxed=False,
    )  # fmt: skip
    with pytest.raises(DeterminismError) as caught:
        check_workflow(tested, profile=FEW)
    error = caught.value
    assert error.rule is Rule.INVARIANT
    assert error.what.startswith("paid_first raises StopIteration (test_plans.py:")
    assert sum(1 for decision in error.decisions if decision) == 1
    assert error.happenings
    assert error.history is not None
    again = run_schedule(tested, error.decisions).error
    assert again is not None
    assert again.what == error.what


def looks_up(trace: Trace) -> bool:
    return bool({"a": 1}["b"])


def test_its_text_is_told() -> None:
    lived = run_schedule(plan(Buys, args=[[1]], activities=STUBS, invariants=[looks_up], sandboxed=False), [])
    assert lived.error is not None
    assert "looks_up raises KeyError: 'b' (test_plans.py:" in lived.error.what


def test_an_answer_for_which_nobody_waits_is_none() -> None:
    unnoticed = plan(Buys, args=[[1]], activities=STUBS, invariants=[lambda trace: later(trace)], sandboxed=False)
    lived = run_schedule(unnoticed, [])
    assert lived.error is not None
    assert lived.error.rule is Rule.INVARIANT
    assert "coroutine" in lived.error.what
