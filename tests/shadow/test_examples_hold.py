"""The other side of the gallery: every workflow of our examples holds, with stubs inferred from its annotations."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from dbos_shadow.determinism import Plan, Profile, check_workflow, inferred
from dbos_shadow.determinism.inferred import workflows_of
from examples.subscription import Subscription

MODULES = (
    "examples.basket",
    "examples.checkout.workflows",
    "examples.determinism.orders",
    "examples.fleet",
    "examples.nightly_report",
    "examples.onboarding",
    "examples.order_desk",
    "examples.subscription",
    "examples.trip",
)
TOLD: dict[str, dict[str, Any]] = {
    "Trip": {"args": "ada"},  # is part of ids, which Temporal limits to 1,000 bytes
    "SubscriptionWorkflow": {
        "args": Subscription("ada", 900, 3)
    },  # a month of any number of seconds is too long for a clock
    "Order": {"start_options": {"memo": {"note": "leave it at the door"}}},  # which it changes
}
"""What a class does not say of itself."""
FEW = Profile(name="few", schedules=30, seconds=2, hash_seeds=0)
MANY = Profile(name="many", schedules=10_000, seconds=1_500, hash_seeds=2)


def plans() -> dict[str, Plan]:
    found = {}
    for module in MODULES:
        for workflow in workflows_of(importlib.import_module(module)):
            options = TOLD.get(workflow.__name__, {})
            found[f"{module.removeprefix('examples.')}:{workflow.__name__}"] = inferred(
                workflow, sandboxed=False, **options
            )
    return found


PLANS = plans()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", PLANS)
def test_it_holds(name: str) -> None:
    assert check_workflow(PLANS[name], profile=FEW).schedules > 0


@pytest.mark.nightly
@pytest.mark.timeout(1_700)
@pytest.mark.parametrize("name", PLANS)
def test_it_holds_for_ten_thousand_schedules(name: str) -> None:
    explored = check_workflow(PLANS[name], profile=MANY)
    print(f"{name}: {explored.schedules} schedules, {explored.steps} steps, {explored.seconds:.0f} s")
