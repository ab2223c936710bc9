"""Delete: a run and all its rows go away; an open one is terminated first."""

from __future__ import annotations

from temporalio.api.workflowservice.v1 import (
    DeleteWorkflowExecutionRequest,
    DeleteWorkflowExecutionResponse,
)

from dbos_compat.convert.payloads import dumps
from dbos_compat.convert.records import CloseRecord, close_text
from dbos_compat.service.common import Context, find_run
from dbos_core.commit import Close, RunStatus

REASON = "Delete workflow execution"
IDENTITY = "history-service"
"""What Temporal's server writes on an open run that is deleted."""


async def delete_workflow_execution(
    context: Context, request: DeleteWorkflowExecutionRequest
) -> DeleteWorkflowExecutionResponse:
    run = await find_run(context, request.workflow_execution)
    if run.status is RunStatus.RUNNING:
        close = Close(
            status=RunStatus.TERMINATED,
            close_ms=context.kernel.clock.now_ms(),
            record=close_text(CloseRecord(kind="terminated", reason=REASON, details=[], identity=IDENTITY)),
            error=dumps({"name": "WorkflowTerminated", "message": REASON}),
            mail_seen_ms=None,
        )
        await context.kernel.terminate(run.workflow_uuid, close)
    await context.kernel.store.delete_run(run.workflow_uuid)
    return DeleteWorkflowExecutionResponse()
