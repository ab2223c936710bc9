"""The worker process that is killed: ``python -m dbos_shadow.determinism.durable_worker ORDER``.

Its activities end as the order says, by their ids; an activity of which it says nothing answers ``None``.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio import activity
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import dbos_compat
from dbos_shadow.determinism.durable import NAMESPACE

_LEASE = timedelta(seconds=2)
_endings: dict[str, tuple[bool, str]] = {}


@activity.defn(dynamic=True)
async def scripted(args: Sequence[RawValue]) -> Any:
    """Every activity."""
    completes, text = _endings.get(activity.info().activity_id, (True, "null"))
    if completes:
        return json.loads(text)
    raise ApplicationError("as the schedule has it", type=text or None, non_retryable=True)


async def main(order: dict[str, Any]) -> None:
    """Serve until killed."""
    _endings.update({id_: (completes, text) for id_, (completes, text) in order["endings"].items()})
    found: Any = importlib.import_module(order["module"])
    for part in order["name"].split("."):
        found = getattr(found, part)
    client = await dbos_compat.connect(namespace=NAMESPACE, lease=_LEASE)
    options: dict[str, Any] = {} if order["sandboxed"] else {"workflow_runner": UnsandboxedWorkflowRunner()}
    async with Worker(client, task_queue=order["queue"], workflows=[found], activities=[scripted], **options):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
