"""Temporal's own Replayer, as the judge of a synthesised history."""

from __future__ import annotations

import asyncio
from typing import Any

from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory
from temporalio.worker import (
    ExecuteWorkflowInput,
    Interceptor,
    Replayer,
    UnsandboxedWorkflowRunner,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

from tests.unit.compat.history.program_workflows import WORKFLOWS

# The core panics on a history that it cannot read, and then the replay never ends.
WITHIN_S = 20


class Ends(Interceptor):
    """Notes how the replayed workflow ended, in its own eyes."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:  # noqa: A002
        seen = self.seen

        class Inbound(WorkflowInboundInterceptor):
            async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002
                result = await super().execute_workflow(input)
                seen.append(result)
                return result

        return Inbound


async def replay(workflow_id: str, events: list[HistoryEvent], workflows: list[type] | None = None) -> list[Any]:
    """Replay a history. Returns the result of the run if the workflow returned; raises if the Replayer refuses."""
    ends = Ends()
    replayer = Replayer(
        workflows=workflows or WORKFLOWS, workflow_runner=UnsandboxedWorkflowRunner(), interceptors=[ends]
    )
    async with asyncio.timeout(WITHIN_S):
        await replayer.replay_workflow(WorkflowHistory(workflow_id, events))
    return ends.seen
