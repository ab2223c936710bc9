"""A run's row → what describe and listings show of it. Pure."""

from __future__ import annotations

import json

from temporalio.api.common.v1 import Memo, SearchAttributes, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import TaskQueueKind, WorkflowExecutionStatus
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflow.v1 import WorkflowExecutionConfig, WorkflowExecutionInfo

from dbos_compat.convert.metadata import metadata_record
from dbos_compat.convert.payloads import payload_map
from dbos_compat.convert.search_attributes import encode
from dbos_compat.convert.times import duration, timestamp
from dbos_core.commit import RunRow


def execution_info(run: RunRow) -> WorkflowExecutionInfo:
    """The summary of a run, as listings show it."""
    itself = WorkflowExecution(workflow_id=run.workflow_id, run_id=run.run_id)
    info = WorkflowExecutionInfo(
        execution=itself,
        type=WorkflowType(name=run.workflow_type),
        start_time=timestamp(run.start_ms),
        execution_time=timestamp(run.execution_ms),
        status=WorkflowExecutionStatus.ValueType(run.status),
        # As on Temporal, a listing has the length of closed runs only; describe knows that of an open one.
        history_length=run.history_length if run.close_ms is not None else 0,
        memo=Memo(fields=payload_map(json.loads(run.memo)) if run.memo else None),
        search_attributes=SearchAttributes(indexed_fields=encode(run.search_attributes)),
        task_queue=run.task_queue,
        root_execution=itself,
    )
    if (parent := run.parent) is not None:
        info.parent_execution.CopyFrom(WorkflowExecution(workflow_id=parent.workflow_id, run_id=parent.run_id))
        info.root_execution.CopyFrom(WorkflowExecution(workflow_id=parent.root_workflow_id, run_id=parent.root_run_id))
    if run.close_ms is not None:
        info.close_time.CopyFrom(timestamp(run.close_ms))
        info.execution_duration.CopyFrom(duration(max(run.close_ms - run.execution_ms, 0)))
    return info


def described_info(run: RunRow) -> WorkflowExecutionInfo:
    """The summary with what describe alone shows."""
    info = execution_info(run)
    info.first_run_id = run.first_run_id
    if (priority := metadata_record(run.metadata).priority) is not None:
        info.priority.CopyFrom(priority)
    return info


def execution_config(run: RunRow) -> WorkflowExecutionConfig:
    """What the run was started with."""
    metadata = metadata_record(run.metadata)
    config = WorkflowExecutionConfig(
        task_queue=TaskQueue(name=run.task_queue, kind=TaskQueueKind.TASK_QUEUE_KIND_NORMAL),
        default_workflow_task_timeout=duration(metadata.task_timeout_ms),
    )
    if metadata.execution_timeout_ms:
        config.workflow_execution_timeout.CopyFrom(duration(metadata.execution_timeout_ms))
    if metadata.run_timeout_ms:
        config.workflow_run_timeout.CopyFrom(duration(metadata.run_timeout_ms))
    if metadata.user is not None:
        config.user_metadata.CopyFrom(metadata.user)
    return config
