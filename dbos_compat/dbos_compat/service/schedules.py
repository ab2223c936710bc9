"""Schedules: create, describe, update, patch, delete, and the times that match.

A change is read, made and written under the row's version; who was overtaken reads again. What is due at once (a
trigger, say) is done before the answer, so that a describe that follows shows it.
"""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.message import Message
from temporalio.api.common.v1 import Memo, SearchAttributes
from temporalio.api.schedule.v1 import Schedule as ScheduleMessage
from temporalio.api.workflow.v1 import NewWorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    CreateScheduleRequest,
    CreateScheduleResponse,
    DeleteScheduleRequest,
    DeleteScheduleResponse,
    DescribeScheduleRequest,
    DescribeScheduleResponse,
    ListScheduleMatchingTimesRequest,
    ListScheduleMatchingTimesResponse,
    PatchScheduleRequest,
    PatchScheduleResponse,
    StartWorkflowExecutionRequest,
    UpdateScheduleRequest,
    UpdateScheduleResponse,
)
from temporalio.service import RPCStatusCode

from dbos_compat.convert import schedules as convert
from dbos_compat.convert.payloads import payload_map_text
from dbos_compat.convert.search_attributes import BadSearchAttribute, column_text
from dbos_compat.convert.times import timestamp, timestamp_ms
from dbos_compat.errors import already_started, invalid, no_run, query_failed, rpc_error
from dbos_compat.service.common import ID_BYTES_MAX, Context, check_nul, check_size, check_text
from dbos_compat.service.schedule_listing import entry_parts
from dbos_compat.service.start import timeouts
from dbos_core.schedules import machine, record
from dbos_core.schedules.rows import ScheduleRow
from dbos_core.schedules.spec import BadSpec
from dbos_core.schedules.state import Definition, Schedule

PREFIX = "temporal-sys-scheduler:"
"""Of the workflows that schedules are on Temporal: it shows in messages, and counts in the length of an id."""
NOTES_BYTES_MAX = 1000
MATCHING_MAX = 1000
REQUESTS_MAX = 50
"""Requests that a schedule remembers, so that one that comes twice is done once."""
SUFFIX = "-2009-11-10T23:00:00Z"
"""As long as what is appended to the workflow id of each run."""


# -- checks ------------------------------------------------------------------------------------------------------------


def _check_id(schedule_id: str) -> None:
    if not schedule_id:
        raise invalid("ScheduleId is not set on request.")
    size = len(PREFIX) + len(schedule_id.encode())
    if size > ID_BYTES_MAX:
        raise invalid(f"WorkflowId exceeds maximum allowed length ({size}/{ID_BYTES_MAX})")
    check_nul(schedule_id, "ScheduleId")


def _no_schedule(schedule_id: str) -> Exception:
    return no_run(PREFIX + schedule_id)


def _check_action(action: NewWorkflowExecutionInfo) -> None:
    """Temporal's checks of what a schedule starts, in its words."""
    size = len((action.workflow_id + SUFFIX).encode())
    if size > ID_BYTES_MAX:
        raise invalid(f"WorkflowId exceeds maximum allowed length ({size}/{ID_BYTES_MAX})")
    check_nul(action.workflow_id, "WorkflowId")
    if not action.workflow_type.name:
        raise invalid("WorkflowType is not set on request.")
    check_text(action.workflow_type.name, "WorkflowType")
    if not action.task_queue.name:
        raise invalid("missing task queue name")
    if len(action.task_queue.name.encode()) > ID_BYTES_MAX:
        raise invalid("taskQueue length exceeds limit")
    check_nul(action.task_queue.name, "TaskQueue")
    timeouts(
        StartWorkflowExecutionRequest(
            workflow_execution_timeout=action.workflow_execution_timeout,
            workflow_run_timeout=action.workflow_run_timeout,
            workflow_task_timeout=action.workflow_task_timeout,
        )
    )
    if action.cron_schedule:
        raise invalid("Scheduled workflow must not contain CronSchedule")
    if action.workflow_id_reuse_policy not in (0, 1):
        raise invalid("Scheduled workflow must not contain WorkflowIDReusePolicy")


async def _definition(context: Context, message: ScheduleMessage, memo: Memo) -> Definition:
    """The checked and completed definition of a request."""
    message = _copy(message)
    try:
        if message.action.HasField("start_workflow"):
            action = message.action.start_workflow
            _check_action(action)
            if memo.ByteSize() + action.input.ByteSize() > 0:
                check_size(action)
                check_size(memo)
            convert.completed_action(action, await context.kernel.store.attribute_types())
        if len(message.state.notes.encode()) > NOTES_BYTES_MAX:
            raise invalid("Schedule notes exceeds limit.")
        return convert.definition(message)
    except BadSpec as error:
        raise invalid(f"Invalid schedule spec: {error}") from None
    except BadSearchAttribute as error:
        raise invalid(str(error)) from None


def _copy(message: ScheduleMessage) -> ScheduleMessage:
    copy = ScheduleMessage()
    copy.CopyFrom(message)
    return copy


def _attributes(attributes: SearchAttributes) -> str | None:
    try:
        return column_text(attributes.indexed_fields)
    except BadSearchAttribute as error:
        raise invalid(str(error)) from None


def _token(schedule: Schedule) -> bytes:
    return schedule.token.to_bytes(8, "big")


# -- create ------------------------------------------------------------------------------------------------------------


