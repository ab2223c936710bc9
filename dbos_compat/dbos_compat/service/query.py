"""Queries: asked of the run's interpreter, wherever it is; nothing is written."""

from __future__ import annotations

from temporalio.api.enums.v1 import QueryRejectCondition, WorkflowExecutionStatus
from temporalio.api.query.v1 import QueryRejected
from temporalio.api.workflowservice.v1 import QueryWorkflowRequest, QueryWorkflowResponse

from dbos_compat.convert.answers import answer, question_text
from dbos_compat.errors import invalid, not_ready, query_failed, timeout_expired
from dbos_compat.service.common import CALL_S, Context, check_execution, check_size, find_run
from dbos_core.commit import RunRow, RunStatus
from dbos_core.questions import QuestionFailed, RunFailing

_NOT_OPEN = QueryRejectCondition.QUERY_REJECT_CONDITION_NOT_OPEN
_NOT_COMPLETED_CLEANLY = QueryRejectCondition.QUERY_REJECT_CONDITION_NOT_COMPLETED_CLEANLY


def rejected(run: RunRow, condition: QueryRejectCondition.ValueType) -> bool:
    """Does the condition refuse a query of this run?"""
    if condition == _NOT_OPEN:
        return run.status is not RunStatus.RUNNING
    if condition == _NOT_COMPLETED_CLEANLY:
        return run.status not in (RunStatus.RUNNING, RunStatus.COMPLETED)
    return False


async def query_workflow(context: Context, request: QueryWorkflowRequest) -> QueryWorkflowResponse:
    check_execution(request.execution)
    if not request.query.query_type:
        raise invalid("WorkflowQuery is not set on request.")
    check_size(request.query.query_args)
    run = await find_run(context, request.execution)
    if rejected(run, request.query_reject_condition):
        return QueryWorkflowResponse(query_rejected=QueryRejected(status=WorkflowExecutionStatus.ValueType(run.status)))
    text = question_text(request.query.query_type, request.query.query_args.payloads, request.query.header.fields)
    try:
        answered = answer(await context.kernel.query(run, text, CALL_S))
    except TimeoutError:
        raise timeout_expired() from None
    except RunFailing as error:
        text = f"Unable to query workflow due to Workflow Task in failed state. {error}"
        raise not_ready(text.rstrip()) from None
    except QuestionFailed as error:
        raise query_failed(str(error)) from None
    if answered.failure is not None:
        raise query_failed(answered.failure.message)
    response = QueryWorkflowResponse()
    response.query_result.payloads.extend(answered.payloads)
    return response
