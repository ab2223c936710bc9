"""Flush, the parameters: commits of one kind → arrays, one element per commit, and the parts of the shape they need.

Lists inside a commit travel as JSON (see ``flush_sql``).
"""

from __future__ import annotations

import json
from typing import Any

from dbos_core.activities.spec import ActivityRow
from dbos_core.commit import PARK_FOREVER, Close, Commit, Mail, NewRun, ParentLink, RunStatus
from dbos_core.mailbox import OWN_ID
from dbos_core.store.postgres.flush_shape import Shape

_FINER = {RunStatus.TERMINATED, RunStatus.TIMED_OUT, RunStatus.CONTINUED_AS_NEW}
"""Outcomes that DBOS has no status for; their name goes into ``attributes`` under ``dbos_compat.status``."""


_NEW_RUN = {
    "workflow_id": "workflow_id",
    "run_id": "run_id",
    "first_run_id": "first_run_id",
    "workflow_type": "workflow_type",
    "task_queue": "task_queue",
    "inputs": "inputs",
    "start_ms": "start_ms",
    "execution_ms": "execution_ms",
    "claimed": "claimed",
    "request_id": "request_id",
    "deadline_ms": "deadline_ms",
    "memo": "memo",
    "search_attributes": "search_attributes",
    "metadata": "metadata",
}
"""Columns of a new run (``flush_shape.START_COLUMNS``), and the field of ``NewRun`` that each takes."""


def put_starts(starts: list[tuple[int, Commit, NewRun]], process_id: str, values: dict[str, Any]) -> int:
    shape = Shape.START
    news = [new for _, _, new in starts]
    commits = [commit for _, commit, _ in starts]
    values["s_i"] = [i for i, _, _ in starts]
    values["s_uuid"] = [commit.workflow_uuid for commit in commits]
    for column, field in _NEW_RUN.items():
        values[f"s_{column}"] = [getattr(new, field) for new in news]
    values["s_memo"] = [new.memo if commit.memo is None else commit.memo for _, commit, new in starts]
    values["s_search_attributes"] = [
        new.search_attributes if commit.search_attributes is None else commit.search_attributes
        for _, commit, new in starts
    ]
    values["s_creator"] = [creator_xid(process_id, new) for new in news]
    if any(new.parent is not None for new in news):
        shape |= Shape.START_CHILD
        _put_parents([new.parent for new in news], values)
    if _put_entries("s", commits, values):
        shape |= Shape.START_ENTRY
    if any(commit.close is not None or commit.park_until_ms is not None for commit in commits):
        shape |= Shape.START_END
        _put_closes("s", commits, values)
        values["s_parks"] = [c.close is None and c.park_until_ms is not None for c in commits]
        values["s_wake_at"] = [_wake_at(c) for c in commits]
        values["s_history_length"] = [commit.history_length for commit in commits]
        if _put_successors("s", commits, process_id, values):
            shape |= Shape.START_NEXT
        if any(values["s_parks"]):
            shape |= Shape.START_WORK
    if not all(values["s_claimed"]):
        shape |= Shape.START_WORK
    if any(commit.mail for commit in commits):
        shape |= Shape.START_MAIL
        values["s_mail"] = [_mail_json(commit.mail, commit) if commit.mail else None for commit in commits]
    if _put_activities("s", commits, values):
        shape |= Shape.START_ACTIVITIES
    if _put_updates("s", commits, values):
        shape |= Shape.START_UPDATES
    return shape


def _put_parents(parents: list[ParentLink | None], values: dict[str, Any]) -> None:
    rows = [_parent(parent) for parent in parents]
    for column in rows[0]:
        values[f"s_{column}"] = [row[column] for row in rows]


def _parent(parent: ParentLink | None) -> dict[str, Any]:
    return {
        "parent": parent.workflow_uuid if parent else None,
        "parent_workflow_id": parent.workflow_id if parent else None,
        "parent_run_id": parent.run_id if parent else None,
        "parent_seq": parent.seq if parent else None,
        "parent_policy": int(parent.policy) if parent else None,
        "root_workflow_id": parent.root_workflow_id if parent else None,
        "root_run_id": parent.root_run_id if parent else None,
    }


def creator_xid(process_id: str, new: NewRun) -> str:
    """By this a repeated start recognises its own row."""
    return f"{process_id}:{new.run_id}"


