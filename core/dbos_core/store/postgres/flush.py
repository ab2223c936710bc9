"""Flush: the one writing statement of the group commit.

Commits are sorted into parts, the parts give the shape, the shape gives a prepared statement (``flush_sql``), and its
one row tells what became of each commit. Only where a batch holds mail *and* another change for the same run are
there several statements, in one transaction: a statement cannot write one row twice.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dbos_core.activities.spec import ActivityRow
from dbos_core.commit import PARK_FOREVER, Close, Commit, Mail, NewRun, RunStatus, Verdict
from dbos_core.store.postgres.connect import Connection, Database
from dbos_core.store.postgres.flush_sql import Shape, compose

_FINER = {RunStatus.TERMINATED, RunStatus.TIMED_OUT, RunStatus.CONTINUED_AS_NEW}
"""Outcomes that DBOS has no status for; their name goes into ``attributes`` under ``dbos_compat.status``."""


@dataclass(slots=True, frozen=True)
class Author:
    """What every row says of the process that wrote it."""

    process_id: str
    application_name: str
    application_version: str
    announce_mail: bool = False
    """The schema has no trigger for messages: the statement announces them itself."""


@dataclass(slots=True)
class Batch:
    """The commits of one statement, by kind. Numbers index into the flush's commits."""

    starts: list[tuple[int, Commit, NewRun]] = field(default_factory=list)
    fenced: list[tuple[int, Commit]] = field(default_factory=list)
    mail: list[tuple[int, Commit]] = field(default_factory=list)


async def flush(db: Database, author: Author, commits: Sequence[Commit], *, again: bool) -> list[Verdict]:
    """Apply the commits and say what became of each (``Store.flush``)."""

    async def body(connection: Connection) -> list[Verdict]:
        verdicts = await apply(db, connection, author, commits)
        if again:
            await _recognise(db, connection, author, commits, verdicts)
        return verdicts

    if not commits:
        return []
    return await db.run(f"flush of {len(commits)} commits ({commits[0].workflow_uuid!r} ...)", body)


async def apply(db: Database, connection: Connection, author: Author, commits: Sequence[Commit]) -> list[Verdict]:
    """The same within a caller's session, and in its transaction if it has one."""
    verdicts = [Verdict.ID_TAKEN] * len(commits)
    batches = _batches(commits)
    if len(batches) == 1:
        await _write(db, connection, author, batches[0], verdicts)
    else:
        async with connection.transaction():
            for batch in batches:
                await _write(db, connection, author, batch, verdicts)
    return verdicts


def _batches(commits: Sequence[Commit]) -> list[Batch]:
    """Sort commits by kind; what touches one run twice goes into statements that follow each other."""
    batch = Batch()
    for i, commit in enumerate(commits):
        if commit.start is not None:
            batch.starts.append((i, commit, commit.start))
        elif commit.fenced:
            batch.fenced.append((i, commit))
        else:
            batch.mail.append((i, commit))
    if batch.starts:
        # Two starts of one id in one flush: the first is tried, the others have met it.
        ids: set[str] = set()
        for item in batch.starts[:]:
            uuid, workflow_id = item[1].workflow_uuid, item[2].workflow_id
            if uuid in ids or workflow_id in ids:
                batch.starts.remove(item)
            ids |= {uuid, workflow_id}
        batch.starts.sort(key=lambda item: item[1].workflow_uuid)
    # One order of locks for everybody.
    batch.fenced.sort(key=lambda item: item[1].workflow_uuid)
    if not batch.mail or not (batch.starts or batch.fenced):
        return [batch]
    mailed = {commit.workflow_uuid for _, commit in batch.mail}
    if any(commit.workflow_uuid in mailed for _, commit, _ in batch.starts) or any(
        commit.workflow_uuid in mailed for _, commit in batch.fenced if _touches(commit)
    ):
        return [Batch(starts=batch.starts), Batch(mail=batch.mail), Batch(fenced=batch.fenced)]
    return [batch]


def _touches(commit: Commit) -> bool:
    return (
        commit.close is not None
        or commit.park_until_ms is not None
        or commit.memo is not None
        or commit.search_attributes is not None
    )


