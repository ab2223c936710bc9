"""Code that changed while runs were open: patches and flags, before and after."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import activity, workflow

from tests.shadow.corpus.stage import Stage
from tests.shadow.corpus.theme import Theme

theme = Theme("versions")

SOON = timedelta(seconds=30)


@theme.activity
@activity.defn
async def old_way(number: int) -> str:
    return f"old {number}"


@theme.activity
@activity.defn
async def new_way(number: int) -> str:
    return f"new {number}"


class Gate:
    """Waits in the middle, so that the code can change there."""

    def __init__(self) -> None:
        self.open = False

    async def pass_through(self) -> None:
        await workflow.wait_condition(lambda: self.open)

    @workflow.signal
    def go(self) -> None:
        self.open = True


@workflow.defn(name="Versioned")
class Before(Gate):
    """As it was written first."""

    @workflow.run
    async def run(self) -> list[str]:
        said = [await workflow.execute_activity(old_way, 1, start_to_close_timeout=SOON)]
        await self.pass_through()
        said.append(await workflow.execute_activity(old_way, 2, start_to_close_timeout=SOON))
        return said


@theme.workflow
@workflow.defn(name="Versioned")
class After(Gate):
    """As it is now: one patch before the gate and one behind it."""

    @workflow.run
    async def run(self) -> list[str]:
        if workflow.patched("first-step"):
            said = [await workflow.execute_activity(new_way, 1, start_to_close_timeout=SOON)]
        else:
            said = [await workflow.execute_activity(old_way, 1, start_to_close_timeout=SOON)]
        await self.pass_through()
        if workflow.patched("second-step"):
            await asyncio.sleep(0.01)
            said.append(await workflow.execute_activity(new_way, 2, start_to_close_timeout=SOON))
        else:
            said.append(await workflow.execute_activity(old_way, 2, start_to_close_timeout=SOON))
        return said


@theme.workflow
@workflow.defn
class Deprecated:
    """The old branch is gone, the marker stays for runs that are still open."""

    @workflow.run
    async def run(self) -> str:
        workflow.deprecate_patch("long ago")
        return await workflow.execute_activity(new_way, 3, start_to_close_timeout=SOON)


@theme.workflow
@workflow.defn
class PatchedInALoop:
    """Asked again and again, the answer and the marker are one."""

    @workflow.run
    async def run(self, rounds: int) -> list[str]:
        said = []
        for number in range(rounds):
            way = new_way if workflow.patched("in-a-loop") else old_way
            said.append(await workflow.execute_activity(way, number, start_to_close_timeout=SOON))
        if workflow.patched("behind"):
            said.append("and behind")
        return said


@theme.workflow
@workflow.defn
class ByFlag:
    """The version is a value of the input: no patch at all."""

    @workflow.run
    async def run(self, version: int) -> str:
        way = new_way if version >= 2 else old_way
        return await workflow.execute_activity(way, version, start_to_close_timeout=SOON)


@theme.scene
async def begun_before_the_patch(stage: Stage) -> None:
    """Old code runs to the gate, new code takes over: the first patch is off, the second one on."""
    queue = f"{stage.queue}-changing"
    handle = await stage.start(Before.run, task_queue=queue)
    async with stage.worker(Before, queue=queue):
        await stage.until(lambda: _at_the_gate(stage, handle.id), "it waits at the gate")
    async with stage.worker(After, queue=queue):
        await handle.signal(Gate.go)
        await stage.end(handle)


async def _at_the_gate(stage: Stage, workflow_id: str) -> bool:
    events = (await stage.client.get_workflow_handle(workflow_id).fetch_history()).events
    return sum(event.HasField("workflow_task_completed_event_attributes") for event in events) == 2


@theme.scene
async def ended_before_the_patch(stage: Stage) -> None:
    """Old code to the end: both patches are off."""
    queue = f"{stage.queue}-old"
    handle = await stage.start(Before.run, task_queue=queue)
    async with stage.worker(Before, queue=queue):
        await handle.signal(Gate.go)
        await stage.end(handle)


@theme.scene
async def begun_after_the_patch(stage: Stage) -> None:
    handle = await stage.start(After.run)
    await handle.signal(Gate.go)
    await stage.end(handle)


theme.runs("deprecated", Deprecated.run)
theme.runs("patched_in_a_loop", PatchedInALoop.run, 3)
for version in (1, 2):
    theme.runs(f"by_flag_{version}", ByFlag.run, version)
