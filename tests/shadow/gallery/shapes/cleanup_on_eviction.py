"""``finally`` also runs when a worker drops the workflow from its memory, and nothing has ended."""

from __future__ import annotations

import asyncio
import contextlib

from temporalio import activity, workflow
from temporalio.exceptions import ActivityError

from dbos_shadow.determinism import Rule, plan, returns
from tests.shadow.gallery.shape import MINUTE, Shape


@activity.defn
async def use() -> None:
    raise NotImplementedError


@activity.defn
async def give_back() -> None:
    raise NotImplementedError


@workflow.defn(name="CleanUpOnEviction")
class Broken:
    def __init__(self) -> None:
        self.returned = asyncio.Event()

    @workflow.run
    async def run(self) -> None:
        try:
            await workflow.execute_activity(use, start_to_close_timeout=MINUTE)
        finally:
            with contextlib.suppress(BaseException):  # clean-up is never to fail
                await workflow.execute_activity(give_back, start_to_close_timeout=MINUTE)
            await self.returned.wait()

    @workflow.signal
    def arrived(self) -> None:
        self.returned.set()


@workflow.defn(name="CleanUpOnEviction")
class Mended:
    def __init__(self) -> None:
        self.returned = asyncio.Event()

    @workflow.run
    async def run(self) -> None:
        try:
            await workflow.execute_activity(use, start_to_close_timeout=MINUTE)
        finally:
            with contextlib.suppress(ActivityError):
                await workflow.execute_activity(give_back, start_to_close_timeout=MINUTE)
            await self.returned.wait()

    @workflow.signal
    def arrived(self) -> None:
        self.returned.set()


STUBS = {use: returns(), give_back: returns()}
SHAPE = Shape(
    title="A `finally` that starts an activity on eviction",
    lesson="Catch the errors you mean; what comes at eviction has to get through.",
    broken=plan(Broken.run, activities=STUBS, signals=[Broken.arrived], cancels=False, sandboxed=False),
    mended=plan(Mended.run, activities=STUBS, signals=[Mended.arrived], cancels=False, sandboxed=False),
    rules=frozenset({Rule.EVICTION, Rule.ENGINE}),
)
BROKEN = SHAPE.broken
