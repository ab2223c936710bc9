"""Reset: a new run with the first part of another one's journal takes the place of the current run, in one transaction."""

from __future__ import annotations

import json
from dataclasses import replace

from dbos_core.commit import Commit, Reset, RunRow, RunStatus, StartAnswer, StartResult, Verdict
from dbos_core.store.postgres.connect import Connection, Database, Race
from dbos_core.store.postgres.flush import Author, apply
from dbos_core.store.postgres.load import run_row
from dbos_core.store.postgres.runs import BY_UUID, LOCK_CURRENT, NO_LONGER_CURRENT, close_run

_NEWEST = "select max(function_id) from {dbos}.operation_outputs where workflow_uuid = $1"

_COPY = """
    insert into {dbos}.operation_outputs (
        workflow_uuid, function_id, function_name, output, error, started_at_epoch_ms, completed_at_epoch_ms,
        serialization, application_name)
    select $2, function_id, function_name, output, error, started_at_epoch_ms, completed_at_epoch_ms, serialization, $4
      from {dbos}.operation_outputs
     where workflow_uuid = $1 and function_id < $3"""

_ENTRY = """
    insert into {dbos}.operation_outputs (
        workflow_uuid, function_id, function_name, output, started_at_epoch_ms, completed_at_epoch_ms, serialization,
        application_name)
    values ($1, $2, $3, $4, $5, $6, 'portable_json', $7)"""

_UPDATES = """
    insert into {own}.updates (workflow_uuid, update_id, stage, outcome)
    select $1, t.update_id, t.stage, t.outcome
      from json_to_recordset($2::json) as t (update_id text, stage int, outcome text)"""

_CHILDREN = """
    update {own}.runs set parent_workflow_uuid = $3, parent_run_id = $4
     where parent_workflow_id = $1 and parent_workflow_uuid = $2 and parent_seq = any ($5::int[])"""

_METADATA = "update {own}.runs set metadata = $2 where workflow_uuid = $1"


async def reset(db: Database, author: Author, plan: Reset) -> StartAnswer | None:
    new = plan.new

    async def body(connection: Connection) -> StartAnswer | None:
        async with connection.transaction():
            row = await connection.fetchrow(db.sql(LOCK_CURRENT), new.workflow_id)
            current = None if row is None else run_row(row)
            if current is None:
                return None
            if current.run_id == new.run_id or (new.request_id is not None and current.request_id == new.request_id):
                return StartAnswer(result=StartResult.SAME_REQUEST, run=current)
            newest = await connection.fetchval(db.sql(_NEWEST), current.workflow_uuid)
            if plan.seen != (current.workflow_uuid, newest or 0, current.last_mail_ms):
                return None
            terminated = await _replace(db, connection, author, plan, current)
            await _fill(db, connection, author, plan)
            started = await connection.fetchrow(db.sql(BY_UUID), new.workflow_uuid)
            assert started is not None
            return StartAnswer(result=StartResult.STARTED, run=run_row(started), terminated=terminated)

    return await db.run(f"resetting workflow {new.workflow_id!r}", body, safe=True)


async def _replace(db: Database, connection: Connection, author: Author, plan: Reset, current: RunRow) -> RunRow | None:
    """Begin the new run where the current one was. What that one was, if it was open."""
    if current.status is RunStatus.RUNNING:
        await close_run(db, connection, author, current.workflow_uuid, replace(plan.close, successor=plan.new))
        row = await connection.fetchrow(db.sql(BY_UUID), current.workflow_uuid)
        assert row is not None
        return run_row(row)
    await connection.execute(db.sql(NO_LONGER_CURRENT), current.workflow_uuid)
    commit = Commit(workflow_uuid=plan.new.workflow_uuid, fenced=False, start=plan.new)
    if await apply(db, connection, author, [commit]) != [Verdict.COMMITTED]:
        raise Race
    return None


async def _fill(db: Database, connection: Connection, author: Author, plan: Reset) -> None:
    uuid, entry = plan.new.workflow_uuid, plan.entry
    await connection.execute(db.sql(_COPY), plan.base_uuid, uuid, entry.position, author.application_name)
    await connection.execute(
        db.sql(_ENTRY),
        uuid,
        entry.position,
        entry.name,
        entry.record,
        entry.started_ms,
        entry.completed_ms,
        author.application_name,
    )
    if plan.updates:
        rows = [{"update_id": u.update_id, "stage": u.stage, "outcome": u.outcome} for u in plan.updates]
        await connection.execute(db.sql(_UPDATES), uuid, json.dumps(rows))
    if plan.children:
        new = plan.new
        await connection.execute(
            db.sql(_CHILDREN), new.workflow_id, plan.base_uuid, uuid, new.run_id, list(plan.children)
        )
    if plan.mail:
        await apply(db, connection, author, [Commit(workflow_uuid=uuid, fenced=False, mail=plan.mail)])
    await connection.execute(db.sql(_METADATA), plan.base_uuid, plan.base_metadata)
