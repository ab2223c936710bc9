"""Runs: what decides about a whole run under its row lock: starting by policy, terminating, what stock tools did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import asyncpg

from dbos_core.clock import time_ordered_uuid
from dbos_core.commit import (
    Close,
    Commit,
    IdConflict,
    IdReuse,
    Mail,
    NewRun,
    ParentClosePolicy,
    RunRow,
    RunStatus,
    StartAnswer,
    StartResult,
    UpdateRow,
    Verdict,
    row_of,
)
from dbos_core.store.postgres.connect import Connection, Database, Race
from dbos_core.store.postgres.flush import Author, apply
from dbos_core.store.postgres.flush_sql import NEXT_OF_F, numbered, successors
from dbos_core.store.postgres.flush_values import finer_status, next_json
from dbos_core.store.postgres.load import RUN_COLUMNS, run_row
from dbos_core.store.postgres.lookback import Look

LOCK_CURRENT = """
    select{run}
      from {own}.runs r
      join {dbos}.workflow_status w on w.workflow_uuid = r.workflow_uuid
     where r.workflow_id = $1 and r.is_current
       for no key update of w, r""".replace("{run}", RUN_COLUMNS)

NO_LONGER_CURRENT = "update {own}.runs set is_current = false where workflow_uuid = $1"

_BY_RUN_ID = "select{run} from {own}.runs r where r.run_id = $1".replace("{run}", RUN_COLUMNS)

# The lock makes the parent's close wait for the child's start, so that whoever applies its policy finds the child.
_PARENT_OPEN = """
    select 1 from {own}.runs p where p.workflow_uuid = $1 and p.status is not distinct from 1 for share"""

_UUID_TAKEN = "select exists (select from {dbos}.workflow_status where workflow_uuid = $1)"

BY_UUID = "select{run} from {own}.runs r where r.workflow_uuid = $1".replace("{run}", RUN_COLUMNS)

# Whoever owns it is told, too: an owner that hears CLOSED of a run it has in memory drops it.
_TERMINATE, _TERMINATE_NAMES = numbered(
    """
    with clock as materialized (select {own}.now_ms() as ms),
    c as materialized (
        select r.workflow_uuid, r.is_current, r.watched or r.owner is not null as announce
          from {dbos}.workflow_status w
          join {own}.runs r on r.workflow_uuid = w.workflow_uuid
         where w.workflow_uuid = $uuid and r.status = 1
           for no key update of w, r),
    statuses as (
        update {dbos}.workflow_status w
           set status = $dbos_status, owner_xid = null, deduplication_id = null, completed_at = $close_ms,
               updated_at = (select ms from clock),
               attributes = case when $finer::text is null then w.attributes
                                 else coalesce(w.attributes, '{}')
                                      || jsonb_build_object('dbos_compat.status', $finer::text) end
          from c where w.workflow_uuid = c.workflow_uuid),
    outputs as (
        insert into {dbos}.workflow_output (workflow_uuid, output, error)
        select workflow_uuid, $output::text, $error::text
          from c where $output::text is not null or $error::text is not null
        on conflict (workflow_uuid) do update set output = excluded.output, error = excluded.error),
    run_rows as (
        update {own}.runs r
           set status = $status, owner = null, wake_at_ms = null, close_ms = $close_ms, close = $close,
               is_current = r.is_current and $next::text is null
          from c where r.workflow_uuid = c.workflow_uuid
        returning $next::text as next, c.is_current as current),
    activities_done as (
        delete from {own}.activities a using c where a.workflow_uuid = c.workflow_uuid),
    outbox_rows as (
        insert into {own}.outbox (workflow_uuid, process_id)
        select workflow_uuid, $process::text from c where $reaches::boolean
        on conflict (workflow_uuid) do nothing),/*successors*/
    select (select count(*) from c) as closed,
           (select r.close is not distinct from $close from {own}.runs r where r.workflow_uuid = $uuid) as landed,
           (select count(*) from (
               select pg_notify('dbos_compat_wake', {wake} || wake)
                 from (select 'closed|' || workflow_uuid from c where announce
                       union all
                       select 'work|' || task_queue from next_runs
                        where owner is null and wake_at_ms <= (select ms from clock)) as w (wake) offset 0) as n)
    """.replace("/*successors*/", ",".join(successors(NEXT_OF_F)))
)


async def start_by_policy(
    db: Database,
    author: Author,
    run: NewRun,
    derived_uuid: str,
    terminate_record: str,
    mail: Sequence[Mail],
    updates: Sequence[UpdateRow],
) -> StartAnswer:
    async def body(connection: Connection) -> StartAnswer:
        async with connection.transaction():
            parent_open = True
            if run.parent is not None:
                # A start that is repeated long after may meet its own run, closed and followed by others.
                itself = await connection.fetchrow(db.sql(_BY_RUN_ID), run.run_id)
                if itself is not None:
                    return StartAnswer(result=StartResult.SAME_REQUEST, run=run_row(itself))
                if run.parent.policy is not ParentClosePolicy.ABANDON:
                    parent_open = await connection.fetchval(db.sql(_PARENT_OPEN), run.parent.workflow_uuid) == 1
            row = await connection.fetchrow(db.sql(LOCK_CURRENT), run.workflow_id)
            current = None if row is None else run_row(row)
            if not parent_open:
                return StartAnswer(result=StartResult.PARENT_CLOSED, run=current or row_of(run, author.process_id))
            answer = _stands(current, run)
            if answer is not None:
                return answer
            terminated: RunRow | None = None
            if current is not None:
                if current.status is RunStatus.RUNNING:
                    terminated = await _end(db, connection, author, current, terminate_record)
                await connection.execute(db.sql(NO_LONGER_CURRENT), current.workflow_uuid)
            started = await _start(db, connection, author, run, derived_uuid, mail, updates)
            return StartAnswer(result=StartResult.STARTED, run=started, terminated=terminated)

    return await db.run(f"starting workflow {run.workflow_id!r}", body, safe=True)


def _stands(current: RunRow | None, run: NewRun) -> StartAnswer | None:
    """The answer without a new run; None when one may start. The order is Temporal's."""
    if current is None:
        return None
    if current.run_id == run.run_id or (run.request_id is not None and run.request_id == current.request_id):
        return StartAnswer(result=StartResult.SAME_REQUEST, run=current)
    if current.status is RunStatus.RUNNING:
        if run.reuse is IdReuse.TERMINATE_IF_RUNNING or run.conflict is IdConflict.TERMINATE_EXISTING:
            return None
        if run.conflict is IdConflict.USE_EXISTING:
            return StartAnswer(result=StartResult.USED_EXISTING, run=current)
        return StartAnswer(result=StartResult.ALREADY_STARTED, run=current)
    refused = run.reuse is IdReuse.REJECT_DUPLICATE or (
        run.reuse is IdReuse.ALLOW_DUPLICATE_FAILED_ONLY and current.status is RunStatus.COMPLETED
    )
    return StartAnswer(result=StartResult.ALREADY_STARTED, run=current) if refused else None


