"""How a run ended, as its callers see it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError, CancelledError, TerminatedError
from temporalio.service import RPCError, RPCStatusCode

from .support import MakeWorker, chain


@workflow.defn
class Finish:
    """Ends in the way it is told to."""

    def __init__(self) -> None:
        self.go = False

    @workflow.signal
    def proceed(self) -> None:
        self.go = True

    @workflow.run
    async def run(self, how: str) -> Any:
        match how:
            case "fail":
                raise ApplicationError("Sold out", {"goods": "tea"}, 7, type="SoldOut", non_retryable=True)
            case "fail with causes":
                try:
                    try:
                        raise ValueError("bottom")
                    except ValueError as bottom:
                        raise KeyError("middle") from bottom
                except KeyError as middle:
                    raise ApplicationError("top") from middle
            case "asyncio timeout":
                await asyncio.wait_for(workflow.wait_condition(lambda: False), 0.01)
            case "wait":
                await workflow.wait_condition(lambda: self.go)
            case "raise cancelled":
                raise CancelledError("of my own will")
        return None


async def failure(client: Client, queue: str, wid: str, how: str, **options: Any) -> list[str]:
    handle = await client.start_workflow(Finish.run, how, id=wid, task_queue=queue, **options)
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    return chain(failed.value)


async def test_none_is_a_result(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Finish]):
        assert await client.execute_workflow(Finish.run, "return", id=wid, task_queue=queue) is None


async def test_a_failure_keeps_message_type_details_and_retryability(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Finish]):
        assert await failure(client, queue, wid, "fail") == [
            "WorkflowFailureError 'Workflow execution failed'",
            "ApplicationError 'Sold out' type=SoldOut non_retryable details=({'goods': 'tea'}, 7)",
        ]
        assert (await client.get_workflow_handle(wid).describe()).status == WorkflowExecutionStatus.FAILED


async def test_python_causes_become_application_errors_named_by_their_class(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Finish]):
        assert await failure(client, queue, wid, "fail with causes") == [
            "WorkflowFailureError 'Workflow execution failed'",
            "ApplicationError 'top' type=None",
            "ApplicationError \"'middle'\" type=KeyError",
            "ApplicationError 'bottom' type=ValueError",
        ]


async def test_a_failure_carries_the_stack_of_the_workflow(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Finish]):
        handle = await client.start_workflow(Finish.run, "fail", id=wid, task_queue=queue)
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.failure is not None
    assert "test_results.py" in failed.value.cause.failure.stack_trace


async def test_an_asyncio_timeout_that_is_not_caught_fails_the_workflow(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Finish]):
        assert await failure(client, queue, wid, "asyncio timeout") == [
            "WorkflowFailureError 'Workflow execution failed'",
            "ApplicationError 'Application error' type=TimeoutError",
            "ApplicationError 'Application error' type=CancelledError",
        ]


async def test_a_cancelled_error_nobody_asked_for_is_a_failure(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Finish]):
        assert await failure(client, queue, wid, "raise cancelled") == [
            "WorkflowFailureError 'Workflow execution failed'",
            "CancelledError 'of my own will'",
        ]
        assert (await client.get_workflow_handle(wid).describe()).status == WorkflowExecutionStatus.FAILED


@pytest.mark.parametrize("limit", ["execution_timeout", "run_timeout"])
async def test_a_run_ends_at_its_timeout_with_or_without_a_worker(
    client: Client, queue: str, wid: str, limit: str
) -> None:
    assert await failure(client, queue, wid, "wait", **{limit: timedelta(seconds=1)}) == [
        "WorkflowFailureError 'Workflow execution failed'",
        "TimeoutError 'Workflow timed out' START_TO_CLOSE",
    ]
    assert (await client.get_workflow_handle(wid).describe()).status == WorkflowExecutionStatus.TIMED_OUT


async def test_termination_gives_reason_and_details(client: Client, queue: str, wid: str) -> None:
    handle = await client.start_workflow(Finish.run, "wait", id=wid, task_queue=queue)
    await handle.terminate("by", {"order": 7}, reason="not needed")
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, TerminatedError)
    assert chain(failed.value) == [
        "WorkflowFailureError 'Workflow execution failed'",
        "TerminatedError 'not needed' details=('by', {'order': 7})",
    ]


async def test_several_callers_wait_for_one_result(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Finish]):
        handle = await client.start_workflow(Finish.run, "wait", id=wid, task_queue=queue)
        waiting = [asyncio.create_task(client.get_workflow_handle(wid).result()) for _ in range(5)]
        await handle.signal(Finish.proceed)
        assert await asyncio.gather(*waiting) == [None] * 5
        assert await handle.result() is None


async def test_waiting_for_a_result_can_be_given_up_and_be_taken_up_again(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Finish]):
        handle = await client.start_workflow(Finish.run, "wait", id=wid, task_queue=queue)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(handle.result(), 0.2)
        await handle.signal(Finish.proceed)
        assert await handle.result() is None


async def test_the_result_of_an_unknown_workflow_is_not_found(client: Client, wid: str) -> None:
    with pytest.raises(RPCError) as unknown:
        await client.get_workflow_handle(wid).result()
    assert (unknown.value.status, unknown.value.message) == (
        RPCStatusCode.NOT_FOUND,
        f"workflow not found for ID: {wid}",
    )
    with pytest.raises(RPCError) as unknown:
        await client.get_workflow_handle(wid, run_id="5e5dd9d2-3b2b-44e6-9a94-6bd1a7ecc7ee").result()
    assert unknown.value.status == RPCStatusCode.NOT_FOUND


async def test_a_run_id_that_is_no_uuid_is_an_invalid_argument(client: Client, wid: str) -> None:
    with pytest.raises(RPCError) as invalid:
        await client.get_workflow_handle(wid, run_id="seven").describe()
    assert (invalid.value.status, invalid.value.message) == (RPCStatusCode.INVALID_ARGUMENT, "Invalid RunId.")
