"""The event that closes a run, from its row: what ``result()`` waits for."""

from __future__ import annotations

from temporalio.api.enums.v1 import EventType, RetryState
from temporalio.api.history.v1 import HistoryEvent

from dbos_compat.convert.records import CloseRecord, close_record
from dbos_compat.convert.times import timestamp
from dbos_core.commit import RunRow, RunStatus

_KIND = {
    RunStatus.COMPLETED: "completed",
    RunStatus.FAILED: "failed",
    RunStatus.CANCELED: "canceled",
    RunStatus.TERMINATED: "terminated",
    RunStatus.CONTINUED_AS_NEW: "continued_as_new",
    RunStatus.TIMED_OUT: "timed_out",
}


def closing_event(run: RunRow) -> HistoryEvent:
    """The closing event of a closed run. Its id is the history's length (where nobody counted: 3, as on Temporal for
    a run that ended before its first task)."""
    record = close_record(run.close) if run.close else CloseRecord(kind=_KIND[run.status])
    event = HistoryEvent(
        event_id=record.event_id or run.history_length or 3,
        event_time=timestamp(run.close_ms or run.start_ms),
    )
    before = max(event.event_id - 1, 0)
    match record.kind:
        case "completed":
            event.event_type = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED
            completed = event.workflow_execution_completed_event_attributes
            if record.result:
                completed.result.payloads.extend(record.result)
            completed.workflow_task_completed_event_id = before
            completed.new_execution_run_id = record.new_run_id
        case "failed":
            event.event_type = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED
            failed = event.workflow_execution_failed_event_attributes
            if record.failure is not None:
                failed.failure.CopyFrom(record.failure)
            failed.retry_state = _retry_state(record, RetryState.RETRY_STATE_RETRY_POLICY_NOT_SET)
            failed.workflow_task_completed_event_id = before
            failed.new_execution_run_id = record.new_run_id
        case "canceled":
            event.event_type = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED
            canceled = event.workflow_execution_canceled_event_attributes
            if record.details:
                canceled.details.payloads.extend(record.details)
            canceled.workflow_task_completed_event_id = before
        case "terminated":
            event.event_type = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED
            terminated = event.workflow_execution_terminated_event_attributes
            terminated.reason = record.reason
            if record.details:
                terminated.details.payloads.extend(record.details)
            terminated.identity = record.identity
        case "timed_out":
            event.event_type = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT
            timed_out = event.workflow_execution_timed_out_event_attributes
            timed_out.retry_state = _retry_state(record, RetryState.RETRY_STATE_TIMEOUT)
            timed_out.new_execution_run_id = record.new_run_id
        case "continued_as_new":
            event.event_type = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW
            continued = event.workflow_execution_continued_as_new_event_attributes
            continued.new_execution_run_id = record.new_run_id
            continued.workflow_task_completed_event_id = before
        case other:
            raise ValueError(f"close record of run {run.run_id} is of unknown kind {other!r}")
    return event


def _retry_state(record: CloseRecord, usual: RetryState.ValueType) -> RetryState.ValueType:
    return RetryState.ValueType(record.retry_state) if record.retry_state else usual
