"""Reset: back to an earlier workflow task, with what has been said to the workflow since."""

from __future__ import annotations

from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest, ResetWorkflowExecutionResponse

from dbos_compat.chains.reset import continued_as, plan
from dbos_compat.errors import Unsupported, invalid, no_run
from dbos_compat.history.events import events
from dbos_compat.service.common import Context, check_text, find_run
from dbos_core.commit import LoadedRun, RunRow
from dbos_core.succession import reset

_CHAIN_MAX = 1000
"""Runs of a chain whose messages are looked through."""


async def reset_workflow_execution(
    context: Context, request: ResetWorkflowExecutionRequest
) -> ResetWorkflowExecutionResponse:
    """A new run that goes on from the point; the current one is terminated if it is open."""
    if request.post_reset_operations:
        raise Unsupported("post-reset-operations", f"reset of workflow {request.workflow_execution.workflow_id!r}")
    if not request.request_id:
        raise invalid("RequestId is not set on request.")
    check_text(request.request_id, "RequestId")
    kernel = context.kernel
    run_id = kernel.entropy.uuid()
    while True:
        base_row = await find_run(context, request.workflow_execution)
        current_row = await kernel.store.find(base_row.workflow_id, None)
        if current_row is None:
            raise no_run(base_row.workflow_id)
        if current_row.request_id == request.request_id:
            return ResetWorkflowExecutionResponse(run_id=current_row.run_id)
        base = await _load(context, base_row)
        made = plan(
            request,
            base=base,
            chain=await _chain(context, base),
            current=base if current_row.run_id == base.run.run_id else await _load(context, current_row),
            last_event_id=events(base, context.namespace)[-1].event_id,
            run_id=run_id,
            now_ms=kernel.clock.now_ms(),
        )
        answer = await reset(kernel, made)
        if answer is not None:
            return ResetWorkflowExecutionResponse(run_id=answer.run.run_id)
        # The current run has moved on while we were looking: look again.


async def _load(context: Context, run: RunRow) -> LoadedRun:
    loaded = await context.kernel.load(run.workflow_uuid)
    if loaded is None:
        raise no_run(run.workflow_id, run.run_id)
    return loaded


async def _chain(context: Context, base: LoadedRun) -> list[LoadedRun]:
    """The runs that the base run was continued as, one after the other."""
    chain: list[LoadedRun] = []
    run = base
    while (next_id := continued_as(run)) and len(chain) < _CHAIN_MAX:
        row = await context.kernel.store.find(base.run.workflow_id, next_id)
        if row is None:
            break
        run = await _load(context, row)
        chain.append(run)
    return chain
