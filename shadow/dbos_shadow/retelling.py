"""An event of a Temporal history → the journal record by which the engine would tell the workflow of it. Pure.

The record goes the way of every live event from there on, so what the conversion of the core loses is lost here too, and
the comparison finds it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import TimeoutType
from temporalio.api.history.v1 import HistoryEvent

from dbos_compat.convert.failures import failure_text
from dbos_compat.convert.payloads import dumps, payload_text, payloads_text
from dbos_compat.convert.records import message_text
from dbos_compat.convert.times import timestamp_ms
from dbos_core.mailbox import OWN_ID
from dbos_shadow.past import attributes, kind, marker_data

__all__ = ["complete_time", "local_text", "retell", "step_of", "update_text", "was_canceled"]

_NULL = '{"n":1}'


def step_of(event: HistoryEvent) -> int:
    """The event that asked for what this one resolves; 0: it resolves nothing."""
    a = attributes(event)
    return int(getattr(a, _RESOLVES.get(kind(event), ""), 0))


_RESOLVES = {
    "timer_fired": "started_event_id",
    **{f"activity_task_{how}": "scheduled_event_id" for how in ("completed", "failed", "timed_out", "canceled")},
    "child_workflow_execution_started": "initiated_event_id",
    "start_child_workflow_execution_failed": "initiated_event_id",
    **{
        f"child_workflow_execution_{how}": "initiated_event_id"
        for how in ("completed", "failed", "canceled", "timed_out", "terminated")
    },
    "external_workflow_execution_signaled": "initiated_event_id",
    "signal_external_workflow_execution_failed": "initiated_event_id",
    "external_workflow_execution_cancel_requested": "initiated_event_id",
    "request_cancel_external_workflow_execution_failed": "initiated_event_id",
}


def retell(
    event: HistoryEvent, seq: int, *, begun: Mapping[int, HistoryEvent], child_cancel: bool = False, number: int = 0
) -> str:
    """The record of an event.

    Args:
        seq: of the core's request that it resolves; of any other event nobody looks at it.
        begun: the started events of activities, by their ids.
        child_cancel: what was cancelled is a child of the run.
        number: which of several requests to cancel that child.
    """
    name = kind(event)
    if name.startswith("activity_task_"):
        return _activity(event, seq, name.removeprefix("activity_task_"), begun)
    if name.startswith("child_workflow_execution_") and name != "child_workflow_execution_started":
        return _child_closed(event, seq, name.removeprefix("child_workflow_execution_"))
    if child_cancel:
        refused = ',"refused":true' if name == "request_cancel_external_workflow_execution_failed" else ""
        return f'{{"k":"errand","e":"child_cancel","seq":{seq},"n":{number}{refused}}}'
    return _RECORDS[name](event, seq)


def _message(kind_: str, event: HistoryEvent, message: str, more: str = "") -> str:
    return (
        f'{{"k":"{kind_}"{more},"id":"{OWN_ID}{event.event_id}","ms":{timestamp_ms(event.event_time)},"m":{message}}}'
    )


def _signal(event: HistoryEvent, _: int) -> str:
    a = event.workflow_execution_signaled_event_attributes
    message = message_text(args=a.input.payloads, headers=a.header.fields, identity=a.identity, request_id=a.request_id)
    return _message("signal", event, message, f',"name":{dumps(a.signal_name)}')


def _cancel(event: HistoryEvent, _: int) -> str:
    a = event.workflow_execution_cancel_requested_event_attributes
    return _message("cancel", event, message_text(identity=a.identity, reason=a.cause))


def update_text(event: HistoryEvent, update_id: str, request: Any, *, reapplied: bool = False) -> str:
    """The record of an update that a task has accepted.

    Args:
        event: the acceptance, or the admission.
        reapplied: a reset has brought it, so that it has a place among the signals.
    """
    message = message_text(
        args=request.input.args.payloads,
        headers=request.input.header.fields,
        identity=request.meta.identity,
        name=request.input.name,
        update_id=update_id,
    )
    if reapplied:
        message = message[:-1] + ',"reapplied":1}'
    return _message("update", event, message)


def _result(payloads: Iterable[Payload]) -> str:
    for payload in payloads:
        return payload_text(payload)
    return _NULL


def _activity(event: HistoryEvent, seq: int, how: str, begun: Mapping[int, HistoryEvent]) -> str:
    a = attributes(event)
    parts = [f'{{"k":"activity","seq":{seq},"o":"{how}"']
    started = begun.get(a.started_event_id) if a.started_event_id else None
    identity = getattr(a, "identity", "")
    if how == "completed":
        parts.append(f'"r":{_result(a.result.payloads)}')
    elif how == "canceled":
        if a.HasField("details"):
            parts.append(f'"r":{payloads_text(a.details.payloads)}')
    else:
        if how == "failed":
            parts.append(f'"r":{failure_text(a.failure)}')
        parts.append(f'"retry":{a.retry_state}')
    if how == "timed_out":
        parts.append(f'"t":{a.failure.timeout_failure_info.timeout_type}')
    if started is None:
        parts.append('"att":0')
    else:
        start = started.activity_task_started_event_attributes
        identity = identity or start.identity
        parts.append(f'"att":{start.attempt},"st":{timestamp_ms(started.event_time)}')
    if identity:
        parts.append(f'"by":{dumps(identity)}')
    if how == "timed_out":
        details = a.failure.timeout_failure_info.last_heartbeat_details.payloads
        if details:
            parts.append(f'"hb":{payloads_text(details)}')
        if a.failure.HasField("cause"):
            parts.append(f'"lf":{failure_text(a.failure.cause)}')
    elif started is not None and started.activity_task_started_event_attributes.HasField("last_failure"):
        parts.append(f'"lf":{failure_text(started.activity_task_started_event_attributes.last_failure)}')
    return ",".join(parts) + "}"


def _child_closed(event: HistoryEvent, seq: int, how: str) -> str:
    a = attributes(event)
    run_id = a.workflow_execution.run_id
    parts = [f'"seq":{seq},"first_run_id":"{run_id}","run_id":"{run_id}","o":"{how}"']
    if how == "completed":
        if a.result.payloads:
            parts.append(f'"r":{payload_text(a.result.payloads[0])}')
    elif how == "failed":
        parts.append(f'"f":{failure_text(a.failure)}')
    elif how == "canceled" and a.details.payloads:
        parts.append(f'"d":{payloads_text(a.details.payloads)}')
    if how in ("failed", "timed_out"):
        parts.append(f'"retry":{a.retry_state}')
    return _message("child", event, "{" + ",".join(parts) + "}")


def _child_started(event: HistoryEvent, seq: int) -> str:
    run_id = event.child_workflow_execution_started_event_attributes.workflow_execution.run_id
    return f'{{"k":"errand","e":"child","seq":{seq},"run":{dumps(run_id)}}}'


def _errand(name: str, refused: bool) -> Callable[[HistoryEvent, int], str]:
    more = ',"refused":true' if refused else ""
    return lambda _, seq: f'{{"k":"errand","e":"{name}","seq":{seq}{more}}}'


_RECORDS: dict[str, Callable[[HistoryEvent, int], str]] = {
    "workflow_execution_started": lambda _, __: '{"k":"start"}',
    "workflow_execution_signaled": _signal,
    "workflow_execution_cancel_requested": _cancel,
    "timer_fired": lambda _, seq: f'{{"k":"timer","seq":{seq}}}',
    "child_workflow_execution_started": _child_started,
    "start_child_workflow_execution_failed": _errand("child", True),
    "external_workflow_execution_signaled": _errand("signal", False),
    "signal_external_workflow_execution_failed": _errand("signal", True),
    "external_workflow_execution_cancel_requested": _errand("cancel", False),
    "request_cancel_external_workflow_execution_failed": _errand("cancel", True),
}


# -- local activities --------------------------------------------------------------------------------------------------


def local_text(event: HistoryEvent, seq: int, activity_id: str) -> str:
    """The record of a local activity's end, from its marker, for the core's request of this seq and id."""
    a = event.marker_recorded_event_attributes
    data = marker_data(event)
    how, more = "completed", ""
    if not a.HasField("failure"):
        more = f',"r":{_result(a.details["result"].payloads if "result" in a.details else ())}'
    elif a.failure.HasField("timeout_failure_info"):
        kind_ = a.failure.timeout_failure_info.timeout_type or TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE
        how, more = "timed_out", f',"t":{int(kind_)}'
    elif a.failure.HasField("canceled_failure_info"):
        how = "canceled"
        if a.failure.message == "Cancelled":  # it says so itself
            more = f',"r":{payloads_text(a.failure.canceled_failure_info.details.payloads)}'
    else:
        how, more = "failed", f',"r":{failure_text(a.failure)}'
    if data.get("backoff"):
        more += f',"bo":{_span_ms(data["backoff"])}'
    return (
        f'{{"k":"local","seq":{seq},"id":{dumps(activity_id)},"type":{dumps(data["activity_type"])},"o":"{how}",'
        f'"att":{data.get("attempt") or 0},"ost":{_time_ms(data.get("original_schedule_time"))}{more}}}'
    )


def was_canceled(event: HistoryEvent) -> bool:
    """Does the marker say that the local activity was cancelled?"""
    a = event.marker_recorded_event_attributes
    return a.HasField("failure") and a.failure.HasField("canceled_failure_info")


def complete_time(event: HistoryEvent) -> Timestamp | None:
    """What ``workflow.now()`` is from this end of a local activity on."""
    return _time(marker_data(event).get("complete_time"))


def _span_ms(given: Any) -> int:
    if isinstance(given, str):  # "1.5s"
        return math.ceil(float(given.rstrip("s")) * 1000)
    return int(given.get("seconds", 0)) * 1000 + -(-int(given.get("nanos", 0)) // 1_000_000)


def _time_ms(given: Any) -> int:
    found = _time(given)
    return 0 if found is None else timestamp_ms(found)


def _time(given: Any) -> Timestamp | None:
    """Releases of Temporal's core have written times as objects and as text."""
    if not given:
        return None
    made = Timestamp()
    if isinstance(given, str):
        made.FromJsonString(given)
    else:
        made.seconds, made.nanos = int(given.get("seconds", 0)), int(given.get("nanos", 0))
    return made
