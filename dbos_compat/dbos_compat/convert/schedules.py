"""Schedules: Temporal's messages ⇄ the kernel's values.

What Temporal shows again it shows as it keeps it: cron strings and textual calendars have become ranges, defaults are
filled in. The action is kept beside the times as text that the kernel does not read.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import Payload, RetryPolicy, WorkflowExecution
from temporalio.api.enums.v1 import ScheduleOverlapPolicy, TaskQueueKind, WorkflowExecutionStatus
from temporalio.api.schedule.v1 import (
    BackfillRequest,
    CalendarSpec,
    IntervalSpec,
    ScheduleActionResult,
    ScheduleInfo,
    ScheduleListInfo,
    SchedulePatch,
    ScheduleSpec,
    StructuredCalendarSpec,
)
from temporalio.api.schedule.v1 import Range as RangeMessage
from temporalio.api.schedule.v1 import Schedule as ScheduleMessage
from temporalio.api.workflow.v1 import NewWorkflowExecutionInfo

from dbos_compat.convert.payloads import dumps, payload, payloads_text
from dbos_compat.convert.search_attributes import decode
from dbos_compat.convert.times import duration, duration_ms, timestamp, timestamp_ms
from dbos_core.schedules import machine
from dbos_core.schedules.calendar import FIELDS, Calendar, Range
from dbos_core.schedules.machine import Patch
from dbos_core.schedules.policy import Overlap
from dbos_core.schedules.spec import Spec, check, with_cron
from dbos_core.schedules.state import (
    CATCHUP_WINDOW_MIN_MS,
    CATCHUP_WINDOW_MS,
    Action,
    Definition,
    Policies,
    Schedule,
)
from dbos_core.schedules.text import Interval, calendar

FUTURE_MAX = 10
LISTED_ACTIONS_MAX = 5
LISTED_SPECS_MAX = 10
"""How much of a schedule a list shows."""

# -- what users say → values -------------------------------------------------------------------------------------------


def definition(message: ScheduleMessage) -> Definition:
    """The definition in a request. Raises ``BadSpec``."""
    action = message.action.start_workflow if message.action.HasField("start_workflow") else None
    return Definition(
        spec=spec(message.spec),
        policies=Policies(
            overlap=overlap(message.policies.overlap_policy) or Overlap.SKIP,
            catchup_window_ms=max(duration_ms(message.policies.catchup_window), CATCHUP_WINDOW_MIN_MS)
            if message.policies.HasField("catchup_window")
            else CATCHUP_WINDOW_MS,
            pause_on_failure=message.policies.pause_on_failure,
            keep_original_workflow_id=message.policies.keep_original_workflow_id,
        ),
        action=None if action is None else action_text(action),
        workflow_id="" if action is None else action.workflow_id,
        paused=message.state.paused,
        notes=message.state.notes,
        limited=message.state.limited_actions,
        remaining=message.state.remaining_actions,
    )


def spec(message: ScheduleSpec) -> Spec:
    """The times in a request. Raises ``BadSpec``."""
    found = with_cron(
        Spec(
            calendars=(
                *(_calendar(item) for item in message.structured_calendar),
                *(_text_calendar(item) for item in message.calendar),
            ),
            intervals=tuple(Interval(_us(item.interval), _us(item.phase)) for item in message.interval),
            excluded=(
                *(_calendar(item) for item in message.exclude_structured_calendar),
                *(_text_calendar(item) for item in message.exclude_calendar),
            ),
            start_us=_moment_us(message.start_time) if message.HasField("start_time") else None,
            end_us=_moment_us(message.end_time) if message.HasField("end_time") else None,
            jitter_us=_us(message.jitter),
            zone=message.timezone_name,
            zone_data=message.timezone_data or None,
        ),
        list(message.cron_string),
    )
    check(found)
    return found


def patch(message: SchedulePatch) -> Patch:
    """What a patch asks for."""
    trigger = message.trigger_immediately if message.HasField("trigger_immediately") else None
    return Patch(
        trigger=None if trigger is None else overlap(trigger.overlap_policy),
        trigger_ms=timestamp_ms(trigger.scheduled_time) if trigger and trigger.HasField("scheduled_time") else None,
        backfills=[_backfill(item) for item in message.backfill_request],
        pause=message.pause,
        unpause=message.unpause,
    )


def _backfill(message: BackfillRequest) -> tuple[int, int, Overlap]:
    return timestamp_ms(message.start_time), timestamp_ms(message.end_time), overlap(message.overlap_policy)


def overlap(number: int) -> Overlap:
    """A policy of a later Temporal is none that this engine could follow: the schedule's own is."""
    return Overlap(number) if number in Overlap.__members__.values() else Overlap.UNSPECIFIED


