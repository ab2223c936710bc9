"""An order: charge, wait for approval, ship; give the money back if that does not come to pass."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy

SOON = timedelta(seconds=30)
ONCE = RetryPolicy(maximum_attempts=1)


@dataclass
class Order:
    id: str
    cents: int


@dataclass
class Receipt:
    payment: str


@activity.defn
async def charge(order: Order) -> Receipt:
    return Receipt(f"payment-{order.id}")


@activity.defn
async def ship(order: Order) -> str:
    return f"parcel-{order.id}"


@activity.defn
async def refund(receipt: Receipt) -> None: ...


@workflow.defn
class OrderWorkflow:
    def __init__(self) -> None:
        self.approved = False

    @workflow.signal
    def approve(self) -> None:
        self.approved = True

    @workflow.run
    async def run(self, order: Order) -> str:
        receipt = await workflow.execute_activity(
            charge, order, start_to_close_timeout=SOON, retry_policy=ONCE,
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )  # fmt: skip
        try:
            await workflow.wait_condition(lambda: self.approved, timeout=timedelta(days=2))
            return await workflow.execute_activity(
                ship, order, start_to_close_timeout=SOON, retry_policy=ONCE,
                cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            )  # fmt: skip
        except BaseException:
            await asyncio.shield(workflow.execute_activity(refund, receipt, start_to_close_timeout=SOON))
            raise