async def _write(db: Database, connection: Connection, author: Author, batch: Batch, verdicts: list[Verdict]) -> None:
    if not (batch.starts or batch.fenced or batch.mail):
        return
    values: dict[str, Any] = {
        "process": author.process_id,
        "application": author.application_name,
        "version": author.application_version,
    }
    shape = Shape(0)
    if batch.starts:
        shape |= _put_starts(batch.starts, author.process_id, values)
    if batch.fenced:
        shape |= _put_fenced(batch.fenced, values)
    if batch.mail:
        shape |= _put_mail(batch.mail, values)
    if author.announce_mail and shape & (Shape.MAIL | Shape.START_MAIL):
        shape |= Shape.ANNOUNCE_MAIL
    text, names = compose(shape)
    row = await connection.fetchrow(db.sql(text), *[values[name] for name in names])
    assert row is not None
    times: dict[str, int] = {}
    if shape & (Shape.MAIL | Shape.START_MAIL):
        times = dict(zip(row["mail_ids"], row["mail_times"], strict=True))
    if batch.starts:
        started = set(row["started"])
        for i, commit, _ in batch.starts:
            verdicts[i] = Verdict.COMMITTED if i in started else Verdict.ID_TAKEN
            for mail in commit.mail:
                mail.created_ms = times.get(mail.mail_id, mail.created_ms)
    if batch.fenced:
        for i, _ in batch.fenced:
            verdicts[i] = Verdict.CLAIM_LOST
        for i in row["done"]:
            verdicts[i] = Verdict.COMMITTED
        for i in row["taken"]:
            verdicts[i] = Verdict.POSITION_LOST
        for i in row["waiting"]:
            verdicts[i] = Verdict.MAIL_WAITING
    if batch.mail:
        _judge_mail(batch.mail, set(row["boxes"]), times, verdicts)


def _judge_mail(
    commits: list[tuple[int, Commit]], boxes: set[str], times: dict[str, int], verdicts: list[Verdict]
) -> None:
    for i, commit in commits:
        if commit.workflow_uuid not in boxes:
            verdicts[i] = Verdict.RUN_CLOSED
            continue
        fresh = False
        for mail in commit.mail:
            created = times.pop(mail.mail_id, None)  # a second message of that id in this flush is a duplicate
            if created is not None:
                mail.created_ms = created
                fresh = True
        verdicts[i] = Verdict.COMMITTED if fresh or not commit.mail else Verdict.DUPLICATE


# -- commits → parameters ----------------------------------------------------------------------------------------------


def _put_starts(starts: list[tuple[int, Commit, NewRun]], process_id: str, values: dict[str, Any]) -> Shape:
    shape = Shape.START
    news = [new for _, _, new in starts]
    commits = [commit for _, commit, _ in starts]
    values["s_i"] = [i for i, _, _ in starts]
    values["s_uuid"] = [commit.workflow_uuid for commit in commits]
    values["s_workflow_id"] = [new.workflow_id for new in news]
    values["s_run_id"] = [new.run_id for new in news]
    values["s_first_run_id"] = [new.first_run_id for new in news]
    values["s_workflow_type"] = [new.workflow_type for new in news]
    values["s_task_queue"] = [new.task_queue for new in news]
    values["s_inputs"] = [new.inputs for new in news]
    values["s_start_ms"] = [new.start_ms for new in news]
    values["s_execution_ms"] = [new.execution_ms for new in news]
    values["s_claimed"] = [new.claimed for new in news]
    values["s_request_id"] = [new.request_id for new in news]
    values["s_deadline_ms"] = [new.deadline_ms for new in news]
    values["s_memo"] = [new.memo if commit.memo is None else commit.memo for _, commit, new in starts]
    values["s_search_attributes"] = [
        new.search_attributes if commit.search_attributes is None else commit.search_attributes
        for _, commit, new in starts
    ]
    values["s_metadata"] = [new.metadata for new in news]
    values["s_parent"] = [new.parent_workflow_uuid for new in news]
    values["s_creator"] = [creator_xid(process_id, new) for new in news]
    if _put_entries("s", commits, values):
        shape |= Shape.START_ENTRY
    if any(commit.close is not None or commit.park_until_ms is not None for commit in commits):
        shape |= Shape.START_END
        _put_closes("s", commits, values)
        values["s_parks"] = [c.close is None and c.park_until_ms is not None for c in commits]
        values["s_wake_at"] = [_wake_at(c) for c in commits]
        values["s_history_length"] = [commit.history_length for commit in commits]
    if any(commit.mail for commit in commits):
        shape |= Shape.START_MAIL
        values["s_mail"] = [_mail_json(commit.mail, commit) if commit.mail else None for commit in commits]
    if _put_activities("s", commits, values):
        shape |= Shape.START_ACTIVITIES
    if _put_updates("s", commits, values):
        shape |= Shape.START_UPDATES
    return shape


