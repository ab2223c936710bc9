"""Update-with-start: ``execute_multi_operation`` of exactly a start and an update."""

from __future__ import annotations

from temporalio.api.errordetails.v1 import MultiOperationExecutionFailure
from temporalio.api.failure.v1 import MultiOperationExecutionAborted
from temporalio.api.workflowservice.v1 import (
    ExecuteMultiOperationRequest,
    ExecuteMultiOperationResponse,
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
    UpdateWorkflowExecutionRequest,
    UpdateWorkflowExecutionResponse,
)
from temporalio.service import RPCError, RPCStatusCode

from dbos_compat.errors import Unsupported, from_kernel, invalid, rpc_error
from dbos_compat.service.common import Context
from dbos_compat.service.start import derived_uuid, new_run, refused, started_response, terminate_record
from dbos_compat.service.update import (
    ADMITTED,
    COMPLETED,
    answer_update,
    check_ready,
    check_update,
    outlived_its_run,
    update_mail,
)
from dbos_core.commit import Mail, NewRun, RunRow, RunStatus, StartAnswer, StartResult, UpdateRow, Verdict


class _Failed(Exception):
    """One of the two operations was refused; the other counts as aborted."""

    def __init__(self, operation: int, error: RPCError) -> None:
        super().__init__(str(error))
        self.operation = operation
        self.error = error


def failure_of(operation: int, error: RPCError) -> RPCError:
    """Temporal's error for the pair: its status is that of the operation that failed."""
    aborted = MultiOperationExecutionFailure.OperationStatus(
        code=int(RPCStatusCode.ABORTED), message="Operation was aborted."
    )
    aborted.details.add().Pack(MultiOperationExecutionAborted())
    failed = MultiOperationExecutionFailure.OperationStatus(
        code=int(error.status), message=error.message, details=error.grpc_status.details
    )
    statuses = [failed, aborted] if operation == 0 else [aborted, failed]
    return rpc_error(
        "Update-with-Start could not be executed.", error.status, MultiOperationExecutionFailure(statuses=statuses)
    )


async def execute_multi_operation(
    context: Context, request: ExecuteMultiOperationRequest
) -> ExecuteMultiOperationResponse:
    kinds = [operation.WhichOneof("operation") for operation in request.operations]
    if kinds != ["start_workflow", "update_workflow"]:
        raise invalid("Operations have to be exactly [Start, Update].")
    start, update = request.operations[0].start_workflow, request.operations[1].update_workflow
    try:
        started, updated = await _run(context, start, update)
    except _Failed as failed:
        raise failure_of(failed.operation, failed.error) from None
    response = ExecuteMultiOperationResponse()
    response.responses.add().start_workflow.CopyFrom(started)
    response.responses.add().update_workflow.CopyFrom(updated)
    return response


async def _run(
    context: Context, start: StartWorkflowExecutionRequest, update: UpdateWorkflowExecutionRequest
) -> tuple[StartWorkflowExecutionResponse, UpdateWorkflowExecutionResponse]:
    new = _checked_start(context, start)
    try:
        _check_pair(start, update)
    except RPCError as error:
        raise _Failed(1, error) from None
    update_id = update.request.meta.update_id or context.kernel.entropy.uuid()
    wanted = update.wait_policy.lifecycle_stage
    while True:
        known = await _known(context, new, update_id)
        if known is not None:  # the same update again: Temporal answers it whatever the start's policy says
            run, row = known
            answer = StartAnswer(result=StartResult.USED_EXISTING, run=run)
            return started_response(context, answer), await answer_update(context, run, update_id, row, wanted)
        answer = await context.kernel.start(
            new,
            derived_uuid=derived_uuid(new),
            terminate_record=terminate_record(new.run_id),
            mail=[_mail(context, update, new.workflow_uuid, new.run_id, update_id)],
            updates=[UpdateRow(update_id=update_id, stage=ADMITTED)],
        )
        run = answer.run
        if answer.result is StartResult.ALREADY_STARTED:
            raise _Failed(0, refused(run, new.reuse))
        if answer.result is StartResult.STARTED:
            admitted: UpdateRow | None = UpdateRow(update_id=update_id, stage=ADMITTED)
        else:
            try:
                await check_ready(context, run)
            except RPCError as error:
                raise _Failed(1, error) from None
            mail = _mail(context, update, run.workflow_uuid, run.run_id, update_id)
            verdict, admitted = await context.kernel.updates.admit(run, update_id, mail)
            if verdict is Verdict.RUN_CLOSED:
                new = _checked_start(context, start)
                continue  # the run that was found open has closed meanwhile: look again
        started = started_response(context, answer)
        try:
            return started, await answer_update(context, run, update_id, admitted, wanted)
        except RPCError as error:
            raise _Failed(1, error) from None


async def _known(context: Context, new: NewRun, update_id: str) -> tuple[RunRow, UpdateRow] | None:
    """The latest run and the update that it already has, if it has. A closed run counts if it completed the update."""
    run = await context.kernel.find(new.workflow_id)
    if run is None:
        return None
    row = await context.kernel.store.update_row(run.workflow_uuid, update_id, watch=False)
    if row is None or (run.status is not RunStatus.RUNNING and (row.stage != COMPLETED or outlived_its_run(row))):
        return None
    return run, row


def _mail(
    context: Context, update: UpdateWorkflowExecutionRequest, workflow_uuid: str, run_id: str, update_id: str
) -> Mail:
    return update_mail(
        update.request,
        workflow_uuid=workflow_uuid,
        run_id=run_id,
        update_id=update_id,
        unique=context.kernel.entropy.uuid(),
    )


def _checked_start(context: Context, start: StartWorkflowExecutionRequest) -> NewRun:
    def check() -> NewRun:
        if start.cron_schedule:
            raise invalid("CronSchedule is not allowed.")
        if start.request_eager_execution:
            raise invalid("RequestEagerExecution is not supported.")
        if start.HasField("workflow_start_delay"):
            raise invalid("WorkflowStartDelay is not supported.")
        return new_run(start, run_id=context.kernel.entropy.uuid(), now_ms=context.kernel.clock.now_ms())

    try:
        return check()
    except Unsupported as error:
        raise _Failed(0, from_kernel(error)) from None
    except RPCError as error:
        raise _Failed(0, error) from None


def _check_pair(start: StartWorkflowExecutionRequest, update: UpdateWorkflowExecutionRequest) -> None:
    if update.workflow_execution.workflow_id != start.workflow_id:
        raise invalid("WorkflowId is not consistent with previous operation(s).")
    if update.first_execution_run_id:
        raise invalid("FirstExecutionRunId is not allowed.")
    if update.workflow_execution.run_id:
        raise invalid("RunId is not allowed.")
    check_update(update)
