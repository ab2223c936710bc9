"""Updates: admitted durably, then accepted or rejected and completed by the workflow; callers wait for a stage."""

from __future__ import annotations

import json

from temporalio.api.enums.v1 import EventType
from temporalio.api.enums.v1 import UpdateWorkflowExecutionLifecycleStage as Stage
from temporalio.api.errordetails.v1 import PermissionDeniedFailure
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.update.v1 import Outcome, Request, UpdateRef
from temporalio.api.workflowservice.v1 import (
    PollWorkflowExecutionUpdateRequest,
    PollWorkflowExecutionUpdateResponse,
    UpdateWorkflowExecutionRequest,
    UpdateWorkflowExecutionResponse,
)
from temporalio.service import RPCStatusCode

from dbos_compat.convert.answers import answer
from dbos_compat.convert.payloads import dumps
from dbos_compat.convert.records import message_text
from dbos_compat.errors import invalid, not_found, not_ready, rpc_error
from dbos_compat.history.failed_tasks import failed_task
from dbos_compat.service.common import (
    LONG_POLL_S,
    Context,
    check_size,
    check_text,
    find_run,
    follower,
    is_uuid,
    request_link,
)
from dbos_core.commit import Mail, RunRow, RunStatus, UpdateRow, Verdict
from dbos_core.failing import REFUSE_FROM
from dbos_core.mailbox import OWN_ID, UPDATE
from dbos_core.phase import Phase
from dbos_core.questions import QuestionFailed
from dbos_core.updates import UpdateAborted

REJECTED, ADMITTED, ACCEPTED, COMPLETED = 0, 1, 2, 3
"""Stages of ``UpdateRow``; but for the first they are Temporal's numbers."""

REJECTION = "update.rejection"
ASK_S = 5.0
"""How long the process that rejected an update may take to say why."""

_ACCEPTED_EVENT = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED


# -- pure --------------------------------------------------------------------------------------------------------------


def check_update(request: UpdateWorkflowExecutionRequest) -> None:
    if not request.HasField("request") or not request.request.HasField("input"):
        raise invalid("Update input is not set on request.")
    check_text(request.request.meta.update_id, "UpdateId")
    if not request.request.input.name:
        raise invalid("Update name is not set on request.")
    check_size(request.request.input.args)
    if request.wait_policy.lifecycle_stage == Stage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ADMITTED:
        raise rpc_error(
            "UpdateWorkflowExecution issued asynchronously and waiting on update admitted is not supported.",
            RPCStatusCode.PERMISSION_DENIED,
            PermissionDeniedFailure(),
        )


def update_mail(request: Request, *, workflow_uuid: str, run_id: str, update_id: str, unique: str) -> Mail:
    """The message of an update. Not named after the update id: a rejected update may come again under the same."""
    return Mail(
        mail_id=f"{OWN_ID}{run_id}:u:{unique}",
        workflow_uuid=workflow_uuid,
        topic=UPDATE,
        message=message_text(
            args=request.input.args.payloads,
            headers=request.input.header.fields,
            identity=request.meta.identity,
            name=request.input.name,
            update_id=update_id,
        ),
    )


def proto_outcome(text: str) -> Outcome:
    """``UpdateRow.outcome`` as Temporal answers it."""
    ended = answer(text)
    outcome = Outcome()
    if ended.failure is not None:
        outcome.failure.CopyFrom(ended.failure)
    else:
        outcome.success.payloads.extend(ended.payloads)
    return outcome


def outlived() -> Outcome:
    """The outcome of an update that was accepted and not completed when its run closed."""
    return Outcome(
        failure=Failure(
            message="Workflow Update failed because the Workflow completed before the Update completed.",
            source="Server",
            application_failure_info=ApplicationFailureInfo(type="AcceptedUpdateCompletedWorkflow", non_retryable=True),
        )
    )


def outlived_its_run(row: UpdateRow) -> bool:
    """Was it accepted and not completed when its run closed?"""
    if row.stage != COMPLETED or row.outcome is None:
        return row.stage == ACCEPTED
    failure = answer(row.outcome).failure
    return (
        failure is not None
        and failure.source == "Server"
        and failure.application_failure_info.type == "AcceptedUpdateCompletedWorkflow"
    )


def reply(row: UpdateRow | None, *, run_closed: bool = False) -> tuple[Stage.ValueType, Outcome | None]:
    """(stage, outcome) to tell a caller. No row: not heard of since it was admitted."""
    if row is None:
        return Stage.ValueType(ADMITTED), None
    if row.stage in (REJECTED, COMPLETED) and row.outcome is not None:
        return Stage.ValueType(COMPLETED), proto_outcome(row.outcome)
    if run_closed and row.stage == ACCEPTED:
        return Stage.ValueType(COMPLETED), outlived()
    return Stage.ValueType(max(row.stage, ADMITTED)), None


def reference(run: RunRow, update_id: str) -> UpdateRef:
    ref = UpdateRef(update_id=update_id)
    ref.workflow_execution.workflow_id = run.workflow_id
    ref.workflow_execution.run_id = run.run_id
    return ref


# -- acting ------------------------------------------------------------------------------------------------------------


async def update_workflow_execution(
    context: Context, request: UpdateWorkflowExecutionRequest
) -> UpdateWorkflowExecutionResponse:
    """Admit an update, then wait for the stage that the caller wants, for as long as a poll is held."""
    check_update(request)
    execution, first = request.workflow_execution, request.first_execution_run_id
    if not request.request.meta.update_id:
        request.request.meta.update_id = context.kernel.entropy.uuid()
    run = await find_run(context, execution, first)
    while True:
        try:
            return await update_run(context, run, request)
        except RunHasClosed:
            run = await follower(context, execution, run, first)


