"""Lost sessions: they are ended on the server before anything else is said to it.

Who loses a session does not know what became of its last statement, and repeats it on another one. But a server that
stood still may hold that statement yet, unread, and would carry it out after the repeat and after all that followed:
nothing that was written meanwhile could be relied on. (The driver's cancel is of no use: a server process ignores it
unless it is in the middle of a statement.) So the server process of a lost session is told to end, which it does before
it reads anything more, and the next statement waits until it is gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import asyncpg

from dbos_core.errors import StoreUnavailable

if TYPE_CHECKING:
    Acquire: TypeAlias = Callable[[], AbstractAsyncContextManager["asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"]]

logger = logging.getLogger(__name__)

WAIT_S = 5.0
"""How long a caller waits for lost sessions to end before it hears that the database is away."""

_LOOK_FIRST_S = 0.002
_LOOK_MAX_S = 0.1

# By its number and its beginning: numbers are given again. One of a server that is there no more is not found, nor is one
# that another server is asked about.
_WHO = "select a.pid, a.backend_start from pg_stat_activity a where a.pid = pg_backend_pid()"

_THERE = """
    select a.pid, a.backend_start
      from unnest($1::int[], $2::timestamptz[]) as d (pid, backend_start)
      join pg_stat_activity a on a.pid = d.pid and a.backend_start = d.backend_start"""

_END = """
    select pg_terminate_backend(a.pid)
      from unnest($1::int[], $2::timestamptz[]) as d (pid, backend_start)
      join pg_stat_activity a on a.pid = d.pid and a.backend_start = d.backend_start"""


class Backend(NamedTuple):
    """The server's side of a session."""

    pid: int
    began: datetime


async def backend_of(session: Any) -> Backend | None:
    """Who serves this session. None where that is not told (a database that only speaks Postgres' protocol)."""
    try:
        row = await session.fetchrow(_WHO)
    except (asyncpg.UndefinedFunctionError, asyncpg.UndefinedTableError):
        return None
    return None if row is None or row[1] is None else Backend(row[0], row[1])


class LostSessions:
    """The lost sessions of one database that may not have ended on the server."""

    def __init__(self) -> None:
        self._backends: set[Backend] = set()
        self._ending: asyncio.Task[None] | None = None

    def __bool__(self) -> bool:
        return bool(self._backends)

    def add(self, backend: Backend | None) -> None:
        if backend is not None:
            self._backends.add(backend)

    async def end(self, acquire: Acquire) -> None:
        """Return when all of them have ended; they are waited for by everybody at once.

        Raises:
            StoreUnavailable: one has not yet. Nothing may be said to the server before it has.
        """
        if self._ending is None:
            self._ending = asyncio.create_task(self._end(acquire), name="dbos-compat lost sessions")
            self._ending.add_done_callback(self._ended)
        await asyncio.shield(self._ending)

    async def stop(self) -> None:
        """Wait no longer."""
        if self._ending is not None:
            self._ending.cancel()
            await asyncio.wait([self._ending])

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._ending = None
        if not task.cancelled():
            task.exception()  # whoever waits has it

    async def _end(self, acquire: Acquire) -> None:
        loop = asyncio.get_running_loop()
        enough_s = loop.time() + WAIT_S
        pause_s = _LOOK_FIRST_S
        while self._backends:
            asked = list(self._backends)
            async with acquire() as connection:
                there = {Backend(*row) for row in await connection.fetch(_THERE, *_columns(asked))}
                self._backends -= set(asked) - there
                if there:
                    await _tell(connection, list(there))
            if there:
                if loop.time() > enough_s:
                    pids = ", ".join(str(backend.pid) for backend in sorted(there))
                    raise StoreUnavailable(
                        f"a lost session has not ended on the server (process {pids}), and may yet carry out what was "
                        "said to it last. Nothing is written until it has"
                    )
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _LOOK_MAX_S)


async def _tell(connection: Any, backends: list[Backend]) -> None:
    try:
        await connection.fetch(_END, *_columns(backends))
    except asyncpg.InsufficientPrivilegeError as error:
        # A role may end its own sessions, unless that right was taken from it. They end by themselves, only later.
        logger.warning("lost sessions cannot be ended (%s); it is waited until they have gone", error)


def _columns(backends: list[Backend]) -> tuple[list[int], list[datetime]]:
    return [backend.pid for backend in backends], [backend.began for backend in backends]
