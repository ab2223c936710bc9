"""The price of a basket: small steps as local activities, and the one that leaves the house as an ordinary one.

    python -m examples.basket

prices a basket on the database that ``DBOS_SYSTEM_DATABASE_URL`` names, or on an embedded one; with ``TEMPORAL_ADDRESS``
set on a Temporal server. A local activity runs in the worker of its workflow and costs no commit of its own; after a
crash it may run again. So they suit what is quick and harmless to repeat: rules, conversions, looking something up.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

QUEUE = "baskets"
PRICES_CENTS = {"apple": 40, "bread": 310, "cheese": 799}


@dataclass
class Line:
    item: str
    pieces: int


@dataclass
class Priced:
    cents: int
    unknown: list[str]
    receipt: str


@activity.defn
async def price(line: Line) -> int:
    """Looks it up in memory."""
    if line.item not in PRICES_CENTS:
        raise ApplicationError(f"nobody knows what a {line.item} costs", type="UnknownItem", non_retryable=True)
    return PRICES_CENTS[line.item] * line.pieces


@activity.defn
async def discount(cents: int) -> int:
    """A rule that fails now and then, to be tried again in the same worker at once."""
    if activity.info().attempt == 1:
        raise ApplicationError("the rules are just being read anew")
    return cents * 95 // 100 if cents >= 1_000 else cents


@activity.defn
async def print_receipt(cents: int) -> str:
    """Leaves the house: an ordinary activity, with a history of its own."""
    return f"{cents / 100:.2f}"


@workflow.defn
class Basket:
    @workflow.run
    async def run(self, lines: list[Line]) -> Priced:
        sums = await asyncio.gather(*(self.price_of(line) for line in lines))
        cents = await workflow.execute_local_activity(
            discount,
            sum(cents for cents in sums if cents is not None),
            start_to_close_timeout=timedelta(seconds=5),
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10)),
        )
        receipt = await workflow.execute_activity(print_receipt, cents, start_to_close_timeout=timedelta(minutes=1))
        unknown = [line.item for line, found in zip(lines, sums, strict=True) if found is None]
        return Priced(cents, unknown, receipt)

    async def price_of(self, line: Line) -> int | None:
        try:
            return await workflow.execute_local_activity(
                price, line, start_to_close_timeout=timedelta(seconds=5), summary=f"price of {line.item}"
            )
        except ApplicationError as error:  # without the ActivityError that is around one of an ordinary activity
            if error.type == "UnknownItem":
                return None
            raise


async def main() -> None:
    if address := os.environ.get("TEMPORAL_ADDRESS"):
        client = await Client.connect(address)
    else:
        import dbos_compat

        client = await dbos_compat.connect()
    lines = [Line("apple", 3), Line("cheese", 2), Line("moonstone", 1)]
    async with Worker(client, task_queue=QUEUE, workflows=[Basket], activities=[price, discount, print_receipt]):
        handle = await client.start_workflow(Basket.run, lines, id="basket-1", task_queue=QUEUE)
        print(await handle.result())
        events = (await handle.fetch_history()).events
        print("markers in the history:", sum(event.HasField("marker_recorded_event_attributes") for event in events))
    if not address:
        await dbos_compat.disconnect(client)


if __name__ == "__main__":
    asyncio.run(main())
