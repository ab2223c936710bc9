"""``asyncio.wait`` returns sets, and tasks in a set have the order of their addresses."""

from __future__ import annotations

import asyncio

from temporalio import activity, workflow

from dbos_shadow.determinism import Rule, plan, returns
from tests.shadow.gallery.shape import MINUTE, Shape


@activity.defn
async def quote(carrier: str) -> str:
    raise NotImplementedError


@activity.defn
async def book(offer: str) -> str:
    raise NotImplementedError


CARRIERS = ("north", "air", "sea")


@workflow.defn(name="SetOfTasks")
class Broken:
    @workflow.run
    async def run(self) -> None:
        quotes = [
            asyncio.create_task(workflow.execute_activity(quote, c, start_to_close_timeout=MINUTE)) for c in CARRIERS
        ]
        done, _ = await asyncio.wait(quotes)
        for task in done:
            carrier = CARRIERS[quotes.index(task)]
            await workflow.execute_activity(book, carrier, activity_id=f"book-{carrier}", start_to_close_timeout=MINUTE)


@workflow.defn(name="SetOfTasks")
class Mended:
    @workflow.run
    async def run(self) -> None:
        quotes = [
            asyncio.create_task(workflow.execute_activity(quote, c, start_to_close_timeout=MINUTE)) for c in CARRIERS
        ]
        done, _ = await workflow.wait(quotes)  # lists, in the order of the tasks
        for task in done:
            carrier = CARRIERS[quotes.index(task)]
            await workflow.execute_activity(book, carrier, activity_id=f"book-{carrier}", start_to_close_timeout=MINUTE)


STUBS = {quote: returns("offer"), book: returns("booked")}
SHAPE = Shape(
    title="Iterating over the set that `asyncio.wait` returns, and starting an activity for each",
    lesson="`workflow.wait` returns lists in the order of what it was given.",
    broken=plan(Broken.run, activities=STUBS, sandboxed=False),
    mended=plan(Mended.run, activities=STUBS, sandboxed=False),
    steady=False,
    rules=frozenset({Rule.REPLAY, Rule.SAME_COMMANDS, Rule.HASH_SEED}),
    linted=frozenset({"TID251"}),
)
BROKEN = SHAPE.broken
