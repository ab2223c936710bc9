"""What a workflow asked for → history events: mostly one per command, except for the closing one (``closing``).

One function per kind of journal command; ``REQUESTS`` is the list of them.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field

from google.protobuf.message import Message
from temporalio.api.common.v1 import ActivityType, Header, Memo, Payloads, Priority, RetryPolicy, SearchAttributes
from temporalio.api.enums.v1 import TaskQueueKind, UpdateAdmittedEventOrigin
from temporalio.api.history.v1 import (
    ActivityTaskCancelRequestedEventAttributes,
    ActivityTaskScheduledEventAttributes,
    MarkerRecordedEventAttributes,
    TimerCanceledEventAttributes,
    TimerStartedEventAttributes,
    UpsertWorkflowSearchAttributesEventAttributes,
    WorkflowExecutionUpdateAcceptedEventAttributes,
    WorkflowExecutionUpdateAdmittedEventAttributes,
    WorkflowExecutionUpdateCompletedEventAttributes,
    WorkflowPropertiesModifiedEventAttributes,
)
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.update.v1 import Input, Meta, Outcome, Request

from dbos_compat.convert.failures import failure
from dbos_compat.convert.payloads import as_payloads, dumps, payload_map
from dbos_compat.convert.search_attributes import CHANGE_VERSION, versions_payload
from dbos_compat.convert.times import duration
from dbos_compat.history.attributes import header, json_payload, some_payloads
from dbos_compat.history.numbering import EventIds, Record, TaskIds
from dbos_compat.history.outcomes import local_failure
from dbos_core.activities.spec import OutcomeKind
from dbos_core.retry import normalise


@dataclass(slots=True)
class Asking:
    """The workflow task whose commands are written down, and what came before it."""

    ids: EventIds
    task: TaskIds
    identity: str
    run_timeout_ms: int
    updates: dict[str, Record] = field(default_factory=dict)
    """Message records of the updates that arrived so far, by update id."""
    at_ms: int = 0
    locals: dict[int, Record] = field(default_factory=dict)
    """How local activities ended whose outcome came with this task, by seq."""
    admitted: dict[str, int] = field(default_factory=dict)
    """The events of those of them that a reset has brought."""


def task_queue(name: str) -> TaskQueue:
    return TaskQueue(name=name, kind=TaskQueueKind.TASK_QUEUE_KIND_NORMAL)


def activity(command: Record, asking: Asking) -> Message:
    timeouts = normalise(
        schedule_to_close_ms=command.get("s2c"),
        schedule_to_start_ms=command.get("s2s"),
        start_to_close_ms=command.get("stc"),
        heartbeat_ms=command.get("hb"),
        run_timeout_ms=asking.run_timeout_ms,
    )
    return ActivityTaskScheduledEventAttributes(
        activity_id=command["id"],
        activity_type=ActivityType(name=command["type"]),
        task_queue=task_queue(command["queue"]),
        header=header(command.get("h")) or Header(),
        input=some_payloads(command.get("in")),
        schedule_to_close_timeout=duration(timeouts.schedule_to_close_ms or 0),
        schedule_to_start_timeout=duration(timeouts.schedule_to_start_ms or 0),
        start_to_close_timeout=duration(timeouts.start_to_close_ms or 0),
        heartbeat_timeout=duration(timeouts.heartbeat_ms or 0),
        workflow_task_completed_event_id=asking.task.completed,
        retry_policy=_retry(command.get("retry") or {}),
        priority=Priority.FromString(b64decode(command.get("prio") or "")),
    )


def _retry(policy: Record) -> RetryPolicy:
    """The policy that applies: also an activity without one is tried again."""
    initial = policy.get("initial") or 1_000
    return RetryPolicy(
        initial_interval=duration(initial),
        backoff_coefficient=policy.get("coefficient") or 2.0,
        maximum_interval=duration(policy.get("max_interval") or 100 * initial),
        maximum_attempts=policy.get("max_attempts") or 0,
        non_retryable_error_types=policy.get("non_retryable") or (),
    )


def cancel_activity(command: Record, asking: Asking) -> Message:
    return ActivityTaskCancelRequestedEventAttributes(
        scheduled_event_id=asking.ids.activity_scheduled(command["seq"]),
        workflow_task_completed_event_id=asking.task.completed,
    )


def timer(command: Record, asking: Asking) -> Message:
    return TimerStartedEventAttributes(
        timer_id=str(command["seq"]),
        start_to_fire_timeout=duration(command["ms"]),
        workflow_task_completed_event_id=asking.task.completed,
    )


def cancel_timer(command: Record, asking: Asking) -> Message:
    return TimerCanceledEventAttributes(
        timer_id=str(command["seq"]),
        started_event_id=asking.ids.timer_started(command["seq"]),
        workflow_task_completed_event_id=asking.task.completed,
        identity=asking.identity,
    )


def update_accepted(command: Record, asking: Asking) -> Message:
    update_id = command["id"]
    asked = asking.updates[update_id]
    if (admitted_id := asking.admitted.get(update_id)) is not None:
        return WorkflowExecutionUpdateAcceptedEventAttributes(
            protocol_instance_id=update_id,
            accepted_request_message_id=f"{update_id}/request",
            accepted_request_sequencing_event_id=admitted_id,
        )
    return WorkflowExecutionUpdateAcceptedEventAttributes(
        protocol_instance_id=update_id,
        accepted_request_message_id=f"{update_id}/request",
        accepted_request_sequencing_event_id=asking.task.scheduled,
        accepted_request=_request(update_id, asked),
    )


def update_completed(command: Record, asking: Asking) -> Message:
    update_id = command["id"]
    outcome = Outcome(failure=failure(command["f"])) if "f" in command else Outcome(success=as_payloads([command["r"]]))
    return WorkflowExecutionUpdateCompletedEventAttributes(
        meta=_meta(update_id, asking), accepted_event_id=asking.ids.update_accepted(update_id), outcome=outcome
    )


def admitted(asked: Record) -> Message:
    """An update that a reset has brought."""
    return WorkflowExecutionUpdateAdmittedEventAttributes(
        request=_request(asked["update_id"], asked),
        origin=UpdateAdmittedEventOrigin.UPDATE_ADMITTED_EVENT_ORIGIN_REAPPLY,
    )


def _request(update_id: str, asked: Record) -> Request:
    return Request(
        meta=Meta(update_id=update_id, identity=asked.get("identity", "")),
        input=Input(
            header=header(asked.get("headers")), name=asked.get("name", ""), args=some_payloads(asked.get("args"))
        ),
    )


def _meta(update_id: str, asking: Asking) -> Meta:
    return Meta(update_id=update_id, identity=asking.updates[update_id].get("identity", ""))


def patch(command: Record, asking: Asking) -> tuple[Message, ...]:
    """The marker, and the search attribute that comes with it."""
    details = dumps({"id": command["id"], "deprecated": bool(command.get("dep"))})
    marker = MarkerRecordedEventAttributes(
        marker_name="core_patch",
        details={"patch-data": Payloads(payloads=[json_payload(details)])},
        workflow_task_completed_event_id=asking.task.completed,
    )
    if not command.get("sa"):
        return (marker,)
    upsert = UpsertWorkflowSearchAttributesEventAttributes(
        workflow_task_completed_event_id=asking.task.completed,
        search_attributes=SearchAttributes(indexed_fields={CHANGE_VERSION: versions_payload(command["sa"])}),
    )
    return marker, upsert


def local_marker(command: Record, asking: Asking) -> Message:
    """How a local activity ended. One that was given up says so itself; else the arrival in the same row does."""
    outcome = command if "o" in command else asking.locals[command["seq"]]
    given_up = outcome is command
    data = {
        "seq": outcome["seq"],
        "attempt": outcome["att"],
        "activity_id": outcome["id"],
        "activity_type": outcome["type"],
        "complete_time": None if given_up else _time(asking.at_ms),
        "backoff": _time(outcome["bo"]) if "bo" in outcome else None,
        "original_schedule_time": _time(outcome["ost"]),
    }
    details = {"data": Payloads(payloads=[json_payload(dumps(data))])}
    if outcome["o"] == OutcomeKind.COMPLETED:
        details["result"] = as_payloads([outcome["r"]])
    return MarkerRecordedEventAttributes(
        marker_name="core_local_activity",
        details=details,
        workflow_task_completed_event_id=asking.task.completed,
        failure=None if outcome["o"] == OutcomeKind.COMPLETED else local_failure(outcome),
    )


def _time(ms: int) -> dict[str, int]:
    """A time or a duration, as Temporal's core writes it."""
    return {"seconds": ms // 1000, "nanos": ms % 1000 * 1_000_000}


def upsert_sa(command: Record, asking: Asking) -> Message:
    return UpsertWorkflowSearchAttributesEventAttributes(
        workflow_task_completed_event_id=asking.task.completed,
        search_attributes=SearchAttributes(indexed_fields=payload_map(command["sa"])),
    )


def memo(command: Record, asking: Asking) -> Message:
    return WorkflowPropertiesModifiedEventAttributes(
        workflow_task_completed_event_id=asking.task.completed, upserted_memo=Memo(fields=payload_map(command["memo"]))
    )


REQUESTS: dict[str, Callable[[Record, Asking], Message | tuple[Message, ...]]] = {
    "activity": activity,
    "cancel_activity": cancel_activity,
    "timer": timer,
    "cancel_timer": cancel_timer,
    "update_accepted": update_accepted,
    "update_completed": update_completed,
    "patch": patch,
    "local_marker": local_marker,
    "upsert_sa": upsert_sa,
    "memo": memo,
}

CLOSING = frozenset({"complete", "fail", "cancel", "continue_as_new"})
