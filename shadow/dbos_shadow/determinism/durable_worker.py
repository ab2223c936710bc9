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

from temporalio import activity, workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import dbos_compat
from dbos_shadow.determinism.children import PREFIX
from dbos_shadow.determinism.durable import NAMESPACE

_LEASE = timedelta(seconds=2)
_BEAT_S = 0.1
_endings: dict[str, tuple[bool, str]] = {}
_children: dict[str, tuple[bool, str]] = {}
_waiting: set[str] = set()


@activity.defn(dynamic=True)
async def scripted(args: Sequence[RawValue]) -> Any:
    """Every activity, and the end of every child."""
    info = activity.info()
    completes, text = _endings.get(info.activity_id, (True, "null"))
    if info.activity_type.startswith(PREFIX):
        by_type = _children.get(f"type {info.activity_type.removeprefix(PREFIX)}", (True, "null"))
        completes, text = _children.get(f"id {info.workflow_id}", by_type)
    elif info.activity_id in _waiting:
        while True:  # until it hears that it is cancelled
            activity.heartbeat()
            await asyncio.sleep(_BEAT_S)
    if completes:
        return json.loads(text)
    raise ApplicationError("as the schedule has it", type=text or None, non_retryable=True)


@workflow.defn(dynamic=True, sandboxed=False)
class PlayedChild:
    """Every child. Who kills its worker does not change how it ends: its attempts are not bounded."""

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> Any:
        try:
            return await workflow.execute_activity(
                PREFIX + workflow.info().workflow_type,
                args=args,
                start_to_close_timeout=timedelta(hours=1),
                result_type=RawValue,
            )
        except ActivityError as error:
            raise (error.cause or error) from None


async def main(order: dict[str, Any]) -> None:
    """Serve until killed."""
    for endings, told in ((_endings, order["endings"]), (_children, order["children"])):
        endings.update({id_: (completes, text) for id_, (completes, text) in told.items()})
    _waiting.update(order["waiting"])
    found: Any = importlib.import_module(order["module"])
    for part in order["name"].split("."):
        found = getattr(found, part)
    client = await dbos_compat.connect(namespace=NAMESPACE, lease=_LEASE)
    options: dict[str, Any] = {} if order["sandboxed"] else {"workflow_runner": UnsandboxedWorkflowRunner()}
    async with Worker(
        client, task_queue=order["queue"], workflows=[found, PlayedChild], activities=[scripted], **options
    ):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