class RunHasClosed(Exception):
    """The run was closed before it could admit the update."""


async def update_run(
    context: Context, run: RunRow, request: UpdateWorkflowExecutionRequest
) -> UpdateWorkflowExecutionResponse:
    kernel = context.kernel
    await check_ready(context, run)
    update_id = request.request.meta.update_id or kernel.entropy.uuid()
    mail = update_mail(
        request.request,
        workflow_uuid=run.workflow_uuid,
        run_id=run.run_id,
        update_id=update_id,
        unique=kernel.entropy.uuid(),
    )
    verdict, row = await kernel.updates.admit(run, update_id, mail)
    if verdict is Verdict.RUN_CLOSED:
        raise RunHasClosed
    return await answer_update(context, run, update_id, row, request.wait_policy.lifecycle_stage)


async def check_ready(context: Context, run: RunRow) -> None:
    """An update of a run whose tasks fail would wait for nothing; it cannot mend the run either."""
    if run.status is RunStatus.RUNNING and run.task_attempt >= REFUSE_FROM:
        live = context.kernel.live(run.workflow_uuid)
        if live is not None and live.phase is Phase.COMMITTING:
            return  # a task went well: its commit is on its way, and others may have seen what it did already
        if live is None:
            loaded = await context.kernel.load(run.workflow_uuid)
            if loaded is None or failed_task(loaded) is None:
                return  # a task has gone well since: its owner takes the note back a moment after its commit
        raise not_ready("Unable to perform workflow execution update due to Workflow Task in failed state.")


async def answer_update(
    context: Context, run: RunRow, update_id: str, row: UpdateRow | None, wanted: int
) -> UpdateWorkflowExecutionResponse:
    """Wait for the wanted stage and tell how far the update is."""
    wanted = max(wanted, ACCEPTED)
    stage, outcome = await wait_stage(context, run, update_id, row, wanted)
    response = UpdateWorkflowExecutionResponse(update_ref=reference(run, update_id), stage=stage)
    if outcome is not None:
        response.outcome.CopyFrom(outcome)
    if stage >= ACCEPTED:
        response.link.CopyFrom(request_link(context, run, "", _ACCEPTED_EVENT))
    return response


async def wait_stage(
    context: Context, run: RunRow, update_id: str, row: UpdateRow | None, wanted: int
) -> tuple[Stage.ValueType, Outcome | None]:
    if row is None or (row.stage != REJECTED and row.stage < wanted):
        try:
            row = await context.kernel.updates.wait(run.workflow_uuid, update_id, wanted, LONG_POLL_S) or row
        except UpdateAborted:
            raise not_found("workflow update was aborted by closing workflow") from None
        if row is None or row.stage == ADMITTED:
            row = await _rejection(context, run, update_id) or row
    closed = False
    if row is not None and row.stage == ACCEPTED:
        closed = await _is_closed(context, run)
    return reply(row, run_closed=closed)


async def _rejection(context: Context, run: RunRow, update_id: str) -> UpdateRow | None:
    """A rejected update has no row any more; the process that rejected it knows why, for a while."""
    kernel = context.kernel
    if kernel.live(run.workflow_uuid) is not None:
        return None  # then this is that process, and has said so already
    if await kernel.store.update_row(run.workflow_uuid, update_id, watch=False) is not None:
        return None
    try:
        answer = json.loads(await kernel.request(run, REJECTION, dumps({"id": update_id}), ASK_S))
    except (TimeoutError, QuestionFailed):
        return None
    return UpdateRow(update_id=update_id, stage=REJECTED, outcome=answer["outcome"]) if answer["outcome"] else None


def register(context: Context) -> None:
    """Let this process say why it rejected an update."""

    async def rejection(run: RunRow, text: str) -> str:
        row = await context.kernel.updates.wait(run.workflow_uuid, json.loads(text)["id"], COMPLETED, 0)
        return dumps({"outcome": row.outcome if row is not None and row.stage == REJECTED else None})

    context.kernel.questions.register(REJECTION, rejection)


async def _is_closed(context: Context, run: RunRow) -> bool:
    now = await context.kernel.find(run.workflow_id, run.run_id)
    return now is None or now.status is not RunStatus.RUNNING


async def poll_workflow_execution_update(
    context: Context, request: PollWorkflowExecutionUpdateRequest
) -> PollWorkflowExecutionUpdateResponse:
    """How far an update is: at once without a wait policy, else held until the stage or for a while."""
    ref = request.update_ref
    if ref.workflow_execution.run_id and not is_uuid(ref.workflow_execution.run_id):
        raise invalid("RunId is not valid UUID.")
    run = await find_run(context, ref.workflow_execution)
    known = "\0" not in ref.update_id
    row = await context.kernel.store.update_row(run.workflow_uuid, ref.update_id, watch=False) if known else None
    if row is None:
        raise not_found(f'update "{ref.update_id}" not found')
    wanted = request.wait_policy.lifecycle_stage
    stage, outcome = await wait_stage(context, run, ref.update_id, row, wanted)
    response = PollWorkflowExecutionUpdateResponse(update_ref=reference(run, ref.update_id), stage=stage)
    if outcome is not None:
        response.outcome.CopyFrom(outcome)
    return response
