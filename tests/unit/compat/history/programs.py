"""Programs whose real histories the synthesis is measured against: each uses one part of the language.

A program is a workflow and what its client does to it. ``PROGRAMS`` maps its name to the driver, which runs it to the
point where its history shall be taken and returns the handle.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

from temporalio.api.enums.v1 import EventType
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateStage,
)
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
)

from tests.unit.compat.history.program_workflows import (
    INT,
    ONCE,
    Approval,
    Cancellable,
    CancelledBeforeSent,
    Cancels,
    CompletesWithOpenWork,
    Counter,
    Echo,
    Fails,
    FirstWins,
    Forever,
    Loop,
    Metadata,
    Nothing,
    Parallel,
    Refused,
    Retried,
    Sleeps,
    TimedOut,
    TwoSteps,
)

# -- drivers -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where a program runs."""

    client: Client
    task_queue: str

    async def start(self, run: Any, *args: Any, **options: Any) -> WorkflowHandle[Any, Any]:
        return await self.client.start_workflow(
            run, args=list(args), id=f"history-{uuid4()}", task_queue=self.task_queue, **options
        )


Driver = Callable[[Place], Awaitable[WorkflowHandle[Any, Any]]]
PROGRAMS: dict[str, Driver] = {}


def program(name: str) -> Callable[[Driver], Driver]:
    def register(driver: Driver) -> Driver:
        PROGRAMS[name] = driver
        return driver

    return register


def runs(name: str, run: Any, *args: Any, **options: Any) -> None:
    """A program that just runs to its end, whichever that is."""

    @program(name)
    async def drive(place: Place) -> WorkflowHandle[Any, Any]:
        handle = await place.start(run, *args, **options)
        await ended(handle)
        return handle


async def ended(handle: WorkflowHandle[Any, Any]) -> None:
    with contextlib.suppress(WorkflowFailureError):
        await handle.result()


async def reaches(handle: WorkflowHandle[Any, Any], event_type: str, count: int = 1) -> None:
    """Wait until the history holds that many events of the type."""
    deadline = time.monotonic() + 20
    while True:
        found = 0
        async for event in handle.fetch_history_events():
            found += EventType.Name(event.event_type) == f"EVENT_TYPE_{event_type}"
        if found >= count:
            return
        assert time.monotonic() < deadline, f"no {event_type} in time"
        await asyncio.sleep(0.05)


runs("nothing", Nothing.run)
runs("echo", Echo.run, {"text": "ünïcode", "none": None, "list": [1, 2.5]}, static_summary="an echo", memo={"m": 1})
runs("two steps", TwoSteps.run, task_timeout=timedelta(seconds=7), run_timeout=timedelta(seconds=60))
runs("parallel", Parallel.run)
runs("activity refused, caught", Refused.run, True)
runs("activity refused", Refused.run, False)
runs("activity retried", Retried.run)
for _which in ("start to close", "schedule to start", "never started", "heartbeat", "schedule to close"):
    runs(f"activity timed out: {_which}", TimedOut.run, _which)
runs("timers", Sleeps.run)
runs("condition timed out", Approval.run, 0.1, 1)
for _kind, _where in (
    ("try", "running"),
    ("try", "nowhere"),
    ("try", "at once"),
    ("wait", "running"),
    ("wait", "swallow"),
    ("wait", "nowhere"),
    ("wait", "at once"),
    ("abandon", "running"),
    ("abandon", "nowhere"),
    ("abandon", "at once"),
):
    runs(f"activity cancelled: {_kind}, {_where}", Cancels.run, _kind, _where)
runs("cancelled before sent", CancelledBeforeSent.run)
runs("loop", Loop.run, 12)
runs("first wins", FirstWins.run)
runs("failed", Fails.run)
runs("retry policy, failed", Fails.run, retry_policy=ONCE)
runs("run timed out", Forever.run, run_timeout=timedelta(seconds=1))
runs(
    "memo and search attributes",
    Metadata.run,
    memo={"given": True},
    search_attributes=TypedSearchAttributes([SearchAttributePair(INT, 1)]),
)


@program("signals cancel the timer")
async def _(place: Place) -> WorkflowHandle[Any, Any]:
    handle = await place.start(Approval.run, 100.0, 3, start_signal="approve", start_signal_args=["ann"])
    await reaches(handle, "TIMER_STARTED")
    await asyncio.gather(handle.signal("approve", "bob"), handle.signal("unheard", "of"))
    await handle.signal("approve", "cid")
    await ended(handle)
    return handle


@program("start delay")
async def _(place: Place) -> WorkflowHandle[Any, Any]:
    handle = await place.start(Nothing.run, start_delay=timedelta(seconds=1))
    await ended(handle)
    return handle


@program("cancelled")
async def _(place: Place) -> WorkflowHandle[Any, Any]:
    handle = await place.start(Cancellable.run, False)
    await reaches(handle, "WORKFLOW_TASK_COMPLETED")
    await handle.cancel()
    await ended(handle)
    return handle


@program("cancelled, cleaned up")
async def _(place: Place) -> WorkflowHandle[Any, Any]:
    handle = await place.start(Cancellable.run, True)
    await reaches(handle, "WORKFLOW_TASK_COMPLETED")
    await handle.cancel()
    await ended(handle)
    return handle


@program("terminated")
async def _(place: Place) -> WorkflowHandle[Any, Any]:
    handle = await place.start(Forever.run)
    await reaches(handle, "WORKFLOW_TASK_COMPLETED")
    await handle.signal(Forever.note, "hello")
    await reaches(handle, "WORKFLOW_TASK_COMPLETED", 2)
    await handle.terminate({"some": "detail"}, 2, reason="enough")
    await ended(handle)
    return handle


@program("open")
async def _(place: Place) -> WorkflowHandle[Any, Any]:
    handle = await place.start(Forever.run)
    await reaches(handle, "TIMER_STARTED")
    await handle.signal(Forever.note, "hello")
    await reaches(handle, "WORKFLOW_TASK_COMPLETED", 2)
    return handle


@program("updates")
async def _(place: Place) -> WorkflowHandle[Any, Any]:
    handle = await place.start(Counter.run)
    await handle.execute_update(Counter.add_now, 1, id="first")
    with contextlib.suppress(WorkflowUpdateFailedError):
        await handle.execute_update(Counter.add_now, -1)
    await handle.signal(Counter.bump, 10)
    await reaches(handle, "WORKFLOW_TASK_COMPLETED", 2)
    await handle.execute_update(Counter.add_slowly, 2)
    with contextlib.suppress(WorkflowUpdateFailedError):
        await handle.execute_update(Counter.break_down)
    await asyncio.gather(*[handle.execute_update(Counter.add_now, n) for n in range(4)])
    await handle.signal(Counter.finish)
    await ended(handle)
    return handle


@program("update with start")
async def _(place: Place) -> WorkflowHandle[Any, Any]:
    start = WithStartWorkflowOperation(
        CompletesWithOpenWork.run,
        id=f"history-{uuid4()}",
        task_queue=place.task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
    )
    await place.client.execute_update_with_start_workflow(CompletesWithOpenWork.finish, start_workflow_operation=start)
    handle = await start.workflow_handle()
    await ended(handle)
    return handle


@program("update accepted, open")
async def _(place: Place) -> WorkflowHandle[Any, Any]:
    handle = await place.start(Counter.run)
    await handle.start_update(Counter.add_slowly, 2, wait_for_stage=WorkflowUpdateStage.ACCEPTED)
    await reaches(handle, "WORKFLOW_EXECUTION_UPDATE_COMPLETED")
    return handle
