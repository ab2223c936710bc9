"""A patch may go when no open run has passed it, and then by way of ``deprecate_patch``."""

from __future__ import annotations

from temporalio import activity, workflow

from dbos_shadow.determinism import Rule, plan, returns
from tests.shadow.gallery.shape import MINUTE, Shape


@activity.defn
async def pack() -> None:
    raise NotImplementedError


@activity.defn
async def weigh() -> None:
    raise NotImplementedError


@workflow.defn(name="Parcel")
class Patched:
    @workflow.run
    async def run(self) -> None:
        if workflow.patched("weigh"):
            await workflow.execute_activity(weigh, start_to_close_timeout=MINUTE)
        await workflow.execute_activity(pack, start_to_close_timeout=MINUTE)


@workflow.defn(name="Parcel")
class Removed:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(weigh, start_to_close_timeout=MINUTE)
        await workflow.execute_activity(pack, start_to_close_timeout=MINUTE)


@workflow.defn(name="Parcel")
class Deprecated:
    @workflow.run
    async def run(self) -> None:
        workflow.deprecate_patch("weigh")
        await workflow.execute_activity(weigh, start_to_close_timeout=MINUTE)
        await workflow.execute_activity(pack, start_to_close_timeout=MINUTE)


STUBS = {pack: returns(), weigh: returns()}
SHAPE = Shape(
    title="A patch removed too early",
    lesson="First `workflow.deprecate_patch(...)`; nothing at all only when no run with the marker is open.",
    broken=plan(Patched.run, then=Removed.run, activities=STUBS, sandboxed=False),
    mended=plan(Patched.run, then=Deprecated.run, activities=STUBS, sandboxed=False),
    rules=frozenset({Rule.REPLAY}),
)
BROKEN = SHAPE.broken
