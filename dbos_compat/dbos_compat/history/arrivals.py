"""What happened to a run → history events: signals, cancel requests, rung timers, activity outcomes.

One function per kind of journal event; ``ARRIVALS`` is the list of them. The start is in ``events``, since it is not in
the journal, and an update has no event of its own until it is accepted (``requests``).
"""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.message import Message
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import RetryState
from temporalio.api.history.v1 import (
    ActivityTaskCanceledEventAttributes,
    ActivityTaskCompletedEventAttributes,
    ActivityTaskFailedEventAttributes,
    ActivityTaskStartedEventAttributes,
    ActivityTaskTimedOutEventAttributes,
    HistoryEvent,
    TimerFiredEventAttributes,
    WorkflowExecutionCancelRequestedEventAttributes,
    WorkflowExecutionSignaledEventAttributes,
)

from dbos_compat.convert.failures import failure
from dbos_compat.convert.payloads import as_payloads
from dbos_compat.history.attributes import event, header, some_payloads
from dbos_compat.history.numbering import EventIds, Record, ran
from dbos_compat.history.outcomes import timeout_failure


def signal(arrival: Record, event_id: int, _at_ms: int, _ids: EventIds) -> list[HistoryEvent]:
    return [signaled(event_id, arrival["ms"], arrival["name"], arrival["m"])]


def signaled(event_id: int, at_ms: int, name: str, message: Record) -> HistoryEvent:
    return event(
        event_id,
        at_ms,
        WorkflowExecutionSignaledEventAttributes(
            signal_name=name,
            input=some_payloads(message.get("args")),
            identity=message.get("identity", ""),
            header=header(message.get("headers")),
            request_id=message.get("request_id", ""),
            external_workflow_execution=_sender(message),
        ),
    )


def cancel(arrival: Record, event_id: int, _at_ms: int, _ids: EventIds) -> list[HistoryEvent]:
    return [cancel_requested(event_id, arrival["ms"], arrival["m"])]


def cancel_requested(event_id: int, at_ms: int, message: Record) -> HistoryEvent:
    return event(
        event_id,
        at_ms,
        WorkflowExecutionCancelRequestedEventAttributes(
            cause=message.get("reason", ""),
            identity=message.get("identity", ""),
            external_initiated_event_id=message.get("from", {}).get("event", 0),
            external_workflow_execution=_sender(message),
        ),
    )


def _sender(message: Record) -> WorkflowExecution | None:
    """The workflow that sent it, if it was one."""
    sender = message.get("from")
    return WorkflowExecution(workflow_id=sender["id"], run_id=sender["run"]) if sender else None


def timer(arrival: Record, event_id: int, at_ms: int, ids: EventIds) -> list[HistoryEvent]:
    seq = arrival["seq"]
    if ids.timer_stopped(seq):
        return []
    attributes = TimerFiredEventAttributes(timer_id=str(seq), started_event_id=ids.timer_started(seq))
    return [event(event_id, at_ms, attributes)]


def activity(arrival: Record, event_id: int, at_ms: int, ids: EventIds) -> list[HistoryEvent]:
    """The outcome, and before it the start of the last attempt, which the server writes only now."""
    scheduled = ids.activity_scheduled(arrival["seq"])
    if not ran(arrival):
        return [event(event_id, at_ms, _outcome(arrival, scheduled, 0, ids))]
    begun = ActivityTaskStartedEventAttributes(
        scheduled_event_id=scheduled,
        identity=arrival.get("by") or "",
        attempt=arrival["att"],
        last_failure=failure(arrival["lf"]) if arrival.get("lf") else None,
    )
    return [
        event(event_id - 1, arrival["st"], begun),
        event(event_id, at_ms, _outcome(arrival, scheduled, event_id - 1, ids)),
    ]


def _outcome(arrival: Record, scheduled: int, started: int, ids: EventIds) -> Message:
    kind = arrival["o"]
    identity = arrival.get("by") or ""
    retry_state = RetryState.ValueType(arrival.get("retry") or 0)
    if kind == "completed":
        return ActivityTaskCompletedEventAttributes(
            result=as_payloads([arrival["r"]]) if arrival.get("r") is not None else None,
            scheduled_event_id=scheduled,
            started_event_id=started,
            identity=identity,
        )
    if kind == "failed":
        return ActivityTaskFailedEventAttributes(
            failure=failure(arrival["r"]),
            scheduled_event_id=scheduled,
            started_event_id=started,
            identity=identity,
            retry_state=retry_state,
        )
    if kind == "timed_out":
        return ActivityTaskTimedOutEventAttributes(
            failure=timeout_failure(arrival),
            scheduled_event_id=scheduled,
            started_event_id=started,
            retry_state=retry_state,
        )
    if kind == "canceled":
        return ActivityTaskCanceledEventAttributes(
            details=some_payloads(arrival.get("r")),
            latest_cancel_requested_event_id=ids.activity_cancel_requested(arrival["seq"]),
            scheduled_event_id=scheduled,
            started_event_id=started,
            identity=identity,
        )
    raise ValueError(f"An activity cannot have ended {kind!r}: this journal was written by a newer version")


ARRIVALS: dict[str, Callable[[Record, int, int, EventIds], list[HistoryEvent]]] = {
    "signal": signal,
    "cancel": cancel,
    "timer": timer,
    "activity": activity,
}
