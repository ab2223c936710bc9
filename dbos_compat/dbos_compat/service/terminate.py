"""Terminate: the run ends now, whoever owns it and whatever it is doing."""

from __future__ import annotations

from temporalio.api.workflowservice.v1 import (
    TerminateWorkflowExecutionRequest,
    TerminateWorkflowExecutionResponse,
)

from dbos_compat.convert.payloads import dumps
from dbos_compat.convert.records import CloseRecord, close_text
from dbos_compat.errors import already_completed
from dbos_compat.service.common import Context, find_run, follower
from dbos_core.commit import Close, RunStatus, Verdict

NO_REASON = "terminated by user via frontend"
"""What Temporal's server writes when the caller gives no reason."""


async def terminate_workflow_execution(
    context: Context, request: TerminateWorkflowExecutionRequest
) -> TerminateWorkflowExecutionResponse:
    run = await find_run(context, request.workflow_execution, request.first_execution_run_id)
    if run.status is not RunStatus.RUNNING:
        raise already_completed()
    close = Close(
        status=RunStatus.TERMINATED,
        close_ms=context.kernel.clock.now_ms(),
        record=close_text(
            CloseRecord(
                kind="terminated",
                reason=request.reason or NO_REASON,
                details=list(request.details.payloads),
                identity=request.identity,
            )
        ),
        error=dumps({"name": "WorkflowTerminated", "message": request.reason or NO_REASON}),
        mail_seen_ms=None,
    )
    while await context.kernel.terminate(run.workflow_uuid, close) is Verdict.RUN_CLOSED:
        run = await follower(context, request.workflow_execution, run, request.first_execution_run_id)
    return TerminateWorkflowExecutionResponse()
