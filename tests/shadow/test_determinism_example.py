"""The example of the determinism kit: it holds, and an invariant that does not is found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dbos_shadow.determinism import NIGHTLY, DeterminismError, Profile, Rule, check_workflow
from dbos_shadow.determinism.elsewhere import reference_to
from dbos_shadow.trace import Status, Trace
from examples.determinism.test_orders import test_order as example


@pytest.mark.timeout(120)
def test_the_example_holds() -> None:
    explored = check_workflow(example.plan, profile=Profile(name="example", schedules=60, seconds=6, hash_seeds=0))
    assert explored.schedules > 0


def never_canceled(trace: Trace) -> bool:
    return trace.outcome.status is not Status.CANCELED


@pytest.mark.timeout(120)
def test_another_invariant_does_not() -> None:
    tested = replace(example.plan, invariants=(never_canceled,))
    with pytest.raises(DeterminismError) as caught:
        check_workflow(tested, profile=Profile(name="example", schedules=400, seconds=40, hash_seeds=0))
    assert caught.value.rule is Rule.INVARIANT


@pytest.mark.nightly
@pytest.mark.timeout(1_700)
def test_the_example_holds_for_long() -> None:
    explored = check_workflow(
        example.plan, profile="nightly", reference=reference_to(example, "examples.determinism.test_orders")
    )
    assert explored.schedules >= NIGHTLY.schedules
    assert explored.elsewhere
