"""StoppedDatabase: a namespace of its own on a real Postgres, whose clock stands still until a test moves it.

Leases, wake times and claims are judged by one function of the schema, ``now_ms()``. Here it reads a row. Who lives does
not die of a clock that is moved: its lease moves along, as if it had given signs of life on the way. Who was killed is
believed dead as soon as the test says so; nobody waits for its lease.
"""

from __future__ import annotations

from collections.abc import Collection

from dbos_core.store.postgres.store import PostgresStore

_STOP = """
    create table {own}.stopped_clock (ms bigint not null);
    create or replace function {own}.now_ms() returns bigint language sql volatile as
        $$ select ms from {own}.stopped_clock $$"""
_SET = "insert into {own}.stopped_clock (ms) values ($1)"
_MOVE = """
    with before as materialized (select ms from {own}.stopped_clock),
    moved as (update {own}.stopped_clock set ms = $1)
    update {own}.processes set lease_until_ms = lease_until_ms + $1 - before.ms from before where lease_until_ms > before.ms"""
_DEAD = "update {own}.processes set lease_until_ms = 0 where not process_id = any ($1::text[])"
_DROP = "drop schema if exists {dbos} cascade; drop schema if exists {own} cascade"


class StoppedDatabase:
    """Made of an open store, before anybody else opens one of its namespace."""

    def __init__(self, store: PostgresStore) -> None:
        self._db = store.database

    async def stop_at(self, now_ms: int) -> None:
        """Once: from now on it is ``now_ms`` (milliseconds since the epoch)."""
        async with self._db.session("stopping the clock") as session, session.transaction():
            await session.execute(self._db.sql(_STOP))
            await session.execute(self._db.sql(_SET), now_ms)

    async def move_to(self, now_ms: int) -> None:
        """It is ``now_ms`` now, for the database; the clocks of its processes are moved by whoever has them."""
        await self._db.rows("moving the clock", _MOVE, now_ms, safe=True)

    async def expire(self, alive: Collection[str]) -> None:
        """All leases but those of these processes have lapsed."""
        await self._db.rows("expiring leases", _DEAD, list(alive), safe=True)

    async def drop(self) -> None:
        """The namespace is gone, with all that is in it."""
        async with self._db.session("dropping the namespace") as session:
            await session.execute(self._db.sql(_DROP))


__all__ = ["StoppedDatabase"]