def next_json(process_id: str, close: Close) -> str | None:
    """The run that follows one that ends, for ``flush_sql.successors``."""
    new = close.successor
    if new is None:
        return None
    row = {column: getattr(new, field) for column, field in _NEW_RUN.items()} | _parent(new.parent)
    return json.dumps({"uuid": new.workflow_uuid, "creator": creator_xid(process_id, new), **row})


def _put_successors(prefix: str, commits: list[Commit], process_id: str, values: dict[str, Any]) -> bool:
    if not any(commit.close is not None and commit.close.successor is not None for commit in commits):
        return False
    values[f"{prefix}_next"] = [next_json(process_id, c.close) if c.close is not None else None for c in commits]
    return True


def put_fenced(fenced: list[tuple[int, Commit]], process_id: str, values: dict[str, Any]) -> int:
    shape = Shape.FENCED
    commits = [commit for _, commit in fenced]
    values["f_i"] = [i for i, _ in fenced]
    values["f_uuid"] = [commit.workflow_uuid for commit in commits]
    if _put_entries("f", commits, values):
        shape |= Shape.ENTRY
    touched = [touches(commit) for commit in commits]
    if any(touched):
        shape |= Shape.RUN
        _put_run_changes(commits, touched, values)
        if any(values["f_lets_go"]):
            shape |= Shape.END
            if any(commit.park_until_ms is not None for commit in commits):
                shape |= Shape.PARK
            values["f_mail_seen"] = [_mail_seen(commit) for commit in commits]
            values["f_mail_known"] = [_mail_known(commit) for commit in commits]
            if _put_successors("f", commits, process_id, values):
                shape |= Shape.NEXT
    if any(commit.consumed for commit in commits):
        shape |= Shape.CONSUMED
        values["f_consumed"] = [json.dumps(commit.consumed) if commit.consumed else None for commit in commits]
    if _put_activities("f", commits, values):
        shape |= Shape.ACTIVITIES
    if any(commit.activities_done for commit in commits):
        shape |= Shape.ACTIVITIES_DONE
        values["f_done"] = [
            "{" + ",".join(map(str, commit.activities_done)) + "}" if commit.activities_done else None
            for commit in commits
        ]
    if _put_updates("f", commits, values):
        shape |= Shape.UPDATES
    return shape


def put_reach(
    starts: list[tuple[int, Commit, NewRun]], fenced: list[tuple[int, Commit]], values: dict[str, Any]
) -> int:
    """Which closes other runs must hear of."""
    of_starts = [_reaches(commit) for _, commit, _ in starts]
    of_fenced = [_reaches(commit) for _, commit in fenced]
    if not any(of_starts) and not any(of_fenced):
        return 0
    values["s_reaches"], values["f_reaches"] = of_starts, of_fenced
    return Shape.OUTBOX


def _reaches(commit: Commit) -> bool:
    return commit.close is not None and commit.close.reaches_others


def _put_run_changes(commits: list[Commit], touched: list[bool], values: dict[str, Any]) -> None:
    values["f_touches"] = touched
    values["f_lets_go"] = [c.close is not None or c.park_until_ms is not None for c in commits]
    values["f_wake_at"] = [_wake_at(c) for c in commits]
    _put_closes("f", commits, values)
    values["f_history_length"] = [
        c.history_length if c.close is not None or c.park_until_ms is not None else None for c in commits
    ]
    values["f_memo"] = [c.memo for c in commits]
    values["f_search_attributes"] = [c.search_attributes for c in commits]


def _wake_at(commit: Commit) -> int | None:
    """When a parked run wakes by itself; None: never (or it does not park)."""
    until = commit.park_until_ms
    return until if commit.close is None and until is not None and until < PARK_FOREVER else None


def _mail_seen(commit: Commit) -> int | None:
    if commit.close is not None:
        return commit.close.mail_seen_ms
    return commit.mail_seen_ms if commit.park_until_ms is not None else None


def _mail_known(commit: Commit) -> str | None:
    """Messages of stock tools by id: no time says that they are known."""
    known = [mail_id for mail_id in (*commit.consumed, *commit.mail_left) if not mail_id.startswith(OWN_ID)]
    return json.dumps(known) if known else None


