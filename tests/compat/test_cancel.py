"""Cancellation and termination of workflows."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, CancelledError, TerminatedError
from temporalio.service import RPCError, RPCStatusCode

from .support import MakeWorker, chain, eventually


@workflow.defn
class Patient:
    """Waits, and meets a cancellation in the way it is told to."""

    def __init__(self) -> None:
        self.state = "new"
        self.go = False

    @workflow.run
    async def run(self, how: str) -> str:
        self.state = "waiting"
        match how:
            case "give in":
                await workflow.wait_condition(lambda: self.go)
            case "sleep":
                await workflow.sleep(3600)
            case "swallow":
                try:
                    await workflow.wait_condition(lambda: self.go)
                except asyncio.CancelledError:
                    return "swallowed"
            case "carry on":
                try:
                    await workflow.wait_condition(lambda: self.go)
                except asyncio.CancelledError:
                    self.state = "asked to stop"
                    await workflow.wait_condition(lambda: self.go)
                    return "carried on"
            case "clean up":
                try:
                    await workflow.wait_condition(lambda: self.go)
                finally:
                    await workflow.sleep(0.01)
                    self.state = "clean"
            case "fail":
                try:
                    await workflow.wait_condition(lambda: self.go)
                except asyncio.CancelledError:
                    raise ApplicationError("failed while cancelling") from None
            case "shield":
                inner = asyncio.create_task(self.wait())
                try:
                    await asyncio.shield(inner)
                except asyncio.CancelledError:
                    self.state = "asked to stop"
                    return f"inner {await inner}"
            case "reason":
                try:
                    await workflow.wait_condition(lambda: self.go)
                except asyncio.CancelledError:
                    return str(workflow.cancellation_reason())
        return "done"

    async def wait(self) -> str:
        await workflow.wait_condition(lambda: self.go)
        return "went on"

    @workflow.signal
    def proceed(self) -> None:
        self.go = True

    @workflow.query
    def current(self) -> str:
        return self.state


async def waiting(client: Client, queue: str, wid: str, how: str) -> WorkflowHandle[Patient, str]:
    handle = await client.start_workflow(Patient.run, how, id=wid, task_queue=queue)
    await is_in(handle, "waiting")
    return handle


async def is_in(handle: WorkflowHandle[Patient, str], state: str) -> None:
    async def fact() -> None:
        assert await handle.query(Patient.current) == state

    await eventually(fact)


CANCELLED = ["WorkflowFailureError 'Workflow execution failed'", "CancelledError 'Workflow cancelled'"]


@pytest.mark.parametrize("how", ["give in", "sleep"])
async def test_a_cancelled_workflow_ends_as_cancelled(
    client: Client, make_worker: MakeWorker, queue: str, wid: str, how: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Patient]):
        handle = await waiting(client, queue, wid, how)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as cancelled:
            await handle.result()
        assert isinstance(cancelled.value.cause, CancelledError)
        assert chain(cancelled.value) == CANCELLED
        assert (await handle.describe()).status == WorkflowExecutionStatus.CANCELED


async def test_cancelled_before_the_first_task_the_workflow_still_begins(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    handle = await client.start_workflow(Patient.run, "swallow", id=wid, task_queue=queue)
    await handle.cancel()
    async with make_worker(client, task_queue=queue, workflows=[Patient]):
        assert await handle.result() == "swallowed"


@pytest.mark.parametrize(("how", "result"), [("swallow", "swallowed"), ("reason", "no longer wanted")])
async def test_a_workflow_may_catch_it_and_complete(
    client: Client, make_worker: MakeWorker, queue: str, wid: str, how: str, result: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Patient]):
        handle = await waiting(client, queue, wid, how)
        await handle.cancel(reason="no longer wanted")
        assert await handle.result() == result
        assert (await handle.describe()).status == WorkflowExecutionStatus.COMPLETED


@pytest.mark.parametrize(("how", "result"), [("carry on", "carried on"), ("shield", "inner went on")])
async def test_a_workflow_may_go_on_after_it(
    client: Client, make_worker: MakeWorker, queue: str, wid: str, how: str, result: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Patient]):
        handle = await waiting(client, queue, wid, how)
        await handle.cancel()
        await is_in(handle, "asked to stop")
        await handle.signal(Patient.proceed)
        assert await handle.result() == result


async def test_a_second_cancel_is_ignored(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Patient]):
        handle = await waiting(client, queue, wid, "carry on")
        await handle.cancel()
        await is_in(handle, "asked to stop")
        await handle.cancel()
        await handle.cancel()
        await handle.signal(Patient.proceed)
        assert await handle.result() == "carried on"


async def test_clean_up_runs_before_the_end(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Patient]):
        handle = await waiting(client, queue, wid, "clean up")
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as cancelled:
            await handle.result()
        assert chain(cancelled.value) == CANCELLED
        assert await handle.query(Patient.current) == "clean"


async def test_a_failure_while_cancelling_is_a_failure(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Patient]):
        handle = await waiting(client, queue, wid, "fail")
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        assert chain(failed.value)[1] == "ApplicationError 'failed while cancelling' type=None"
        assert (await handle.describe()).status == WorkflowExecutionStatus.FAILED


async def test_cancelling_a_closed_workflow_does_nothing(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Patient]):
        handle = await waiting(client, queue, wid, "give in")
        await handle.signal(Patient.proceed)
        assert await handle.result() == "done"
        await handle.cancel()
        assert (await handle.describe()).status == WorkflowExecutionStatus.COMPLETED


async def test_cancelling_nobody_is_not_found(client: Client, wid: str) -> None:
    with pytest.raises(RPCError) as refused:
        await client.get_workflow_handle(wid).cancel()
    assert (refused.value.status, refused.value.message) == (
        RPCStatusCode.NOT_FOUND,
        f"workflow not found for ID: {wid}",
    )


async def test_terminating_needs_no_worker_and_runs_no_code(client: Client, queue: str, wid: str) -> None:
    handle = await client.start_workflow(Patient.run, "clean up", id=wid, task_queue=queue)
    await handle.terminate("operator", reason="maintenance")
    with pytest.raises(WorkflowFailureError) as terminated:
        await handle.result()
    assert isinstance(terminated.value.cause, TerminatedError)
    assert chain(terminated.value) == [
        "WorkflowFailureError 'Workflow execution failed'",
        "TerminatedError 'maintenance' details=('operator',)",
    ]
    assert (await handle.describe()).status == WorkflowExecutionStatus.TERMINATED


async def test_termination_without_a_reason(client: Client, queue: str, wid: str) -> None:
    handle = await client.start_workflow(Patient.run, "give in", id=wid, task_queue=queue)
    await handle.terminate()
    with pytest.raises(WorkflowFailureError) as terminated:
        await handle.result()
    assert chain(terminated.value)[1] == "TerminatedError 'terminated by user via frontend'"


async def test_terminating_a_closed_workflow_is_not_found(client: Client, queue: str, wid: str) -> None:
    handle = await client.start_workflow(Patient.run, "give in", id=wid, task_queue=queue)
    await handle.terminate()
    with pytest.raises(RPCError) as refused:
        await handle.terminate()
    assert (refused.value.status, refused.value.message) == (
        RPCStatusCode.NOT_FOUND,
        "workflow execution already completed",
    )


async def test_terminating_nobody_is_not_found(client: Client, wid: str) -> None:
    with pytest.raises(RPCError) as refused:
        await client.get_workflow_handle(wid).terminate()
    assert (refused.value.status, refused.value.message) == (
        RPCStatusCode.NOT_FOUND,
        f"workflow not found for ID: {wid}",
    )


async def test_a_handle_that_knows_the_first_run_does_not_touch_another_chain(
    client: Client, queue: str, wid: str
) -> None:
    first = await client.start_workflow(Patient.run, "give in", id=wid, task_queue=queue)
    await first.terminate()
    second = await client.start_workflow(Patient.run, "give in", id=wid, task_queue=queue)
    with pytest.raises(RPCError) as refused:
        await first.terminate()
    assert (refused.value.status, refused.value.message) == (RPCStatusCode.NOT_FOUND, "workflow execution not found")
    with pytest.raises(RPCError) as refused:
        await first.cancel()
    assert (refused.value.status, refused.value.message) == (RPCStatusCode.NOT_FOUND, "workflow execution not found")
    assert (await second.describe()).status == WorkflowExecutionStatus.RUNNING


async def test_a_run_that_does_not_exist_is_not_found(client: Client, queue: str, wid: str) -> None:
    await client.start_workflow(Patient.run, "give in", id=wid, task_queue=queue)
    run = str(uuid.uuid4())
    stranger = client.get_workflow_handle(wid, run_id=run)
    for action in (stranger.cancel, stranger.terminate, stranger.describe):
        with pytest.raises(RPCError) as refused:
            await action()
        assert refused.value.status == RPCStatusCode.NOT_FOUND
        assert refused.value.message == f'workflow execution not found for workflow ID "{wid}" and run ID "{run}"'