def _calendar(message: StructuredCalendarSpec) -> Calendar:
    ranges = {
        name: tuple(Range(item.start, item.end, item.step) for item in getattr(message, name)) for name, *_ in FIELDS
    }
    return Calendar(**ranges, comment=message.comment)


def _text_calendar(message: CalendarSpec) -> Calendar:
    return calendar({name: getattr(message, name) for name, *_ in FIELDS}, comment=message.comment)


def _us(value: Duration) -> int:
    return value.seconds * 1_000_000 + value.nanos // 1000


def _moment_us(value: Timestamp) -> int:
    return value.seconds * 1_000_000 + value.nanos // 1000


# -- actions -----------------------------------------------------------------------------------------------------------


def completed_action(message: NewWorkflowExecutionInfo, types: Mapping[str, str]) -> None:
    """Fill in what Temporal fills in: the retry policy's defaults, the types of search attributes."""
    message.task_queue.kind = TaskQueueKind.TASK_QUEUE_KIND_NORMAL
    if message.HasField("retry_policy"):
        _complete_retry(message.retry_policy)
    for name, value in message.search_attributes.indexed_fields.items():
        if "type" not in value.metadata:
            value.metadata["type"] = (types.get(name) or decode(name, value)[0]).encode()


def _complete_retry(policy: RetryPolicy) -> None:
    if not policy.HasField("initial_interval"):
        policy.initial_interval.FromSeconds(1)
    if policy.backoff_coefficient == 0:
        policy.backoff_coefficient = 2.0
    if not policy.HasField("maximum_interval"):
        policy.maximum_interval.FromMicroseconds(100 * policy.initial_interval.ToMicroseconds())


def action_text(message: NewWorkflowExecutionInfo) -> str:
    """The action as it is stored: readable where it can be, the message itself for the rest."""
    rest = NewWorkflowExecutionInfo()
    rest.CopyFrom(message)
    rest.ClearField("input")
    return (
        f'{{"type":{dumps(message.workflow_type.name)},"task_queue":{dumps(message.task_queue.name)},'
        f'"input":{payloads_text(message.input.payloads)},"has_input":{dumps(message.HasField("input"))},'
        f'"start_workflow":"{b64encode(rest.SerializeToString(deterministic=True)).decode()}"}}'
    )


def action_message(text: str) -> NewWorkflowExecutionInfo:
    values = json.loads(text)
    message = NewWorkflowExecutionInfo.FromString(b64decode(values["start_workflow"]))
    if values["has_input"]:
        message.input.payloads.extend(payload(form) for form in values["input"])
        message.input.SetInParent()
    return message


# -- values → what users see -------------------------------------------------------------------------------------------


def schedule_message(of: Definition) -> ScheduleMessage:
    message = ScheduleMessage(spec=spec_message(of.spec))
    message.action.SetInParent()
    if of.action is not None:
        message.action.start_workflow.CopyFrom(action_message(of.action))
    message.policies.overlap_policy = ScheduleOverlapPolicy.ValueType(of.policies.overlap)
    message.policies.catchup_window.CopyFrom(duration(of.policies.catchup_window_ms))
    message.policies.pause_on_failure = of.policies.pause_on_failure
    message.policies.keep_original_workflow_id = of.policies.keep_original_workflow_id
    message.state.SetInParent()
    message.state.paused = of.paused
    message.state.notes = of.notes
    message.state.limited_actions = of.limited
    message.state.remaining_actions = of.remaining
    return message


