"""Memory policy: request-id deduplication and the id policies, on ``memory_tables``. The order is Temporal's."""

from __future__ import annotations

from dataclasses import replace

from dbos_core.commit import Close, IdConflict, IdReuse, NewRun, RunStatus, StartAnswer, StartResult, row_of
from dbos_core.store.memory_tables import Run, Tables


def start_by_policy(
    tables: Tables, process_id: str, new: NewRun, derived_uuid: str, terminate_record: str, now_ms: int
) -> StartAnswer:
    current = tables.current.get(new.workflow_id)
    if new.parent is not None and (itself := tables.by_run_id.get(new.run_id)) is not None:
        return StartAnswer(result=StartResult.SAME_REQUEST, run=replace(itself.row))
    if not tables.may_begin(new):
        row = row_of(new, process_id) if current is None else replace(current.row)
        return StartAnswer(result=StartResult.PARENT_CLOSED, run=row)
    if current is None:
        return _start(tables, process_id, new, derived_uuid, now_ms)
    row = current.row
    if row.run_id == new.run_id or (new.request_id is not None and row.request_id == new.request_id):
        return StartAnswer(result=StartResult.SAME_REQUEST, run=replace(row))
    if not current.open:
        if _may_follow(row.status, new.reuse):
            return _start(tables, process_id, new, derived_uuid, now_ms)
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
        return _start(tables, process_id, new, derived_uuid, now_ms, terminated=current)
    if new.conflict is IdConflict.USE_EXISTING:
        return StartAnswer(result=StartResult.USED_EXISTING, run=replace(row))
    return StartAnswer(result=StartResult.ALREADY_STARTED, run=replace(row))


def _may_follow(closed: RunStatus, reuse: IdReuse) -> bool:
    if reuse is IdReuse.REJECT_DUPLICATE:
        return False
    return reuse is not IdReuse.ALLOW_DUPLICATE_FAILED_ONLY or closed is not RunStatus.COMPLETED


def _start(
    tables: Tables, process_id: str, new: NewRun, derived_uuid: str, now_ms: int, terminated: Run | None = None
) -> StartAnswer:
    workflow_uuid = derived_uuid if new.workflow_uuid in tables.runs else new.workflow_uuid
    run = tables.add_run(new, workflow_uuid, process_id if new.claimed else None, now_ms)
    return StartAnswer(
        result=StartResult.STARTED,
        run=replace(run.row),
        terminated=None if terminated is None else replace(terminated.row),
    )
