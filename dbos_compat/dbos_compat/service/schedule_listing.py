"""List and count schedules: newest first, by a filter over ids, the pause and the schedules' own search attributes."""

from __future__ import annotations

import dataclasses
import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Iterator

from temporalio.api.common.v1 import Memo, SearchAttributes
from temporalio.api.schedule.v1 import ScheduleListEntry
from temporalio.api.workflowservice.v1 import (
    CountSchedulesRequest,
    CountSchedulesResponse,
    ListSchedulesRequest,
    ListSchedulesResponse,
)

from dbos_compat.convert.payloads import dumps, payload_map
from dbos_compat.convert.schedules import list_info_message
from dbos_compat.convert.search_attributes import encode
from dbos_compat.errors import invalid
from dbos_compat.filters import BadFilter, parse
from dbos_compat.filters.fields import resolved
from dbos_compat.filters.syntax import Name, Node, parse_syntax
from dbos_compat.service.cluster import attribute_types
from dbos_compat.service.common import Context
from dbos_core.commit import RunRow, RunStatus
from dbos_core.schedules import record
from dbos_core.schedules.rows import ScheduleRow
from dbos_core.schedules.state import Schedule
from dbos_core.search import PAGE_ROWS_MAX, Filter
from dbos_core.store.memory_search import matches

PAUSED = "TemporalSchedulePaused"
SCHEDULE_ID = "ScheduleId"
READ_ROWS = 200
"""Rows read at once: a filter is applied here, not in the database; there are thousands of schedules, not millions."""


def entry_parts(row: ScheduleRow) -> tuple[Memo | None, SearchAttributes | None]:
    """Memo and search attributes, if there are any."""
    memo = Memo(fields=payload_map(json.loads(row.memo))) if row.memo else None
    attributes = encode(row.search_attributes)
    return memo, SearchAttributes(indexed_fields=attributes) if attributes else None


async def list_schedules(context: Context, request: ListSchedulesRequest) -> ListSchedulesResponse:
    where = await _where(context, request.query)
    size = request.maximum_page_size
    limit = min(size, PAGE_ROWS_MAX) if size > 0 else PAGE_ROWS_MAX
    now_ms = await context.kernel.store.now_ms()
    response = ListSchedulesResponse()
    last: ScheduleRow | None = None
    async for row, schedule in _found(context, where, _read_token(request.next_page_token)):
        if len(response.schedules) == limit:
            assert last is not None
            response.next_page_token = _token(last)
            break
        response.schedules.append(_entry(row, schedule, now_ms))
        last = row
    return response


async def count_schedules(context: Context, request: CountSchedulesRequest) -> CountSchedulesResponse:
    where = await _where(context, request.query)
    count = 0
    async for _ in _found(context, where, None):
        count += 1
    return CountSchedulesResponse(count=count)


def _entry(row: ScheduleRow, schedule: Schedule, now_ms: int) -> ScheduleListEntry:
    entry = ScheduleListEntry(schedule_id=row.schedule_id, info=list_info_message(schedule, now_ms))
    memo, attributes = entry_parts(row)
    if memo is not None:
        entry.memo.CopyFrom(memo)
    if attributes is not None:
        entry.search_attributes.CopyFrom(attributes)
    return entry


# -- filters -----------------------------------------------------------------------------------------------------------


async def _where(context: Context, text: str) -> Filter | None:
    if not text.strip():
        return None
    try:
        query = parse(text, await attribute_types(context))
        names = list(_names(parse_syntax(text).where))
    except BadFilter as error:
        raise invalid(f"invalid query: {error}") from None
    if query.group_by is not None:
        raise invalid("invalid query: operation is not supported: 'GROUP BY' clause for schedules")
    if query.order:
        raise invalid("invalid query: operation is not supported: 'ORDER BY' clause for schedules")
    for name in names:
        if name not in (SCHEDULE_ID, PAUSED) and resolved(name) not in (None, PAUSED):
            raise invalid(f'invalid query filter for schedules: cannot filter on "{name}"')
    return query.where


def _names(node: Node | tuple[Node, ...] | None) -> Iterator[str]:
    """Every name in a filter."""
    if isinstance(node, Name):
        yield node.text
    elif isinstance(node, tuple):
        for item in node:
            yield from _names(item)
    elif dataclasses.is_dataclass(node):
        for part in dataclasses.fields(node):
            value = getattr(node, part.name)
            if isinstance(value, tuple) or dataclasses.is_dataclass(value):
                yield from _names(value)  # type: ignore[arg-type]


def _matches(where: Filter, row: ScheduleRow, schedule: Schedule) -> bool:
    """A filter is made for runs: to it a schedule is one, whose workflow id is the schedule's id."""
    attributes = json.loads(row.search_attributes) if row.search_attributes else {}
    attributes[PAUSED] = schedule.definition.paused
    like_a_run = RunRow(
        workflow_uuid="",
        workflow_id=row.schedule_id,
        run_id="",
        first_run_id="",
        workflow_type="",
        task_queue="",
        status=RunStatus.RUNNING,
        start_ms=row.created_ms,
        execution_ms=row.created_ms,
        search_attributes=dumps(attributes),
    )
    return matches(where, like_a_run)


async def _found(
    context: Context, where: Filter | None, after: tuple[int, str] | None
) -> AsyncIterator[tuple[ScheduleRow, Schedule]]:
    while True:
        rows = await context.kernel.store.list_schedules(after, READ_ROWS)
        for row in rows:
            schedule = record.schedule(row.schedule_id, row.record)
            if where is None or _matches(where, row, schedule):
                yield row, schedule
        if len(rows) < READ_ROWS:
            return
        after = (rows[-1].created_ms, rows[-1].schedule_id)


def _token(row: ScheduleRow) -> bytes:
    """A page token: the last row that was shown."""
    return b64encode(dumps([row.created_ms, row.schedule_id]).encode())


def _read_token(raw: bytes) -> tuple[int, str] | None:
    if not raw:
        return None
    try:
        created_ms, schedule_id = json.loads(b64decode(raw, validate=True))
        return int(created_ms), str(schedule_id)
    except (ValueError, TypeError):
        raise invalid("Invalid NextPageToken.") from None
