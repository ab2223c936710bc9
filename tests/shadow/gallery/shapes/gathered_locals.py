"""``gather`` raises the first error at once and leaves the others running."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from temporalio import activity, workflow
from temporalio.exceptions import ActivityError

from dbos_shadow.determinism import Rule, may_fail, plan, returns
from dbos_shadow.trace import Trace
from tests.shadow.gallery.shape import MINUTE, Shape


@activity.defn
async def book_flight() -> str:
    raise NotImplementedError


@activity.defn
async def book_hotel() -> str:
    raise NotImplementedError


@activity.defn
async def cancel_flight() -> None:
    raise NotImplementedError


@activity.defn
async def cancel_hotel() -> None:
    raise NotImplementedError


def both_or_neither(trace: Trace) -> bool:
    """Who did not get one of the two is told how the other went, and has not kept it."""
    went = {place: arrival.how for arrival in trace.arrivals for place in PLACES if arrival.name == f"book_{place}"}
    asked = {step.name for step in trace.steps}
    if "failed" not in went.values():
        return True
    return all(went.get(place) == "failed" or (place in went and f"cancel_{place}" in asked) for place in PLACES)


PLACES = ("flight", "hotel")


@workflow.defn(name="GatheredLocals")
class Broken:
    @workflow.run
    async def run(self) -> None:
        booked: list[str] = []

        async def local(book: Callable[[], Awaitable[str]], name: str) -> None:
            await workflow.execute_local_activity(book, start_to_close_timeout=MINUTE)
            booked.append(name)

        try:
            await asyncio.gather(local(book_flight, "flight"), local(book_hotel, "hotel"))
        except ActivityError:
            if "flight" in booked:
                await workflow.execute_activity(cancel_flight, start_to_close_timeout=MINUTE)
            if "hotel" in booked:
                await workflow.execute_activity(cancel_hotel, start_to_close_timeout=MINUTE)


@workflow.defn(name="GatheredLocals")
class Mended:
    @workflow.run
    async def run(self) -> None:
        flight, hotel = await asyncio.gather(
            workflow.execute_local_activity(book_flight, start_to_close_timeout=MINUTE),
            workflow.execute_local_activity(book_hotel, start_to_close_timeout=MINUTE),
            return_exceptions=True,
        )
        if isinstance(hotel, BaseException) and not isinstance(flight, BaseException):
            await workflow.execute_activity(cancel_flight, start_to_close_timeout=MINUTE)
        if isinstance(flight, BaseException) and not isinstance(hotel, BaseException):
            await workflow.execute_activity(cancel_hotel, start_to_close_timeout=MINUTE)


STUBS = {
    book_flight: may_fail(value="f-1").never_hangs(),
    book_hotel: may_fail(value="h-1").never_hangs(),
    cancel_flight: returns(),
    cancel_hotel: returns(),
}
SHAPE = Shape(
    title="`gather` over local activities, of which one fails while the other is under way",
    lesson="`return_exceptions=True`, and compensate what has happened when all of it has.",
    broken=plan(Broken.run, activities=STUBS, invariants=[both_or_neither], cancels=False, sandboxed=False),
    mended=plan(Mended.run, activities=STUBS, invariants=[both_or_neither], cancels=False, sandboxed=False),
    rules=frozenset({Rule.INVARIANT}),
)
BROKEN = SHAPE.broken
