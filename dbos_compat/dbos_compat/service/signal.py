"""Signals: a durable message to an open run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import SignalWorkflowExecutionRequest, SignalWorkflowExecutionResponse

from dbos_compat.convert.records import message_text
from dbos_compat.errors import already_completed, invalid
from dbos_compat.service.common import (
    Context,
    check_execution,
    check_size,
    check_text,
    find_run,
    follower,
    request_link,
)
from dbos_core.commit import Mail, RunStatus, Verdict
from dbos_core.mailbox import OWN_ID

SIGNALED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED


def check_signal(name: str) -> None:
    if not name:
        raise invalid("SignalName is not set on request.")
    check_text(name, "SignalName")


def signal_mail(
    *,
    workflow_uuid: str,
    run_id: str,
    name: str,
    args: Iterable[Payload],
    headers: Mapping[str, Payload],
    identity: str,
    request_id: str,
) -> Mail:
    """The message. Its id makes a repeated request the same signal."""
    return Mail(
        mail_id=f"{OWN_ID}{run_id}:s:{request_id}",
        workflow_uuid=workflow_uuid,
        topic=name,
        message=message_text(args=args, headers=headers, identity=identity, request_id=request_id),
    )


async def signal_workflow_execution(
    context: Context, request: SignalWorkflowExecutionRequest
) -> SignalWorkflowExecutionResponse:
    check_execution(request.workflow_execution)
    check_signal(request.signal_name)
    check_text(request.request_id, "RequestId")
    check_size(request.input)
    run = await find_run(context, request.workflow_execution)
    if run.status is not RunStatus.RUNNING:
        raise already_completed()
    request_id = request.request_id or context.kernel.entropy.uuid()
    while True:
        verdict = await context.kernel.send(
            signal_mail(
                workflow_uuid=run.workflow_uuid,
                run_id=run.run_id,
                name=request.signal_name,
                args=request.input.payloads,
                headers=request.header.fields,
                identity=request.identity,
                request_id=request_id,
            )
        )
        if verdict is not Verdict.RUN_CLOSED:
            break
        run = await follower(context, request.workflow_execution, run)
    return SignalWorkflowExecutionResponse(link=request_link(context, run, request_id, SIGNALED))
