"""A service on a kernel in memory, where no worker runs."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest
from temporalio.service import RPCError

from dbos_compat.service.client import EngineService
from dbos_core.clock import SystemClock
from dbos_core.kernel import Kernel
from dbos_core.store.memory import MemoryStore


@pytest.fixture
async def kernel() -> AsyncIterator[Kernel]:
    kernel = await Kernel.open(MemoryStore(SystemClock()), identity="test", application_version="v1")
    yield kernel
    await kernel.close()


@pytest.fixture
def service(kernel: Kernel) -> EngineService:
    return EngineService(kernel)


def start_request(workflow_id: str = "order-42", **fields: Any) -> StartWorkflowExecutionRequest:
    """A valid start; ``fields`` replace or add."""
    request = StartWorkflowExecutionRequest(
        namespace="default", workflow_id=workflow_id, request_id=str(uuid.uuid4()), identity="me", **fields
    )
    if "workflow_type" not in fields:
        request.workflow_type.name = "Order"
    if "task_queue" not in fields:
        request.task_queue.name = "orders"
    return request


async def refused(engine: EngineService, rpc: str, request: Any, **options: Any) -> RPCError:
    """The error that an RPC ends in; the request must be as it was."""
    before = request.SerializeToString(deterministic=True)
    with pytest.raises(RPCError) as caught:
        await engine.call(rpc, request, **options)
    assert request.SerializeToString(deterministic=True) == before
    return caught.value
