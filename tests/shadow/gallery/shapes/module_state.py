"""What a module remembers is not in the journal: another process, or a replay, remembers something else."""

from __future__ import annotations

from temporalio import activity, workflow

from dbos_shadow.determinism import Rule, plan, returns
from tests.shadow.gallery.shape import MINUTE, Shape


@activity.defn
async def warm_up() -> None:
    raise NotImplementedError


@activity.defn
async def serve() -> None:
    raise NotImplementedError


_seen: list[str] = []


@workflow.defn(name="ModuleState")
class Broken:
    @workflow.run
    async def run(self) -> None:
        if not _seen:
            _seen.append(workflow.info().workflow_id)
            await workflow.execute_activity(warm_up, start_to_close_timeout=MINUTE)
        await workflow.execute_activity(serve, start_to_close_timeout=MINUTE)


@workflow.defn(name="ModuleState")
class Mended:
    def __init__(self) -> None:
        self.seen: list[str] = []

    @workflow.run
    async def run(self) -> None:
        if not self.seen:
            self.seen.append(workflow.info().workflow_id)
            await workflow.execute_activity(warm_up, start_to_close_timeout=MINUTE)
        await workflow.execute_activity(serve, start_to_close_timeout=MINUTE)


STUBS = {warm_up: returns(), serve: returns()}
SHAPE = Shape(
    title="State kept in a module global",
    lesson="Attributes of the workflow; the sandbox would have kept this one apart, unsandboxed code has no such help.",
    broken=plan(Broken.run, activities=STUBS, sandboxed=False),
    mended=plan(Mended.run, activities=STUBS, sandboxed=False),
    rules=frozenset({Rule.REPLAY, Rule.SAME_COMMANDS}),
)
BROKEN = SHAPE.broken
