"""The ledger as two tables in the shadow's own schema."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from dbos_core.store.postgres.connect import Database, translated
from dbos_core.store.postgres.schema.names import Schemas
from dbos_shadow.mirror.ledger import Entry
from dbos_shadow.mirror.notes import Note
from dbos_shadow.verdict import Reason, Verdict

__all__ = ["PostgresLedger"]

_SCHEMA = """
    create schema if not exists {own};
    create table if not exists {own}.mirrored (
        number bigint generated always as identity unique,
        workflow_id text not null,
        run_id text not null,
        workflow_type text not null,
        noted_at timestamptz not null default now(),
        verdict text,
        reason text,
        said text not null default '',
        judged_at timestamptz,
        primary key (workflow_id, run_id),
        check ((verdict is null) = (judged_at is null))
    );
    create index if not exists mirrored_unjudged on {own}.mirrored (number) where verdict is null;
    create table if not exists {own}.mirror_lost (
        workflow_type text primary key,
        calls bigint not null,
        last_at timestamptz not null default now()
    )"""

_MIRRORED = "{own}.mirrored"

_LOCK = "select pg_advisory_xact_lock(hashtextextended($1, 1147302482))"

# Noted again is noted once. Sorted, so that two fronts with the same runs never wait for each other in a circle.
_NOTE = """
    insert into {own}.mirrored (workflow_id, run_id, workflow_type)
    select * from unnest($1::text[], $2::text[], $3::text[]) n (workflow_id, run_id, workflow_type)
     order by 1, 2
    on conflict (workflow_id, run_id) do nothing"""

_LOST = """
    insert into {own}.mirror_lost as l (workflow_type, calls)
    select * from unnest($1::text[], $2::bigint[]) n (workflow_type, calls) order by 1
    on conflict (workflow_type) do update set calls = l.calls + excluded.calls, last_at = now()"""

_NEVER_NOTED = "select workflow_type, calls from {own}.mirror_lost"

_UNJUDGED = """
    select number, workflow_id, run_id, workflow_type, verdict, reason, said
      from {own}.mirrored
     where verdict is null and number > $1
     order by number
     limit $2"""

_ENTRIES = """
    select number, workflow_id, run_id, workflow_type, verdict, reason, said
      from {own}.mirrored order by number"""

_JUDGED = """
    update {own}.mirrored
       set verdict = $3, reason = $4, said = $5, workflow_type = $6, judged_at = now()
     where workflow_id = $1 and run_id = $2"""

_FORGET = "delete from {own}.mirrored where workflow_id = $1 and run_id = $2 and verdict is null"

_PURGE = "delete from {own}.mirrored where judged_at < now() - $1::interval returning 1"

_PURGE_LOST = "delete from {own}.mirror_lost where last_at < now() - $1::interval"

_LEAD = "select pg_try_advisory_lock(hashtextextended($1, 1147302483))"


class PostgresLedger:
    """See :class:`dbos_shadow.mirror.ledger.Ledger`."""

    def __init__(self, url: str, *, namespace: str) -> None:
        """
        Args:
            url: ``postgresql://user:password@host:port/database``.
            namespace: of the shadow; its own schema holds the tables.
        """
        self._schemas = Schemas.of(namespace)
        self._db = Database(url, self._schemas, pool_max=2, statement_cache=16, settings={})
        self._leading: Any = None
        """The session that holds the lock of whoever follows. The lock ends with it, however the process ends."""

    async def open(self) -> None:
        """Make the tables where they are missing.

        Raises:
            StoreUnavailable: nobody answers.
            BadDatabaseURL: the database refuses the user.
        """
        async with self._db.session("making the tables of the mirror") as session, session.transaction():
            await session.execute(_LOCK, self._schemas.own)
            await session.execute(self._schemas.fill(_SCHEMA))
        await self._db.open()

    async def exists(self) -> bool:
        """Has anybody ever mirrored into this schema? It need not be open.

        Raises:
            StoreUnavailable: nobody answers.
            BadDatabaseURL: the database refuses the user.
        """
        async with self._db.session("looking for the tables of the mirror") as session:
            return bool(await session.fetchval("select to_regclass($1) is not null", self._schemas.fill(_MIRRORED)))

    async def close(self) -> None:
        leading, self._leading = self._leading, None
        if leading is not None:
            with contextlib.suppress(Exception):  # the session ends either way
                await leading.close()
        await self._db.close()

    async def note(self, notes: Iterable[Note]) -> None:
        found = list(notes)
        columns = ([n.workflow_id for n in found], [n.run_id for n in found], [n.workflow_type for n in found])
        await self._db.rows("noting mirrored runs", _NOTE, *columns, safe=True)

    async def lost(self, runs: Mapping[str, int]) -> None:
        await self._db.rows("counting runs that were not noted", _LOST, list(runs), list(runs.values()))

    async def never_noted(self) -> Mapping[str, int]:
        rows = await self._db.rows("reading what was not noted", _NEVER_NOTED, safe=True)
        return {row["workflow_type"]: row["calls"] for row in rows}

    async def unjudged(self, after: int, limit: int) -> list[Entry]:
        rows = await self._db.rows("reading mirrored runs", _UNJUDGED, after, limit, safe=True)
        return [_entry(row) for row in rows]

    async def entries(self) -> list[Entry]:
        rows = await self._db.rows("reading mirrored runs", _ENTRIES, safe=True)
        return [_entry(row) for row in rows]

    async def judged(self, note: Note, verdict: Verdict, reason: Reason | None, said: str) -> None:
        values = (
            note.workflow_id,
            note.run_id,
            verdict.value,
            reason and reason.value,
            _text(said),
            note.workflow_type,
        )
        await self._db.rows("writing a verdict", _JUDGED, *values, safe=True)

    async def resolve(self, note: Note, run: Note | None) -> None:
        if run is not None:
            await self.note([run])
        await self._db.rows("striking a note", _FORGET, note.workflow_id, note.run_id, safe=True)

    async def purge(self, older_than: timedelta) -> int:
        await self._db.rows("deleting old counts", _PURGE_LOST, older_than, safe=True)
        return len(await self._db.rows("deleting old verdicts", _PURGE, older_than, safe=True))

    async def lead(self) -> bool:
        if self._leading is not None and not self._leading.is_closed():
            return True
        session = await self._db.connect()
        taken = False
        try:
            with translated("becoming the mirror's worker"):
                taken = bool(await session.fetchval(_LEAD, self._schemas.own))
        finally:
            if taken:
                self._leading = session
            else:
                await session.close()
        return taken


def _text(said: str) -> str:
    """Postgres takes no NUL."""
    return said.replace("\0", "\ufffd")


def _entry(row: Any) -> Entry:
    return Entry(
        number=row["number"],
        note=Note(workflow_id=row["workflow_id"], run_id=row["run_id"], workflow_type=row["workflow_type"]),
        verdict=None if row["verdict"] is None else Verdict(row["verdict"]),
        reason=None if row["reason"] is None else Reason(row["reason"]),
        said=row["said"],
    )
