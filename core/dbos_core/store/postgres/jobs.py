"""Jobs on Postgres: rows with a lease, and progress that only the holder of the lease may write."""

from __future__ import annotations

import asyncpg

from dbos_core.jobs import JobRow, JobState
from dbos_core.store.postgres.connect import Database

_COLUMNS = "j.job_id, j.kind, j.job_order, j.state, j.start_ms, j.close_ms, j.total, j.done, j.failed, j.position"

# The same job again by the same process is the repeat of a statement whose answer was lost.
_ADD = """
    insert into {own}.jobs as j (job_id, kind, job_order, start_ms, owner, lease_until_ms)
    values ($1, $2, $3, $4, $5, {own}.now_ms() + $6)
    on conflict (job_id) do update set lease_until_ms = excluded.lease_until_ms
     where j.owner = $5 and j.state = 1 and j.start_ms = $4 and j.position is null
    returning j.job_id"""

_TAKE = """
    with free as materialized (
        select j.job_id from {own}.jobs j
         where j.state = 1 and j.lease_until_ms <= (select {own}.now_ms())
         order by j.lease_until_ms
         limit $3
           for update skip locked)
    update {own}.jobs j set owner = $1, lease_until_ms = {own}.now_ms() + $2
      from free where j.job_id = free.job_id
    returning {columns}""".replace("{columns}", _COLUMNS)

_SAVE = """
    update {own}.jobs j
       set state = $3, close_ms = $4, total = $5, done = $6, failed = $7, position = $8,
           lease_until_ms = {own}.now_ms() + $9
     where j.job_id = $1 and j.owner = $2 and (j.state = 1 or (j.state = $3 and j.close_ms = $4))
    returning j.job_id"""

_STOP = """
    update {own}.jobs j set state = 3, close_ms = $2, owner = null
     where j.job_id = $1 and j.state = 1
    returning j.job_id"""

_ONE = "select {columns} from {own}.jobs j where j.job_id = $1".replace("{columns}", _COLUMNS)

_LIST = """
    select {columns} from {own}.jobs j
     where (j.start_ms, j.job_id collate "C") < ($1, $2)
     order by j.start_ms desc, j.job_id collate "C" desc
     limit $3""".replace("{columns}", _COLUMNS)

_RELEASE = "update {own}.jobs j set lease_until_ms = 0 where j.owner = $1 and j.state = 1"

_NEWEST = (2**63 - 1, "")


class PostgresJobs:
    """The table of jobs."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def add(self, process_id: str, job: JobRow, lease_ms: int) -> bool:
        rows = await self._db.rows(
            f"adding job {job.job_id!r}",
            _ADD,
            job.job_id,
            job.kind,
            job.order,
            job.start_ms,
            process_id,
            lease_ms,
            safe=True,
        )
        return bool(rows)

    async def take(self, process_id: str, lease_ms: int, limit: int) -> list[JobRow]:
        return [_job(row) for row in await self._db.rows("taking jobs", _TAKE, process_id, lease_ms, limit)]

    async def save(self, process_id: str, job: JobRow, lease_ms: int) -> bool:
        rows = await self._db.rows(
            f"noting progress of job {job.job_id!r}",
            _SAVE,
            job.job_id,
            process_id,
            int(job.state),
            job.close_ms,
            job.total,
            job.done,
            job.failed,
            job.position,
            lease_ms,
            safe=True,
        )
        return bool(rows)

    async def stop(self, job_id: str, close_ms: int) -> bool:
        return bool(await self._db.rows(f"stopping job {job_id!r}", _STOP, job_id, close_ms))

    async def one(self, job_id: str) -> JobRow | None:
        row = await self._db.row(f"reading job {job_id!r}", _ONE, job_id, safe=True)
        return None if row is None else _job(row)

    async def page(self, limit: int, after: tuple[int, str] | None) -> list[JobRow]:
        start_ms, job_id = after or _NEWEST
        return [_job(row) for row in await self._db.rows("listing jobs", _LIST, start_ms, job_id, limit, safe=True)]

    async def release(self, process_id: str) -> None:
        await self._db.rows("releasing jobs", _RELEASE, process_id, safe=True)


def _job(row: asyncpg.Record) -> JobRow:
    return JobRow(
        job_id=row["job_id"],
        kind=row["kind"],
        order=row["job_order"],
        state=JobState(row["state"]),
        start_ms=row["start_ms"],
        close_ms=row["close_ms"],
        total=row["total"],
        done=row["done"],
        failed=row["failed"],
        position=row["position"],
    )
