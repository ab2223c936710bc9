"""Cancelling children, by their cancellation types; and what becomes of open children when their parent closes."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, FailureError
from temporalio.workflow import ChildWorkflowCancellationType as Type
from temporalio.workflow import ParentClosePolicy

from .kin import Kid, attributes, ended, family, status_of, story
from .support import MakeWorker

CANCELLED = [
    "ChildWorkflowError 'Child Workflow execution cancelled' Kid NON_RETRYABLE_FAILURE 5/6 default with run",
    "CancelledError 'Cancelled'",
]


@workflow.defn
class Canceller:
    """Starts a child, cancels it, and tells how it saw it end."""

    def __init__(self) -> None:
        self.done = False

    @workflow.run
    async def run(self, kind: str, how: str) -> Any:
        child = await workflow.start_child_workflow(
            Kid.run, how, id=workflow.info().workflow_id + "-kid", cancellation_type=Type[kind]
        )
        child.cancel("no longer needed")
        try:
            result: Any = await child
        except FailureError as error:
            result = family(error)
        await workflow.wait_condition(lambda: self.done)
        return result

    @workflow.signal
    def finish(self) -> None:
        self.done = True


@pytest.mark.parametrize("kind", ["WAIT_CANCELLATION_COMPLETED", "WAIT_CANCELLATION_REQUESTED", "TRY_CANCEL"])
async def test_a_cancelled_child_ends_as_cancelled(
    client: Client, make_worker: MakeWorker, queue: str, wid: str, kind: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Canceller, Kid]):
        handle = await client.start_workflow(Canceller.run, args=[kind, "wait"], id=wid, task_queue=queue)
        await ended(client, f"{wid}-kid", WorkflowExecutionStatus.CANCELED)
        await attributes(handle, "CHILD_WORKFLOW_EXECUTION_CANCELED")
        await handle.signal(Canceller.finish)
        assert await handle.result() == CANCELLED
        asked = await attributes(handle, "REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED")
        assert (asked.child_workflow_only, asked.reason) == (True, "no longer needed")
        told = [line.split()[1] for line in await story(handle)]
        told.remove("WORKFLOW_EXECUTION_SIGNALED")  # it may be handled in one task with what came before it
        assert told == [
            "WORKFLOW_EXECUTION_STARTED",
            "START_CHILD_WORKFLOW_EXECUTION_INITIATED",
            "CHILD_WORKFLOW_EXECUTION_STARTED",
            "REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED",
            "EXTERNAL_WORKFLOW_EXECUTION_CANCEL_REQUESTED",
            "CHILD_WORKFLOW_EXECUTION_CANCELED",
            "WORKFLOW_EXECUTION_COMPLETED",
        ]


async def test_a_parent_that_waits_sees_what_the_child_made_of_it(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Canceller, Kid]):
        handle = await client.start_workflow(
            Canceller.run, args=["WAIT_CANCELLATION_COMPLETED", "swallow"], id=wid, task_queue=queue
        )
        await handle.signal(Canceller.finish)
        assert await handle.result() == "swallowed 'no longer needed'"


async def test_a_parent_that_only_tries_does_not_wait(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Canceller, Kid]):
        handle = await client.start_workflow(Canceller.run, args=["TRY_CANCEL", "swallow"], id=wid, task_queue=queue)
        completed = await attributes(handle, "CHILD_WORKFLOW_EXECUTION_COMPLETED")
        assert completed.initiated_event_id == 5
        await handle.signal(Canceller.finish)
        assert await handle.result() == CANCELLED


async def test_an_abandoned_child_is_not_told(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Canceller, Kid]):
        handle = await client.start_workflow(Canceller.run, args=["ABANDON", "wait"], id=wid, task_queue=queue)
        await attributes(handle, "CHILD_WORKFLOW_EXECUTION_STARTED")
        await handle.signal(Canceller.finish)
        assert await handle.result() == CANCELLED
        assert "REQUEST_CANCEL" not in " ".join(await story(handle))


@workflow.defn
class Unsent:
    @workflow.run
    async def run(self) -> list[str]:
        starting = asyncio.create_task(
            workflow.start_child_workflow(Kid.run, "wait", id=workflow.info().workflow_id + "-kid")
        )
        await asyncio.sleep(0)
        starting.cancel("changed my mind")
        try:
            await starting
        except FailureError as error:
            return family(error)
        return []


async def test_a_child_that_is_cancelled_in_the_task_that_asks_for_it_never_is(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Unsent, Kid]):
        handle = await client.start_workflow(Unsent.run, id=wid, task_queue=queue)
        assert await handle.result() == [
            "ChildWorkflowError 'Child Workflow Execution cancelled before scheduled: changed my mind' Kid "
            "NON_RETRYABLE_FAILURE 0/0 default no run",
            "CancelledError 'Cancelled'",
        ]
        assert await story(handle) == ["1 WORKFLOW_EXECUTION_STARTED", "5 WORKFLOW_EXECUTION_COMPLETED"]
        assert await status_of(client, f"{wid}-kid") is None


async def test_a_cancelled_parent_cancels_the_child_that_it_awaits(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Family, Kid]):
        handle = await client.start_workflow(Family.run, "await", id=wid, task_queue=queue)
        await ended(client, f"{wid}-kid", WorkflowExecutionStatus.RUNNING)
        await attributes(handle, "CHILD_WORKFLOW_EXECUTION_STARTED")
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        await ended(client, wid, WorkflowExecutionStatus.CANCELED)
        await ended(client, f"{wid}-kid", WorkflowExecutionStatus.CANCELED)


# -- what becomes of children when the parent closes -----------------------------------------------------------------


@workflow.defn
class Family:
    """Has a child for each policy, and closes in the way that it is told to."""

    @workflow.run
    async def run(self, how: str) -> str:
        wid = workflow.info().workflow_id
        if how == "await":
            await workflow.execute_child_workflow(Kid.run, "wait", id=wid + "-kid")
        if how.startswith("last words"):
            policy = ParentClosePolicy[how.removeprefix("last words ")]
            self.starting = asyncio.create_task(
                workflow.start_child_workflow(Kid.run, "wait", id=wid + "-kid", parent_close_policy=policy)
            )
            await asyncio.sleep(0)
            return how
        for policy in (ParentClosePolicy.TERMINATE, ParentClosePolicy.ABANDON, ParentClosePolicy.REQUEST_CANCEL):
            await workflow.start_child_workflow(
                Kid.run, "swallow", id=f"{wid}-{policy.name}", parent_close_policy=policy
            )
        if how == "fail":
            raise ApplicationError("broken home")
        if how == "complete":
            return how
        await workflow.wait_condition(lambda: False)
        return "never"


async def closes(handle: WorkflowHandle[Any, Any], how: str) -> None:
    if how == "terminate":
        await attributes(handle, "WORKFLOW_TASK_COMPLETED")
        client, wid = handle._client, handle.id
        await ended(client, f"{wid}-REQUEST_CANCEL", WorkflowExecutionStatus.RUNNING)
        await handle.terminate()
    elif how == "cancel":
        await ended(handle._client, f"{handle.id}-REQUEST_CANCEL", WorkflowExecutionStatus.RUNNING)
        await handle.cancel()
    try:
        await handle.result()
    except WorkflowFailureError:
        assert how != "complete"


@pytest.mark.parametrize("how", ["complete", "fail", "terminate", "cancel", "time out"])
async def test_children_meet_their_policy_however_the_parent_closes(
    client: Client, make_worker: MakeWorker, queue: str, wid: str, how: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Family, Kid]):
        timeout = timedelta(seconds=2) if how == "time out" else None
        handle = await client.start_workflow(Family.run, how, id=wid, task_queue=queue, run_timeout=timeout)
        await closes(handle, how)
        await ended(client, f"{wid}-TERMINATE", WorkflowExecutionStatus.TERMINATED)
        await ended(client, f"{wid}-REQUEST_CANCEL", WorkflowExecutionStatus.COMPLETED)
        assert await status_of(client, f"{wid}-ABANDON") == WorkflowExecutionStatus.RUNNING
        gone = await attributes(client.get_workflow_handle(f"{wid}-TERMINATE"), "WORKFLOW_EXECUTION_TERMINATED")
        assert (gone.reason, gone.identity) == ("by parent close policy", "history-service")
        asked = await attributes(
            client.get_workflow_handle(f"{wid}-REQUEST_CANCEL"), "WORKFLOW_EXECUTION_CANCEL_REQUESTED"
        )
        assert (asked.cause, asked.identity) == ("", "history-service")
        assert asked.external_workflow_execution.workflow_id == wid
        await client.get_workflow_handle(f"{wid}-ABANDON").signal(Kid.hear, "still here")
        assert await client.get_workflow_handle(f"{wid}-ABANDON").result() == ["still here"]


@pytest.mark.parametrize("policy", ["TERMINATE", "ABANDON", "REQUEST_CANCEL"])
async def test_what_the_last_task_asks_for_does_not_happen(
    client: Client, make_worker: MakeWorker, queue: str, wid: str, policy: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Family, Kid]):
        handle = await client.start_workflow(Family.run, f"last words {policy}", id=wid, task_queue=queue)
        await handle.result()
        assert await story(handle) == [
            "1 WORKFLOW_EXECUTION_STARTED",
            "5 START_CHILD_WORKFLOW_EXECUTION_INITIATED",
            "6 WORKFLOW_EXECUTION_COMPLETED",
        ]
        # The next workflow of the same worker is done: an errand of the first would be done too.
        await client.execute_workflow(Family.run, "last words ABANDON", id=f"{wid}-next", task_queue=queue)
        assert await status_of(client, f"{wid}-kid") is None