def creator_xid(process_id: str, new: NewRun) -> str:
    """By this a repeated start recognises its own row."""
    return f"{process_id}:{new.run_id}"


def _put_fenced(fenced: list[tuple[int, Commit]], values: dict[str, Any]) -> Shape:
    shape = Shape.FENCED
    commits = [commit for _, commit in fenced]
    values["f_i"] = [i for i, _ in fenced]
    values["f_uuid"] = [commit.workflow_uuid for commit in commits]
    if _put_entries("f", commits, values):
        shape |= Shape.ENTRY
    touched = [_touches(commit) for commit in commits]
    if any(touched):
        shape |= Shape.RUN
        _put_run_changes(commits, touched, values)
        if any(values["f_lets_go"]):
            shape |= Shape.END
            values["f_mail_seen"] = [_mail_seen(commit) for commit in commits]
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


def _put_mail(commits: list[tuple[int, Commit]], values: dict[str, Any]) -> Shape:
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


# -- the repeat of a flush whose answer was lost ----------------------------------------------------------------------

_LANDED_STARTS = """
    select w.workflow_uuid, w.creator_xid from {dbos}.workflow_status w where w.workflow_uuid = any ($1::text[])"""

_LANDED_FENCED = """
    select c.i
      from unnest($1::int[], $2::text[], $3::int[], $4::text[], $5::text[], $6::bigint[], $7::boolean[])
           as c (i, uuid, position, entry, close, wake_at, parks)
      join {own}.runs r on r.workflow_uuid = c.uuid
     where case when c.position is not null
                then exists (select from {dbos}.operation_outputs o
                              where o.workflow_uuid = c.uuid and o.function_id = c.position and o.output = c.entry)
                when c.close is not null then r.close = c.close
                when c.parks then r.status = 1 and r.owner is null and r.wake_at_ms is not distinct from c.wake_at
                else false end"""

_LANDED_MAIL = """
    select message_uuid, created_at_epoch_ms from {dbos}.notifications where message_uuid = any ($1::text[])"""


async def _recognise(
    db: Database,
    connection: Connection,
    author: Author,
    commits: Sequence[Commit],
    verdicts: list[Verdict],
) -> None:
    """Correct the verdicts of commits that landed at the first try."""
    lost = [(i, commit) for i, commit in enumerate(commits) if verdicts[i] is not Verdict.COMMITTED]
    mails = [mail.mail_id for _, commit in lost for mail in commit.mail]
    times: dict[str, int] = {}
    if mails:
        times = dict(await connection.fetch(db.sql(_LANDED_MAIL), mails))  # type: ignore[arg-type]
    starts = [(i, commit, commit.start) for i, commit in lost if commit.start is not None]
    if starts:
        rows = await connection.fetch(db.sql(_LANDED_STARTS), [commit.workflow_uuid for _, commit, _ in starts])
        creators = {row[0]: row[1] for row in rows}
        for i, commit, new in starts:
            if creators.get(commit.workflow_uuid) == creator_xid(author.process_id, new):
                verdicts[i] = Verdict.COMMITTED
                _set_times(commit, times)
    fenced = [(i, commit) for i, commit in lost if commit.start is None and commit.fenced]
    if fenced:
        rows = await connection.fetch(
            db.sql(_LANDED_FENCED),
            [i for i, _ in fenced],
            [c.workflow_uuid for _, c in fenced],
            [c.entry.position if c.entry else None for _, c in fenced],
            [c.entry.record if c.entry else None for _, c in fenced],
            [c.close.record if c.close else None for _, c in fenced],
            [
                c.park_until_ms if c.park_until_ms is not None and c.park_until_ms < PARK_FOREVER else None
                for _, c in fenced
            ],
            [c.park_until_ms is not None for _, c in fenced],
        )
        for row in rows:
            verdicts[row[0]] = Verdict.COMMITTED
    for i, commit in lost:
        plain_mail = commit.start is None and not commit.fenced and commit.mail
        if plain_mail and all(mail.mail_id in times for mail in commit.mail):
            verdicts[i] = Verdict.DUPLICATE
            _set_times(commit, times)


def _set_times(commit: Commit, times: dict[str, int]) -> None:
    for mail in commit.mail:
        mail.created_ms = times.get(mail.mail_id, mail.created_ms)
