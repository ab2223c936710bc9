"""Cancel requests: a durable message; the workflow decides what it means."""

from __future__ import annotations

from temporalio.api.workflowservice.v1 import (
    RequestCancelWorkflowExecutionRequest,
    RequestCancelWorkflowExecutionResponse,
)
from temporalio.service import RPCError

from dbos_compat.convert.records import message_text
from dbos_compat.service.common import Context, find_run, follower
from dbos_core.commit import Mail, RunStatus, Verdict
from dbos_core.mailbox import CANCEL, OWN_ID


async def request_cancel_workflow_execution(
    context: Context, request: RequestCancelWorkflowExecutionRequest
) -> RequestCancelWorkflowExecutionResponse:
    """The first request of a run counts; later ones, and requests to a closed run, change nothing and are no error."""
    run = await find_run(context, request.workflow_execution, request.first_execution_run_id)
    text = message_text(identity=request.identity, request_id=request.request_id, reason=request.reason)
    while run.status is RunStatus.RUNNING:
        mail = Mail(mail_id=f"{OWN_ID}{run.run_id}:c", workflow_uuid=run.workflow_uuid, topic=CANCEL, message=text)
        if await context.kernel.send(mail) is not Verdict.RUN_CLOSED:
            break
        try:
            run = await follower(context, request.workflow_execution, run, request.first_execution_run_id)
        except RPCError:
            break
    return RequestCancelWorkflowExecutionResponse()
