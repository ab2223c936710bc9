"""The project's own examples, played as their readers play them."""

from __future__ import annotations

from datetime import timedelta

from temporalio.api.enums.v1 import EventType

from examples import nightly_report, subscription
from examples.checkout.activities import ACTIVITIES
from examples.checkout.shared import DECLINED_CARD, Address, CheckoutInput, Item
from examples.checkout.workflows import CheckoutWorkflow
from examples.subscription import Subscription, SubscriptionWorkflow
from tests.shadow.corpus.stage import Stage
from tests.shadow.corpus.theme import Theme

theme = Theme(
    "examples",
    workflows=[CheckoutWorkflow, SubscriptionWorkflow, nightly_report.NightlyReport],
    activities=[*ACTIVITIES, subscription.charge, nightly_report.sales_since_last_time],
    sandboxed=True,
)


def cart(**variant: object) -> CheckoutInput:
    order = CheckoutInput("cart", "ada", "ada@example.com", [Item("engine"), Item("punched-card", 12)], 18_42)
    for name, value in variant.items():
        setattr(order, name, value)
    return order


theme.runs("checkout", CheckoutWorkflow.run, cart())
theme.runs("checkout_declined", CheckoutWorkflow.run, cart(card=DECLINED_CARD))
theme.runs("checkout_not_approved", CheckoutWorkflow.run, cart(approval_seconds=1))


@theme.scene
async def checkout_approved(stage: Stage) -> None:
    handle = await stage.start(CheckoutWorkflow.run, cart(approval_seconds=600))

    async def waits() -> bool:
        return bool(await handle.query(CheckoutWorkflow.status) == "waiting for approval")

    await stage.until(waits, "it waits for an approval")
    await handle.execute_update(CheckoutWorkflow.change_address, Address("3 Rue Ampère", "Lyon"))
    await handle.signal(CheckoutWorkflow.approve, "Grace")
    await stage.end(handle)


@theme.scene
async def checkout_cancelled(stage: Stage) -> None:
    handle = await stage.start(CheckoutWorkflow.run, cart(approval_seconds=600))
    await stage.until_event(handle, EventType.EVENT_TYPE_TIMER_STARTED)
    await handle.cancel()
    await stage.end(handle)


@theme.scene
async def subscribed(stage: Stage) -> None:
    handle = await stage.start(SubscriptionWorkflow.run, Subscription(customer="ada", cents=900, month_s=60.0))
    await stage.until_event(handle, EventType.EVENT_TYPE_TIMER_STARTED)
    await handle.execute_update(SubscriptionWorkflow.change_price, 1200)
    await handle.signal(SubscriptionWorkflow.end)
    await stage.end(handle)


theme.runs(
    "subscribed_for_long",
    SubscriptionWorkflow.run,
    Subscription(customer="grace", cents=1, month_s=0.01),
    execution_timeout=timedelta(seconds=14),
)
theme.runs("nightly_report", nightly_report.NightlyReport.run)
