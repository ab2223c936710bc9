"""How runs end badly: failures with causes and details, cancels, terminations, workflow tasks that failed on the way."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.api.enums.v1 import EventType
from temporalio.exceptions import ActivityError, ApplicationError, ApplicationErrorCategory

from tests.shadow.corpus.stage import Stage
from tests.shadow.corpus.theme import Theme

SOON = timedelta(seconds=30)


class Unlucky(Exception):
    """Fails the workflow, where others would fail its task."""


theme = Theme("failures", worker_options={"workflow_failure_exception_types": [Unlucky]})


@theme.activity
@activity.defn
async def break_down(depth: int) -> None:
    try:
        try:
            raise ValueError("at the bottom")
        except ValueError as error:
            raise RuntimeError("in the middle") from error
    except RuntimeError as error:
        raise ApplicationError("at the top", {"depth": depth}, [1, "two"], type="Broken", non_retryable=True) from error


@theme.activity
@activity.defn
async def tidy() -> str:
    return "tidy"


@theme.workflow
@workflow.defn
class Fails:
    @workflow.run
    async def run(self, how: str) -> str:
        if how == "details":
            raise ApplicationError("with details", {"a": [1, 2]}, None, "three", type="Detailed", non_retryable=True)
        if how == "benign":
            raise ApplicationError("nothing to see here", category=ApplicationErrorCategory.BENIGN)
        if how == "chain":
            try:
                raise ApplicationError("the cause", 1, type="Inner")
            except ApplicationError as error:
                raise ApplicationError("the effect", 2, type="Outer") from error
        if how == "unlucky":
            raise Unlucky("thirteen")
        if how == "activity":
            await workflow.execute_activity(break_down, 3, start_to_close_timeout=SOON)
        if how == "wrapped":
            try:
                await workflow.execute_activity(break_down, 4, start_to_close_timeout=SOON)
            except ActivityError as error:
                raise ApplicationError("wrapped", type="Wrapped") from error
        return how


@theme.workflow
@workflow.defn
class Waits:
    """Waits until it is cancelled, and has a way to take that."""

    @workflow.run
    async def run(self, how: str) -> str:
        try:
            await workflow.wait_condition(lambda: False)
        except asyncio.CancelledError:
            if how == "clean up":
                await workflow.execute_activity(tidy, start_to_close_timeout=SOON)
                await asyncio.sleep(0.01)
                raise
            if how == "swallow":
                return f"swallowed {workflow.cancellation_reason()}"
            if how == "fail":
                raise ApplicationError("instead of ending cancelled") from None
            raise
        return "never"


for how in ("details", "benign", "chain", "unlucky", "activity", "wrapped", "none of them"):
    theme.runs(f"fails_{how.replace(' ', '_')}", Fails.run, how)


async def cancelled(stage: Stage, how: str) -> None:
    handle = await stage.start(Waits.run, how)
    await stage.until_stands(handle)
    await handle.cancel(reason="that will do")
    await stage.end(handle)


theme.named("cancelled_plainly", lambda stage: cancelled(stage, "plain"))
theme.named("cancelled_with_clean_up", lambda stage: cancelled(stage, "clean up"))
theme.named("cancelled_and_swallowed", lambda stage: cancelled(stage, "swallow"))
theme.named("cancelled_and_failed", lambda stage: cancelled(stage, "fail"))


@theme.scene
async def cancelled_before_the_first_task(stage: Stage) -> None:
    queue = f"{stage.queue}-late"
    handle = await stage.start(Waits.run, "plain", task_queue=queue)
    await handle.cancel()
    async with stage.worker(Waits, queue=queue):
        await stage.end(handle)


@theme.scene
async def terminated(stage: Stage) -> None:
    handle = await stage.start(Waits.run, "plain")
    await stage.until_stands(handle)
    await handle.terminate("a detail", 2, reason="no more of this")


@theme.scene
async def terminated_before_the_first_task(stage: Stage) -> None:
    handle = await stage.start(Waits.run, "plain", task_queue=f"{stage.queue}-nobody")
    await handle.terminate()


# -- workflow tasks that fail, until somebody mends the code -------------------------------------------------------------


@workflow.defn(name="Mended")
class Broken:
    def __init__(self) -> None:
        self.heard = 0

    @workflow.run
    async def run(self) -> str:
        await workflow.execute_activity(tidy, start_to_close_timeout=SOON)
        raise KeyError("a mistake in the code")

    @workflow.signal
    def hear(self) -> None:
        self.heard += 1


@theme.workflow
@workflow.defn(name="Mended")
class Mended:
    def __init__(self) -> None:
        self.heard = 0

    @workflow.run
    async def run(self) -> str:
        await workflow.execute_activity(tidy, start_to_close_timeout=SOON)
        await workflow.wait_condition(lambda: self.heard > 0)
        return await workflow.execute_activity(tidy, start_to_close_timeout=SOON)

    @workflow.signal
    def hear(self) -> None:
        self.heard += 1


@theme.scene
async def tasks_that_failed(stage: Stage) -> None:
    queue = f"{stage.queue}-broken"
    handle = await stage.start(Broken.run, task_queue=queue, task_timeout=timedelta(seconds=2))
    async with stage.worker(Broken, queue=queue):
        await stage.until_event(handle, EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED)
        await handle.signal(Broken.hear)
    async with stage.worker(Mended, queue=queue):
        await stage.end(handle)


@theme.scene
async def tasks_that_still_fail(stage: Stage) -> None:
    """Nobody has mended it: the run is open."""
    queue = f"{stage.queue}-unmended"
    handle = await stage.start(Broken.run, task_queue=queue)
    async with stage.worker(Broken, queue=queue):
        await stage.until_event(handle, EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED)
