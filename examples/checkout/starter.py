"""Callers of the checkout, from a shell.

python -m examples.checkout.starter start cart-1                     # start, or join, and wait for the result
python -m examples.checkout.starter start cart-2 --approval 600 --no-wait
python -m examples.checkout.starter status cart-2
python -m examples.checkout.starter change-address cart-2 "3 Rue Ampère" Lyon
python -m examples.checkout.starter approve cart-2 Ada
python -m examples.checkout.starter result cart-2
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import FailureError

from examples.checkout.engine import connect
from examples.checkout.shared import (
    DECLINED_CARD,
    TASK_QUEUE,
    Address,
    CheckoutInput,
    CheckoutResult,
    Item,
    workflow_id,
)
from examples.checkout.workflows import CheckoutWorkflow

Handle = WorkflowHandle[CheckoutWorkflow, CheckoutResult]


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="starter", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    start = verbs.add_parser("start", help="check a cart out")
    start.add_argument("cart")
    start.add_argument("--approval", type=float, default=0, metavar="SECONDS", help="wait this long for an approval")
    start.add_argument("--charge-once", action="store_true", help="charge with maximum_attempts=1")
    start.add_argument("--charge-seconds", type=float, default=0, help="how long the payment provider takes")
    start.add_argument("--declined", action="store_true", help="pay with a card that is declined")
    start.add_argument("--no-wait", action="store_true", help="do not wait for the result")
    for verb, text in (("status", "ask where a checkout stands"), ("result", "wait for its end")):
        verbs.add_parser(verb, help=text).add_argument("cart")
    approve = verbs.add_parser("approve", help="send the approval")
    approve.add_argument("cart")
    approve.add_argument("approver")
    address = verbs.add_parser("change-address", help="send it somewhere else")
    for name in ("cart", "street", "city"):
        address.add_argument(name)
    return parser.parse_args(words)


async def start(client: Client, options: argparse.Namespace) -> Handle:
    return await client.start_workflow(
        CheckoutWorkflow.run,
        CheckoutInput(
            cart_id=options.cart,
            customer_id="ada",
            email="ada@example.com",
            items=[Item("engine", 1), Item("punched-card", 12)],
            total_cents=18_42,
            card=DECLINED_CARD if options.declined else CheckoutInput.card,
            approval_seconds=options.approval,
            charge_once=options.charge_once,
            charge_seconds=options.charge_seconds,
        ),
        id=workflow_id(options.cart),
        task_queue=TASK_QUEUE,
        # Asking twice is not checking out twice.
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
    )


async def show_result(handle: Handle) -> int:
    try:
        print("result", await handle.result(), flush=True)
    except WorkflowFailureError as failure:
        cause: BaseException | None = failure.cause
        while isinstance(cause, FailureError):
            print(f"failed: {type(cause).__name__}: {cause}", flush=True)
            cause = cause.cause
        return 1
    return 0


async def main() -> int:
    options = arguments()
    client = await connect()
    if options.verb == "start":
        handle = await start(client, options)
        print(f"started {handle.id}", flush=True)
        return 0 if options.no_wait else await show_result(handle)
    handle = client.get_workflow_handle_for(CheckoutWorkflow.run, workflow_id(options.cart))
    if options.verb == "status":
        print("status", await handle.query(CheckoutWorkflow.status))
    elif options.verb == "approve":
        await handle.signal(CheckoutWorkflow.approve, options.approver)
        print("approved")
    elif options.verb == "change-address":
        before = await handle.execute_update(CheckoutWorkflow.change_address, Address(options.street, options.city))
        print(f"changed from {before}")
    else:
        return await show_result(handle)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
