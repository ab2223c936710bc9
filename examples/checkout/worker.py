"""The worker process: ``python -m examples.checkout.worker``. Ends on SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import logging
import signal

from temporalio.worker import Worker

from examples.checkout.activities import ACTIVITIES
from examples.checkout.engine import connect
from examples.checkout.shared import TASK_QUEUE
from examples.checkout.workflows import CheckoutWorkflow


async def main() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    client = await connect()
    worker = Worker(client, task_queue=TASK_QUEUE, workflows=[CheckoutWorkflow], activities=ACTIVITIES)
    async with worker:
        print("worker ready", flush=True)
        await stop.wait()
    print("worker stopped", flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(main())
