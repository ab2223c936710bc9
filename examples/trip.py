"""A trip and its bookings: a parent that starts children, tells them things, and takes back what was booked.

    python -m examples.trip

books two trips, one of which fails, on the database that ``DBOS_SYSTEM_DATABASE_URL`` names, or on an embedded one; with
``TEMPORAL_ADDRESS`` set on a Temporal server. The workflows do not know which.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from datetime import timedelta

from temporalio import workflow
from temporalio.client import Client
from temporalio.exceptions import ApplicationError, ChildWorkflowError, is_cancelled_exception
from temporalio.worker import Worker
from temporalio.workflow import ChildWorkflowCancellationType, ChildWorkflowHandle, ParentClosePolicy

QUEUE = "trips"


@dataclass
class Outcome:
    booked: list[str] = field(default_factory=list)
    given_back: list[str] = field(default_factory=list)
    reason: str = ""


@workflow.defn
class Booking:
    """Holds one thing until it is confirmed by a signal; when it is cancelled it gives the thing back."""

    def __init__(self) -> None:
        self.number: str | None = None

    @workflow.run
    async def run(self, what: str) -> str:
        try:
            await workflow.wait_condition(lambda: self.number is not None)
        except asyncio.CancelledError:
            workflow.logger.info("giving %s back", what)
            raise
        if what == "moon":
            raise ApplicationError("no flights to the moon", non_retryable=True)
        return f"{what} {self.number}"

    @workflow.signal
    def confirm(self, number: str) -> None:
        self.number = number


@workflow.defn
class Review:
    """Outlives the trip: it asks for an opinion when everybody is home again."""

    def __init__(self) -> None:
        self.stars: int | None = None

    @workflow.run
    async def run(self) -> int | None:
        await workflow.wait_condition(lambda: self.stars is not None)
        return self.stars

    @workflow.signal
    def rate(self, stars: int) -> None:
        self.stars = stars


@workflow.defn
class Trip:
    """Holds everything, then confirms one thing after the other; what is still held when one fails is given back."""

    @workflow.run
    async def run(self, things: list[str]) -> Outcome:
        own = workflow.info().workflow_id
        outcome = Outcome()
        held: dict[str, ChildWorkflowHandle[Booking, str]] = {}
        try:
            for thing in things:
                held[thing] = await workflow.start_child_workflow(
                    Booking.run,
                    thing,
                    id=f"{own}/{thing}",
                    cancellation_type=ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
                )
            for number, booking in enumerate(held.values(), 1):
                await booking.signal(Booking.confirm, f"R{number}")
                outcome.booked.append(await booking)
        except ChildWorkflowError as error:
            outcome.reason = str(error.cause)
            await self.give_back(held, outcome)
        else:
            await workflow.start_child_workflow(
                Review.run, id=f"{own}/review", parent_close_policy=ParentClosePolicy.ABANDON
            )
        return outcome

    async def give_back(self, held: dict[str, ChildWorkflowHandle[Booking, str]], outcome: Outcome) -> None:
        for thing, booking in held.items():
            if booking.done():
                continue
            booking.cancel()
            try:
                await booking
            except ChildWorkflowError as error:
                if is_cancelled_exception(error):
                    outcome.given_back.append(thing)


async def book(client: Client, trip_id: str, things: list[str]) -> Outcome:
    return await client.execute_workflow(
        Trip.run, things, id=trip_id, task_queue=QUEUE, execution_timeout=timedelta(minutes=5)
    )


async def main() -> None:
    if address := os.environ.get("TEMPORAL_ADDRESS"):
        client = await Client.connect(address)
    else:
        import dbos_compat

        client = await dbos_compat.connect()
    async with Worker(client, task_queue=QUEUE, workflows=[Trip, Booking, Review]):
        print(await book(client, "trip-to-rome", ["train", "hotel"]))
        review = client.get_workflow_handle("trip-to-rome/review")
        await review.signal(Review.rate, 5)
        print("stars:", await review.result())
        print(await book(client, "trip-to-the-moon", ["train", "moon", "hotel"]))
    if not address:
        await dbos_compat.disconnect(client)


if __name__ == "__main__":
    asyncio.run(main())
