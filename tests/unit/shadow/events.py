"""Small histories, written by hand."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import ActivityType, Payload, Payloads, WorkflowType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.taskqueue.v1 import TaskQueue

from dbos_shadow.recorded import Recorded


def payload(text: str) -> Payload:
    return Payload(metadata={"encoding": b"json/plain"}, data=text.encode())


def payloads(*texts: str) -> Payloads:
    return Payloads(payloads=[payload(text) for text in texts])


def history(
    workflow_id: str = "w",
    run_id: str = "r",
    *,
    workflow_type: str = "Order",
    closed: bool = True,
    argument: str = '"x"',
) -> list[HistoryEvent]:
    """An activity's request, and the end."""
    events = [
        HistoryEvent(event_id=number, event_time=Timestamp(seconds=1_800_000_000 + number)) for number in range(1, 6)
    ]
    started = events[0].workflow_execution_started_event_attributes
    started.workflow_type.CopyFrom(WorkflowType(name=workflow_type))
    started.workflow_id = workflow_id
    started.original_execution_run_id = started.first_execution_run_id = run_id
    started.task_queue.CopyFrom(TaskQueue(name="q"))
    started.input.CopyFrom(payloads(argument))
    events[1].workflow_task_scheduled_event_attributes.attempt = 1
    events[2].workflow_task_started_event_attributes.scheduled_event_id = 2
    events[3].workflow_task_completed_event_attributes.scheduled_event_id = 2
    if closed:
        events[4].workflow_execution_completed_event_attributes.result.CopyFrom(payloads('"done"'))
    else:
        asked = events[4].activity_task_scheduled_event_attributes
        asked.activity_id = "1"
        asked.activity_type.CopyFrom(ActivityType(name="charge"))
        asked.task_queue.CopyFrom(TaskQueue(name="other"))
        asked.input.CopyFrom(payloads('"in"'))
    return events


def recorded(workflow_id: str = "w", run_id: str = "r", **fields: object) -> Recorded:
    events: Sequence[HistoryEvent] = history(workflow_id, run_id, **fields)  # type: ignore[arg-type]
    started = events[0].workflow_execution_started_event_attributes
    return Recorded(
        workflow_id=workflow_id,
        run_id=run_id,
        workflow_type=started.workflow_type.name,
        events=events,
        source="test",
    )