async def create_schedule(context: Context, request: CreateScheduleRequest) -> CreateScheduleResponse:
    kernel = context.kernel
    _check_id(request.schedule_id)
    if not request.request_id:
        raise invalid("RequestId is not set on request.")
    check_text(request.request_id, "RequestId")
    definition = await _definition(context, request.schedule, request.memo)
    now_ms = await kernel.store.now_ms()
    schedule = machine.create(request.schedule_id, kernel.entropy.uuid(), definition, now_ms)
    token = _token(schedule)
    if request.HasField("initial_patch"):
        _check_notes(request.initial_patch.pause, request.initial_patch.unpause)
        machine.patch(schedule, convert.patch(request.initial_patch), now_ms)
    row = ScheduleRow(
        schedule_id=request.schedule_id,
        record=record.text(schedule),
        created_ms=now_ms,
        wake_at_ms=now_ms,
        request_id=request.request_id,
        memo=payload_map_text(request.memo.fields) if request.memo.fields else None,
        search_attributes=_attributes(request.search_attributes),
    )
    existing = await kernel.store.create_schedule(row)
    if existing is not None and existing.request_id != request.request_id:
        raise already_started(
            f'schedule "{request.schedule_id}" is already registered', request_id="", run_id="", first_run_id=""
        )
    await kernel.scheduler.attend(request.schedule_id)
    return CreateScheduleResponse(conflict_token=token)


# -- describe ----------------------------------------------------------------------------------------------------------


async def describe_schedule(context: Context, request: DescribeScheduleRequest) -> DescribeScheduleResponse:
    row, schedule = await _find(context, request.schedule_id)
    await context.kernel.scheduler.look(schedule)
    memo, attributes = entry_parts(row)
    response = DescribeScheduleResponse(
        schedule=convert.schedule_message(schedule.definition),
        info=convert.info_message(schedule, await context.kernel.store.now_ms()),
        conflict_token=_token(schedule),
    )
    if memo is not None:
        response.memo.CopyFrom(memo)
    if attributes is not None:
        response.search_attributes.CopyFrom(attributes)
    return response


async def _find(context: Context, schedule_id: str) -> tuple[ScheduleRow, Schedule]:
    if "\0" in schedule_id:  # no such id can have been created
        raise _no_schedule(schedule_id)
    row = await context.kernel.store.find_schedule(schedule_id)
    if row is None:
        raise _no_schedule(schedule_id)
    return row, record.schedule(schedule_id, row.record)


# -- changes -----------------------------------------------------------------------------------------------------------


async def update_schedule(context: Context, request: UpdateScheduleRequest) -> UpdateScheduleResponse:
    """Replace the definition. Search attributes and memo stay as they are unless the request has them."""
    check_text(request.request_id, "RequestId")
    definition = await _definition(context, request.schedule, request.memo)
    attributes = _attributes(request.search_attributes)

    def change(row: ScheduleRow, schedule: Schedule, now_ms: int) -> None:
        if request.conflict_token and request.conflict_token != _token(schedule):
            raise rpc_error("mismatched conflict token", RPCStatusCode.FAILED_PRECONDITION)
        machine.update(schedule, definition, now_ms)
        if request.HasField("search_attributes"):
            row.search_attributes = attributes
        if request.HasField("memo"):
            row.memo = payload_map_text(request.memo.fields) if request.memo.fields else None

    await _change(context, request.schedule_id, request.request_id, change)
    return UpdateScheduleResponse()


async def patch_schedule(context: Context, request: PatchScheduleRequest) -> PatchScheduleResponse:
    """Trigger, backfill, pause or unpause."""
    if not request.HasField("patch"):
        raise invalid("Patch is not set on request.")
    check_text(request.request_id, "RequestId")
    _check_notes(request.patch.pause, request.patch.unpause)
    wanted = convert.patch(request.patch)

    def change(_row: ScheduleRow, schedule: Schedule, now_ms: int) -> None:
        machine.patch(schedule, wanted, now_ms)

    await _change(context, request.schedule_id, request.request_id, change)
    return PatchScheduleResponse()


def _check_notes(*notes: str) -> None:
    for note in notes:
        if len(note.encode()) > NOTES_BYTES_MAX:
            raise invalid("Schedule notes exceeds limit.")
        check_nul(note, "Notes")


async def _change(
    context: Context, schedule_id: str, request_id: str, change: Callable[[ScheduleRow, Schedule, int], None]
) -> None:
    """Read, change, write, until nobody was faster. The times up to now are dealt with under the old definition."""
    kernel = context.kernel
    while True:
        row, schedule = await _find(context, schedule_id)
        if request_id and request_id in schedule.requests:
            return
        now_ms = await kernel.store.now_ms()
        machine.advance(schedule, now_ms, backfill=False)
        change(row, schedule, now_ms)
        if request_id:
            schedule.requests = [*schedule.requests, request_id][-REQUESTS_MAX:]
        row.record = record.text(schedule)
        row.wake_at_ms = now_ms
        if await kernel.store.save_schedule(row):
            break
    await kernel.scheduler.attend(schedule_id)


async def delete_schedule(context: Context, request: DeleteScheduleRequest) -> DeleteScheduleResponse:
    """Runs that it has started go on."""
    if "\0" in request.schedule_id or not await context.kernel.store.delete_schedule(request.schedule_id):
        raise _no_schedule(request.schedule_id)
    return DeleteScheduleResponse()


# -- matching times ----------------------------------------------------------------------------------------------------


async def list_schedule_matching_times(context: Context, request: ListScheduleMatchingTimesRequest) -> Message:
    _, schedule = await _find(context, request.schedule_id)
    if not request.HasField("start_time") or not request.HasField("end_time"):
        raise query_failed("missing or invalid query")
    try:
        found = machine.matching_ms(
            schedule, timestamp_ms(request.start_time), timestamp_ms(request.end_time), MATCHING_MAX
        )
    except BadSpec as error:
        raise query_failed(f"invalid schedule: {error}") from None
    return ListScheduleMatchingTimesResponse(start_time=[timestamp(ms) for ms in found])
