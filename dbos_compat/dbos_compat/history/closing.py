"""How a run ended → its closing event, for the whole history and for the long poll of a result."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import RetryState
from temporalio.api.history.v1 import (
    HistoryEvent,
    WorkflowExecutionCanceledEventAttributes,
    WorkflowExecutionCompletedEventAttributes,
    WorkflowExecutionContinuedAsNewEventAttributes,
    WorkflowExecutionFailedEventAttributes,
    WorkflowExecutionTerminatedEventAttributes,
    WorkflowExecutionTimedOutEventAttributes,
)

from dbos_compat.chains.successor import timeout_failure
from dbos_compat.convert.records import CloseRecord, close_record
from dbos_compat.history.attributes import event
from dbos_core.commit import RunRow, RunStatus

_KINDS = {
    RunStatus.COMPLETED: "completed",
    RunStatus.FAILED: "failed",
    RunStatus.CANCELED: "canceled",
    RunStatus.TERMINATED: "terminated",
    RunStatus.TIMED_OUT: "timed_out",
    RunStatus.CONTINUED_AS_NEW: "continued_as_new",
}


def close_event(
    run: RunRow,
    *,
    event_id: int = 0,
    task_completed: int = 0,
    continued: WorkflowExecutionContinuedAsNewEventAttributes | None = None,
) -> HistoryEvent:
    """The last event of a closed run, from its row alone.

    ``event_id`` and ``task_completed`` are known to whoever has read the journal. Without them the id is the one in the
    close record, or the row's history length (its last event is this one), or 3: ended before its first task.
    ``continued``: what the run that follows was given, known to whoever has read the journal, too.
    """
    if run.status is RunStatus.RUNNING:
        raise ValueError(f"Run {run.run_id} of workflow {run.workflow_id!r} is open: it has no closing event yet")
    close = close_record(run.close) if run.close else CloseRecord(kind=_KINDS[run.status])
    event_id = event_id or close.event_id or run.history_length or 3
    attributes = _CLOSINGS[close.kind](close, task_completed or event_id - 1)
    if continued is not None:
        attributes.MergeFrom(continued)
    return event(event_id, run.close_ms or run.start_ms, attributes)


def awaited_event(run: RunRow) -> HistoryEvent:
    """The closing event for those who wait for it alone.

    Where another run follows by itself (a retry, cron), that is a continuation whatever it was, as a server tells it to
    clients that do not say that they know better. temporalio does not.
    """
    closing = close_event(run)
    continued = WorkflowExecutionContinuedAsNewEventAttributes()
    if closing.HasField("workflow_execution_completed_event_attributes"):
        completed = closing.workflow_execution_completed_event_attributes
        continued.new_execution_run_id = completed.new_execution_run_id
        if completed.HasField("result"):
            continued.last_completion_result.CopyFrom(completed.result)
    elif closing.HasField("workflow_execution_failed_event_attributes"):
        failed = closing.workflow_execution_failed_event_attributes
        continued.new_execution_run_id = failed.new_execution_run_id
        continued.failure.CopyFrom(failed.failure)
    elif closing.HasField("workflow_execution_timed_out_event_attributes"):
        timed_out = closing.workflow_execution_timed_out_event_attributes
        continued.new_execution_run_id = timed_out.new_execution_run_id
        continued.failure.CopyFrom(timeout_failure())
    return (
        event(closing.event_id, run.close_ms or run.start_ms, continued) if continued.new_execution_run_id else closing
    )


def _completed(close: CloseRecord, task_completed: int) -> Message:
    return WorkflowExecutionCompletedEventAttributes(
        result=_payloads(close.result),
        workflow_task_completed_event_id=task_completed,
        new_execution_run_id=close.new_run_id,
    )


def _failed(close: CloseRecord, task_completed: int) -> Message:
    return WorkflowExecutionFailedEventAttributes(
        failure=close.failure,
        retry_state=_retry_state(close),
        workflow_task_completed_event_id=task_completed,
        new_execution_run_id=close.new_run_id,
    )


def _canceled(close: CloseRecord, task_completed: int) -> Message:
    return WorkflowExecutionCanceledEventAttributes(
        details=_payloads(close.details), workflow_task_completed_event_id=task_completed
    )


def _terminated(close: CloseRecord, _task_completed: int) -> Message:
    return WorkflowExecutionTerminatedEventAttributes(
        reason=close.reason, details=_payloads(close.details), identity=close.identity
    )


def _timed_out(close: CloseRecord, _task_completed: int) -> Message:
    return WorkflowExecutionTimedOutEventAttributes(
        retry_state=_retry_state(close), new_execution_run_id=close.new_run_id
    )


def _continued_as_new(close: CloseRecord, task_completed: int) -> Message:
    return WorkflowExecutionContinuedAsNewEventAttributes(
        new_execution_run_id=close.new_run_id, workflow_task_completed_event_id=task_completed
    )


def _retry_state(close: CloseRecord) -> RetryState.ValueType:
    """A run without a retry policy says so when it fails or times out."""
    return RetryState.ValueType(close.retry_state or RetryState.RETRY_STATE_RETRY_POLICY_NOT_SET)


def _payloads(values: Sequence[Payload]) -> Payloads | None:
    return Payloads(payloads=values) if values else None


_CLOSINGS: dict[str, Callable[[CloseRecord, int], Message]] = {
    "completed": _completed,
    "failed": _failed,
    "canceled": _canceled,
    "terminated": _terminated,
    "timed_out": _timed_out,
    "continued_as_new": _continued_as_new,
}
