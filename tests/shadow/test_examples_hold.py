"""The other side of the gallery: every workflow of our examples holds, with stubs inferred from its annotations."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from dbos_shadow.determinism import Plan, Profile, check_workflow, inferred
from dbos_shadow.determinism.elsewhere import Reference
from dbos_shadow.determinism.inferred import workflows_of
from dbos_shadow.determinism.lint import defines_workflow
from examples.onboarding import First, Second, Third
from examples.subscription import Subscription
from tests.fixtures.process import REPOSITORY

MODULES = (
    "examples.basket",
    "examples.checkout.workflows",
    "examples.determinism.orders",
    "examples.fleet",
    "examples.nightly_report",
    "examples.onboarding",
    "examples.order_desk",
    "examples.shadow.changed",
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
TAKEN_OVER = ((First, Second), (Second, Third))
"""Code of which the latter takes over the runs of the former."""
FEW = Profile(name="few", schedules=30, seconds=2, hash_seeds=0)
MANY = Profile(name="many", schedules=10_000, seconds=1_500, replayer_every=500, hash_seeds=2)


def plans() -> dict[str, Plan]:
    found = {}
    for module in MODULES:
        for workflow in workflows_of(importlib.import_module(module)):
            options = TOLD.get(workflow.__name__, {})
            found[f"{module.removeprefix('examples.')}:{workflow.__name__}"] = inferred(
                workflow, sandboxed=False, **options
            )
    for before, after in TAKEN_OVER:
        found[f"onboarding:{before.__name__}, then {after.__name__}"] = inferred(before, then=after, sandboxed=False)
    return found


PLANS = plans()


def test_no_example_is_forgotten() -> None:
    files = [p for p in (REPOSITORY / "examples").rglob("*.py") if defines_workflow(p.read_text(encoding="utf-8"))]
    modules = {".".join(p.relative_to(REPOSITORY).with_suffix("").parts) for p in files}
    assert modules == set(MODULES)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", PLANS)
def test_it_holds(name: str) -> None:
    assert check_workflow(PLANS[name], profile=FEW).schedules > 0


@pytest.mark.nightly
@pytest.mark.timeout(1_700)
@pytest.mark.parametrize("name", PLANS)
def test_it_holds_for_ten_thousand_schedules(name: str) -> None:
    explored = check_workflow(PLANS[name], profile=MANY, reference=Reference(__name__, __file__, "PLANS", key=name))
    print(f"{name}: {explored.schedules} schedules, {explored.steps} steps, {explored.seconds:.0f} s")
    assert explored.schedules >= MANY.schedules
    assert explored.replayed
    assert explored.elsewhere
    assert not explored.unchecked
