"""Listing: runs as a list filter finds them, page by page. Of a status that this release does not know they are listed, too:
the SDK's own listing and description raise at the first of them."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import WorkflowExecutionStatus
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionRequest, ListWorkflowExecutionsRequest
from temporalio.client import Client

from dbos_compat.convert.times import timestamp_ms
from dbos_shadow.select import Candidate
from dbos_shadow.trace import Status

__all__ = ["Page", "current_run", "list_page"]

PAGE = 1000
"""Runs in one answer; the server may give fewer."""
_PREFIX = "WORKFLOW_EXECUTION_STATUS_"
_NAMES = {number: name.removeprefix(_PREFIX).lower() for name, number in WorkflowExecutionStatus.items()}


@dataclass(frozen=True, slots=True)
class Page:
    runs: list[Candidate]
    next: bytes
    """By which the page behind it is asked for; empty: there is none."""


async def list_page(client: Client, query: str, after: bytes = b"") -> Page:
    """A page of runs.

    Args:
        query: a list filter.
        after: ``next`` of the page before.

    Raises:
        RPCError: the server refuses the list filter, or us, or does not answer.
    """
    request = ListWorkflowExecutionsRequest(
        namespace=client.namespace, page_size=PAGE, next_page_token=after, query=query
    )
    answer = await client.workflow_service.list_workflow_executions(request, retry=True)
    return Page([_candidate(found) for found in answer.executions], answer.next_page_token)


async def current_run(client: Client, workflow_id: str) -> Candidate:
    """The run of a workflow id that is open, or the last one.

    Raises:
        RPCError: there is none, or the server does not answer.
    """
    request = DescribeWorkflowExecutionRequest(
        namespace=client.namespace, execution=WorkflowExecution(workflow_id=workflow_id)
    )
    answer = await client.workflow_service.describe_workflow_execution(request, retry=True)
    return _candidate(answer.workflow_execution_info)


def _candidate(found: WorkflowExecutionInfo) -> Candidate:
    return Candidate(
        workflow_id=found.execution.workflow_id,
        run_id=found.execution.run_id,
        workflow_type=found.type.name,
        status=_NAMES.get(found.status, Status.UNKNOWN.value) if found.status else Status.UNKNOWN.value,
        start_ms=_ms(found, "start_time"),
        close_ms=_ms(found, "close_time"),
        events=found.history_length,
    )


def _ms(found: WorkflowExecutionInfo, name: str) -> int:
    at: Timestamp = getattr(found, name)
    return timestamp_ms(at) if found.HasField(name) else 0  # type: ignore[arg-type]