async def _end(db: Database, connection: Connection, author: Author, current: RunRow, record: str) -> RunRow:
    now_ms = await connection.fetchval(db.sql("select {own}.now_ms()"))
    close = Close(status=RunStatus.TERMINATED, close_ms=now_ms, record=record, mail_seen_ms=None, reaches_others=True)
    await close_run(db, connection, author, current.workflow_uuid, close)
    row = await connection.fetchrow(db.sql(BY_UUID), current.workflow_uuid)
    assert row is not None
    return run_row(row)


async def _start(
    db: Database,
    connection: Connection,
    author: Author,
    run: NewRun,
    derived_uuid: str,
    mail: Sequence[Mail],
    updates: Sequence[UpdateRow],
) -> RunRow:
    taken = await connection.fetchval(db.sql(_UUID_TAKEN), run.workflow_uuid)
    stored = replace(run, workflow_uuid=derived_uuid) if taken else run
    for message in mail:
        message.workflow_uuid = stored.workflow_uuid
    commit = Commit(
        workflow_uuid=stored.workflow_uuid, fenced=False, start=stored, mail=tuple(mail), updates=tuple(updates)
    )
    if await apply(db, connection, author, [commit]) != [Verdict.COMMITTED]:
        raise Race  # somebody else started it after our look: begin again
    row = await connection.fetchrow(db.sql(BY_UUID), stored.workflow_uuid)
    assert row is not None
    return run_row(row)


async def terminate(db: Database, author: Author, workflow_uuid: str, close: Close) -> Verdict:
    tries = 0

    async def body(connection: Connection) -> Verdict:
        nonlocal tries
        tries += 1
        return await close_run(db, connection, author, workflow_uuid, close, again=tries > 1)

    return await db.run(f"closing run {workflow_uuid!r}", body, safe=True)


_SET_LENGTH = "update {own}.runs set history_length = $2 where workflow_uuid = $1 and status <> 1"


