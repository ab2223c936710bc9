"""Continue-as-new ends a run like any other end: what its handlers had in hand is gone."""

from __future__ import annotations

from temporalio import activity, workflow

from dbos_shadow.determinism import Rule, plan, returns
from tests.shadow.gallery.shape import MINUTE, Shape


@activity.defn
async def work() -> None:
    raise NotImplementedError


@activity.defn
async def store(item: str) -> None:
    raise NotImplementedError


@workflow.defn(name="UpdateLost")
class Broken:
    @workflow.run
    async def run(self, rounds: int) -> None:
        await workflow.execute_activity(work, start_to_close_timeout=MINUTE)
        if rounds > 0:
            workflow.continue_as_new(rounds - 1)

    @workflow.update
    async def add(self, item: str) -> str:
        await workflow.execute_activity(store, item, start_to_close_timeout=MINUTE)
        return item


@workflow.defn(name="UpdateLost")
class Mended:
    @workflow.run
    async def run(self, rounds: int) -> None:
        await workflow.execute_activity(work, start_to_close_timeout=MINUTE)
        await workflow.wait_condition(workflow.all_handlers_finished)
        if rounds > 0:
            workflow.continue_as_new(rounds - 1)

    @workflow.update
    async def add(self, item: str) -> str:
        await workflow.execute_activity(store, item, start_to_close_timeout=MINUTE)
        return item


STUBS = {work: returns(), store: returns()}
SHAPE = Shape(
    title="An update that is lost when its workflow continues as new",
    lesson="Wait for all handlers before `continue_as_new`, too.",
    broken=plan(Broken.run, args=1, activities=STUBS, updates=[Broken.add], cancels=False, sandboxed=False),
    mended=plan(Mended.run, args=1, activities=STUBS, updates=[Mended.add], cancels=False, sandboxed=False),
    rules=frozenset({Rule.UPDATE_ONCE, Rule.HANDLERS_FINISH}),
)
BROKEN = SHAPE.broken