def spec_message(of: Spec, *, most: int | None = None) -> ScheduleSpec:
    """``most``: so many of each kind, and no zone data, as lists show it."""
    message = ScheduleSpec(
        structured_calendar=[_calendar_message(item) for item in of.calendars[:most]],
        interval=[_interval_message(item) for item in of.intervals[:most]],
        exclude_structured_calendar=[_calendar_message(item) for item in of.excluded[:most]],
        timezone_name=of.zone,
        timezone_data=(of.zone_data or b"") if most is None else b"",
    )
    if of.start_us is not None:
        message.start_time.FromMicroseconds(of.start_us)
    if of.end_us is not None:
        message.end_time.FromMicroseconds(of.end_us)
    if of.jitter_us:
        message.jitter.FromMicroseconds(of.jitter_us)
    return message


def _interval_message(interval: Interval) -> IntervalSpec:
    message = IntervalSpec()
    message.interval.FromMicroseconds(interval.every_us)
    if interval.phase_us:
        message.phase.FromMicroseconds(interval.phase_us)
    return message


def _calendar_message(of: Calendar) -> StructuredCalendarSpec:
    message = StructuredCalendarSpec(comment=of.comment)
    for name, *_ in FIELDS:
        getattr(message, name).extend(_range_messages(getattr(of, name)))
    return message


def _range_messages(ranges: Iterable[Range]) -> list[RangeMessage]:
    return [RangeMessage(start=item.start, end=max(item.start, item.end), step=item.step or 1) for item in ranges]


def info_message(schedule: Schedule, now_ms: int) -> ScheduleInfo:
    message = ScheduleInfo(
        action_count=schedule.actions,
        missed_catchup_window=schedule.missed,
        overlap_skipped=schedule.skipped,
        buffer_dropped=schedule.dropped,
        buffer_size=len(schedule.waiting),
        running_workflows=[_execution(action) for action in schedule.running],
        recent_actions=[_action_result(action) for action in schedule.recent],
        future_action_times=[timestamp(ms) for ms in machine.future_ms(schedule, now_ms, FUTURE_MAX)],
        create_time=timestamp(schedule.created_ms),
        invalid_schedule_error=schedule.invalid,
    )
    if schedule.updated_ms is not None:
        message.update_time.CopyFrom(timestamp(schedule.updated_ms))
    return message


def list_info_message(schedule: Schedule, now_ms: int) -> ScheduleListInfo:
    message = ScheduleListInfo(
        spec=spec_message(schedule.definition.spec, most=LISTED_SPECS_MAX),
        notes=schedule.definition.notes,
        paused=schedule.definition.paused,
        recent_actions=[_action_result(action) for action in schedule.recent[-LISTED_ACTIONS_MAX:]],
        future_action_times=[timestamp(ms) for ms in machine.future_ms(schedule, now_ms, LISTED_ACTIONS_MAX)],
    )
    if schedule.definition.action is not None:
        message.workflow_type.name = json.loads(schedule.definition.action)["type"]
    return message


def _execution(action: Action) -> WorkflowExecution:
    return WorkflowExecution(workflow_id=action.workflow_id, run_id=action.run_id)


def _action_result(action: Action) -> ScheduleActionResult:
    return ScheduleActionResult(
        schedule_time=timestamp(action.due_ms),
        actual_time=timestamp(action.started_ms),
        start_workflow_result=_execution(action),
        start_workflow_status=WorkflowExecutionStatus.ValueType(action.status),
    )


def attribute_payload(kind: str, value: str) -> Payload:
    """A search attribute of one text value."""
    return Payload(metadata={"encoding": b"json/plain", "type": kind.encode()}, data=json.dumps(value).encode())