async def set_history_length(db: Database, workflow_uuid: str, history_length: int) -> None:
    await db.rows("measuring a run", _SET_LENGTH, workflow_uuid, history_length, safe=True)


async def close_run(
    db: Database, connection: Connection, author: Author, workflow_uuid: str, close: Close, *, again: bool = False
) -> Verdict:
    values = {
        "uuid": workflow_uuid,
        "dbos_status": close.status.dbos,
        "close_ms": close.close_ms,
        "finer": finer_status(close),
        "output": close.output,
        "error": close.error,
        "status": int(close.status),
        "close": close.record,
        "next": next_json(author.process_id, close),
        "reaches": close.reaches_others,
        "process": author.process_id,
        "version": author.application_version,
        "application": author.application_name,
    }
    row = await connection.fetchrow(db.sql(_TERMINATE), *[values[name] for name in _TERMINATE_NAMES])
    assert row is not None
    return Verdict.COMMITTED if row["closed"] or (again and row["landed"]) else Verdict.RUN_CLOSED


# -- what stock tools did ----------------------------------------------------------------------------------------------

CANCELED_BY_DBOS = '{"canceled_by": "dbos"}'
"""The close record of a run that a stock DBOS tool cancelled."""

INTERNAL_QUEUE = "_dbos_internal_queue"
"""Where stock resume and fork put rows unless told otherwise."""

# Rows that stock tools may have changed: those of runs that this process owns; of unowned ones on its queues those
# cancelled since $3 (by the index on completed_at), and on the queues $5 all that were cancelled (by the index on failed
# ones; a stock cancel leaves no queue name, unlike ours); what waits on the stock internal queue or under a name of ours;
# and under each name that no process serves the first few, since a stock resume may name any queue.
# Runs of living processes are left to them. `offset 0` keeps a lateral a probe per row, and `coalesce` keeps the index
# of unowned runs (a million parked ones) out of it.
_TOUCHED = """
    with dead as materialized (
        select r.owner from (
            with recursive owners (owner) as (
                (select r.owner from {own}.runs r where r.owner is not null order by r.owner limit 1)
                union all
                select (select r.owner from {own}.runs r where r.owner > owners.owner order by r.owner limit 1)
                  from owners where owners.owner is not null)
            select owner from owners where owner is not null) as r
         where r.owner = $1
            or not exists (select from {own}.processes p
                            where p.process_id = r.owner and p.lease_until_ms > {own}.now_ms())),
    found (workflow_uuid) as (
        select taken.workflow_uuid
          from dead,
               lateral (
                    select r.workflow_uuid from {own}.runs r
                     where r.owner = dead.owner
                       and (select w.owner_xid = r.owner and w.status = 'PENDING'
                              from {dbos}.workflow_status w
                             where w.workflow_uuid = r.workflow_uuid) is not true
                    offset 0) as taken
        union
        select r.workflow_uuid
          from {dbos}.workflow_status w
          join {own}.runs r on r.workflow_uuid = w.workflow_uuid
         where w.completed_at >= $3 and w.status is not distinct from 'CANCELLED'
           and r.status = 1 and coalesce(r.owner, '') = '' and r.task_queue = any ($2::text[])
        union
        select r.workflow_uuid
          from {dbos}.workflow_status w
          join {own}.runs r on r.workflow_uuid = w.workflow_uuid
         where cardinality($5::text[]) > 0 and w.status = 'CANCELLED' and w.queue_name is null
           and r.status = 1 and coalesce(r.owner, '') = '' and r.task_queue = any ($5::text[])
        union
        select w.workflow_uuid
          from {dbos}.workflow_status w
          left join {own}.runs r on r.workflow_uuid = w.workflow_uuid
         where w.queue_name = any ($2::text[] || '_dbos_internal_queue'::text) and w.status = 'ENQUEUED'
           and case when r.workflow_uuid is null then w.forked_from is not null
                    else r.status <> 1 or r.owner is null and w.queue_name is distinct from r.task_queue end
        union
        select first.workflow_uuid
          from (
            with recursive names (name) as (
                (select w.queue_name from {dbos}.workflow_status w
                  where w.status in ('ENQUEUED', 'PENDING') and w.queue_name is not null
                  order by w.queue_name limit 1)
                union all
                select (select w.queue_name from {dbos}.workflow_status w
                         where w.status in ('ENQUEUED', 'PENDING') and w.queue_name > names.name
                         order by w.queue_name limit 1)
                  from names where names.name is not null)
            select name from names
             where name is not null
               and not exists (select from {own}.processes p
                                where name = any (p.task_queues) and p.lease_until_ms > {own}.now_ms())) as n,
               lateral (
                    select w.workflow_uuid, w.queue_name, w.forked_from from {dbos}.workflow_status w
                     where w.queue_name = n.name and w.status = 'ENQUEUED'
                     order by w.priority, w.created_at
                     limit 100) as first
          left join {own}.runs r on r.workflow_uuid = first.workflow_uuid
         where case when r.workflow_uuid is null
                    then (select s.task_queue from {own}.runs s where s.workflow_uuid = first.forked_from)
                         = any ($2::text[])
                    else r.status <> 1 or r.owner is null and first.queue_name is distinct from r.task_queue end)
    select found.workflow_uuid, w.status,
           (select 1 from {own}.runs r where r.workflow_uuid = found.workflow_uuid) is not null as ours
      from found,
           lateral (
                select s.status from {dbos}.workflow_status s
                 where s.workflow_uuid = found.workflow_uuid and s.status in ('CANCELLED', 'ENQUEUED')
                offset 0) as w
     order by found.workflow_uuid collate "C"
     limit $4"""

