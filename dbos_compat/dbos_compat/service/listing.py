"""List and count: Temporal's filter text against the rows of this namespace."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from dataclasses import replace

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.api.filter.v1 import StartTimeFilter
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    CountWorkflowExecutionsResponse,
    ListClosedWorkflowExecutionsRequest,
    ListClosedWorkflowExecutionsResponse,
    ListOpenWorkflowExecutionsRequest,
    ListOpenWorkflowExecutionsResponse,
    ListWorkflowExecutionsRequest,
    ListWorkflowExecutionsResponse,
    ScanWorkflowExecutionsRequest,
    ScanWorkflowExecutionsResponse,
)

from dbos_compat.convert.payloads import dumps
from dbos_compat.convert.times import timestamp_ms
from dbos_compat.errors import invalid
from dbos_compat.filters import BadFilter, parse
from dbos_compat.filters.values import STATUS_NAMES
from dbos_compat.service.cluster import attribute_types
from dbos_compat.service.common import Context
from dbos_compat.service.info import execution_info
from dbos_core.commit import RunRow, RunStatus
from dbos_core.search import PAGE_ROWS_MAX, And, Compare, Cursor, Field, Filter, Op, Page, Query, Value


async def read_query(context: Context, text: str) -> Query:
    types = await attribute_types(context) if text else {}
    try:
        return parse(text, types)
    except BadFilter as error:
        raise invalid(f"invalid query: {error}") from None


def cursor_text(row: RunRow) -> str:
    """The place behind a row, in the usual order."""
    return dumps([row.close_ms, row.start_ms, row.run_id, 0])


def read_cursor(text: str | bytes) -> Cursor:
    """What ``cursor_text`` wrote. Raises ValueError and TypeError."""
    close_ms, start_ms, run_id, offset = json.loads(text)
    return Cursor(
        close_ms=None if close_ms is None else int(close_ms),
        start_ms=int(start_ms),
        run_id=str(run_id),
        offset=int(offset),
    )


def token(cursor: Cursor) -> bytes:
    """A page token: where the next page begins."""
    text = dumps([cursor.close_ms, cursor.start_ms, cursor.run_id, cursor.offset])
    return b64encode(text.encode())


def read_token(raw: bytes) -> Cursor | None:
    if not raw:
        return None
    try:
        return read_cursor(b64decode(raw, validate=True))
    except (ValueError, TypeError):
        raise invalid("Invalid NextPageToken.") from None


async def _page(context: Context, query: Query, size: int, raw_token: bytes) -> Page:
    limit = min(size, PAGE_ROWS_MAX) if size > 0 else PAGE_ROWS_MAX
    return await context.kernel.store.search(replace(query, limit=limit, after=read_token(raw_token)))


def _filled(response: Message, page: Page) -> None:
    """Put a page into any of the list responses: they have the same two fields."""
    response.executions.extend(execution_info(run) for run in page.rows)  # type: ignore[attr-defined]
    if page.next is not None:
        response.next_page_token = token(page.next)  # type: ignore[attr-defined]


async def list_workflow_executions(
    context: Context, request: ListWorkflowExecutionsRequest
) -> ListWorkflowExecutionsResponse:
    page = await _page(context, await read_query(context, request.query), request.page_size, request.next_page_token)
    response = ListWorkflowExecutionsResponse()
    _filled(response, page)
    return response


async def scan_workflow_executions(
    context: Context, request: ScanWorkflowExecutionsRequest
) -> ScanWorkflowExecutionsResponse:
    page = await _page(context, await read_query(context, request.query), request.page_size, request.next_page_token)
    response = ScanWorkflowExecutionsResponse()
    _filled(response, page)
    return response


async def list_open_workflow_executions(
    context: Context, request: ListOpenWorkflowExecutionsRequest
) -> ListOpenWorkflowExecutionsResponse:
    """The old form of a list with fixed filters."""
    parts: list[Filter] = [Compare(Field.STATUS, Op.EQ, int(RunStatus.RUNNING))]
    parts += _since(Field.START_TIME, request.start_time_filter if request.HasField("start_time_filter") else None)
    parts += _named(request)
    page = await _page(context, Query(where=And(tuple(parts))), request.maximum_page_size, request.next_page_token)
    response = ListOpenWorkflowExecutionsResponse()
    _filled(response, page)
    return response


async def list_closed_workflow_executions(
    context: Context, request: ListClosedWorkflowExecutionsRequest
) -> ListClosedWorkflowExecutionsResponse:
    """The old form of a list with fixed filters."""
    parts: list[Filter] = [Compare(Field.STATUS, Op.NE, int(RunStatus.RUNNING))]
    parts += _since(Field.CLOSE_TIME, request.start_time_filter if request.HasField("start_time_filter") else None)
    parts += _named(request)
    if request.HasField("status_filter"):
        parts.append(Compare(Field.STATUS, Op.EQ, int(request.status_filter.status)))
    page = await _page(context, Query(where=And(tuple(parts))), request.maximum_page_size, request.next_page_token)
    response = ListClosedWorkflowExecutionsResponse()
    _filled(response, page)
    return response


def _since(field: Field, times: StartTimeFilter | None) -> list[Filter]:
    if times is None:
        return []
    found: list[Filter] = []
    if times.HasField("earliest_time"):
        found.append(Compare(field, Op.GE, timestamp_ms(times.earliest_time)))
    if times.HasField("latest_time"):
        found.append(Compare(field, Op.LE, timestamp_ms(times.latest_time)))
    return found


def _named(request: ListOpenWorkflowExecutionsRequest | ListClosedWorkflowExecutionsRequest) -> list[Filter]:
    found: list[Filter] = []
    if request.execution_filter.workflow_id:
        found.append(Compare(Field.WORKFLOW_ID, Op.EQ, request.execution_filter.workflow_id))
    if request.execution_filter.run_id:
        found.append(Compare(Field.RUN_ID, Op.EQ, request.execution_filter.run_id))
    if request.type_filter.name:
        found.append(Compare(Field.WORKFLOW_TYPE, Op.EQ, request.type_filter.name))
    return found


async def count_workflow_executions(
    context: Context, request: CountWorkflowExecutionsRequest
) -> CountWorkflowExecutionsResponse:
    count = await context.kernel.store.count(await read_query(context, request.query))
    response = CountWorkflowExecutionsResponse(count=count.total)
    for value, number in count.groups:
        response.groups.add(count=number, group_values=[_group_value(value)])
    return response


def _group_value(value: Value) -> Payload:
    return Payload(
        metadata={"encoding": b"json/plain", "type": b"Keyword"},
        data=dumps(STATUS_NAMES[int(value)]).encode(),
    )
