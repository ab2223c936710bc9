"""Versions: which open runs no worker goes on with, and how they come to one that does. For operators.

The kernel never asks any of this, so it is no part of ``Store``. A run belongs to a task queue, whatever version of the
application it last ran under, and whoever serves the queue goes on with it. Two things leave it standing: nobody serves
its queue, or those who do cannot run its code (its task fails again and again).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from dbos_core.store.postgres.connect import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRuns:
    """The open runs of one type on one queue that ran last under one version of the application."""

    version: str
    """As ``connect(application_version=...)`` gave it; "" for those that never ran."""
    task_queue: str
    workflow_type: str
    runs: int
    failing: int
    """Of these: how many fail their task again and again."""
    oldest_ms: int
    served_by: tuple[str, ...]
    """Versions of the live processes that serve the queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranded:
    """An open run that no worker goes on with."""

    workflow_id: str
    run_id: str
    workflow_type: str
    task_queue: str
    version: str
    start_ms: int
    served: bool
    attempt: int
    cause: str | None
    """Temporal's ``WorkflowTaskFailedCause`` by name; None: its task does not fail."""
    message: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """Runs to move. None: whichever."""

    task_queue: str | None = None
    version: str | None = None
    workflow_type: str | None = None
    workflow_ids: Sequence[str] | None = None
    stranded: bool = False
    """Only those that no worker goes on with."""


_LIVE = """
    live as materialized (
        select p.process_id, p.application_version, p.task_queues
          from {own}.processes p where p.lease_until_ms > {own}.now_ms())"""

_OPEN_RUNS = """
    with {live}
    select coalesce(w.application_version, '') as version, r.task_queue, r.workflow_type, count(*) as runs,
           count(r.task_failure) as failing, min(r.start_ms) as oldest_ms,
           (select array_agg(distinct l.application_version order by l.application_version)
              from live l where r.task_queue = any (l.task_queues)) as served_by
      from {own}.runs r
      join {dbos}.workflow_status w on w.workflow_uuid = r.workflow_uuid
     where r.status = 1
     group by 1, 2, 3
     order by 1, 2, 3""".replace("{live}", _LIVE)

_STRANDED = """
    with {live},
    served as materialized (select distinct unnest(l.task_queues) as task_queue from live l)
    select r.workflow_id, r.run_id, r.workflow_type, r.task_queue, coalesce(w.application_version, '') as version,
           r.start_ms, s.task_queue is not null as served, r.task_attempt, r.task_failure
      from {own}.runs r
      join {dbos}.workflow_status w on w.workflow_uuid = r.workflow_uuid
      left join served s on s.task_queue = r.task_queue
     where r.status = 1 and (s.task_queue is null or r.task_failure is not null)
     order by r.start_ms, r.workflow_uuid
     limit $1""".replace("{live}", _LIVE)

_MATCHING = """
           r.status = 1 and w.status in ('ENQUEUED', 'DELAYED', 'PENDING') and r.task_queue <> $1
           and ($2::text is null or r.task_queue = $2)
           and ($3::text is null or coalesce(w.application_version, '') = $3)
           and ($4::text is null or r.workflow_type = $4)
           and ($5::text[] is null or r.workflow_id = any ($5))
           and (not $6 or r.task_failure is not null
                or not exists (select from served s where s.task_queue = r.task_queue))"""

_COUNT = """
    with {live},
    served as materialized (select distinct unnest(l.task_queues) as task_queue from live l)
    select count(*)
      from {own}.runs r
      join {dbos}.workflow_status w on w.workflow_uuid = r.workflow_uuid
     where {matching}""".replace("{live}", _LIVE).replace("{matching}", _MATCHING)

# A run that a live process holds is given the look of one that a stock tool resumed: the holder sees that with its next
# pulse and lets go of it. All others are free at once.
_MOVE = """
    with {live},
    served as materialized (select distinct unnest(l.task_queues) as task_queue from live l),
    c as materialized (
        select r.workflow_uuid, r.workflow_id, r.task_queue, r.owner is null as free,
               r.owner in (select l.process_id from live l) as held
          from {dbos}.workflow_status w
          join {own}.runs r on r.workflow_uuid = w.workflow_uuid
         where {matching}
         order by w.workflow_uuid collate "C"
         limit $7
           for no key update of w, r),
    moved as (
        update {own}.runs r
           set task_queue = $1, task_attempt = 1, task_failure = null,
               owner = case when c.held then r.owner end,
               wake_at_ms = case when c.free or c.held then r.wake_at_ms else {own}.now_ms() end
          from c where r.workflow_uuid = c.workflow_uuid),
    told as (
        update {dbos}.workflow_status w
           set queue_name = $1, owner_xid = null, status = case when c.held then 'ENQUEUED' else w.status end
          from c where w.workflow_uuid = c.workflow_uuid),
    offers as (
        update {own}.activities a set task_queue = $1
          from c where a.workflow_uuid = c.workflow_uuid and a.task_queue = c.task_queue and a.worker is null),
    wakes as (select pg_notify('dbos_compat_wake', {wake} || 'work|' || $1) from c limit 1)
    select c.workflow_id, (select count(*) from wakes) as woken from c""".replace("{live}", _LIVE).replace(
    "{matching}", _MATCHING
)


class Versions:
    """What an operator asks and does about open runs."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def open_runs(self) -> list[OpenRuns]:
        rows = await self._db.rows("counting open runs by version", _OPEN_RUNS, safe=True)
        return [
            OpenRuns(
                version=row["version"],
                task_queue=row["task_queue"],
                workflow_type=row["workflow_type"],
                runs=row["runs"],
                failing=row["failing"],
                oldest_ms=row["oldest_ms"],
                served_by=tuple(row["served_by"] or ()),
            )
            for row in rows
        ]

    async def stranded(self, limit: int) -> list[Stranded]:
        """The oldest first."""
        found = []
        for row in await self._db.rows("looking for stranded runs", _STRANDED, limit, safe=True):
            note = json.loads(row["task_failure"]) if row["task_failure"] else {}
            found.append(
                Stranded(
                    workflow_id=row["workflow_id"],
                    run_id=row["run_id"],
                    workflow_type=row["workflow_type"],
                    task_queue=row["task_queue"],
                    version=row["version"],
                    start_ms=row["start_ms"],
                    served=row["served"],
                    attempt=row["task_attempt"],
                    cause=note.get("cause"),
                    message=note.get("message"),
                )
            )
        return found

    async def count(self, to_queue: str, which: Which) -> int:
        """How many runs ``move`` would move."""
        row = await self._db.row("counting runs to move", _COUNT, to_queue, *_arguments(which), safe=True)
        return int(row[0]) if row else 0

    async def move(self, to_queue: str, which: Which, limit: int) -> list[str]:
        """Put open runs on another task queue, as they stand; their journals are not touched. Workflow ids of those
        that were moved. Repeating it is harmless."""
        rows = await self._db.rows(
            f"moving runs to task queue {to_queue!r}",
            _MOVE,
            to_queue,
            *_arguments(which),
            limit,
            safe=True,
        )
        return [row["workflow_id"] for row in rows]


def _arguments(which: Which) -> tuple[object, ...]:
    ids = None if which.workflow_ids is None else list(which.workflow_ids)
    return which.task_queue, which.version, which.workflow_type, ids, which.stranded
