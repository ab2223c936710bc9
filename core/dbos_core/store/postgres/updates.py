"""Updates: the durable life of update requests outside of a run's own commits."""

from __future__ import annotations

from dbos_core.commit import Mail, UpdateRow, Verdict
from dbos_core.store.postgres.connect import Database

# The mail's id may be known: an update that was rejected left no row, and its message is delivered anew. The schema's
# trigger announces inserted messages only.
_ADMIT = """
    with clock as materialized (select {own}.now_ms() as ms),
    known as materialized (
        select stage, outcome from {own}.updates where workflow_uuid = $1 and update_id = $2),
    box as materialized (
        select r.workflow_uuid, greatest(r.last_mail_ms + 1, (select ms from clock)) as created_ms
          from {own}.runs r
         where r.workflow_uuid = $1 and r.status = 1 and not exists (select from known)
           for no key update),
    admitted as (
        insert into {own}.updates (workflow_uuid, update_id, stage) select $1, $2, 1 from box),
    boxed as (
        update {own}.runs r
           set last_mail_ms = box.created_ms,
               wake_at_ms = case when r.owner is null
                                 then least(coalesce(r.wake_at_ms, (select ms from clock)), (select ms from clock))
                                 else r.wake_at_ms end
          from box where r.workflow_uuid = box.workflow_uuid
        returning r.task_queue, r.owner),
    mailed as (
        insert into {dbos}.notifications as n (
            message_uuid, destination_uuid, topic, message, created_at_epoch_ms, serialization)
        select $3, $1, $4, $5, created_ms, $6 from box
        on conflict (message_uuid) do update
            set message = excluded.message, created_at_epoch_ms = excluded.created_at_epoch_ms, consumed = false,
                consumed_by_function_id = null
            where n.consumed and n.destination_uuid = excluded.destination_uuid)
    select (select created_ms from box) as created_ms,
           (select stage from known) as stage,
           (select outcome from known) as outcome,
           (select count(*) from (
               select pg_notify('dbos_compat_wake', {wake} || 'work|' || task_queue)
                 from boxed where owner is null offset 0) as n),
           (select count(*) from (
               select pg_notify('dbos_compat_wake', {wake} || 'mail|' || $1)
                 from box where $7 or exists (select from {dbos}.notifications k where k.message_uuid = $3)
               offset 0) as n)"""

_ROW = "select stage, outcome from {own}.updates where workflow_uuid = $1 and update_id = $2"

_WATCHED_ROW = """
    update {own}.updates set watched = true where workflow_uuid = $1 and update_id = $2 returning stage, outcome"""


async def admit_update(
    db: Database, workflow_uuid: str, update_id: str, mail: Mail, *, announce: bool
) -> tuple[Verdict, UpdateRow | None]:
    row = await db.row(
        f"admitting update {update_id!r} of run {workflow_uuid!r}",
        _ADMIT,
        workflow_uuid,
        update_id,
        mail.mail_id,
        mail.topic,
        mail.message,
        mail.serialization,
        announce,
    )
    assert row is not None
    if row["stage"] is not None:
        return Verdict.DUPLICATE, UpdateRow(update_id=update_id, stage=row["stage"], outcome=row["outcome"])
    if row["created_ms"] is None:
        return Verdict.RUN_CLOSED, None
    mail.created_ms = row["created_ms"]
    return Verdict.COMMITTED, UpdateRow(update_id=update_id, stage=1)


async def update_row(db: Database, workflow_uuid: str, update_id: str, *, watch: bool) -> UpdateRow | None:
    row = await db.row("reading an update", _WATCHED_ROW if watch else _ROW, workflow_uuid, update_id, safe=True)
    return None if row is None else UpdateRow(update_id=update_id, stage=row["stage"], outcome=row["outcome"])
