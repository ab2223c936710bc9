"""Memory policy: request-id deduplication and the id policies, on ``memory_tables``. The order is Temporal's."""

from __future__ import annotations

from dataclasses import replace

from dbos_core.commit import (
    Close,
    Commit,
    IdConflict,
    IdReuse,
    NewRun,
    Reset,
    RunStatus,
    StartAnswer,
    StartResult,
    row_of,
)
from dbos_core.store.memory_tables import Run, Tables


def start_by_policy(
    tables: Tables, process_id: str, start: Commit, derived_uuid: str, terminate_record: str, now_ms: int
) -> StartAnswer:
    new = start.start
    assert new is not None
    current = tables.current.get(new.workflow_id)
    if new.parent is not None and (itself := tables.by_run_id.get(new.run_id)) is not None:
        return StartAnswer(result=StartResult.SAME_REQUEST, run=replace(itself.row))
    if not tables.may_begin(new):
        row = row_of(new, process_id) if current is None else replace(current.row)
        return StartAnswer(result=StartResult.PARENT_CLOSED, run=row)
    if current is None:
        return _start(tables, process_id, start, new, derived_uuid, now_ms)
    row = current.row
    if row.run_id == new.run_id or (new.request_id is not None and row.request_id == new.request_id):
        return StartAnswer(result=StartResult.SAME_REQUEST, run=replace(row))
    if not current.open:
        if _may_follow(row.status, new.reuse):
            return _start(tables, process_id, start, new, derived_uuid, now_ms)
        return StartAnswer(result=StartResult.ALREADY_STARTED, run=replace(row))
    if new.reuse is IdReuse.TERMINATE_IF_RUNNING or new.conflict is IdConflict.TERMINATE_EXISTING:
        tables.close_run(
            current,
            Close(
                status=RunStatus.TERMINATED,
                close_ms=now_ms,
                record=terminate_record,
                mail_seen_ms=None,
                reaches_others=True,
            ),
            process_id,
            now_ms,
        )
        return _start(tables, process_id, start, new, derived_uuid, now_ms, terminated=current)
    if new.conflict is IdConflict.USE_EXISTING:
        return StartAnswer(result=StartResult.USED_EXISTING, run=replace(row))
    return StartAnswer(result=StartResult.ALREADY_STARTED, run=replace(row))


def _may_follow(closed: RunStatus, reuse: IdReuse) -> bool:
    if reuse is IdReuse.REJECT_DUPLICATE:
        return False
    return reuse is not IdReuse.ALLOW_DUPLICATE_FAILED_ONLY or closed is not RunStatus.COMPLETED


def _start(
    tables: Tables,
    process_id: str,
    start: Commit,
    new: NewRun,
    derived_uuid: str,
    now_ms: int,
    terminated: Run | None = None,
) -> StartAnswer:
    workflow_uuid = derived_uuid if new.workflow_uuid in tables.runs else new.workflow_uuid
    run = tables.add_run(new, workflow_uuid, process_id if new.claimed else None, now_ms)
    for mail in start.mail:
        mail.workflow_uuid = workflow_uuid
        if mail.mail_id not in tables.mail_ids:
            tables.add_mail(run, mail, now_ms)
    run.updates.update((update.update_id, replace(update)) for update in start.updates)
    return StartAnswer(
        result=StartResult.STARTED,
        run=replace(run.row),
        terminated=None if terminated is None else replace(terminated.row),
    )


def reset(tables: Tables, process_id: str, plan: Reset, now_ms: int) -> StartAnswer | None:
    """A new run with the first part of another one's journal takes the place of the current run."""
    new, current = plan.new, tables.current.get(plan.new.workflow_id)
    if current is None:
        return None
    row = current.row
    if row.run_id == new.run_id or (new.request_id is not None and row.request_id == new.request_id):
        return StartAnswer(result=StartResult.SAME_REQUEST, run=replace(row))
    if plan.seen != (row.workflow_uuid, max(current.journal, default=0), row.last_mail_ms):
        return None
    terminated = current if current.open else None
    if terminated is not None:
        tables.close_run(current, replace(plan.close, successor=new), process_id, now_ms)
        run = tables.runs[new.workflow_uuid]
    else:
        run = tables.add_run(new, new.workflow_uuid, None, now_ms)
    base = tables.runs[plan.base_uuid]
    for other in tables.runs.values():
        link = other.row.parent
        if link is not None and link.workflow_uuid == plan.base_uuid and link.seq in plan.children:
            other.row.parent = replace(link, workflow_uuid=new.workflow_uuid, run_id=new.run_id)
    run.journal.update((position, entry) for position, entry in base.journal.items() if position < plan.entry.position)
    run.journal[plan.entry.position] = plan.entry
    run.updates.update((update.update_id, replace(update)) for update in plan.updates)
    for mail in plan.mail:
        tables.add_mail(run, mail, now_ms)
    base.row.metadata = plan.base_metadata
    return StartAnswer(
        result=StartResult.STARTED,
        run=replace(run.row),
        terminated=None if terminated is None else replace(terminated.row),
    )
