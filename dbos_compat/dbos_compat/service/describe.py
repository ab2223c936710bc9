"""Describe: one run, with what is pending."""

from __future__ import annotations

from temporalio.api.enums.v1 import EventType, PendingWorkflowTaskState
from temporalio.api.workflow.v1 import PendingWorkflowTaskInfo, WorkflowExecutionExtendedInfo
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
)

from dbos_compat.convert.metadata import began_ms, metadata_record
from dbos_compat.convert.times import timestamp
from dbos_compat.history.events import begins, events
from dbos_compat.history.failed_tasks import failed_task
from dbos_compat.service.attempts import looked_at
from dbos_compat.service.cluster import namespace_id
from dbos_compat.service.common import Context, find_run
from dbos_compat.service.info import described_info, execution_config
from dbos_compat.service.pending import Standing, cancel_requested, pending_activities, pending_children
from dbos_core.commit import LoadedRun, RunRow, RunStatus


def register(context: Context) -> None:
    """Let the kernel know how long a history is: runs that are closed from outside are measured afterwards."""
    context.kernel.measure = lambda loaded: len(events(loaded))


async def describe_workflow_execution(
    context: Context, request: DescribeWorkflowExecutionRequest
) -> DescribeWorkflowExecutionResponse:
    run = await find_run(context, request.execution)
    loaded = await context.kernel.load(run.workflow_uuid)
    standings: dict[int, Standing] = {}
    if loaded is not None:
        loaded, standings = await looked_at(context, loaded)
        run = loaded.run  # newer than what this process had in memory
    response = DescribeWorkflowExecutionResponse(
        execution_config=execution_config(run),
        workflow_execution_info=described_info(run),
        workflow_extended_info=extended_info(run),
    )
    if run.parent is not None:
        response.workflow_execution_info.parent_namespace_id = str(namespace_id(context.namespace))
    if loaded is None:
        return response
    now_ms = context.kernel.clock.now_ms()
    response.workflow_execution_info.history_length = len(events(loaded, now_ms=now_ms))
    response.workflow_execution_info.history_size_bytes = size_bytes(loaded)
    response.workflow_extended_info.cancel_requested = cancel_requested(loaded)
    if run.status is not RunStatus.RUNNING:
        return response
    response.pending_children.extend(pending_children(loaded))
    response.pending_activities.extend(pending_activities(loaded, standings))
    task = pending_task(loaded, now_ms)
    if task is not None:
        response.pending_workflow_task.CopyFrom(task)
    return response


def extended_info(run: RunRow) -> WorkflowExecutionExtendedInfo:
    metadata = metadata_record(run.metadata)
    info = WorkflowExecutionExtendedInfo(
        original_start_time=timestamp(began_ms(run)), reset_run_id=metadata.reset_run_id
    )
    if metadata.began_ms:
        info.last_reset_time.CopyFrom(timestamp(run.start_ms))
    if metadata.execution_timeout_ms:
        expires_ms = metadata.expires_ms or run.start_ms + metadata.execution_timeout_ms
        info.execution_expiration_time.CopyFrom(timestamp(expires_ms))
    if run.deadline_ms is not None:
        info.run_expiration_time.CopyFrom(timestamp(run.deadline_ms))
    if run.request_id:
        begun = info.request_id_infos[run.request_id]
        begun.event_type, begun.event_id = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED, 1
    return info


def size_bytes(loaded: LoadedRun) -> int:
    """How big the history is, as the workflow is told: what is kept of it, in bytes of JSON."""
    return len(loaded.inputs) + sum(len(entry.record) for entry in loaded.entries)


def pending_task(loaded: LoadedRun, now_ms: int) -> PendingWorkflowTaskInfo | None:
    """The activation that is due: something waits to be handled, or it failed and is tried again.

    Only the row is asked, as by ``history``, so that whoever sees a second attempt here finds the failure there.
    """
    run, mail = loaded.run, loaded.mail
    failed = failed_task(loaded)
    if failed is not None:
        attempt, since = run.task_attempt, timestamp(failed.note.at_ms)
    elif not (mail if loaded.entries else begins(run, mail, now_ms)):
        return None
    else:
        attempt, since = 1, timestamp(mail[0].created_ms if mail else run.execution_ms)
    return PendingWorkflowTaskInfo(
        state=PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_SCHEDULED,
        scheduled_time=since,
        original_scheduled_time=since,
        attempt=attempt,
    )
