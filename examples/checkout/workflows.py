"""The checkout: reserve inventory → charge card → approval → create order → confirmation e-mail.

Plain Temporal. A step that has something to take back says how before the next one starts; when a later step
fails, or the checkout is cancelled, all of it is taken back, last step first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, FailureError
from temporalio.exceptions import TimeoutError as ActivityTimeout

with workflow.unsafe.imports_passed_through():
    from examples.checkout import activities
    from examples.checkout.shared import Address, ChargeArgs, CheckoutInput, CheckoutResult, EmailArgs, OrderArgs

SHORT = timedelta(seconds=30)
# The charge sends heartbeats twice a second: a process that died with it is noticed this fast.
CHARGE_HEARTBEAT = timedelta(seconds=5)

Undo = tuple[Callable[[str], Any], str]


@workflow.defn
class CheckoutWorkflow:
    @workflow.init
    def __init__(self, order: CheckoutInput) -> None:
        self._status = "new"
        self._address = order.address
        self._approved_by: str | None = None
        self._undo: list[Undo] = []

    @workflow.run
    async def run(self, order: CheckoutInput) -> CheckoutResult:
        try:
            result = await self._check_out(order)
        except (FailureError, asyncio.CancelledError):
            await self._take_back()
            raise
        self._status = "done"
        return result

    @workflow.signal
    def approve(self, approver: str) -> None:
        self._approved_by = approver

    @workflow.query
    def status(self) -> str:
        return self._status

    @workflow.update
    def change_address(self, address: Address) -> Address:
        """Send it somewhere else; returns where it would have gone."""
        before, self._address = self._address, address
        return before

    @change_address.validator
    def may_change_address(self, address: Address) -> None:
        if not address.street.strip() or not address.city.strip():
            raise ValueError("an address needs a street and a city")
        if self._status in ("creating order", "sending confirmation", "done", "taking back"):
            raise ValueError(f"too late to change the address: {self._status}")

    async def _check_out(self, order: CheckoutInput) -> CheckoutResult:
        self._status = "reserving inventory"
        reservation_id = await workflow.execute_activity(
            activities.reserve_inventory, args=[order.cart_id, order.items], start_to_close_timeout=SHORT
        )
        self._undo.append((activities.release_inventory, reservation_id))

        self._status = "charging card"
        charge_id = await self._charge(order, reservation_id)
        self._undo.append((activities.refund_charge, charge_id))

        if order.approval_seconds > 0:
            self._status = "waiting for approval"
            await self._wait_for_approval(order.approval_seconds)

        self._status = "creating order"
        order_id = await workflow.execute_activity(
            activities.create_order,
            OrderArgs(order.cart_id, reservation_id, charge_id, self._address),
            start_to_close_timeout=SHORT,
        )
        self._undo.clear()  # from here on the order stands

        self._status = "sending confirmation"
        await workflow.execute_activity(
            activities.send_confirmation_email,
            EmailArgs(order_id, order.email, self._address),
            start_to_close_timeout=SHORT,
        )
        return CheckoutResult(order_id, charge_id, self._approved_by, self._address)

    async def _charge(self, order: CheckoutInput, reservation_id: str) -> str:
        charge = ChargeArgs(
            order.cart_id, order.customer_id, order.card, order.total_cents, reservation_id, order.charge_seconds
        )
        try:
            return await workflow.execute_activity(
                activities.charge_card,
                charge,
                start_to_close_timeout=timedelta(minutes=1),
                heartbeat_timeout=CHARGE_HEARTBEAT,
                retry_policy=RetryPolicy(maximum_attempts=1) if order.charge_once else None,
            )
        except ActivityError as error:
            if isinstance(error.cause, ActivityTimeout):
                # Nobody knows whether money moved. With maximum_attempts=1 nobody tries again, either.
                raise ApplicationError(
                    f"cart {order.cart_id}: no answer from the charge, look it up with the payment provider",
                    type="ChargeOutcomeUnknown",
                ) from error
            raise

    async def _wait_for_approval(self, seconds: float) -> None:
        try:
            await workflow.wait_condition(
                lambda: self._approved_by is not None, timeout=timedelta(seconds=seconds), timeout_summary="approval"
            )
        except TimeoutError:
            raise ApplicationError(f"nobody approved within {seconds:g} s", type="NotApproved") from None

    async def _take_back(self) -> None:
        self._status = "taking back"
        while self._undo:
            activity, subject = self._undo.pop()
            await workflow.execute_activity(activity, subject, start_to_close_timeout=SHORT)
        self._status = "taken back"