_CLOSE_CANCELED = """
    with c as materialized (
        select r.workflow_uuid, r.watched or r.owner is not null as announce, w.completed_at
          from {dbos}.workflow_status w
          join {own}.runs r on r.workflow_uuid = w.workflow_uuid
         where w.workflow_uuid = $1 and w.status is not distinct from 'CANCELLED' and r.status = 1
           for no key update of w, r),
    -- stock cancel clears the queue, by which stock tools find the run
    statuses as (
        update {dbos}.workflow_status w set queue_name = r.task_queue, owner_xid = null
          from c join {own}.runs r on r.workflow_uuid = c.workflow_uuid
         where w.workflow_uuid = c.workflow_uuid),
    run_rows as (
        update {own}.runs r
           set status = 4, owner = null, wake_at_ms = null, close = $2,
               close_ms = coalesce(c.completed_at, {own}.now_ms())
          from c where r.workflow_uuid = c.workflow_uuid),
    activities_done as (
        delete from {own}.activities a using c where a.workflow_uuid = c.workflow_uuid),
    outbox_rows as (
        insert into {own}.outbox (workflow_uuid, process_id)
        select workflow_uuid, $3 from c
        on conflict (workflow_uuid) do nothing)
    select (select count(*) from c) as done,
           (select count(*) from (
               select pg_notify('dbos_compat_wake', {wake} || 'closed|' || workflow_uuid)
                 from c where announce offset 0) as n)"""

# A run that another one has followed under the same workflow id stays closed to the id policies: it is reopened, and
# is not current.
_REOPEN = """
    with c as materialized (
        select r.workflow_uuid, r.task_queue, {own}.now_ms() as now_ms
          from {dbos}.workflow_status w
          join {own}.runs r on r.workflow_uuid = w.workflow_uuid
         where w.workflow_uuid = $1 and w.status is not distinct from 'ENQUEUED'
           and (r.status <> 1 or r.owner is not null or w.queue_name is distinct from r.task_queue)
           for no key update of w, r),
    statuses as (
        update {dbos}.workflow_status w
           set queue_name = c.task_queue, owner_xid = null, completed_at = null,
               attributes = nullif(w.attributes - 'dbos_compat.status', '{}'::jsonb)
          from c where w.workflow_uuid = c.workflow_uuid),
    outputs as (
        delete from {dbos}.workflow_output o using c where o.workflow_uuid = c.workflow_uuid),
    run_rows as (
        update {own}.runs r
           set status = 1, owner = null, wake_at_ms = c.now_ms, close = null, close_ms = null
          from c where r.workflow_uuid = c.workflow_uuid)
    select (select count(*) from c) as done,
           (select count(*) from (
               select pg_notify('dbos_compat_wake', {wake} || 'work|' || task_queue) from c offset 0) as n)"""

# A stock fork: a row of its own with a copied start record and journal. It becomes a run under its own id.
_ADOPT = """
    with c as materialized (
        select w.workflow_uuid, s.task_queue, s.workflow_type, s.memo, s.search_attributes, s.metadata,
               {own}.now_ms() as now_ms
          from {dbos}.workflow_status w
          join {own}.runs s on s.workflow_uuid = w.forked_from
         where w.workflow_uuid = $1 and w.status is not distinct from 'ENQUEUED' and s.task_queue = any ($3::text[])
           and not exists (select from {own}.runs r where r.workflow_uuid = w.workflow_uuid)
           for no key update of w),
    statuses as (
        update {dbos}.workflow_status w set queue_name = c.task_queue, owner_xid = null
          from c where w.workflow_uuid = c.workflow_uuid),
    run_rows as (
        insert into {own}.runs (
            workflow_uuid, workflow_id, run_id, first_run_id, workflow_type, task_queue, wake_at_ms, start_ms,
            execution_ms, memo, search_attributes, metadata)
        select workflow_uuid, workflow_uuid, $2, $2, workflow_type, task_queue, now_ms, now_ms, now_ms, memo,
               search_attributes, metadata
          from c)
    select (select count(*) from c) as done,
           (select count(*) from (
               select pg_notify('dbos_compat_wake', {wake} || 'work|' || task_queue) from c offset 0) as n)"""