def _put_entries(prefix: str, commits: list[Commit], values: dict[str, Any]) -> bool:
    entries = [commit.entry for commit in commits]
    values[f"{prefix}_position"] = [e.position if e else None for e in entries]
    if not any(entries):
        return False
    values[f"{prefix}_entry_name"] = [e.name if e else None for e in entries]
    values[f"{prefix}_entry"] = [e.record if e else None for e in entries]
    values[f"{prefix}_entry_started"] = [e.started_ms if e else None for e in entries]
    values[f"{prefix}_entry_completed"] = [e.completed_ms if e else None for e in entries]
    return True


def _put_closes(prefix: str, commits: list[Commit], values: dict[str, Any]) -> None:
    closes: list[Close | None] = [commit.close for commit in commits]
    values[f"{prefix}_status"] = [int(c.status) if c else None for c in closes]
    values[f"{prefix}_dbos_status"] = [c.status.dbos if c else None for c in closes]
    values[f"{prefix}_finer"] = [finer_status(c) if c else None for c in closes]
    values[f"{prefix}_close_ms"] = [c.close_ms if c else None for c in closes]
    values[f"{prefix}_close"] = [c.record if c else None for c in closes]
    values[f"{prefix}_output"] = [c.output if c else None for c in closes]
    values[f"{prefix}_error"] = [c.error if c else None for c in closes]


def finer_status(close: Close) -> str | None:
    """What to say beside the DBOS status, where that says too little."""
    return close.status.name if close.status in _FINER else None


def _put_activities(prefix: str, commits: list[Commit], values: dict[str, Any]) -> bool:
    if not any(commit.activities for commit in commits):
        return False
    values[f"{prefix}_activities"] = [
        json.dumps([_activity(row) for row in commit.activities]) if commit.activities else None for commit in commits
    ]
    return True


def _activity(row: ActivityRow) -> dict[str, Any]:
    return {
        "seq": row.seq,
        "task_queue": row.task_queue,
        "attempt": row.attempt,
        "scheduled_ms": row.scheduled_ms,
        "due_ms": row.due_ms,
        "started_ms": row.started_ms,
        "worker": row.worker,
        "offered": row.offered,
        "spec": row.spec,
        "heartbeat": row.heartbeat,
        "heartbeat_at_ms": row.heartbeat_at_ms,
        "last_failure": row.last_failure,
        "cancel_requested": row.cancel_requested,
        "ended_ms": row.ended_ms,
        "operator": row.operator,
    }


def _put_updates(prefix: str, commits: list[Commit], values: dict[str, Any]) -> bool:
    if not any(commit.updates for commit in commits):
        return False
    values[f"{prefix}_updates"] = [
        json.dumps([{"update_id": u.update_id, "stage": u.stage, "outcome": u.outcome} for u in commit.updates])
        if commit.updates
        else None
        for commit in commits
    ]
    return True


def put_mail(commits: list[tuple[int, Commit]], values: dict[str, Any]) -> int:
    boxes: dict[str, dict[str, Mail]] = {}
    known: set[str] = set()
    for _, commit in commits:
        box = boxes.setdefault(commit.workflow_uuid, {})
        for mail in commit.mail:
            if mail.mail_id not in known:
                known.add(mail.mail_id)
                box[mail.mail_id] = mail
    uuids = sorted(boxes)
    values["m_uuid"] = uuids
    values["m_size"] = [len(boxes[uuid]) for uuid in uuids]
    values["m_messages"] = [_mail_json(tuple(boxes[uuid].values())) for uuid in uuids]
    return Shape.MAIL


def _mail_json(mails: tuple[Mail, ...], commit: Commit | None = None) -> str:
    rows: list[dict[str, Any]] = []
    consumed = commit.consumed if commit is not None else ()
    for ord_, mail in enumerate(mails, 1):
        row: dict[str, Any] = {
            "ord": ord_,
            "id": mail.mail_id,
            "topic": mail.topic,
            "message": mail.message,
            "serialization": mail.serialization,
        }
        if commit is not None:
            row["consumed"] = mail.mail_id in consumed
            row["position"] = commit.entry.position if row["consumed"] and commit.entry else None
        rows.append(row)
    return json.dumps(rows)


def touches(commit: Commit) -> bool:
    return (
        commit.close is not None
        or commit.park_until_ms is not None
        or commit.memo is not None
        or commit.search_attributes is not None
    )
