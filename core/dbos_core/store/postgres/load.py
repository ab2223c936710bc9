"""Load: a run with its journal and its mail in one round trip and one snapshot; rows of runs without."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from dbos_core.activities.spec import ActivityRow
from dbos_core.commit import Entry, LoadedRun, Mail, ParentClosePolicy, ParentLink, RunRow, RunStatus, UpdateRow
from dbos_core.store.postgres.connect import Database

RUN_COLUMNS = """
           r.workflow_uuid, r.workflow_id, r.run_id, r.first_run_id, r.workflow_type, r.task_queue, r.status, r.owner,
           r.wake_at_ms, r.last_mail_ms, r.request_id, r.start_ms, r.execution_ms, r.close_ms, r.deadline_ms,
           r.history_length, r.memo, r.search_attributes::text as search_attributes, r.metadata, r.close,
           r.parent_workflow_uuid, r.parent_workflow_id, r.parent_run_id, r.parent_seq, r.parent_policy,
           r.root_workflow_id, r.root_run_id, r.task_attempt, r.task_failure"""

# The journal comes straight from its primary key, in order (tests/postgres/test_plans.py).
_LOAD = """
    select{run},
           coalesce((select i.inputs from {dbos}.workflow_input i where i.workflow_uuid = r.workflow_uuid),
                    w.inputs, '{}') as inputs,
           array(select row(o.function_id, o.function_name, coalesce(o.output, o.error, 'null'))
                   from {dbos}.operation_outputs o
                  where o.workflow_uuid = r.workflow_uuid
                  order by o.function_id) as entries,
           array(select row(n.message_uuid, n.topic, n.message, n.created_at_epoch_ms, n.serialization)
                   from {dbos}.notifications n
                  where n.destination_uuid = r.workflow_uuid and not n.consumed
                  order by n.created_at_epoch_ms, n.message_uuid collate "C") as mail,
           array(select row(a.seq, a.task_queue, a.attempt, a.scheduled_ms, a.due_ms, a.started_ms, a.worker, a.offered,
                            a.spec, a.heartbeat, a.heartbeat_at_ms, a.last_failure, a.cancel_requested,
                            a.ended_ms, a.operator)
                   from {own}.activities a
                  where a.workflow_uuid = r.workflow_uuid
                  order by a.seq) as activities,
           array(select row(u.update_id, u.stage, u.outcome)
                   from {own}.updates u
                  where u.workflow_uuid = r.workflow_uuid
                  order by u.update_id collate "C") as updates
      from {own}.runs r
      join {dbos}.workflow_status w on w.workflow_uuid = r.workflow_uuid
     where r.workflow_uuid = any ($1::text[])""".replace("{run}", RUN_COLUMNS)

_MAIL = """
    select n.message_uuid, n.topic, n.message, n.created_at_epoch_ms, n.serialization, n.destination_uuid
      from unnest($1::text[]) as d (uuid)
      join {own}.runs r on r.workflow_uuid = d.uuid
      join {dbos}.notifications n on n.destination_uuid = d.uuid
     where not n.consumed
     order by n.destination_uuid, n.created_at_epoch_ms, n.message_uuid collate "C" """

_FIND = "select{run} from {own}.runs r where r.workflow_id = $1 and r.run_id = $2".replace("{run}", RUN_COLUMNS)
_FIND_CURRENT = "select{run} from {own}.runs r where r.workflow_id = $1 and r.is_current".replace("{run}", RUN_COLUMNS)
_ROWS = "select{run} from {own}.runs r where r.workflow_uuid = any ($1::text[])".replace("{run}", RUN_COLUMNS)
_WATCHED_ROWS = """
    with locked as materialized (
        select r.workflow_uuid from {own}.runs r
         where r.workflow_uuid = any ($1::text[])
         order by r.workflow_uuid collate "C"
           for no key update)
    update {own}.runs r set watched = true from locked
     where r.workflow_uuid = locked.workflow_uuid
    returning{run}""".replace("{run}", RUN_COLUMNS)


async def load(db: Database, workflow_uuids: Sequence[str]) -> list[LoadedRun]:
    rows = await db.rows("loading runs", _LOAD, _distinct(workflow_uuids), safe=True)
    return [_loaded(row) for row in rows]


async def mail(db: Database, workflow_uuids: Sequence[str]) -> list[Mail]:
    rows = await db.rows("reading mail", _MAIL, _distinct(workflow_uuids), safe=True)
    return [_mail(row, row["destination_uuid"]) for row in rows]


async def find(db: Database, workflow_id: str, run_id: str | None) -> RunRow | None:
    if run_id is None:
        row = await db.row("finding a run", _FIND_CURRENT, workflow_id, safe=True)
    else:
        row = await db.row("finding a run", _FIND, workflow_id, run_id, safe=True)
    return None if row is None else run_row(row)


_OPEN_CHILDREN = """
    select{run}
      from {own}.runs r
     where r.parent_run_id = $1 and r.status = 1
     order by r.parent_seq""".replace("{run}", RUN_COLUMNS)

_CLOSED_CHILDREN = """
    select{run}
      from {own}.runs r
     where r.parent_workflow_id = $1 and r.parent_run_id = $2 and r.status <> 1""".replace("{run}", RUN_COLUMNS)

_POSTED = "select message_uuid from {dbos}.notifications where message_uuid = any ($1::text[])"


async def open_children(db: Database, run_id: str) -> list[RunRow]:
    return [run_row(row) for row in await db.rows("finding open children", _OPEN_CHILDREN, run_id, safe=True)]


async def closed_children(db: Database, parent: RunRow) -> list[RunRow]:
    found = await db.rows("finding closed children", _CLOSED_CHILDREN, parent.workflow_id, parent.run_id, safe=True)
    return [run_row(row) for row in found]


async def posted(db: Database, mail_ids: Sequence[str]) -> set[str]:
    """Those of these messages that have been delivered, read or not."""
    return {row[0] for row in await db.rows("looking for mail", _POSTED, list(mail_ids), safe=True)}


async def rows(db: Database, workflow_uuids: Sequence[str], *, watch: bool) -> list[RunRow]:
    found = await db.rows("reading runs", _WATCHED_ROWS if watch else _ROWS, _distinct(workflow_uuids), safe=True)
    return [run_row(row) for row in found]


def _distinct(workflow_uuids: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(workflow_uuids))


def run_row(row: asyncpg.Record) -> RunRow:
    """The value of a row that has ``RUN_COLUMNS``."""
    return RunRow(
        workflow_uuid=row["workflow_uuid"],
        workflow_id=row["workflow_id"],
        run_id=row["run_id"],
        first_run_id=row["first_run_id"],
        workflow_type=row["workflow_type"],
        task_queue=row["task_queue"],
        status=RunStatus(row["status"]),
        start_ms=row["start_ms"],
        execution_ms=row["execution_ms"],
        close_ms=row["close_ms"],
        owner=row["owner"],
        request_id=row["request_id"],
        wake_at_ms=row["wake_at_ms"],
        deadline_ms=row["deadline_ms"],
        history_length=row["history_length"],
        memo=row["memo"],
        search_attributes=row["search_attributes"],
        metadata=row["metadata"],
        close=row["close"],
        last_mail_ms=row["last_mail_ms"],
        parent=None if row["parent_run_id"] is None else _parent(row),
        task_attempt=row["task_attempt"],
        task_failure=row["task_failure"],
    )


def _parent(row: asyncpg.Record) -> ParentLink:
    return ParentLink(
        workflow_uuid=row["parent_workflow_uuid"],
        workflow_id=row["parent_workflow_id"],
        run_id=row["parent_run_id"],
        seq=row["parent_seq"],
        policy=ParentClosePolicy(row["parent_policy"]),
        root_workflow_id=row["root_workflow_id"],
        root_run_id=row["root_run_id"],
    )


def _loaded(row: asyncpg.Record) -> LoadedRun:
    uuid = row["workflow_uuid"]
    return LoadedRun(
        run=run_row(row),
        inputs=row["inputs"],
        entries=[Entry(position=e[0], name=e[1], record=e[2]) for e in row["entries"]],
        mail=[_mail(m, uuid) for m in row["mail"]],
        activities=[activity_row(a, uuid) for a in row["activities"]],
        updates=[UpdateRow(update_id=u[0], stage=u[1], outcome=u[2]) for u in row["updates"]],
    )


def _mail(row: asyncpg.Record, workflow_uuid: str) -> Mail:
    return Mail(
        mail_id=row[0],
        workflow_uuid=workflow_uuid,
        topic=row[1] or "",
        message=row[2],
        created_ms=row[3],
        serialization=row[4],
    )


def activity_row(row: asyncpg.Record, workflow_uuid: str) -> ActivityRow:
    """The value of a row whose columns are those of ``activities`` from ``seq`` on."""
    return ActivityRow(
        workflow_uuid=workflow_uuid,
        seq=row[0],
        task_queue=row[1],
        attempt=row[2],
        scheduled_ms=row[3],
        due_ms=row[4],
        started_ms=row[5],
        worker=row[6],
        offered=row[7],
        spec=row[8],
        heartbeat=row[9],
        heartbeat_at_ms=row[10],
        last_failure=row[11],
        cancel_requested=row[12],
        ended_ms=row[13],
        operator=row[14],
    )
