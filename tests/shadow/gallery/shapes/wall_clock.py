"""The machine's clock and its chance are others in a replay."""

from __future__ import annotations

import random
from datetime import UTC, datetime

from temporalio import activity, workflow

from dbos_shadow.determinism import Rule, plan, returns
from tests.shadow.gallery.shape import MINUTE, Shape


@activity.defn
async def remind(channel: str) -> None:
    raise NotImplementedError


@activity.defn
async def escalate(channel: str) -> None:
    raise NotImplementedError


@workflow.defn(name="WallClock")
class Broken:
    @workflow.run
    async def run(self) -> None:
        urgent = datetime.now(UTC).microsecond % 2 == 0 or random.random() < 0.5
        todo = escalate if urgent else remind
        await workflow.execute_activity(todo, "mail", start_to_close_timeout=MINUTE)


@workflow.defn(name="WallClock")
class Mended:
    @workflow.run
    async def run(self) -> None:
        urgent = workflow.now().microsecond % 2 == 0 or workflow.random().random() < 0.5
        todo = escalate if urgent else remind
        await workflow.execute_activity(todo, "mail", start_to_close_timeout=MINUTE)


STUBS = {remind: returns(), escalate: returns()}
SHAPE = Shape(
    title="`datetime.now()` and `random` instead of the workflow's own",
    lesson="`workflow.now()` and `workflow.random()` are the same in every replay.",
    broken=plan(Broken.run, activities=STUBS, sandboxed=False),
    mended=plan(Mended.run, activities=STUBS, sandboxed=False),
    steady=False,
    rules=frozenset({Rule.REPLAY, Rule.SAME_COMMANDS}),
    linted=frozenset({"TID251"}),
)
BROKEN = SHAPE.broken
