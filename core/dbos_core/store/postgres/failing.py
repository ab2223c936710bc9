"""Failing: what an owner notes about a run whose activations fail, for those who look at it from elsewhere."""

from __future__ import annotations

from dbos_core.store.postgres.connect import Database

# The fence of every owner's write. Nobody is told: it only shows.
_NOTE = """
    with mine as materialized (
        select r.workflow_uuid
          from {dbos}.workflow_status w
          join {own}.runs r on r.workflow_uuid = w.workflow_uuid
         where w.workflow_uuid = $1 and w.owner_xid = $2 and w.status is not distinct from 'PENDING' and r.status = 1
           for no key update of w, r)
    update {own}.runs r
       set task_attempt = $3, task_failure = $4
      from mine where r.workflow_uuid = mine.workflow_uuid"""


async def note_task_failure(
    db: Database, process_id: str, workflow_uuid: str, attempt: int, record: str | None
) -> None:
    await db.row(
        f"noting the failed task of run {workflow_uuid!r}", _NOTE, workflow_uuid, process_id, attempt, record, safe=True
    )
