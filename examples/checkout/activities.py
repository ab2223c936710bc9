"""What touches the world: inventory, payment, orders, e-mail.

All of it is pretended. Each attempt appends one line to the file that ``CHECKOUT_LEDGER`` names, before it does
anything else, so that an observer outside sees how often each activity ran and in which process.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError

from examples.checkout.shared import DECLINED_CARD, ChargeArgs, EmailArgs, Item, OrderArgs

LEDGER_VARIABLE = "CHECKOUT_LEDGER"
HEARTBEAT_EVERY_SECONDS = 0.5


@activity.defn
async def reserve_inventory(cart_id: str, items: list[Item]) -> str:
    note(cart_id)
    return f"reservation-{cart_id}-{sum(item.quantity for item in items)}"


@activity.defn
async def release_inventory(reservation_id: str) -> None:
    note(reservation_id)


@activity.defn
async def charge_card(charge: ChargeArgs) -> str:
    note(charge.cart_id)
    # A slow payment provider; heartbeats tell the engine that this process is still there.
    ends = time.monotonic() + charge.seconds
    while (left := ends - time.monotonic()) > 0:
        activity.heartbeat(round(left, 1))
        await asyncio.sleep(min(left, HEARTBEAT_EVERY_SECONDS))
    if charge.card == DECLINED_CARD:
        raise ApplicationError(
            f"the card of {charge.customer_id} was declined", type="CardDeclined", non_retryable=True
        )
    return f"charge-{charge.cart_id}-{charge.amount_cents}"


@activity.defn
async def refund_charge(charge_id: str) -> None:
    note(charge_id)


@activity.defn
async def create_order(order: OrderArgs) -> str:
    note(order.cart_id)
    return f"order-{order.cart_id}"


@activity.defn
async def send_confirmation_email(mail: EmailArgs) -> None:
    note(mail.order_id)


ACTIVITIES: list[Callable[..., Any]] = [
    reserve_inventory,
    release_inventory,
    charge_card,
    refund_charge,
    create_order,
    send_confirmation_email,
]


def note(subject: str) -> None:
    """Write this attempt into the ledger: one line, in one write, so that lines of two processes never mix."""
    path = os.environ.get(LEDGER_VARIABLE)
    if path is None:
        return
    info = activity.info()
    line = {
        "activity": info.activity_type,
        "subject": subject,
        "workflow_id": info.workflow_id,
        "attempt": info.attempt,
        "pid": os.getpid(),
        "at": time.time(),
    }
    ledger = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(ledger, (json.dumps(line) + "\n").encode())
    finally:
        os.close(ledger)
