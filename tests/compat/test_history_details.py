"""What a history has of failed tasks, and where the events of one task stand: each engine's way."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.service import RPCError

from .support import MakeWorker

TRIES: Counter[str] = Counter()
"""How often the code of a workflow has run."""


async def kinds(handle: WorkflowHandle[Any, Any]) -> list[str]:
    history = await handle.fetch_history()
    return [EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in history.events]


@workflow.defn
class UnluckyOnce:
    @workflow.run
    async def run(self) -> str:
        wid = workflow.info().workflow_id
        TRIES[wid] += 1
        if TRIES[wid] == 1:
            raise RuntimeError("unlucky")
        return "lucky"


async def test_a_failed_task_of_a_run_that_went_on(
    engine: str, client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[UnluckyOnce]):
        handle = await client.start_workflow(UnluckyOnce.run, id=wid, task_queue=queue)
        assert await handle.result() == "lucky"
    failed = ["WORKFLOW_TASK_FAILED", "WORKFLOW_TASK_SCHEDULED", "WORKFLOW_TASK_STARTED"]
    expected = [
        "WORKFLOW_EXECUTION_STARTED",
        "WORKFLOW_TASK_SCHEDULED",
        "WORKFLOW_TASK_STARTED",
        *(failed if engine == "temporal" else []),
        "WORKFLOW_TASK_COMPLETED",
        "WORKFLOW_EXECUTION_COMPLETED",
    ]
    assert await kinds(handle) == expected
    assert (await handle.describe()).history_length == len(expected) == (8 if engine == "temporal" else 5)


@workflow.defn
class BadUpdate:
    def __init__(self) -> None:
        self.ends = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.ends)
        return "ended"

    @workflow.update
    async def change(self) -> None:
        raise RuntimeError("a mistake in the handler")

    @workflow.signal
    def end(self) -> None:
        self.ends = True

    @workflow.query
    def ready(self) -> bool:
        return True


@pytest.mark.no_replay("the run was ended while its tasks failed")
@pytest.mark.parametrize("how", ["timeout", "terminate"])
async def test_the_failed_task_of_a_run_that_was_ended_from_outside(
    engine: str, client: Client, make_worker: MakeWorker, queue: str, wid: str, how: str
) -> None:
    """A server writes two of them where an update is to blame. Here the first one stands for all."""
    async with make_worker(client, task_queue=queue, workflows=[BadUpdate]):
        handle = await client.start_workflow(
            BadUpdate.run, id=wid, task_queue=queue, run_timeout=timedelta(seconds=6 if how == "timeout" else 60)
        )
        assert await handle.query(BadUpdate.ready)
        with pytest.raises((WorkflowUpdateRPCTimeoutOrCancelledError, RPCError)):
            await handle.execute_update(BadUpdate.change, rpc_timeout=timedelta(seconds=1))
        if how == "terminate":
            await handle.terminate()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    events = (await handle.fetch_history()).events
    failures = [
        event.workflow_task_failed_event_attributes.failure.message
        for event in events
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
    ]
    assert failures == ["a mistake in the handler"] * (2 if engine == "temporal" else 1)


@workflow.defn
class Hears:
    def __init__(self) -> None:
        self.heard: list[int] = []

    @workflow.run
    async def run(self) -> list[int]:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return self.heard

    @workflow.signal
    def hear(self, number: int) -> None:
        self.heard.append(number)


async def test_messages_that_came_before_the_first_task(
    engine: str, client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    handle = await client.start_workflow(Hears.run, id=wid, task_queue=queue)
    await handle.signal(Hears.hear, 1)
    await handle.cancel()
    await handle.signal(Hears.hear, 2)
    waiting = await kinds(handle)
    async with make_worker(client, task_queue=queue, workflows=[Hears]):
        assert await handle.result() == [1, 2]  # the same on both: a workflow hears its signals first
    signal, cancel = "WORKFLOW_EXECUTION_SIGNALED", "WORKFLOW_EXECUTION_CANCEL_REQUESTED"
    task = ["WORKFLOW_TASK_SCHEDULED", "WORKFLOW_TASK_STARTED", "WORKFLOW_TASK_COMPLETED"]
    begun, closed = "WORKFLOW_EXECUTION_STARTED", "WORKFLOW_EXECUTION_COMPLETED"
    if engine == "temporal":
        assert waiting == [begun, task[0], signal, cancel, signal]
        assert await kinds(handle) == [begun, task[0], signal, cancel, signal, *task[1:], closed]
    else:
        assert waiting == [begun, signal, cancel, signal, task[0]]
        assert await kinds(handle) == [begun, signal, signal, cancel, *task, closed]
