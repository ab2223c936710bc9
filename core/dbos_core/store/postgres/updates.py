"""Updates: the durable life of update requests outside of a run's own commits."""

from __future__ import annotations

from dbos_core.commit import Mail, UpdateRow, Verdict
from dbos_core.store.postgres.connect import Database

# The mail's id may be known: an update that was rejected left no row, and its message is delivered anew. The schema's
# trigger announces inserted messages only.
_ADMIT = """
    with clock as materialized (select {own}.now_ms() as ms),
    known as materialized (
        select stage, outcome from {own}.updates where workflow_uuid = $1 and update_id = $2 and stage > 0),
    box as materialized (
        select r.workflow_uuid, greatest(r.last_mail_ms + 1, (select ms from clock)) as created_ms, r.last_mail_ms as last
          from {own}.runs r
         where r.workflow_uuid = $1 and r.status = 1 and not exists (select from known)
           for no key update),
    admitted as (
        insert into {own}.updates as u (workflow_uuid, update_id, stage, watched) select $1, $2, 1, $8 from box
        on conflict (workflow_uuid, update_id) do update set stage = 1, outcome = null, watched = excluded.watched
            where u.stage = 0
        returning u.workflow_uuid),
    boxed as (
        update {own}.runs r
           set last_mail_ms = box.created_ms,
               wake_at_ms = case when r.owner is null
                                 then least(coalesce(r.wake_at_ms, (select ms from clock)), (select ms from clock))
                                 else r.wake_at_ms end
          from box join admitted using (workflow_uuid) where r.workflow_uuid = box.workflow_uuid
        returning r.task_queue, r.owner),
    mailed as (
        insert into {dbos}.notifications as n (
            message_uuid, destination_uuid, topic, message, created_at_epoch_ms, serialization)
        select $3, $1, $4, $5, created_ms, $6 from box join admitted using (workflow_uuid)
        on conflict (message_uuid) do update
            set message = excluded.message, created_at_epoch_ms = excluded.created_at_epoch_ms, consumed = false,
                consumed_by_function_id = null
            where n.consumed and n.destination_uuid = excluded.destination_uuid)
    select (select created_ms from box join admitted using (workflow_uuid)) as created_ms,
           (select last from box
             where not exists (select from {dbos}.notifications n
                                where n.destination_uuid = $1 and not n.consumed
                                  and left(n.message_uuid, 4) <> 'dc1:')) as follows_ms,
           exists (select from box) as is_open,
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

# A rejection was told to whoever watched; it leaves no trace.
_FORGET = "delete from {own}.updates where workflow_uuid = $1 and update_id = $2 and stage = 0"


async def admit_update(
    db: Database, workflow_uuid: str, update_id: str, mail: Mail, *, announce: bool, watch: bool
) -> tuple[Verdict, UpdateRow | None]:
    row = None
    while row is None or (row["created_ms"] is None and row["stage"] is None and row["is_open"]):
        # Once more when somebody admitted the same id in this very moment: its row is known then.
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
            watch,
        )
    if row["stage"] is not None:
        return Verdict.DUPLICATE, UpdateRow(update_id=update_id, stage=row["stage"], outcome=row["outcome"])
    if row["created_ms"] is None:
        return Verdict.RUN_CLOSED, None
    mail.created_ms, mail.follows_ms = row["created_ms"], row["follows_ms"]
    return Verdict.COMMITTED, UpdateRow(update_id=update_id, stage=1)


async def update_row(db: Database, workflow_uuid: str, update_id: str, *, watch: bool) -> UpdateRow | None:
    row = await db.row("reading an update", _WATCHED_ROW if watch else _ROW, workflow_uuid, update_id, safe=True)
    if row is None:
        return None
    if row["stage"] == 0:
        await db.rows("forgetting a rejected update", _FORGET, workflow_uuid, update_id, safe=True)
    return UpdateRow(update_id=update_id, stage=row["stage"], outcome=row["outcome"])
