"""Batch operations: one order about many runs, followed until it is done."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from temporalio import workflow
from temporalio.api.batch.v1 import (
    BatchOperationCancellation,
    BatchOperationDeletion,
    BatchOperationReset,
    BatchOperationSignal,
    BatchOperationTermination,
)
from temporalio.api.common.v1 import Payloads, WorkflowExecution
from temporalio.api.enums.v1 import BatchOperationState, BatchOperationType
from temporalio.api.workflowservice.v1 import (
    DeleteWorkflowExecutionRequest,
    DescribeBatchOperationRequest,
    DescribeBatchOperationResponse,
    ListBatchOperationsRequest,
    StartBatchOperationRequest,
    StopBatchOperationRequest,
)
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.service import RPCError, RPCStatusCode

from .support import MakeWorker, eventually

TERMINATED = WorkflowExecutionStatus.TERMINATED
RUNNING = BatchOperationState.BATCH_OPERATION_STATE_RUNNING
COMPLETED = BatchOperationState.BATCH_OPERATION_STATE_COMPLETED
FAILED = BatchOperationState.BATCH_OPERATION_STATE_FAILED


@workflow.defn
class Waiter:
    def __init__(self) -> None:
        self.heard: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: len(self.heard) > 0)
        return self.heard

    @workflow.signal
    def go(self, text: str) -> None:
        self.heard.append(text)


def order(client: Client, **fields: Any) -> StartBatchOperationRequest:
    values: dict[str, Any] = {
        "namespace": client.namespace,
        "job_id": f"job-{uuid.uuid4().hex[:12]}",
        "reason": "clearing up",
    }
    return StartBatchOperationRequest(**(values | fields))


async def described(client: Client, job_id: str) -> DescribeBatchOperationResponse:
    return await client.workflow_service.describe_batch_operation(
        DescribeBatchOperationRequest(namespace=client.namespace, job_id=job_id)
    )


async def carried_out(client: Client, request: StartBatchOperationRequest) -> DescribeBatchOperationResponse:
    """Give the order when there is room for one (a dev server takes one at a time), and wait until it has ended."""

    async def given() -> None:
        try:
            await client.workflow_service.start_batch_operation(request)
        except RPCError as error:
            if error.status is RPCStatusCode.RESOURCE_EXHAUSTED:
                raise AssertionError(error.message) from error
            raise

    async def ended() -> DescribeBatchOperationResponse:
        found = await described(client, request.job_id)
        assert found.state != RUNNING
        return found

    await eventually(given)
    return await eventually(ended)


async def planted(client: Client, unique: str, number: int, queue: str) -> list[str]:
    ids = [f"{unique}-{n}" for n in range(number)]
    for workflow_id in ids:
        await client.start_workflow("Waiter", id=workflow_id, task_queue=queue)

    async def there() -> None:
        assert (await client.count_workflows(mine(unique))).count == number

    await eventually(there)
    return ids


def mine(unique: str) -> str:
    return f"WorkflowId STARTS_WITH '{unique}-'"


async def unknown(client: Client, workflow_id: str) -> None:
    try:
        await client.get_workflow_handle(workflow_id).describe()
    except RPCError as error:
        if error.message == f"workflow not found for ID: {workflow_id}":
            return
        raise
    raise AssertionError(f"{workflow_id} is still known")


async def statuses(client: Client, ids: list[str]) -> list[WorkflowExecutionStatus | None]:
    return [(await client.get_workflow_handle(workflow_id).describe()).status for workflow_id in ids]


async def test_terminate_what_a_filter_finds(client: Client, unique: str, queue: str) -> None:
    ids = await planted(client, unique, 12, queue)
    request = order(
        client,
        visibility_query=f"{mine(unique)} AND WorkflowId != '{unique}-3'",
        termination_operation=BatchOperationTermination(
            identity="operator", details=Payloads(payloads=client.data_converter.payload_converter.to_payloads(["d"]))
        ),
    )
    done = await carried_out(client, request)
    assert done.state == COMPLETED
    assert done.operation_type == BatchOperationType.BATCH_OPERATION_TYPE_TERMINATE_WORKFLOW
    assert (done.total_operation_count, done.complete_operation_count, done.failure_operation_count) == (11, 11, 0)
    assert (done.identity, done.reason, done.query) == ("operator", "clearing up", request.visibility_query)
    assert done.start_time.ToMilliseconds() <= done.close_time.ToMilliseconds()
    found = await statuses(client, ids)
    assert [at for at, status in enumerate(found) if status == WorkflowExecutionStatus.RUNNING] == [3]
    history = await client.get_workflow_handle(ids[0]).fetch_history()
    assert history.events[-1].workflow_execution_terminated_event_attributes.reason == "clearing up"


async def test_signal_reaches_each_open_run_once(
    client: Client, make_worker: MakeWorker, unique: str, queue: str
) -> None:
    ids = await planted(client, unique, 5, queue)
    await client.get_workflow_handle(ids[0]).terminate()
    request = order(
        client,
        visibility_query=mine(unique),
        signal_operation=BatchOperationSignal(
            identity="operator",
            signal="go",
            input=Payloads(payloads=client.data_converter.payload_converter.to_payloads(["now"])),
        ),
    )
    done = await carried_out(client, request)
    assert done.state == COMPLETED
    assert done.failure_operation_count == 0
    async with make_worker(client, task_queue=queue, workflows=[Waiter]):
        for workflow_id in ids[1:]:
            assert await client.get_workflow_handle(workflow_id).result() == ["now"]


async def test_cancel_runs_that_are_named_and_count_those_that_are_not_there(
    client: Client, make_worker: MakeWorker, unique: str, queue: str
) -> None:
    ids = await planted(client, unique, 2, queue)
    request = order(
        client,
        executions=[WorkflowExecution(workflow_id=ids[1]), WorkflowExecution(workflow_id=f"{unique}-nobody")],
        cancellation_operation=BatchOperationCancellation(identity="operator"),
    )
    done = await carried_out(client, request)
    assert (done.state, done.total_operation_count, done.complete_operation_count) == (COMPLETED, 2, 2)
    assert [execution.business_id for execution in done.executions] == [ids[1], f"{unique}-nobody"]
    async with make_worker(client, task_queue=queue, workflows=[Waiter]):
        with pytest.raises(WorkflowFailureError):
            await client.get_workflow_handle(ids[1]).result()
        assert await statuses(client, ids) == [WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.CANCELED]


async def test_delete_takes_open_and_closed_runs_away(client: Client, engine: str, unique: str, queue: str) -> None:
    ids = await planted(client, unique, 4, queue)
    await client.get_workflow_handle(ids[1]).terminate()

    async def terminated() -> None:
        assert (await client.count_workflows(f"{mine(unique)} AND ExecutionStatus = 'Terminated'")).count == 1

    await eventually(terminated)
    done = await carried_out(
        client,
        order(client, visibility_query=mine(unique), deletion_operation=BatchOperationDeletion(identity="operator")),
    )
    assert (done.state, done.failure_operation_count) == (COMPLETED, 0)

    # A dev server terminates open runs for their deletion, and may leave it at that.
    async def gone() -> None:
        for workflow_id in ids:
            try:
                await unknown(client, workflow_id)
            except AssertionError:
                if engine != "temporal" or await statuses(client, [workflow_id]) != [TERMINATED]:
                    raise

    await eventually(gone)


async def test_delete_one_run(client: Client, unique: str, queue: str) -> None:
    (workflow_id,) = await planted(client, unique, 1, queue)
    request = DeleteWorkflowExecutionRequest(
        namespace=client.namespace, workflow_execution=WorkflowExecution(workflow_id=workflow_id)
    )
    await client.workflow_service.delete_workflow_execution(request)

    async def gone() -> None:
        await unknown(client, workflow_id)

    await eventually(gone)
    with pytest.raises(RPCError) as refused:
        await client.workflow_service.delete_workflow_execution(request)
    assert refused.value.message == f"workflow not found for ID: {workflow_id}"
    again = await client.start_workflow("Waiter", id=workflow_id, task_queue=queue)
    assert (await again.describe()).status == WorkflowExecutionStatus.RUNNING


async def test_a_filter_that_makes_no_sense_fails_the_operation(client: Client) -> None:
    await client.count_workflows("")
    done = await carried_out(
        client,
        order(
            client,
            visibility_query="WorkflowId > 'a' ORDER BY StartTime",
            termination_operation=BatchOperationTermination(identity="operator"),
        ),
    )
    assert (done.state, done.total_operation_count) == (FAILED, 0)


async def test_listed_newest_first(client: Client, unique: str) -> None:
    requests = []
    for _ in range(2):
        request = order(
            client,
            visibility_query=mine(unique),
            signal_operation=BatchOperationSignal(identity="operator", signal="go"),
        )
        await carried_out(client, request)
        requests.append(request)

    async def listed() -> None:
        found = await client.workflow_service.list_batch_operations(
            ListBatchOperationsRequest(namespace=client.namespace, page_size=2)
        )
        assert [info.job_id for info in found.operation_info] == [requests[1].job_id, requests[0].job_id]
        assert {info.state for info in found.operation_info} == {COMPLETED}
        assert found.operation_info[0].operation_type == BatchOperationType.BATCH_OPERATION_TYPE_SIGNAL_WORKFLOW

    await eventually(listed)


TERMINATE = BatchOperationTermination(identity="operator")
MISSING = (
    "must provide required parameters: BatchType,Reason,Namespace, AND one of (Query OR Executions OR TargetExecutions)"
)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"visibility_query": "x"}, MISSING),
        ({"visibility_query": "x", "reason": "", "termination_operation": TERMINATE}, MISSING),
        ({"termination_operation": TERMINATE}, MISSING),
        ({"visibility_query": "x", "job_id": "", "termination_operation": TERMINATE}, "JobId is not set on request."),
        (
            {
                "visibility_query": "x",
                "executions": [WorkflowExecution(workflow_id="x")],
                "termination_operation": TERMINATE,
            },
            "visibility query, executions, and target executions are mutually exclusive",
        ),
        (
            {"visibility_query": "x = 1", "signal_operation": BatchOperationSignal(identity="operator")},
            "must provide signal name",
        ),
        (
            {"visibility_query": "x = 1", "reset_operation": BatchOperationReset(identity="operator")},
            "unknown batch reset type Unspecified",
        ),
        (
            {"visibility_query": "foo bar", "termination_operation": TERMINATE},
            "invalid visibility query: syntax error at position 34 near 'bar'",
        ),
    ],
)
async def test_an_order_that_is_not_complete_is_refused(client: Client, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RPCError) as refused:
        await client.workflow_service.start_batch_operation(order(client, **fields))
    assert (refused.value.status, refused.value.message) == (RPCStatusCode.INVALID_ARGUMENT, message)


async def test_unknown_and_ended_operations(client: Client, unique: str) -> None:
    service, namespace = client.workflow_service, client.namespace
    with pytest.raises(RPCError) as refused:
        await described(client, f"{unique}-no-job")
    assert (refused.value.status, refused.value.message) == (
        RPCStatusCode.NOT_FOUND,
        f"workflow not found for ID: {unique}-no-job",
    )
    stop = StopBatchOperationRequest(namespace=namespace, job_id=f"{unique}-no-job", reason="enough", identity="me")
    with pytest.raises(RPCError) as refused:
        await service.stop_batch_operation(stop)
    assert refused.value.message == f"workflow not found for ID: {unique}-no-job"
    with pytest.raises(RPCError, match="Reason is not set on request"):
        await service.stop_batch_operation(StopBatchOperationRequest(namespace=namespace, job_id="x"))
    with pytest.raises(RPCError, match="JobId is not set on request"):
        await service.stop_batch_operation(StopBatchOperationRequest(namespace=namespace, reason="x"))

    request = order(
        client, visibility_query=mine(unique), signal_operation=BatchOperationSignal(identity="me", signal="go")
    )
    await carried_out(client, request)
    with pytest.raises(RPCError) as ended:
        await service.stop_batch_operation(
            StopBatchOperationRequest(namespace=namespace, job_id=request.job_id, reason="enough", identity="me")
        )
    assert (ended.value.status, ended.value.message) == (
        RPCStatusCode.NOT_FOUND,
        "workflow execution already completed",
    )

    async def taken() -> None:
        with pytest.raises(RPCError) as again:
            await service.start_batch_operation(request)
        assert again.value.status is RPCStatusCode.ALREADY_EXISTS
        assert again.value.message.startswith(f"Workflow execution already finished. WorkflowId: {request.job_id}")

    await eventually(taken)
