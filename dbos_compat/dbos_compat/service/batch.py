"""Batch operations: one order about many runs. Durable jobs of the kernel, done with the RPCs that a client could send.

What is done to a run carries a request id made of job and run, so that what a crash makes us do again happens once.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode

from google.protobuf.json_format import MessageToJson, Parse
from temporalio.api.batch.v1 import BatchOperationInfo
from temporalio.api.enums.v1 import BatchOperationState, BatchOperationType
from temporalio.api.workflowservice.v1 import (
    DescribeBatchOperationRequest,
    DescribeBatchOperationResponse,
    ListBatchOperationsRequest,
    ListBatchOperationsResponse,
    StartBatchOperationRequest,
    StartBatchOperationResponse,
    StopBatchOperationRequest,
    StopBatchOperationResponse,
)
from temporalio.service import RPCStatusCode

from dbos_compat.convert.times import timestamp
from dbos_compat.errors import already_completed, invalid, no_run, rpc_error
from dbos_compat.service.batch_orders import KINDS, check_order, identity_of
from dbos_compat.service.batch_work import work_of
from dbos_compat.service.common import Context, check_text
from dbos_core.jobs import JobRow
from dbos_core.search import PAGE_ROWS_MAX


def register(context: Context) -> None:
    """Let the kernel know how batch operations are carried on."""
    context.kernel.jobs.work = work_of(context)


async def start_batch_operation(context: Context, request: StartBatchOperationRequest) -> StartBatchOperationResponse:
    check_order(request)
    check_text(request.job_id, "JobId")
    job = JobRow(
        job_id=request.job_id,
        kind=KINDS[request.WhichOneof("operation") or ""].number,
        order=MessageToJson(request, indent=None),
        start_ms=context.kernel.clock.now_ms(),
    )
    if not await context.kernel.jobs.add(job):
        known = await context.kernel.store.jobs.one(job.job_id)
        state = "running" if known is not None and known.close_ms is None else "finished"
        raise rpc_error(
            f"Workflow execution already {state}. WorkflowId: {job.job_id}. Workflow Id reuse policy: reject duplicate "
            "workflow Id.",
            RPCStatusCode.ALREADY_EXISTS,
        )
    return StartBatchOperationResponse()


async def stop_batch_operation(context: Context, request: StopBatchOperationRequest) -> StopBatchOperationResponse:
    if not request.job_id:
        raise invalid("JobId is not set on request.")
    if not request.reason:
        raise invalid("Reason is not set on request.")
    if not await context.kernel.store.jobs.stop(request.job_id, context.kernel.clock.now_ms()):
        if await context.kernel.store.jobs.one(request.job_id) is None:
            raise no_run(request.job_id)
        raise already_completed()
    return StopBatchOperationResponse()


async def describe_batch_operation(
    context: Context, request: DescribeBatchOperationRequest
) -> DescribeBatchOperationResponse:
    if not request.job_id:
        raise invalid("JobId is not set on request.")
    job = await context.kernel.store.jobs.one(request.job_id)
    if job is None:
        raise no_run(request.job_id)
    order = Parse(job.order, StartBatchOperationRequest(), ignore_unknown_fields=True)
    response = DescribeBatchOperationResponse(
        operation_type=BatchOperationType.ValueType(job.kind),
        job_id=job.job_id,
        state=BatchOperationState.ValueType(job.state),
        start_time=timestamp(job.start_ms),
        total_operation_count=job.total,
        complete_operation_count=job.done,
        failure_operation_count=job.failed,
        identity=identity_of(order),
        reason=order.reason,
        query=order.visibility_query,
    )
    if job.close_ms is not None:
        response.close_time.CopyFrom(timestamp(job.close_ms))
    response.executions.extend(order.target_executions)
    for execution in order.executions:
        response.executions.add(type=1, business_id=execution.workflow_id, run_id=execution.run_id)
    return response


async def list_batch_operations(context: Context, request: ListBatchOperationsRequest) -> ListBatchOperationsResponse:
    size = request.page_size
    limit = min(size, PAGE_ROWS_MAX) if size > 0 else PAGE_ROWS_MAX
    jobs = await context.kernel.store.jobs.page(limit + 1, _read_token(request.next_page_token))
    response = ListBatchOperationsResponse(operation_info=[_info(job) for job in jobs[:limit]])
    if len(jobs) > limit:
        response.next_page_token = b64encode(json.dumps([jobs[limit - 1].start_ms, jobs[limit - 1].job_id]).encode())
    return response


def _info(job: JobRow) -> BatchOperationInfo:
    info = BatchOperationInfo(
        job_id=job.job_id,
        state=BatchOperationState.ValueType(job.state),
        start_time=timestamp(job.start_ms),
        operation_type=BatchOperationType.ValueType(job.kind),
    )
    if job.close_ms is not None:
        info.close_time.CopyFrom(timestamp(job.close_ms))
    return info


def _read_token(raw: bytes) -> tuple[int, str] | None:
    if not raw:
        return None
    try:
        start_ms, job_id = json.loads(b64decode(raw, validate=True))
        return int(start_ms), str(job_id)
    except (ValueError, TypeError):
        raise invalid("Invalid NextPageToken.") from None
