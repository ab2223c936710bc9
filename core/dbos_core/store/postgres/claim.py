"""Claim: which process runs what. SKIP LOCKED claims, leases on the database's clock, taking over from the dead.

A claim writes two columns: ``runs.owner``, by which claims are found, and ``workflow_status.owner_xid``, the fence that
``flush`` checks and that stock tools clear when they take a run away. Rows are locked in the order workflow_status,
runs, everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from dbos_core.activities.spec import ASYNC_WORKER
from dbos_core.clock import time_ordered_uuid
from dbos_core.commit import Commit, Mail
from dbos_core.mailbox import ACTIVITY, OWN_ID
from dbos_core.store.base import KnownProcess, ProcessInfo, Pulse
from dbos_core.store.postgres.connect import Connection, Database
from dbos_core.store.postgres.flush import Author, apply

_OWN = """
    owned as (
        update {own}.runs r set owner = $1, wake_at_ms = null from c where r.workflow_uuid = c.workflow_uuid),
    fenced as (
        update {dbos}.workflow_status w
           set status = 'PENDING', owner_xid = $1, executor_id = $1, application_version = $2, updated_at = c.now_ms,
               started_at_epoch_ms = c.now_ms, recovery_attempts = coalesce(w.recovery_attempts, 0) + 1
          from c where w.workflow_uuid = c.workflow_uuid)
    select workflow_uuid from c"""

# One index scan per queue, in order of waking, that stops at the limit.
_CLAIM = """
    with clock as materialized (select {own}.now_ms() as ms),
    c as materialized (
        select due.*, (select ms from clock) as now_ms
          from unnest($3::text[]) as q (name),
               lateral (
                    select r.workflow_uuid, r.wake_at_ms
                      from {own}.runs r
                      join {dbos}.workflow_status w on w.workflow_uuid = r.workflow_uuid
                     where r.task_queue = q.name and r.owner is null and r.status = 1
                       and r.wake_at_ms <= (select ms from clock)
                       and w.status in ('ENQUEUED', 'DELAYED', 'PENDING')
                       and r.workflow_uuid <> all ($5::text[])
                     order by r.wake_at_ms
                     limit $4
                       for no key update of w, r skip locked) as due
         order by due.wake_at_ms
         limit $4),{own_them}""".replace("{own_them}", _OWN)

_CLAIM_ONE = """
    with c as materialized (
        select r.workflow_uuid, {own}.now_ms() as now_ms
          from {dbos}.workflow_status w
          join {own}.runs r on r.workflow_uuid = w.workflow_uuid
         where w.workflow_uuid = $3 and r.owner is null and r.status is not distinct from 1
           and w.status in ('ENQUEUED', 'DELAYED', 'PENDING')
           for no key update of w, r),{own_them}""".replace("{own_them}", _OWN)

_OWNED = "select workflow_uuid from {own}.runs where owner = $1 and status is not distinct from 1"

_RELEASE = """
    with clock as materialized (select {own}.now_ms() as ms),
    c as materialized (
        select r.workflow_uuid, r.task_queue
          from {dbos}.workflow_status w
          join {own}.runs r on r.workflow_uuid = w.workflow_uuid
         where w.workflow_uuid = any ($2::text[]) and r.owner = $1 and r.status = 1
         order by w.workflow_uuid collate "C"
           for no key update of w, r),
    freed as (
        update {own}.runs r set owner = null, wake_at_ms = (select ms from clock)
          from c where r.workflow_uuid = c.workflow_uuid),
    unfenced as (
        update {dbos}.workflow_status w set owner_xid = null, updated_at = (select ms from clock)
          from c where w.workflow_uuid = c.workflow_uuid and w.owner_xid = $1)
    select count(*) from (
        select pg_notify('dbos_compat_wake', {wake} || 'work|' || task_queue)
          from (select distinct task_queue from c) as q offset 0) as n"""

_TAKE_OVER = """
    with c as materialized (
        select orphan.*, {own}.now_ms() as now_ms
          from unnest($3::text[]) as dead (process_id)
          join {own}.runs o on o.owner = dead.process_id,
               lateral (
                    select r.workflow_uuid
                      from {dbos}.workflow_status w
                      join {own}.runs r on r.workflow_uuid = w.workflow_uuid
                     where w.workflow_uuid = o.workflow_uuid and r.owner = dead.process_id
                       and w.owner_xid = dead.process_id and w.status is not distinct from 'PENDING'
                       and r.task_queue = any ($4::text[])
                       for no key update of w, r skip locked) as orphan
         where ((select p.lease_until_ms from {own}.processes p where p.process_id = dead.process_id)
                    > {own}.now_ms()) is not true
         limit $5),{own_them}""".replace("{own_them}", _OWN)

# Attempts of dead processes for runs that others own. They are no longer offered: the run decides what comes next.
_GIVE_BACK = """
    with dead as materialized (
        select d.process_id from unnest($1::text[]) as d (process_id)
         where not exists (select from {own}.processes p
                            where p.process_id = d.process_id and p.lease_until_ms > {own}.now_ms())),
    c as materialized (
        select a.workflow_uuid, a.seq, a.attempt
          from dead
          join {own}.activities a on a.worker = dead.process_id
         where a.offered
           for no key update of a skip locked)
    update {own}.activities a set worker = null, offered = false
      from c where a.workflow_uuid = c.workflow_uuid and a.seq = c.seq
    returning a.workflow_uuid, a.seq, a.attempt"""

# What dead processes were to tell others.
_TAKE_OUTBOX = """
    with dead as materialized (
        select d.process_id from unnest($2::text[]) as d (process_id)
         where d.process_id = $1
            or not exists (select from {own}.processes p
                            where p.process_id = d.process_id and p.lease_until_ms > {own}.now_ms())),
    c as materialized (
        select o.workflow_uuid
          from dead
          join {own}.outbox o on o.process_id = dead.process_id
         limit $3
           for no key update of o skip locked)
    update {own}.outbox o set process_id = $1 from c where o.workflow_uuid = c.workflow_uuid
    returning o.workflow_uuid"""

_REGISTER = """
    with clock as materialized (select {own}.now_ms() as ms),
    version as (
        insert into {dbos}.application_versions (version_id, version_name, application_name)
        values ($6, $3, $7) on conflict do nothing)
    insert into {own}.processes
        (process_id, identity, application_version, task_queues, limited_queues, started_ms, lease_until_ms)
    select $1, $2, $3, $4::text[], $8::text[], ms, ms + $5::bigint from clock
    on conflict (process_id) do update
        set identity = excluded.identity, application_version = excluded.application_version,
            task_queues = excluded.task_queues, limited_queues = excluded.limited_queues,
            lease_until_ms = excluded.lease_until_ms"""

_FORGET_OLD_PROCESSES = """
    delete from {own}.processes p
     where p.lease_until_ms < {own}.now_ms() - 86400000
       and not exists (select from {own}.runs r where r.owner = p.process_id)
       and not exists (select from {own}.activities a where a.worker = p.process_id)
       and not exists (select from {own}.outbox o where o.process_id = p.process_id)"""

_UNREGISTER = """
    with gone as (delete from {own}.processes where process_id = $1)
    select workflow_uuid from {own}.runs where owner = $1"""

# Who owns anything is read by hopping from one owner to the next in the index, not by reading every run.
_PULSE = """
    with recursive clock as materialized (select {own}.now_ms() as ms),
    before as materialized (select p.lease_until_ms from {own}.processes p where p.process_id = $1),
    beat as (
        insert into {own}.processes
            (process_id, identity, application_version, task_queues, limited_queues, started_ms, lease_until_ms)
        select $1, $2, $3, $4::text[], $7::text[], ms, ms + $5::bigint from clock
        on conflict (process_id) do update
            set lease_until_ms = excluded.lease_until_ms, task_queues = excluded.task_queues,
                limited_queues = excluded.limited_queues),
    owners (owner) as (
        (select r.owner from {own}.runs r where r.owner is not null order by r.owner limit 1)
        union all
        select (select r.owner from {own}.runs r where r.owner > owners.owner order by r.owner limit 1)
          from owners where owners.owner is not null),
    workers (worker) as (
        (select a.worker from {own}.activities a where a.worker is not null and a.offered order by a.worker limit 1)
        union all
        select (select a.worker from {own}.activities a
                 where a.worker > workers.worker and a.offered order by a.worker limit 1)
          from workers where workers.worker is not null),
    senders (process_id) as (
        (select o.process_id from {own}.outbox o order by o.process_id limit 1)
        union all
        select (select o.process_id from {own}.outbox o
                 where o.process_id > senders.process_id order by o.process_id limit 1)
          from senders where senders.process_id is not null),
    busy (process_id) as (
        select owner from owners union select worker from workers union select process_id from senders)
    select coalesce((select lease_until_ms > (select ms from clock) from before), false) as alive,
           (select ms from clock) as now_ms,
           array(select b.process_id from busy b
                  where b.process_id is not null and b.process_id <> $1 and b.process_id <> $6
                    and not exists (select from {own}.processes p
                                     where p.process_id = b.process_id
                                       and p.lease_until_ms > (select ms from clock))) as lapsed,
           exists (select from unnest($4::text[]) as q (name)
                    where exists (select from {own}.runs r
                                   where r.task_queue = q.name and r.owner is null and r.status = 1
                                     and r.wake_at_ms <= (select ms from clock))) as runnable,
           exists (select from unnest($4::text[]) as q (name)
                    where exists (select from {own}.activities a
                                   where a.task_queue = q.name and a.offered and a.worker is null
                                     and a.due_ms <= (select ms from clock))) as offered,
           exists (select from unnest($4::text[]) as q (name)
                    where exists (select from {own}.requests k
                                   where k.task_queue = q.name and k.response is null and k.worker is null
                                     and k.deadline_ms > (select ms from clock))) as requests,
           exists (select from {own}.runs r
                    where r.status = 1 and r.deadline_ms is not null and r.deadline_ms <= (select ms from clock)
                      and coalesce(r.owner, '') = '') as expired,
           case when exists (select from {own}.schedule_news) then 0
                else (select min(s.wake_at_ms) from {own}.schedules s) - (select ms from clock)
                end as schedule_due_in_ms,
           exists (select from {own}.jobs j
                    where j.state = 1 and j.lease_until_ms <= (select ms from clock)) as jobs,
           array(select (select count(*) from {own}.processes p
                          where q.name = any (p.limited_queues) and p.process_id <> $1
                            and p.lease_until_ms > (select ms from clock))
                   from unnest($7::text[]) with ordinality as q (name, place) order by q.place) as others,
           (select min(due.wake_at_ms)
              from unnest($4::text[]) as q (name),
                   lateral (select r.wake_at_ms from {own}.runs r
                             where r.task_queue = q.name and r.owner is null and r.status = 1
                               and r.wake_at_ms > (select ms from clock)
                             order by r.wake_at_ms limit 1) as due) - (select ms from clock) as next_due_in_ms,
           array(select r.workflow_uuid
                   from {own}.runs r
                  where r.owner = $1
                    and (select w.owner_xid = $1 and w.status = 'PENDING'
                           from {dbos}.workflow_status w
                          where w.workflow_uuid = r.workflow_uuid) is not true) as touched"""

_SERVED = """
    select exists (select from {own}.processes p
                    where p.process_id <> $1 and $2 = any (p.task_queues) and p.lease_until_ms > {own}.now_ms())"""

_KNOWN = """
    select p.process_id, p.identity, p.lease_until_ms > (select {own}.now_ms()) as alive
      from {own}.processes p where p.process_id = any ($1::text[])"""

_KEEP = """
    with clock as materialized (select {own}.now_ms() as ms)
    update {own}.processes p set lease_until_ms = clock.ms + $2::bigint
      from clock where p.process_id = $1 and p.lease_until_ms > clock.ms
    returning true"""

# `coalesce` keeps the index of unowned runs out of it: the one on deadlines is meant.
_EXPIRED = """
    select r.workflow_uuid from {own}.runs r
     where r.status = 1 and r.deadline_ms is not null and r.deadline_ms <= (select {own}.now_ms())
       and coalesce(r.owner, '') = ''
     order by r.deadline_ms
     limit $1"""


async def claim(
    db: Database, author: Author, queues: Sequence[str], limit: int, passing_over: Sequence[str]
) -> list[str]:
    rows = await db.rows(
        "claiming runs",
        _CLAIM,
        author.process_id,
        author.application_version,
        list(dict.fromkeys(queues)),
        limit,
        list(passing_over),
    )
    return [row[0] for row in rows]


async def claim_one(db: Database, author: Author, workflow_uuid: str) -> bool:
    rows = await db.rows(
        f"claiming run {workflow_uuid!r}", _CLAIM_ONE, author.process_id, author.application_version, workflow_uuid
    )
    return bool(rows)


async def owned(db: Database, process_id: str) -> list[str]:
    """Open runs that this process owns, known to it or not."""
    return [row[0] for row in await db.rows("reading what this process owns", _OWNED, process_id, safe=True)]


async def release(db: Database, process_id: str, workflow_uuids: Sequence[str]) -> None:
    await db.rows("releasing runs", _RELEASE, process_id, list(workflow_uuids), safe=True)


async def take_over(
    db: Database, author: Author, lapsed: Sequence[str], queues: Sequence[str], limit: int
) -> list[str]:
    dead = [process_id for process_id in dict.fromkeys(lapsed) if process_id not in (author.process_id, ASYNC_WORKER)]
    if not dead:
        return []
    rows = await db.rows(
        f"taking over from {len(dead)} lapsed processes",
        _TAKE_OVER,
        author.process_id,
        author.application_version,
        dead,
        list(queues),
        limit,
    )
    await _give_back(db, author, dead)
    return [row[0] for row in rows]


async def take_outbox(db: Database, process_id: str, lapsed: Sequence[str], limit: int) -> list[str]:
    rows = await db.rows(
        f"taking over what {len(lapsed)} lapsed processes were to tell", _TAKE_OUTBOX, process_id, list(lapsed), limit
    )
    return [row[0] for row in rows]


async def _give_back(db: Database, author: Author, dead: Sequence[str]) -> None:
    """Tell the runs whose attempts died with another process; telling and marking are one transaction."""

    async def body(connection: Connection) -> None:
        async with connection.transaction():
            rows = await connection.fetch(db.sql(_GIVE_BACK), list(dead))
            commits = [Commit(workflow_uuid=row["workflow_uuid"], fenced=False, mail=(_lost(*row),)) for row in rows]
            await apply(db, connection, author, commits)

    await db.run("giving back activities of lapsed processes", body)


def _lost(workflow_uuid: str, seq: int, attempt: int) -> Mail:
    return Mail(
        mail_id=f"{OWN_ID}lost:{workflow_uuid}:{seq}:{attempt}",
        workflow_uuid=workflow_uuid,
        topic=ACTIVITY,
        message=json.dumps({"seq": seq, "attempt": attempt, "lost": True}),
    )


async def register(db: Database, process: ProcessInfo, lease_ms: int, application_name: str) -> None:
    await db.rows(
        "registering this process",
        _REGISTER,
        process.process_id,
        process.identity,
        process.application_version,
        list(process.task_queues),
        lease_ms,
        time_ordered_uuid(),
        application_name,
        list(process.limited_queues),
        safe=True,
    )
    await db.rows("forgetting old processes", _FORGET_OLD_PROCESSES)


async def unregister(db: Database, author: Author, process_id: str) -> None:
    rows = await db.rows("unregistering this process", _UNREGISTER, process_id)
    await release(db, process_id, [row[0] for row in rows])
    await _give_back(db, author, [process_id])


async def pulse(db: Database, process: ProcessInfo, lease_ms: int) -> Pulse:
    limited = process.limited_queues  # may be others when the answer comes
    row = await db.row(
        "the lease's beat",
        _PULSE,
        process.process_id,
        process.identity,
        process.application_version,
        list(process.task_queues),
        lease_ms,
        ASYNC_WORKER,
        list(limited),
        safe=True,
    )
    assert row is not None
    return Pulse(
        alive=row["alive"],
        lapsed=tuple(row["lapsed"]),
        runnable=row["runnable"],
        offered=row["offered"],
        requests=row["requests"],
        expired=row["expired"],
        schedule_due_in_ms=None if row["schedule_due_in_ms"] is None else max(row["schedule_due_in_ms"], 0),
        jobs=row["jobs"],
        sharers={queue: 1 + others for queue, others in zip(limited, row["others"], strict=True)},
        next_due_in_ms=row["next_due_in_ms"],
        now_ms=row["now_ms"],
        touched=tuple(row["touched"]),
    )


async def served_elsewhere(db: Database, process_id: str, task_queue: str) -> bool:
    return bool(await db.value("looking for other workers", _SERVED, process_id, task_queue, safe=True))


async def known_processes(db: Database, process_ids: Sequence[str]) -> dict[str, KnownProcess]:
    rows = await db.rows("looking for processes", _KNOWN, list(process_ids), safe=True)
    return {row["process_id"]: KnownProcess(row["identity"], row["alive"]) for row in rows}


async def keep_lease(db: Database, process_id: str, lease_ms: int) -> bool:
    """On a session of its own, since the pool belongs to another event loop."""
    async with db.session("keeping the lease") as session:
        return bool(await session.fetchval(db.schemas.fill(_KEEP), process_id, lease_ms))


async def expired(db: Database, limit: int) -> list[str]:
    return [row[0] for row in await db.rows("looking for expired runs", _EXPIRED, limit, safe=True)]
