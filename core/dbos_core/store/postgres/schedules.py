"""Schedules in Postgres: rows with a version, taken when they are due or when one of their runs has closed.

That a run has closed is noted by a trigger on ``runs``, in the transaction that closes it, whoever does.
"""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from dbos_core.commit import RunRow
from dbos_core.schedules.rows import ScheduleRow, TakenSchedules
from dbos_core.store.postgres.connect import Database
from dbos_core.store.postgres.load import run_row

_CREATE = """
    with made as (
        insert into {own}.schedules (schedule_id, request_id, created_ms, wake_at_ms, record, memo, search_attributes)
        values ($1, $2, $3, $4, $5, $6, $7::jsonb)
        on conflict (schedule_id) do nothing
        returning wake_at_ms)
    select (select count(*) from made) as made,
           (select count(*) from (
               select pg_notify('dbos_compat_wake', {wake} || 'schedule|')
                 from made where wake_at_ms <= (select {own}.now_ms()) offset 0) as n)"""

_FIND = """
    select schedule_id, version, request_id, created_ms, wake_at_ms, record, memo, search_attributes
      from {own}.schedules where schedule_id = $1"""

_SAVE = """
    with saved as (
        update {own}.schedules
           set version = version + 1, wake_at_ms = $3, record = $4, memo = $5, search_attributes = $6::jsonb
         where schedule_id = $1 and version = $2
        returning wake_at_ms)
    select (select count(*) from saved) as saved,
           (select count(*) from (
               select pg_notify('dbos_compat_wake', {wake} || 'schedule|')
                 from saved where wake_at_ms <= (select {own}.now_ms()) offset 0) as n)"""

_DELETE = """
    delete from {own}.schedules
     where schedule_id = $1 and ($2::bigint is null or version = $2)
    returning schedule_id"""

# Who waits for a row that another has just taken looks at it again, and finds that it is no longer due. Rows of which
# news was heard are taken in any case: nobody else has heard it.
_TAKE = """
    with clock as materialized (select {own}.now_ms() as ms),
    heard as materialized (
        delete from {own}.schedule_news
         where number in (select number from {own}.schedule_news order by number limit 1000 for update skip locked)
        returning schedule_id),
    told as materialized (
        select s.schedule_id from {own}.schedules s
         where s.schedule_id in (select schedule_id from heard)
         order by s.schedule_id
           for no key update),
    due as materialized (
        select s.schedule_id from {own}.schedules s
         where s.wake_at_ms <= (select ms from clock)
           and s.schedule_id not in (select schedule_id from told)
         order by s.wake_at_ms
         limit $1
           for no key update),
    taken as (
        update {own}.schedules s
           set version = s.version + 1, wake_at_ms = (select ms from clock) + $2::bigint
          from (select schedule_id from told union all select schedule_id from due) as t
         where s.schedule_id = t.schedule_id
        returning s.*)
    select (select ms from clock) as now_ms,
           (select min(s.wake_at_ms) from {own}.schedules s where s.wake_at_ms > (select ms from clock))
               - (select ms from clock) as next_due_in_ms,
           t.*
      from (select 1) as one left join taken t on true"""

_LIST = """
    select schedule_id, version, request_id, created_ms, wake_at_ms, record, memo, search_attributes
      from {own}.schedules
     where $1::bigint is null or (created_ms, schedule_id collate "C") < ($1::bigint, $2::text collate "C")
     order by created_ms desc, schedule_id collate "C" desc
     limit $3"""

_CURRENT = "select * from {own}.runs where is_current and workflow_id = any ($1::text[])"


class PostgresSchedules:
    """The part of ``PostgresStore`` that is about schedules."""

    _db: Database

    async def create_schedule(self, row: ScheduleRow) -> ScheduleRow | None:
        what = f"creating schedule {row.schedule_id!r}"
        while True:
            made = await self._db.row(
                what,
                _CREATE,
                row.schedule_id,
                row.request_id,
                row.created_ms,
                row.wake_at_ms,
                row.record,
                row.memo,
                row.search_attributes,
            )
            assert made is not None
            if made["made"]:
                return None
            if (existing := await self.find_schedule(row.schedule_id)) is not None:
                return existing

    async def find_schedule(self, schedule_id: str) -> ScheduleRow | None:
        row = await self._db.row(f"reading schedule {schedule_id!r}", _FIND, schedule_id, safe=True)
        return None if row is None else _row(row)

    async def save_schedule(self, row: ScheduleRow) -> bool:
        saved = await self._db.row(
            f"writing schedule {row.schedule_id!r}",
            _SAVE,
            row.schedule_id,
            row.version,
            row.wake_at_ms,
            row.record,
            row.memo,
            row.search_attributes,
        )
        assert saved is not None
        if saved["saved"]:
            row.version += 1
        return bool(saved["saved"])

    async def delete_schedule(self, schedule_id: str, version: int | None = None) -> bool:
        row = await self._db.row(f"deleting schedule {schedule_id!r}", _DELETE, schedule_id, version)
        return row is not None

    async def take_schedules(self, limit: int, hold_ms: int) -> TakenSchedules:
        rows = await self._db.rows("looking for schedules that are due", _TAKE, limit, hold_ms)
        return TakenSchedules(
            now_ms=rows[0]["now_ms"],
            next_due_in_ms=rows[0]["next_due_in_ms"],
            rows=[_row(row) for row in rows if row["schedule_id"] is not None],
        )

    async def list_schedules(self, after: tuple[int, str] | None, limit: int) -> list[ScheduleRow]:
        created_ms, schedule_id = after or (None, None)
        rows = await self._db.rows("listing schedules", _LIST, created_ms, schedule_id, limit, safe=True)
        return [_row(row) for row in rows]

    async def current_runs(self, workflow_ids: Sequence[str]) -> list[RunRow]:
        rows = await self._db.rows("reading runs of a schedule", _CURRENT, list(workflow_ids), safe=True)
        return [run_row(row) for row in rows]


def _row(row: asyncpg.Record) -> ScheduleRow:
    return ScheduleRow(
        schedule_id=row["schedule_id"],
        version=row["version"],
        request_id=row["request_id"],
        created_ms=row["created_ms"],
        wake_at_ms=row["wake_at_ms"],
        record=row["record"],
        memo=row["memo"],
        search_attributes=row["search_attributes"],
    )
