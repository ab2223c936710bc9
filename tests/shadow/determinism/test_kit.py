"""The kit's own promises: what breaks is found, shrinks to little, and comes back from its list alone."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

import pytest
from temporalio import activity, workflow
from temporalio.common import RetryPolicy

from dbos_shadow.determinism import (
    DeterminismError,
    Kind,
    Plan,
    Profile,
    Rule,
    check_workflow,
    from_type,
    inferred,
    may_fail,
    plan,
    returns,
    run_schedule,
    times_out,
)
from dbos_shadow.determinism.decisions import Listed, trimmed
from dbos_shadow.determinism.elsewhere import reference_to, run_elsewhere
from dbos_shadow.determinism.loop import Stuck, stepped_loop
from dbos_shadow.determinism.shrink import shrink
from dbos_shadow.determinism.values import pool
from dbos_shadow.trace import Status, Trace

SOON = timedelta(seconds=10)
FEW = Profile(name="few", schedules=300, seconds=120, hash_seeds=0)


@activity.defn
async def charge(cents: int) -> int:
    return cents


@activity.defn
async def refund(cents: int) -> int:
    return cents


@activity.defn
async def ship(cents: int) -> int:
    return cents


@workflow.defn
class Forgets:
    """Takes money back when shipping fails, and forgets to when it is cancelled."""

    @workflow.run
    async def run(self, cents: int) -> None:
        await workflow.execute_activity(charge, cents, start_to_close_timeout=SOON)
        try:
            await workflow.execute_activity(
                ship, cents, start_to_close_timeout=SOON, retry_policy=RetryPolicy(maximum_attempts=1)
            )
        except Exception:
            if asyncio.current_task() is not None and workflow.cancellation_reason() is not None:
                raise
            await workflow.execute_activity(refund, cents, start_to_close_timeout=SOON)


def charged_implies_shipped_or_refunded(trace: Trace) -> bool:
    done = {trace.steps[a.step].name for a in trace.arrivals if a.step is not None and a.how == "completed"}
    return "charge" not in done or bool(done & {"ship", "refund"})


def forgets() -> Plan:
    return plan(
        Forgets.run,
        args=100,
        activities={charge: returns(1), ship: may_fail(value=1), refund: returns(1)},
        invariants=[charged_implies_shipped_or_refunded],
        sandboxed=False,
    )


def test_found_shrunk_and_found_again() -> None:
    with pytest.raises(DeterminismError) as caught:
        check_workflow(forgets(), profile=FEW)
    error = caught.value
    assert error.rule is Rule.INVARIANT
    assert "charged_implies_shipped_or_refunded" in error.what
    assert sum(1 for decision in error.decisions if decision) <= 2
    assert [h.kind for h in error.happenings if h.kind is Kind.CANCEL] == [Kind.CANCEL]
    assert error.happenings[-1].kind is Kind.BROKEN
    assert error.history is not None
    again = run_schedule(forgets(), error.decisions)
    assert again.error is not None
    assert again.error.happenings == error.happenings


def test_what_is_not_a_stub_must_not_start() -> None:
    without = plan(Forgets.run, args=1, activities={charge: returns(1)}, sandboxed=False)
    lived = run_schedule(without, [])
    assert lived.error is not None
    assert lived.error.rule is Rule.STUBS


def test_time_outs_are_the_clocks_own() -> None:
    hangs = plan(
        Forgets.run,
        args=1,
        activities={charge: returns(1), ship: times_out(), refund: returns(1)},
        sandboxed=False,
    )
    lived = run_schedule(hangs, [])
    assert lived.error is None
    (trace,) = lived.traces
    assert trace.outcome.status is Status.COMPLETED
    assert [arrival.how for arrival in trace.arrivals] == ["completed", "timed_out", "completed"]


@workflow.defn
class Rolls:
    @workflow.run
    async def run(self) -> None:
        if random.random() < 0.5:
            await workflow.sleep(1)
        await workflow.execute_activity(charge, 1, start_to_close_timeout=SOON)


def test_chance_of_its_own_is_found() -> None:
    with pytest.raises(DeterminismError) as caught:
        check_workflow(plan(Rolls.run, activities={charge: returns(1)}, sandboxed=False), profile=FEW)
    assert caught.value.rule in (Rule.REPLAY, Rule.CRASH_FREE, Rule.SAME_COMMANDS)


@workflow.defn
class Words:
    """The order of its activities is that of a set of strings."""

    @workflow.run
    async def run(self) -> None:
        for word in {"one", "two", "three", "four", "five", "six"}:
            await workflow.execute_activity(word, start_to_close_timeout=SOON)


words = plan(
    Words.run,
    activities={word: returns(1) for word in ("one", "two", "three", "four", "five", "six")},
    sandboxed=False,
)


def test_another_process_sees_another_hash_seed() -> None:
    reference = reference_to(words, __name__)
    assert reference is not None
    one, other, again = [run_elsewhere(reference, [()], seed, 40)[0] for seed in (1, 2, 1)]
    assert len(one) == 7
    assert one == again
    assert one != other


@workflow.defn
class Spins:
    """Does not let itself be torn down."""

    @workflow.run
    async def run(self) -> None:
        while True:
            with contextlib.suppress(BaseException):
                await workflow.sleep(60)


def test_code_that_swallows_its_own_end_is_found() -> None:
    lived = run_schedule(plan(Spins.run, sandboxed=False), [])
    assert lived.error is not None
    assert lived.error.rule is Rule.EVICTION


# -- parts ---------------------------------------------------------------------------------------------------------------


def test_decisions_past_the_end_are_boring_and_impossible_ones_too() -> None:
    listed = Listed([2, 7])
    assert [listed.choose(3), listed.choose(3), listed.choose(3), listed.choose(1)] == [2, 0, 0, 0]
    assert listed.made == [2, 0, 0]
    assert trimmed(listed.made) == [2]


def test_shrinking_ends_with_what_matters() -> None:
    def breaks(decisions: tuple[int, ...]) -> tuple[int, ...] | None:
        return decisions if 5 in decisions and len(decisions) > 2 else None

    assert shrink((1, 9, 5, 3, 0, 8, 5), breaks, lambda: True) == (0, 0, 5)


def test_values_begin_with_the_simplest_and_are_always_the_same() -> None:
    values = pool(from_type(str), lambda value: True)
    assert values[0] == ""
    assert any(len(value) >= 10_000 for value in values)
    assert values == pool(from_type(str), lambda value: True)
    assert None in pool(from_type(int | None), lambda value: True)
    with pytest.raises(ValueError, match="data converter"):
        pool(from_type(str), lambda value: False)


@dataclass
class Told:
    who: str
    facts: dict[str, Any]


@pytest.mark.parametrize("type_", [Any, dict[str, Any], list[Any], Any | None, tuple[int, Any], Told, list[Told]])
def test_anything_may_be_anywhere_in_a_type(type_: Any) -> None:
    values = pool(from_type(type_), lambda value: True)
    assert len(values) > 1
    assert values == pool(from_type(type_), lambda value: True)


@workflow.defn
class Watches:
    """Its activity never returns."""

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(
            watch_for_ever, start_to_close_timeout=SOON, retry_policy=RetryPolicy(maximum_attempts=2)
        )


@activity.defn
async def watch_for_ever() -> NoReturn:
    raise RuntimeError


def test_an_activity_that_never_returns_fails() -> None:
    lived = run_schedule(inferred(Watches, sandboxed=False), [])
    assert lived.error is None
    (trace,) = lived.traces
    assert trace.outcome.status is Status.FAILED


def test_a_callback_without_end_is_stopped() -> None:
    loop = stepped_loop(lambda: 0)

    def spin() -> None:
        while True:
            with contextlib.suppress(BaseException):
                sum(range(5))

    loop.call_soon(spin)
    loop.settle()
    assert isinstance(loop.raised, Stuck)
