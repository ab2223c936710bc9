"""A subscription that lives for years: one workflow id, a run for each year, a retry policy for the bad days.

    python -m examples.subscription

runs three short years of one on the database that ``DBOS_SYSTEM_DATABASE_URL`` names, or on an embedded one; with
``TEMPORAL_ADDRESS`` set on a Temporal server. Workflow and activity do not know which.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass, replace
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.common import RetryPolicy
from temporalio.worker import Worker

QUEUE = "subscriptions"
MONTHS_PER_RUN = 12
"""A run for each year: its history stays short however long the customer stays."""


@dataclass
class Subscription:
    """What a run leaves to the next one."""

    customer: str
    cents: int
    month_s: float
    months_paid: int = 0


@activity.defn
async def charge(customer: str, cents: int, month: int) -> str:
    return f"{customer} paid {cents / 100:.2f} for month {month}"


@workflow.defn
class SubscriptionWorkflow:
    """Charges once a month until it is cancelled by a signal; says for how many months."""

    @workflow.init
    def __init__(self, subscription: Subscription) -> None:
        self.state = subscription
        self.ended = False

    @workflow.run
    async def run(self, subscription: Subscription) -> int:
        months_in_this_run = 0
        while not self.ended:
            if months_in_this_run == MONTHS_PER_RUN:
                workflow.continue_as_new(self.state)
            months_in_this_run += 1
            month = self.state.months_paid + 1
            await workflow.execute_activity(
                charge,
                args=[self.state.customer, self.state.cents, month],
                start_to_close_timeout=timedelta(minutes=1),
            )
            self.state = replace(self.state, months_paid=month)
            with contextlib.suppress(TimeoutError):  # then the next month has come
                await workflow.wait_condition(lambda: self.ended, timeout=timedelta(seconds=self.state.month_s))
        return self.state.months_paid

    @workflow.signal
    def end(self) -> None:
        self.ended = True

    @workflow.update
    def change_price(self, cents: int) -> int:
        """The price from the next month on; the old one is the answer."""
        before, self.state = self.state.cents, replace(self.state, cents=cents)
        return before

    @change_price.validator
    def check_price(self, cents: int) -> None:
        if cents <= 0:
            raise ValueError("a price is more than nothing")

    @workflow.query
    def months_paid(self) -> int:
        return self.state.months_paid


async def subscribe(client: Client, subscription: Subscription) -> WorkflowHandle[SubscriptionWorkflow, int]:
    """Begin a subscription; its workflow id is the customer's."""
    return await client.start_workflow(
        SubscriptionWorkflow.run,
        subscription,
        id=f"subscription-{subscription.customer}",
        task_queue=QUEUE,
        retry_policy=RetryPolicy(maximum_attempts=3),
    )


async def main() -> None:
    if address := os.environ.get("TEMPORAL_ADDRESS"):
        client = await Client.connect(address)
    else:
        import dbos_compat

        client = await dbos_compat.connect()
    async with Worker(client, task_queue=QUEUE, workflows=[SubscriptionWorkflow], activities=[charge]):
        handle = await subscribe(client, Subscription(customer="ada", cents=900, month_s=0.02))
        while await handle.query(SubscriptionWorkflow.months_paid) < 2 * MONTHS_PER_RUN:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        print("it cost", await handle.execute_update(SubscriptionWorkflow.change_price, 1200))
        await handle.signal(SubscriptionWorkflow.end)
        print("months paid:", await handle.result())
        async for run in client.list_workflows(f"WorkflowId = '{handle.id}'"):
            print(run.start_time, run.status.name if run.status else "")


if __name__ == "__main__":
    asyncio.run(main())
