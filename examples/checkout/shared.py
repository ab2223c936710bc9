"""What the workflow, its activities and its callers say to one another."""

from __future__ import annotations

from dataclasses import dataclass, field

TASK_QUEUE = "checkout"

# A card number that the pretended payment provider declines.
DECLINED_CARD = "4000-0000-0000-0002"


def workflow_id(cart_id: str) -> str:
    """The business key: a cart is checked out once, however often somebody asks."""
    return f"checkout-{cart_id}"


@dataclass
class Item:
    sku: str
    quantity: int = 1


@dataclass
class Address:
    street: str
    city: str


@dataclass
class CheckoutInput:
    """One cart. The fields after ``address`` choose a variant of the flow."""

    cart_id: str
    customer_id: str
    email: str
    items: list[Item]
    total_cents: int
    card: str = "4242-4242-4242-4242"
    address: Address = field(default_factory=lambda: Address("1 Analytical Way", "London"))
    # How long an approval may take; 0: none is needed.
    approval_seconds: float = 0
    # Charge with maximum_attempts=1: better no answer than two charges.
    charge_once: bool = False
    # How long the payment provider takes, so that there is time to pull a plug.
    charge_seconds: float = 0


@dataclass
class ChargeArgs:
    cart_id: str
    customer_id: str
    card: str
    amount_cents: int
    reservation_id: str
    seconds: float = 0


@dataclass
class OrderArgs:
    cart_id: str
    reservation_id: str
    charge_id: str
    address: Address


@dataclass
class EmailArgs:
    order_id: str
    email: str
    address: Address


@dataclass
class CheckoutResult:
    order_id: str
    charge_id: str
    approved_by: str | None
    address: Address
