"""Code that open workflows have run through may not change its commands without a patch."""

from __future__ import annotations

from temporalio import activity, workflow

from dbos_shadow.determinism import Rule, plan, returns
from tests.shadow.gallery.shape import MINUTE, Shape


@activity.defn
async def reserve() -> None:
    raise NotImplementedError


@activity.defn
async def check_fraud() -> None:
    raise NotImplementedError


@activity.defn
async def charge() -> None:
    raise NotImplementedError


@workflow.defn(name="Checkout")
class Before:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(reserve, start_to_close_timeout=MINUTE)
        await workflow.execute_activity(charge, start_to_close_timeout=MINUTE)


@workflow.defn(name="Checkout")
class Edited:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(check_fraud, start_to_close_timeout=MINUTE)
        await workflow.execute_activity(reserve, start_to_close_timeout=MINUTE)
        await workflow.execute_activity(charge, start_to_close_timeout=MINUTE)


@workflow.defn(name="Checkout")
class Patched:
    @workflow.run
    async def run(self) -> None:
        if workflow.patched("fraud"):
            await workflow.execute_activity(check_fraud, start_to_close_timeout=MINUTE)
        await workflow.execute_activity(reserve, start_to_close_timeout=MINUTE)
        await workflow.execute_activity(charge, start_to_close_timeout=MINUTE)


STUBS = {reserve: returns(), check_fraud: returns(), charge: returns()}
SHAPE = Shape(
    title="An edit without a patch",
    lesson="`if workflow.patched(...)` around what is new, as long as runs are open that have passed it.",
    broken=plan(Before.run, then=Edited.run, activities=STUBS, sandboxed=False),
    mended=plan(Before.run, then=Patched.run, activities=STUBS, sandboxed=False),
    rules=frozenset({Rule.REPLAY}),
)
BROKEN = SHAPE.broken
