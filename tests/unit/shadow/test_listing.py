"""A listing: whatever the status of a run, it is there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import WorkflowExecution, WorkflowType
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import ListWorkflowExecutionsRequest, ListWorkflowExecutionsResponse
from temporalio.client import Client

from dbos_shadow.reading.listing import list_page
from dbos_shadow.reading.live import Namespace
from dbos_shadow.reading.pace import Pace
from dbos_shadow.select import Selection


def info(number: int, status: int, **fields: Any) -> WorkflowExecutionInfo:
    return WorkflowExecutionInfo(
        execution=WorkflowExecution(workflow_id=f"w{number}", run_id=f"r{number}"),
        type=WorkflowType(name="Order"),
        status=cast(Any, status),
        start_time=Timestamp(seconds=1, nanos=5_000_000),
        history_length=number,
        **fields,
    )


class Service:
    """A server with three runs, two on a page."""

    def __init__(self) -> None:
        self.asked: list[ListWorkflowExecutionsRequest] = []

    async def list_workflow_executions(
        self, request: ListWorkflowExecutionsRequest, *, retry: bool
    ) -> ListWorkflowExecutionsResponse:
        self.asked.append(request)
        if not request.next_page_token:
            runs = [info(1, 2, close_time=Timestamp(seconds=2)), info(2, 8)]
            return ListWorkflowExecutionsResponse(executions=runs, next_page_token=b"more")
        return ListWorkflowExecutionsResponse(executions=[info(3, 99), info(4, 99, close_time=Timestamp(seconds=9))])


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def client(service: Service) -> Client:
    return cast(Client, SimpleNamespace(workflow_service=service, namespace="ns"))


async def test_a_page(client: Client, service: Service) -> None:
    page = await list_page(client, "WorkflowType = 'Order'")
    first = page.runs[0]
    assert (first.workflow_id, first.run_id, first.workflow_type, first.events) == ("w1", "r1", "Order", 1)
    assert (first.status, first.start_ms, first.close_ms, page.next) == ("completed", 1005, 2000, b"more")
    assert (service.asked[0].namespace, service.asked[0].query) == ("ns", "WorkflowType = 'Order'")


async def test_what_is_paused_or_of_tomorrow_is_open_unless_it_has_closed(client: Client) -> None:
    found = [run async for run in Namespace(client, Pace(per_second=1000)).candidates(Selection())]
    assert [(run.status, run.is_open) for run in found] == [
        ("completed", False),
        ("paused", True),
        ("unknown", True),
        ("unknown", False),
    ]
