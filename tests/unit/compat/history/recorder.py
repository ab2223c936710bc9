"""A history that a Temporal server has written → the journal that our engine would have written for it.

For tests only: it lets the synthesis be measured against real histories. It understands what ``programs`` does.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import Payload, Payloads, RetryPolicy
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent, WorkflowExecutionStartedEventAttributes

from dbos_compat.convert import records
from dbos_compat.convert.failures import failure_text
from dbos_compat.convert.metadata import MetadataRecord, metadata_text
from dbos_compat.convert.payloads import payload_map_text, payloads_text
from dbos_core.commit import Entry, LoadedRun, RunRow, RunStatus

CLOSES = {
    "WORKFLOW_EXECUTION_COMPLETED": ("completed", RunStatus.COMPLETED),
    "WORKFLOW_EXECUTION_FAILED": ("failed", RunStatus.FAILED),
    "WORKFLOW_EXECUTION_CANCELED": ("canceled", RunStatus.CANCELED),
    "WORKFLOW_EXECUTION_TERMINATED": ("terminated", RunStatus.TERMINATED),
    "WORKFLOW_EXECUTION_TIMED_OUT": ("timed_out", RunStatus.TIMED_OUT),
}


def kind(event: HistoryEvent) -> str:
    return EventType.Name(event.event_type).removeprefix("EVENT_TYPE_")


def attributes(event: HistoryEvent) -> Any:
    return getattr(event, event.WhichOneof("attributes") or "")


def record(workflow_id: str, run_id: str, history: list[HistoryEvent]) -> LoadedRun:
    """The run as the store would give it."""
    recording = _Recording(workflow_id, run_id, history[0])
    for event in history[1:]:
        recording.add(event)
    return recording.loaded()


class _Recording:
    def __init__(self, workflow_id: str, run_id: str, first: HistoryEvent) -> None:
        self.start: WorkflowExecutionStartedEventAttributes = attributes(first)
        start_ms = _ms(first.event_time)
        self.run = RunRow(
            workflow_uuid=workflow_id,
            workflow_id=workflow_id,
            run_id=run_id,
            first_run_id=self.start.first_execution_run_id,
            workflow_type=self.start.workflow_type.name,
            task_queue=self.start.task_queue.name,
            status=RunStatus.RUNNING,
            start_ms=start_ms,
            execution_ms=start_ms + self.start.first_workflow_task_backoff.ToMilliseconds(),
            metadata=metadata_text(MetadataRecord(user=first.user_metadata)),
        )
        self.by_id: dict[int, HistoryEvent] = {}
        self.seqs: dict[int, int] = {}
        self.arrivals: list[dict[str, Any]] = [{"k": "start"}]
        self.entries: list[dict[str, Any]] = []

    def add(self, event: HistoryEvent) -> None:
        self.by_id[event.event_id] = event
        name = kind(event)
        if name in CLOSES:
            self._close(event, *CLOSES[name])
        elif name == "WORKFLOW_TASK_COMPLETED":
            self._task(event)
        elif name in _ARRIVALS:
            self.arrivals.append(_ARRIVALS[name](self, event))
        elif name in _COMMANDS:
            self.entries[-1]["cmds"].append(_COMMANDS[name](self, event))
        elif name not in ("WORKFLOW_TASK_SCHEDULED", "WORKFLOW_TASK_STARTED", "ACTIVITY_TASK_STARTED"):
            raise AssertionError(f"The recorder does not know {name}")

    def _task(self, event: HistoryEvent) -> None:
        task = attributes(event)
        self.entries.append(
            {
                "v": 1,
                "at": _ms(self.by_id[task.started_event_id].event_time),
                "by": task.identity,
                "sdk": task.sdk_metadata.sdk_version,
                "task": {"sched": task.scheduled_event_id},
                "flags": list(task.sdk_metadata.lang_used_flags),
                "ev": self.arrivals,
                "cmds": [],
            }
        )
        self.arrivals = []

    def _close(self, event: HistoryEvent, closed: str, status: RunStatus) -> None:
        end = attributes(event)
        fields = {field.name for field in end.DESCRIPTOR.fields}
        self.run.status = status
        self.run.close_ms = _ms(event.event_time)
        self.run.close = records.close_text(
            records.CloseRecord(
                kind=closed,
                result=list(end.result.payloads) if "result" in fields else [],
                details=list(end.details.payloads) if "details" in fields else [],
                failure=end.failure if "failure" in fields else None,
                reason=end.reason if "reason" in fields else "",
                identity=end.identity if "identity" in fields else "",
                retry_state=end.retry_state if "retry_state" in fields else 0,
            )
        )
        if closed in ("completed", "failed", "canceled"):
            command = {"completed": "complete", "failed": "fail", "canceled": "cancel"}[closed]
            self.entries[-1]["cmds"].append({"k": command})

    def loaded(self) -> LoadedRun:
        return LoadedRun(
            run=self.run,
            inputs=records.start_text(self.start),
            entries=[
                Entry(position=position, name="task", record=json.dumps(entry))
                for position, entry in enumerate(self.entries, 1)
            ],
            mail=[],
            activities=[],
        )


# -- what happened -----------------------------------------------------------------------------------------------------


def _signal(_: _Recording, event: HistoryEvent) -> dict[str, Any]:
    signal = attributes(event)
    message = records.message_text(
        args=signal.input.payloads,
        headers=signal.header.fields,
        identity=signal.identity,
        request_id=signal.request_id,
    )
    return {
        "k": "signal",
        "name": signal.signal_name,
        "id": "dc1:1",
        "ms": _ms(event.event_time),
        "m": json.loads(message),
    }


def _cancel(_: _Recording, event: HistoryEvent) -> dict[str, Any]:
    message = records.message_text(reason=attributes(event).cause, identity=attributes(event).identity)
    return {"k": "cancel", "id": "dc1:1", "ms": _ms(event.event_time), "m": json.loads(message)}


def _timer(_: _Recording, event: HistoryEvent) -> dict[str, Any]:
    return {"k": "timer", "seq": int(attributes(event).timer_id)}


def _outcome(how: str) -> Callable[[_Recording, HistoryEvent], dict[str, Any]]:
    def convert(recording: _Recording, event: HistoryEvent) -> dict[str, Any]:
        end = attributes(event)
        outcome: dict[str, Any] = {
            "k": "activity",
            "seq": recording.seqs[end.scheduled_event_id],
            "o": how,
            "att": 0,
            "st": None,
            "by": getattr(end, "identity", ""),
            "retry": getattr(end, "retry_state", 0),
        }
        if end.started_event_id:
            begun = recording.by_id[end.started_event_id]
            outcome["st"] = _ms(begun.event_time)
            outcome["att"] = attributes(begun).attempt
            outcome["by"] = attributes(begun).identity
            if attributes(begun).HasField("last_failure"):
                outcome["lf"] = _failure(attributes(begun).last_failure)
        if how == "completed":
            outcome["r"] = _forms(end.result)[0]
        elif how == "failed":
            outcome["r"] = _failure(end.failure)
        elif how == "canceled":
            outcome["r"] = _forms(end.details)
        else:
            outcome["t"] = end.failure.timeout_failure_info.timeout_type
            outcome["hb"] = _forms(end.failure.timeout_failure_info.last_heartbeat_details)
        return outcome

    return convert


_ARRIVALS: dict[str, Callable[[_Recording, HistoryEvent], dict[str, Any]]] = {
    "WORKFLOW_EXECUTION_SIGNALED": _signal,
    "WORKFLOW_EXECUTION_CANCEL_REQUESTED": _cancel,
    "TIMER_FIRED": _timer,
    "ACTIVITY_TASK_COMPLETED": _outcome("completed"),
    "ACTIVITY_TASK_FAILED": _outcome("failed"),
    "ACTIVITY_TASK_TIMED_OUT": _outcome("timed_out"),
    "ACTIVITY_TASK_CANCELED": _outcome("canceled"),
}

# -- what was asked for ------------------------------------------------------------------------------------------------


def _activity(recording: _Recording, event: HistoryEvent) -> dict[str, Any]:
    asked = attributes(event)
    seq = recording.seqs[event.event_id] = len(recording.seqs) + 1
    return {
        "k": "activity",
        "seq": seq,
        "id": asked.activity_id,
        "type": asked.activity_type.name,
        "queue": asked.task_queue.name,
        "in": _forms(asked.input),
        "h": _named(asked.header.fields),
        "s2c": asked.schedule_to_close_timeout.ToMilliseconds() or None,
        "s2s": asked.schedule_to_start_timeout.ToMilliseconds() or None,
        "stc": asked.start_to_close_timeout.ToMilliseconds() or None,
        "hb": asked.heartbeat_timeout.ToMilliseconds() or None,
        "retry": _retry(asked.retry_policy),
        "meta": _b64(event.user_metadata),
        "prio": _b64(asked.priority),
    }


def _cancel_activity(recording: _Recording, event: HistoryEvent) -> dict[str, Any]:
    return {"k": "cancel_activity", "seq": recording.seqs[attributes(event).scheduled_event_id]}


def _start_timer(_: _Recording, event: HistoryEvent) -> dict[str, Any]:
    length: Duration = attributes(event).start_to_fire_timeout
    return {
        "k": "timer",
        "seq": int(attributes(event).timer_id),
        "ms": length.ToMilliseconds(),
        "meta": _b64(event.user_metadata),
    }


def _cancel_timer(_: _Recording, event: HistoryEvent) -> dict[str, Any]:
    return {"k": "cancel_timer", "seq": int(attributes(event).timer_id)}


def _accepted(recording: _Recording, event: HistoryEvent) -> dict[str, Any]:
    request = attributes(event).accepted_request
    message = records.message_text(
        args=request.input.args.payloads,
        headers=request.input.header.fields,
        identity=request.meta.identity,
        name=request.input.name,
        update_id=request.meta.update_id,
    )
    # A server does not record when the request came: our engine does, in the task that accepted it.
    recording.entries[-1]["ev"].append({"k": "update", "id": "dc1:1", "ms": 0, "m": json.loads(message)})
    return {"k": "update_accepted", "id": attributes(event).protocol_instance_id}


def _updated(_: _Recording, event: HistoryEvent) -> dict[str, Any]:
    outcome = attributes(event).outcome
    command = {"k": "update_completed", "id": attributes(event).meta.update_id}
    if outcome.HasField("failure"):
        return command | {"f": _failure(outcome.failure)}
    return command | {"r": _forms(outcome.success)[0]}


def _upsert(_: _Recording, event: HistoryEvent) -> dict[str, Any]:
    return {"k": "upsert_sa", "sa": _named(attributes(event).search_attributes.indexed_fields)}


def _memo(_: _Recording, event: HistoryEvent) -> dict[str, Any]:
    return {"k": "memo", "memo": _named(attributes(event).upserted_memo.fields)}


_COMMANDS: dict[str, Callable[[_Recording, HistoryEvent], dict[str, Any]]] = {
    "ACTIVITY_TASK_SCHEDULED": _activity,
    "ACTIVITY_TASK_CANCEL_REQUESTED": _cancel_activity,
    "TIMER_STARTED": _start_timer,
    "TIMER_CANCELED": _cancel_timer,
    "WORKFLOW_EXECUTION_UPDATE_ACCEPTED": _accepted,
    "WORKFLOW_EXECUTION_UPDATE_COMPLETED": _updated,
    "UPSERT_WORKFLOW_SEARCH_ATTRIBUTES": _upsert,
    "WORKFLOW_PROPERTIES_MODIFIED": _memo,
}

# -- values ------------------------------------------------------------------------------------------------------------


def _ms(time: Timestamp) -> int:
    return time.ToMilliseconds()


def _b64(message: Any) -> str | None:
    return b64encode(message.SerializeToString()).decode() or None


def _forms(payloads: Payloads) -> Any:
    return json.loads(payloads_text(payloads.payloads))


def _named(payloads: Mapping[str, Payload]) -> Any:
    return json.loads(payload_map_text(payloads))


def _failure(failure: Any) -> Any:
    return json.loads(failure_text(failure))


def _retry(policy: RetryPolicy) -> dict[str, Any]:
    return {
        "initial": policy.initial_interval.ToMilliseconds(),
        "coefficient": policy.backoff_coefficient,
        "max_interval": policy.maximum_interval.ToMilliseconds(),
        "max_attempts": policy.maximum_attempts,
        "non_retryable": list(policy.non_retryable_error_types),
    }


# -- order -------------------------------------------------------------------------------------------------------------


def canonical(history: Iterable[HistoryEvent]) -> list[HistoryEvent]:
    """The history as if everything that a task handled had come before the task was scheduled, and every activity's
    start right before its outcome, as it is with us. (A server also puts the outcomes that it held back to the end.)"""
    order: list[HistoryEvent] = []
    begun: dict[int, HistoryEvent] = {}
    scheduled: int | None = None
    for event in history:
        name = kind(event)
        if name == "ACTIVITY_TASK_STARTED":
            begun[event.event_id] = event
            continue
        arrived = [event]
        if name in _ARRIVALS and name.startswith("ACTIVITY") and attributes(event).started_event_id:
            arrived.insert(0, begun.pop(attributes(event).started_event_id))
        if scheduled is not None and name in _ARRIVALS:
            order[scheduled:scheduled] = arrived
            scheduled += len(arrived)
            continue
        scheduled = len(order) if name == "WORKFLOW_TASK_SCHEDULED" else None
        order += arrived
    assert not begun
    ids = {event.event_id: number for number, event in enumerate(order, 1)}
    renumbered = []
    for event in order:
        copy = HistoryEvent()
        copy.CopyFrom(event)
        copy.event_id = ids[event.event_id]
        _renumber(attributes(copy), ids)
        renumbered.append(copy)
    return renumbered


def _renumber(message: Message, ids: Mapping[int, int]) -> None:
    for field, value in message.ListFields():
        if field.name.endswith("_event_id"):
            setattr(message, field.name, ids[value])
        elif isinstance(value, Message):
            _renumber(value, ids)
