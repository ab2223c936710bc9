"""Flush: the one writing statement of the group commit.

Commits are sorted into parts, the parts give the shape, the shape gives a prepared statement (``flush_sql``), and its
one row tells what became of each commit. Only where a batch holds mail *and* another change for the same run are
there several statements, in one transaction: a statement cannot write one row twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dbos_core.commit import PARK_FOREVER, Commit, NewRun, Verdict
from dbos_core.store.postgres.connect import Connection, Database
from dbos_core.store.postgres.flush_shape import Shape
from dbos_core.store.postgres.flush_sql import compose
from dbos_core.store.postgres.flush_values import creator_xid, put_fenced, put_mail, put_reach, put_starts, touches


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
    settled: list[tuple[str, str | None]] = field(default_factory=list)
    """Rows of the outbox that are done with; the second: if mail to this run is accepted."""


async def flush(db: Database, author: Author, commits: Sequence[Commit], *, again: bool) -> list[Verdict]:
    """Apply the commits and say what became of each (``Store.flush``)."""

    async def body(connection: Connection) -> list[Verdict]:
        verdicts = await apply(db, connection, author, commits)
        if again:
            await _recognise(db, connection, author, commits, verdicts)
        return verdicts

    if not commits:
        return []
    return await db.run(f"flush of {len(commits)} commits ({commits[0].workflow_uuid!r} ...)", body, held=True)


async def apply(db: Database, connection: Connection, author: Author, commits: Sequence[Commit]) -> list[Verdict]:
    """The same within a caller's session, and in its transaction if it has one."""
    verdicts = [Verdict.COMMITTED if commit.settled else Verdict.ID_TAKEN for commit in commits]
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
        elif commit.mail or not commit.settled:
            batch.mail.append((i, commit))
        batch.settled += [(uuid, commit.workflow_uuid if commit.mail else None) for uuid in commit.settled]
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
        commit.workflow_uuid in mailed for _, commit in batch.fenced if touches(commit)
    ):
        return [
            Batch(starts=batch.starts),
            Batch(mail=batch.mail, settled=batch.settled),
            Batch(fenced=batch.fenced),
        ]
    return [batch]


async def _write(db: Database, connection: Connection, author: Author, batch: Batch, verdicts: list[Verdict]) -> None:
    if not (batch.starts or batch.fenced or batch.mail or batch.settled):
        return
    values: dict[str, Any] = {
        "process": author.process_id,
        "application": author.application_name,
        "version": author.application_version,
    }
    shape = 0
    if batch.starts:
        shape |= put_starts(batch.starts, author.process_id, values)
    if batch.fenced:
        shape |= put_fenced(batch.fenced, author.process_id, values)
    if batch.mail:
        shape |= put_mail(batch.mail, values)
    if batch.settled:
        shape |= Shape.SETTLED
        values["settled"] = [uuid for uuid, _ in batch.settled]
        values["settled_by"] = [box for _, box in batch.settled]
    shape |= put_reach(batch.starts, batch.fenced, values)
    if author.announce_mail and shape & (Shape.MAIL | Shape.START_MAIL):
        shape |= Shape.ANNOUNCE_MAIL
    if not (batch.mail or batch.settled) and len(batch.starts) + len(batch.fenced) == 1:
        text, names = compose(shape | Shape.LONE)
        row = await connection.fetchrow(db.sql(text), *[_lone(name, values) for name in names])
    else:
        text, names = compose(shape)
        row = await connection.fetchrow(db.sql(text), *[_column(values[name]) for name in names])
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
        _judge_mail(batch.mail, dict(zip(row["boxes"], row["follows"], strict=True)), times, verdicts)


def _column(value: Any) -> Any:
    """A parameter of a statement for several commits. ``unnest`` fills up with nulls, so a column of nothing else need not
    be written: the driver looks long at each element."""
    return [] if isinstance(value, list) and value.count(None) == len(value) else value


def _lone(name: str, values: dict[str, Any]) -> Any:
    """A parameter of a statement for one commit."""
    value = values[name]
    return value[0] if isinstance(value, list) else value


def _judge_mail(
    commits: list[tuple[int, Commit]], boxes: dict[str, int | None], times: dict[str, int], verdicts: list[Verdict]
) -> None:
    """``boxes``: by open run, the time of what came before, or None."""
    for i, commit in commits:
        if commit.workflow_uuid not in boxes:
            verdicts[i] = Verdict.RUN_CLOSED
            continue
        fresh = False
        for mail in commit.mail:
            created = times.pop(mail.mail_id, None)  # a second message of that id in this flush is a duplicate
            if created is not None:
                mail.created_ms = created
                mail.follows_ms = boxes[commit.workflow_uuid]
                if mail.follows_ms is not None:
                    boxes[commit.workflow_uuid] = created
                fresh = True
        verdicts[i] = Verdict.COMMITTED if fresh or not commit.mail else Verdict.DUPLICATE


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
