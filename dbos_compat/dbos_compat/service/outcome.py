"""History RPCs: the long poll for the closing event, and the whole history as pages."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import HistoryEventFilterType
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
    GetWorkflowExecutionHistoryReverseRequest,
    GetWorkflowExecutionHistoryReverseResponse,
)

from dbos_compat.errors import invalid, no_run
from dbos_compat.history.closing import awaited_event
from dbos_compat.history.events import events
from dbos_compat.service.common import LONG_POLL_S, Context, check_execution, find_run, overdue_in_s, timed_out
from dbos_core.commit import RunRow, RunStatus

_CLOSE_EVENT = HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT
PAGE_EVENTS_MAX = 1000
LOOK_EVERY_S = 1.0
"""A call that waits for the next event of an open run looks this often."""


def token(run_id: str, after: int = 0) -> bytes:
    """A page token: it pins the run that the first page found, and says how far the caller has read."""
    return b64encode(json.dumps({"run": run_id, "after": after}).encode())


def read_token(raw: bytes) -> tuple[str, int]:
    try:
        value = json.loads(b64decode(raw, validate=True))
        return str(value["run"]), int(value["after"])
    except (ValueError, KeyError, TypeError):
        raise invalid("Invalid NextPageToken.") from None


async def get_workflow_execution_history(
    context: Context, request: GetWorkflowExecutionHistoryRequest
) -> GetWorkflowExecutionHistoryResponse:
    check_execution(request.execution)
    execution, after = request.execution, 0
    if request.next_page_token:
        run_id, after = read_token(request.next_page_token)
        execution = WorkflowExecution(workflow_id=request.execution.workflow_id, run_id=run_id)
    run = await find_run(context, execution)
    if request.history_event_filter_type == _CLOSE_EVENT:
        return await _close_page(context, run, wait=request.wait_new_event)
    return await _page(context, run, after, request)


async def _close_page(context: Context, run: RunRow, *, wait: bool) -> GetWorkflowExecutionHistoryResponse:
    """The closing event alone. Held for a while on an open run; then an empty page with a token: ask again."""
    closed: RunRow | None = run
    if run.status is RunStatus.RUNNING:
        if not wait:
            return GetWorkflowExecutionHistoryResponse(history=History())
        closed = await _closed(context, run)
    if closed is None or closed.status is RunStatus.RUNNING:
        return GetWorkflowExecutionHistoryResponse(history=History(), next_page_token=token(run.run_id))
    return GetWorkflowExecutionHistoryResponse(history=History(events=[awaited_event(closed)]))


async def _closed(context: Context, run: RunRow) -> RunRow | None:
    """The run once it is closed, within the time that a poll is held."""
    overdue_s = overdue_in_s(context, run)
    if overdue_s is None or overdue_s >= LONG_POLL_S:
        return await context.kernel.wait_closed(run.workflow_uuid, LONG_POLL_S)
    closed = await context.kernel.wait_closed(run.workflow_uuid, overdue_s)
    return await timed_out(context, run) if closed is None else closed


async def _page(
    context: Context, run: RunRow, after: int, request: GetWorkflowExecutionHistoryRequest
) -> GetWorkflowExecutionHistoryResponse:
    size = min(request.maximum_page_size or PAGE_EVENTS_MAX, PAGE_EVENTS_MAX)
    found = [event for event in await _events(context, run) if event.event_id > after]
    wait = request.wait_new_event
    if wait and not found:
        deadline = context.kernel.loop.time() + LONG_POLL_S
        while not found and context.kernel.loop.time() < deadline:
            await context.kernel.wait_closed(run.workflow_uuid, LOOK_EVERY_S)
            found = [event for event in await _events(context, run) if event.event_id > after]
    page = found[:size]
    closed = run.status is not RunStatus.RUNNING
    more = len(found) > size or (wait and not closed and not _closes(page))
    last = page[-1].event_id if page else after
    return GetWorkflowExecutionHistoryResponse(
        history=History(events=page), next_page_token=token(run.run_id, last) if more else b""
    )


def _closes(page: list[HistoryEvent]) -> bool:
    """Is the last event of the page a closing one?"""
    kind = page[-1].WhichOneof("attributes") if page else None
    return kind is not None and kind.removeprefix("workflow_execution_").removesuffix("_event_attributes") in (
        "completed",
        "failed",
        "canceled",
        "terminated",
        "timed_out",
        "continued_as_new",
    )


async def get_workflow_execution_history_reverse(
    context: Context, request: GetWorkflowExecutionHistoryReverseRequest
) -> GetWorkflowExecutionHistoryReverseResponse:
    """The history from its end; the token says below which event the next page begins."""
    check_execution(request.execution)
    execution, below = request.execution, 0
    if request.next_page_token:
        run_id, below = read_token(request.next_page_token)
        execution = WorkflowExecution(workflow_id=request.execution.workflow_id, run_id=run_id)
    run = await find_run(context, execution)
    found = [event for event in reversed(await _events(context, run)) if not below or event.event_id < below]
    size = min(request.maximum_page_size or PAGE_EVENTS_MAX, PAGE_EVENTS_MAX)
    page = found[:size]
    return GetWorkflowExecutionHistoryReverseResponse(
        history=History(events=page),
        next_page_token=token(run.run_id, page[-1].event_id) if len(found) > size else b"",
    )


async def _events(context: Context, run: RunRow) -> list[HistoryEvent]:
    loaded = await context.kernel.load(run.workflow_uuid)
    if loaded is None:
        raise no_run(run.workflow_id, run.run_id)
    return events(loaded, context.namespace, now_ms=context.kernel.clock.now_ms())
