"""Whoever catches cancellation and goes on cannot be cancelled."""

from __future__ import annotations

import asyncio

from temporalio import activity, workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from dbos_shadow.determinism import Rule, may_fail, plan
from tests.shadow.gallery.shape import MINUTE, Shape


@activity.defn
async def poll() -> bool:
    raise NotImplementedError


@workflow.defn(name="SwallowedCancellation")
class Broken:
    @workflow.run
    async def run(self) -> None:
        while True:
            try:
                if await workflow.execute_activity(poll, start_to_close_timeout=MINUTE):
                    return
                await asyncio.sleep(60)
            except (ActivityError, asyncio.CancelledError):
                continue  # it will work the next time


@workflow.defn(name="SwallowedCancellation")
class Mended:
    @workflow.run
    async def run(self) -> None:
        while True:
            try:
                if await workflow.execute_activity(poll, start_to_close_timeout=MINUTE):
                    return
                await asyncio.sleep(60)
            except ActivityError as error:
                if is_cancelled_exception(error):
                    raise


STUBS = {poll: may_fail(value=False).never_hangs()}
SHAPE = Shape(
    title="A swallowed `CancelledError`",
    lesson="`is_cancelled_exception(error)`, and raise it again.",
    broken=plan(Broken.run, activities=STUBS, sandboxed=False),
    mended=plan(Mended.run, activities=STUBS, sandboxed=False),
    rules=frozenset({Rule.CANCEL_ENDS}),
)
