"""A signal handler that waits is left behind when the workflow returns."""

from __future__ import annotations

from temporalio import activity, workflow

from dbos_shadow.determinism import Rule, plan, returns
from tests.shadow.gallery.shape import MINUTE, Shape


@activity.defn
async def ship() -> None:
    raise NotImplementedError


@activity.defn
async def change_address(address: str) -> None:
    raise NotImplementedError


@workflow.defn(name="HandlerRacesEnd")
class Broken:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(ship, start_to_close_timeout=MINUTE)

    @workflow.signal
    async def moved(self, address: str) -> None:
        await workflow.execute_activity(change_address, address, start_to_close_timeout=MINUTE)


@workflow.defn(name="HandlerRacesEnd")
class Mended:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(ship, start_to_close_timeout=MINUTE)
        await workflow.wait_condition(workflow.all_handlers_finished)

    @workflow.signal
    async def moved(self, address: str) -> None:
        await workflow.execute_activity(change_address, address, start_to_close_timeout=MINUTE)


STUBS = {ship: returns(), change_address: returns()}
SHAPE = Shape(
    title="A signal handler that races the end of its workflow",
    lesson="`await workflow.wait_condition(workflow.all_handlers_finished)` before the end.",
    broken=plan(Broken.run, activities=STUBS, signals=[Broken.moved], cancels=False, sandboxed=False),
    mended=plan(Mended.run, activities=STUBS, signals=[Mended.moved], cancels=False, sandboxed=False),
    rules=frozenset({Rule.HANDLERS_FINISH}),
)
BROKEN = SHAPE.broken
