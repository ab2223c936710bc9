"""What is read from outside a contender when its window opens and closes: log position, commits, server CPU."""

import asyncio
import logging
import re
from dataclasses import dataclass
from typing import Any, Protocol

import asyncpg

from benchmarks.postgres import Postgres, ServerUnavailable, pg_command, tree_cpu_seconds

COUNTERS = """
    select pg_current_wal_insert_lsn()::text as lsn,
           pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint as wal_bytes,
           (select xact_commit from pg_stat_database where datname = $1) as transactions"""

COMMITS_METHOD = (
    "commit records in the write-ahead log between the two ends of the window (pg_waldump), "
    "over the workflows that completed in it; read-only transactions write none"
)

COMMIT_LINE = re.compile(r"^Transaction/COMMIT\s+(\d+)", re.MULTILINE)


# A record of an open transaction may still be in memory when the window closes, and pg_waldump fails at its place.
# This commits a message of ours, behind the window, and so brings everything before it to disk.
FLUSH = "select pg_logical_emit_message(true, 'bench', 'flush')"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The meters at one moment; None where this backend has no such meter."""

    server_cpu_seconds: float | None = None
    lsn: str | None = None
    wal_bytes: int | None = None
    transactions: int | None = None


class Meter(Protocol):
    """Reads one backend."""

    async def read(self) -> Reading: ...

    async def commits(self, opened: Reading, closed: Reading) -> int | None:
        """Transactions between the two that wrote a commit record, each of which waits for the disk."""
        ...


@dataclass
class PostgresMeter:
    """Reads a Postgres through a connection of its own, on the database that no contender uses."""

    server: Postgres
    database: str
    connection: "asyncpg.Connection[Any]"

    async def read(self) -> Reading:
        cpu = await asyncio.to_thread(self.server.cpu_seconds)
        row = await self.connection.fetchrow(COUNTERS, self.database)
        assert row is not None
        return Reading(
            server_cpu_seconds=cpu, lsn=row["lsn"], wal_bytes=row["wal_bytes"], transactions=row["transactions"]
        )

    async def commits(self, opened: Reading, closed: Reading) -> int | None:
        """Counted in the write-ahead log itself: exact, and free of read-only transactions and pool pings."""
        server = self.server
        if server.data_dir is None or server.bin_dir is None or opened.lsn is None or closed.lsn is None:
            return None
        await self.connection.execute(FLUSH)
        try:
            text = await pg_command(
                server.bin_dir,
                "pg_waldump",
                *("-p", str(server.data_dir / "pg_wal"), "-s", opened.lsn, "-e", closed.lsn),
                *("--rmgr=Transaction", "--stats=record"),
                user=server.system_user,
            )
        except ServerUnavailable as error:
            logger.warning("commits not counted: %s", error)
            return None
        found = COMMIT_LINE.search(text)
        return int(found.group(1)) if found else 0


@dataclass
class ProcessMeter:
    """Reads a server that is only a process to us: its CPU time."""

    pid: int

    async def read(self) -> Reading:
        return Reading(server_cpu_seconds=await asyncio.to_thread(tree_cpu_seconds, self.pid))

    async def commits(self, opened: Reading, closed: Reading) -> int | None:
        return None
