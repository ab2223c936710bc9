"""Stickiness: on Temporal a run's tasks go to the worker that has it in memory. Here they go to the process that owns it."""

from __future__ import annotations

from temporalio.api.workflowservice.v1 import ResetStickyTaskQueueRequest, ResetStickyTaskQueueResponse

from dbos_compat.service.common import Context, find_run


async def reset_sticky_task_queue(
    context: Context, request: ResetStickyTaskQueueRequest
) -> ResetStickyTaskQueueResponse:
    """Drop what this process has of the run in memory; its next task rebuilds it. The owner stays the owner."""
    run = await find_run(context, request.execution)
    live = context.kernel.live_runs.get(run.workflow_uuid)
    if live is not None:
        live.evict()
    return ResetStickyTaskQueueResponse()
