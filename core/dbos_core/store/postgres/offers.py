"""Offers: activity attempts that another process than the run's owner may run, and their heartbeats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import asyncpg

from dbos_core.store.base import HeartbeatAnswer, OfferedActivity
from dbos_core.store.postgres.connect import Connection, Database
from dbos_core.store.postgres.load import activity_row

_CLAIM = """
    with clock as materialized (select {own}.now_ms() as ms),
    c as materialized (
        select due.*
          from unnest($2::text[]) as q (name),
               lateral (
                    select a.workflow_uuid, a.seq, a.due_ms, r.workflow_id, r.run_id, r.workflow_type
                      from {own}.activities a
                      join {own}.runs r on r.workflow_uuid = a.workflow_uuid
                     where a.task_queue = q.name and a.offered and a.worker is null
                       and a.due_ms <= (select ms from clock) and r.status = 1
                     order by a.due_ms
                     limit $3
                       for no key update of a skip locked) as due
         order by due.due_ms
         limit $3)
    update {own}.activities a set worker = $1, started_ms = (select ms from clock)
      from c where a.workflow_uuid = c.workflow_uuid and a.seq = c.seq
    returning a.seq, a.task_queue, a.attempt, a.scheduled_ms, a.due_ms, a.started_ms, a.worker, a.offered, a.spec,
              a.heartbeat, a.heartbeat_at_ms, a.last_failure, a.cancel_requested, a.ended_ms,
              a.operator, a.workflow_uuid,
              c.workflow_id, c.run_id, c.workflow_type"""

# The lock waits for a session that still commits.
_TAKEN = """
    select a.seq, a.task_queue, a.attempt, a.scheduled_ms, a.due_ms, a.started_ms, a.worker, a.offered, a.spec,
           a.heartbeat, a.heartbeat_at_ms, a.last_failure, a.cancel_requested, a.ended_ms,
           a.operator, a.workflow_uuid,
           r.workflow_id, r.run_id, r.workflow_type
      from unnest($2::text[], $3::int[], $4::int[]) as d (uuid, seq, attempt)
      join {own}.activities a on a.workflow_uuid = d.uuid and a.seq = d.seq
      join {own}.runs r on r.workflow_uuid = a.workflow_uuid
     where a.worker = $1 and a.attempt = d.attempt
       for no key update of a"""

_WITHDRAW = """
    delete from {own}.activities
     where workflow_uuid = $1 and seq = $2 and attempt = $3 and worker is null
    returning seq"""

_TAKE_BACK = """
    update {own}.activities set offered = false
     where workflow_uuid = $1 and seq = $2 and attempt = $3 and worker is null
    returning seq"""

# Only the run's owner may run an attempt that has no row; its heartbeat makes one.
_HEARTBEAT = """
    insert into {own}.activities as a (
        workflow_uuid, seq, task_queue, attempt, scheduled_ms, due_ms, started_ms, worker, heartbeat, heartbeat_at_ms)
    select r.workflow_uuid, $2, r.task_queue, $3, n.ms, n.ms, n.ms, $5, $4, n.ms
      from {own}.runs r, (select {own}.now_ms() as ms) as n
     where r.workflow_uuid = $1 and r.status = 1
       and (r.owner = $5 or (select k.seq from {own}.activities k where k.workflow_uuid = $1 and k.seq = $2) is not null)
    on conflict (workflow_uuid, seq) do update
        set heartbeat = excluded.heartbeat, heartbeat_at_ms = excluded.heartbeat_at_ms,
            worker = coalesce(a.worker, excluded.worker)
        where a.attempt = excluded.attempt
          and (a.worker = excluded.worker
               or a.worker is null
                  and excluded.worker = (select r.owner from {own}.runs r where r.workflow_uuid = $1))
    returning cancel_requested, operator"""


Attempts: TypeAlias = list[tuple[str, int, int]]
"""(workflow_uuid, seq, attempt)."""


async def claim_activities(
    db: Database, process_id: str, queues: Sequence[str], limit: int, maybe: Attempts
) -> list[OfferedActivity]:
    """Take attempts. ``maybe`` lists those of an earlier call whose commit was not answered; if it is lost again, it
    holds those of this call, too. An attempt that is taken and not known to be taken would never run."""

    async def body(connection: Connection) -> list[asyncpg.Record]:
        async with connection.transaction():
            rows: list[asyncpg.Record] = []
            if maybe:
                uuids, seqs, attempts = ([one[n] for one in maybe] for n in range(3))
                rows += await connection.fetch(db.sql(_TAKEN), process_id, uuids, seqs, attempts)
            rows += await connection.fetch(db.sql(_CLAIM), process_id, list(dict.fromkeys(queues)), limit)
            maybe.extend([(row["workflow_uuid"], row["seq"], row["attempt"]) for row in rows])
        return rows

    rows = await db.run("claiming activities", body)
    return [
        OfferedActivity(
            row=activity_row(row, row["workflow_uuid"]),
            workflow_id=row["workflow_id"],
            run_id=row["run_id"],
            workflow_type=row["workflow_type"],
        )
        for row in rows
    ]


async def withdraw_activity(db: Database, workflow_uuid: str, seq: int, attempt: int, *, keep: bool) -> bool:
    statement = _TAKE_BACK if keep else _WITHDRAW
    return bool(await db.rows("withdrawing an activity", statement, workflow_uuid, seq, attempt))


async def heartbeat(
    db: Database, workflow_uuid: str, seq: int, attempt: int, details: str | None, worker: str
) -> HeartbeatAnswer:
    row = await db.row(
        f"heartbeat of activity {seq} of run {workflow_uuid!r}",
        _HEARTBEAT,
        workflow_uuid,
        seq,
        attempt,
        details,
        worker,
        safe=True,
    )
    return HeartbeatAnswer(False) if row is None else HeartbeatAnswer(True, row["cancel_requested"], row["operator"])
