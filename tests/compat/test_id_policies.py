"""Workflow ids: what a second start with the same id does, for each policy and each state of the first run."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.api.common.v1 import WorkflowType
from temporalio.api.errordetails.v1 import WorkflowExecutionAlreadyStartedFailure
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from .support import MakeWorker, chain

REUSE = {
    "allow": WorkflowIDReusePolicy.ALLOW_DUPLICATE,
    "failed-only": WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
    "reject": WorkflowIDReusePolicy.REJECT_DUPLICATE,
    "terminate": WorkflowIDReusePolicy.TERMINATE_IF_RUNNING,
}
CONFLICT = {
    "unset": WorkflowIDConflictPolicy.UNSPECIFIED,
    "fail": WorkflowIDConflictPolicy.FAIL,
    "use": WorkflowIDConflictPolicy.USE_EXISTING,
    "terminate": WorkflowIDConflictPolicy.TERMINATE_EXISTING,
}
WITH_TERMINATE_IF_RUNNING = (
    "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING cannot be used together with a "
    "WorkflowIDConflictPolicy"
)
WITH_REJECT = (
    "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE cannot be used together with "
    "WorkflowIdConflictPolicy WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING"
)
INVALID = {
    ("reject", "terminate"): WITH_REJECT,
    ("terminate", "fail"): WITH_TERMINATE_IF_RUNNING,
    ("terminate", "use"): WITH_TERMINATE_IF_RUNNING,
    ("terminate", "terminate"): WITH_TERMINATE_IF_RUNNING,
}
VALID = [(reuse, conflict) for reuse in REUSE for conflict in CONFLICT if (reuse, conflict) not in INVALID]
CLOSED = {
    "completed": WorkflowExecutionStatus.COMPLETED,
    "failed": WorkflowExecutionStatus.FAILED,
    "cancelled": WorkflowExecutionStatus.CANCELED,
    "terminated": WorkflowExecutionStatus.TERMINATED,
    "timed out": WorkflowExecutionStatus.TIMED_OUT,
}


@workflow.defn
class EndAs:
    @workflow.run
    async def run(self, how: str) -> str:
        if how == "failed":
            raise ApplicationError("on purpose")
        if how != "completed":
            await workflow.wait_condition(lambda: False)
        return how


async def ended(client: Client, wid: str, queue: str, how: str) -> WorkflowHandle[EndAs, str]:
    """A run that is closed in the given way, by a worker that is there."""
    limit = timedelta(seconds=1) if how == "timed out" else None
    handle = await client.start_workflow(EndAs.run, how, id=wid, task_queue=queue, execution_timeout=limit)
    if how == "cancelled":
        await handle.cancel()
    if how == "terminated":
        await handle.terminate()
    if how == "completed":
        await handle.result()
    else:
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    return handle


@pytest.mark.parametrize(("reuse", "conflict"), VALID)
async def test_a_second_start_while_the_first_runs(
    client: Client, queue: str, wid: str, reuse: str, conflict: str
) -> None:
    first = await client.start_workflow(EndAs.run, "open", id=wid, task_queue=queue)

    async def again() -> WorkflowHandle[EndAs, str]:
        return await client.start_workflow(
            EndAs.run,
            "open",
            id=wid,
            task_queue=queue,
            id_reuse_policy=REUSE[reuse],
            id_conflict_policy=CONFLICT[conflict],
        )

    if conflict == "use":
        second = await again()
        assert second.result_run_id == first.result_run_id
        assert (await first.describe()).status == WorkflowExecutionStatus.RUNNING
    elif "terminate" in (reuse, conflict):
        second = await again()
        assert second.result_run_id != first.result_run_id
        assert second.first_execution_run_id == second.result_run_id
        old = client.get_workflow_handle(wid, run_id=first.result_run_id)
        assert (await old.describe()).status == WorkflowExecutionStatus.TERMINATED
        with pytest.raises(WorkflowFailureError) as refused:
            await old.result()
        assert chain(refused.value) == [
            "WorkflowFailureError 'Workflow execution failed'",
            "TerminatedError 'TerminateIfRunning WorkflowIdReusePolicy' "
            f"details=('terminated by new runID: {second.result_run_id}',)",
        ]
    else:
        with pytest.raises(WorkflowAlreadyStartedError) as refused_start:
            await again()
        assert_already_started(
            refused_start.value,
            first,
            f"Workflow execution is already running. WorkflowId: {wid}, RunId: {first.result_run_id}.",
        )


@pytest.mark.parametrize("state", CLOSED)
async def test_a_second_start_after_the_first_has_closed(
    client: Client, make_worker: MakeWorker, queue: str, wid: str, state: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[EndAs]):
        for reuse, conflict in VALID:
            if state == "timed out" and conflict != "unset":
                continue  # one second each
            case = f"{wid}-{reuse}-{conflict}"
            first = await ended(client, case, queue, state)

            async def again(case: str = case, reuse: str = reuse, conflict: str = conflict) -> Any:
                return await client.start_workflow(
                    EndAs.run,
                    "open",
                    id=case,
                    task_queue=queue,
                    id_reuse_policy=REUSE[reuse],
                    id_conflict_policy=CONFLICT[conflict],
                )

            finished = f"WorkflowId: {case}, RunId: {first.result_run_id}. Workflow Id reuse policy:"
            if reuse == "reject":
                with pytest.raises(WorkflowAlreadyStartedError) as refused:
                    await again()
                expected = f"Workflow execution already finished. {finished} reject duplicate workflow Id."
                assert_already_started(refused.value, first, expected)
            elif reuse == "failed-only" and state == "completed":
                with pytest.raises(WorkflowAlreadyStartedError) as refused:
                    await again()
                expected = (
                    f"Workflow execution already finished successfully. {finished} "
                    "allow duplicate workflow Id if last run failed."
                )
                assert_already_started(refused.value, first, expected)
            else:
                second = await again()
                assert second.result_run_id != first.result_run_id
                assert second.first_execution_run_id == second.result_run_id
                old = client.get_workflow_handle(case, run_id=first.result_run_id)
                assert (await old.describe()).status == CLOSED[state]
                assert (await client.get_workflow_handle(case).describe()).run_id == second.result_run_id
                await second.terminate()


def assert_already_started(error: WorkflowAlreadyStartedError, first: Any, message: str) -> None:
    assert str(error) == "Workflow execution already started"
    assert error.workflow_id == first.id
    assert error.run_id == first.result_run_id
    assert error.workflow_type == "EndAs"
    answer = error.__context__
    assert isinstance(answer, RPCError)
    assert answer.status == RPCStatusCode.ALREADY_EXISTS
    assert answer.message == message
    detail = WorkflowExecutionAlreadyStartedFailure()
    assert answer.grpc_status.details[0].Unpack(detail)
    assert detail.run_id == first.result_run_id
    assert detail.first_execution_run_id == first.result_run_id
    assert detail.start_request_id


@pytest.mark.parametrize(("reuse", "conflict"), INVALID)
async def test_policies_that_contradict_are_refused_even_if_no_run_exists(
    client: Client, queue: str, wid: str, reuse: str, conflict: str
) -> None:
    with pytest.raises(RPCError) as refused:
        await client.start_workflow(
            EndAs.run,
            "open",
            id=wid,
            task_queue=queue,
            id_reuse_policy=REUSE[reuse],
            id_conflict_policy=CONFLICT[conflict],
        )
    assert refused.value.status == RPCStatusCode.INVALID_ARGUMENT
    assert refused.value.message == INVALID[reuse, conflict]


async def test_without_policies_a_closed_id_is_free_and_a_running_one_is_not(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[EndAs]):
        first = await ended(client, wid, queue, "completed")
        second = await client.start_workflow(EndAs.run, "open", id=wid, task_queue=queue)
        assert first.result_run_id != second.result_run_id
        with pytest.raises(WorkflowAlreadyStartedError):
            await client.start_workflow(EndAs.run, "open", id=wid, task_queue=queue)


def raw_start(wid: str, queue: str, request_id: str) -> StartWorkflowExecutionRequest:
    return StartWorkflowExecutionRequest(
        namespace="default",
        workflow_id=wid,
        workflow_type=WorkflowType(name="EndAs"),
        task_queue=TaskQueue(name=queue),
        request_id=request_id,
        identity="a client",
    )


async def test_the_same_request_id_is_the_same_start(client: Client, queue: str, wid: str) -> None:
    request = raw_start(wid, queue, str(uuid.uuid4()))
    first = await client.workflow_service.start_workflow_execution(request)
    again = await client.workflow_service.start_workflow_execution(request)
    assert first.started
    assert again.started
    assert again.run_id == first.run_id

    await client.get_workflow_handle(wid).terminate()
    after_close = await client.workflow_service.start_workflow_execution(request)
    assert after_close.run_id == first.run_id


async def test_another_request_id_is_another_start(client: Client, queue: str, wid: str) -> None:
    first = await client.workflow_service.start_workflow_execution(raw_start(wid, queue, "request-1"))
    with pytest.raises(RPCError) as refused:
        await client.workflow_service.start_workflow_execution(raw_start(wid, queue, "request-2"))
    assert refused.value.status == RPCStatusCode.ALREADY_EXISTS
    detail = WorkflowExecutionAlreadyStartedFailure()
    assert refused.value.grpc_status.details[0].Unpack(detail)
    assert (detail.start_request_id, detail.run_id) == ("request-1", first.run_id)


async def test_using_the_existing_run_says_that_nothing_was_started(client: Client, queue: str, wid: str) -> None:
    first = await client.workflow_service.start_workflow_execution(raw_start(wid, queue, "request-1"))
    request = raw_start(wid, queue, "request-2")
    request.workflow_id_conflict_policy = 2  # type: ignore[assignment]  # USE_EXISTING
    second = await client.workflow_service.start_workflow_execution(request)
    assert (second.run_id, second.started) == (first.run_id, False)


async def test_runs_of_one_id_keep_their_own_results(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[EndAs]):
        first = await ended(client, wid, queue, "completed")
        second = await ended(client, wid, queue, "failed")
        assert await client.get_workflow_handle(wid, run_id=first.result_run_id).result() == "completed"
        with pytest.raises(WorkflowFailureError):
            await client.get_workflow_handle(wid, run_id=second.result_run_id).result()
        with pytest.raises(WorkflowFailureError):
            await client.get_workflow_handle(wid).result()