async def touched(db: Database, process_id: str, queues: Sequence[str], look: Look, limit: int) -> list[str]:
    """What ``reopened`` would look at."""
    return [row["workflow_uuid"] for row in await _touched(db, process_id, queues, look, limit)]


async def reopened(
    db: Database, process_id: str, queues: Sequence[str], look: Look, limit: int
) -> tuple[int, list[str]]:
    """Act on what stock tools did (``Store.reopened``). How many rows were found, at most ``limit``, and which of them
    were acted on."""
    rows = await _touched(db, process_id, queues, look, limit)
    return len(rows), [row["workflow_uuid"] for row in rows if await _act(db, process_id, row, queues)]


async def _touched(
    db: Database, process_id: str, queues: Sequence[str], look: Look, limit: int
) -> list[asyncpg.Record]:
    what = "looking for what DBOS tools did"
    return await db.rows(what, _TOUCHED, process_id, list(queues), look.since_ms, limit, look.fresh)


async def _act(db: Database, process_id: str, row: asyncpg.Record, queues: Sequence[str]) -> bool:
    uuid = row["workflow_uuid"]
    if row["status"] == "CANCELLED":
        done = await db.row(f"closing cancelled run {uuid!r}", _CLOSE_CANCELED, uuid, CANCELED_BY_DBOS, process_id)
    elif row["status"] == "ENQUEUED" and row["ours"]:
        done = await db.row(f"reopening run {uuid!r}", _REOPEN, uuid)
    elif row["status"] == "ENQUEUED":
        done = await db.row(f"adopting fork {uuid!r}", _ADOPT, uuid, time_ordered_uuid(), list(queues))
    else:
        return False
    return bool(done and done["done"])


# -- retention ---------------------------------------------------------------------------------------------------------

# The payload tables first: they have no foreign key, and a row of them without its workflow would stay for ever.
_GONE = """    steps as (delete from {dbos}.operation_outputs o using old where o.workflow_uuid = old.workflow_uuid),
    inputs as (delete from {dbos}.workflow_input i using old where i.workflow_uuid = old.workflow_uuid),
    outputs as (delete from {dbos}.workflow_output o using old where o.workflow_uuid = old.workflow_uuid),
    gone as (delete from {dbos}.workflow_status w using old where w.workflow_uuid = old.workflow_uuid
             returning w.workflow_uuid)
    select count(*) from gone"""

_DELETE_RUN = """
    with old as materialized (
        select r.workflow_uuid
          from {own}.runs r
          join {dbos}.workflow_status w on w.workflow_uuid = r.workflow_uuid
         where r.workflow_uuid = $1 and r.status <> 1
           for update of w, r),
{gone}""".replace("{gone}", _GONE)

_DELETE_FINISHED = """
    with old as materialized (
        select r.workflow_uuid
          from {own}.runs r
          join {dbos}.workflow_status w on w.workflow_uuid = r.workflow_uuid
         where coalesce(r.close_ms, 9223372036854775807) < $1 and r.status <> 1
           and (select 1 from {own}.outbox x where x.workflow_uuid = r.workflow_uuid) is null
         order by coalesce(r.close_ms, 9223372036854775807)
         limit $2
           for update of w, r skip locked),
{gone}""".replace("{gone}", _GONE)

DELETE_BATCH = 500
"""Runs per transaction: a big one holds back vacuum and the locks of its rows."""


async def delete_run(db: Database, workflow_uuid: str) -> bool:
    return bool(await db.value(f"deleting run {workflow_uuid!r}", _DELETE_RUN, workflow_uuid))


async def delete_finished(db: Database, before_ms: int, limit: int) -> int:
    total = 0
    while total < limit:
        deleted: int = await db.value(
            "deleting finished runs", _DELETE_FINISHED, before_ms, min(DELETE_BATCH, limit - total)
        )
        total += deleted
        if deleted == 0:
            break
    return total
