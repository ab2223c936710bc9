"""Listen: NOTIFY → callbacks, on a session of its own that comes back by itself.

Two channels: our own (``<own schema>|<kind>|<key>``), and the one on which the DBOS schema's trigger announces messages
(``<destination>::<topic>``, stock's as well as ours). After a lost session anything may have been missed: RESYNC.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

import asyncpg

from dbos_core.store.base import Wake, WakeKind
from dbos_core.store.postgres.connect import AWAY, Database, translated

logger = logging.getLogger(__name__)

CHANNEL = "dbos_compat_wake"
MESSAGES_CHANNEL = "dbos_notifications_channel"

RECONNECT_FIRST_S = 0.1
RECONNECT_MAX_S = 5.0
OWN_MAIL_S = 0.5
"""A process hands over by itself what it wrote to its runs (``post``), so of its own announcements of messages it is told
later, and of many at once: in case that it could not."""

PROBE_S = 15.0
"""How often a silent session is asked whether it is still there: a dead network says nothing by itself."""

_LOST = (*AWAY, asyncpg.PostgresError)


class Listener:
    """The listening session of one store."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._callbacks: list[Callable[[Wake], None]] = []
        self._task: asyncio.Task[None] | None = None
        self._prefix = db.schemas.own + "|"
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._asking = asyncio.Lock()
        self._own_mail: dict[str, None] = {}
        """Keys of announcements that were our own and have not been told."""

    def add(self, callback: Callable[[Wake], None]) -> None:
        self._callbacks.append(callback)

    async def start(self) -> None:
        """Listen from when this returns."""
        connection, lost = await self._listen()
        self._task = asyncio.create_task(self._run(connection, lost), name="dbos-compat listener")

    async def stop(self) -> None:
        task, self._task = self._task, None
        self._own_mail.clear()
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def caught_up(self) -> None:
        """Return when every wake that was committed before this call has been heard (or the session is lost)."""
        with contextlib.suppress(*_LOST):
            await self._ask()
        self._tell_own_mail()

    async def _ask(self) -> None:
        # A session delivers what is notified before it says that it is ready again.
        async with self._asking:
            if self._connection is not None:
                await self._connection.execute("select 1", timeout=PROBE_S)

    async def _run(self, connection: asyncpg.Connection[asyncpg.Record] | None, lost: asyncio.Event) -> None:
        delay_s = RECONNECT_FIRST_S
        try:
            while True:
                if connection is not None:
                    await self._until_lost(connection, lost)
                    logger.warning("the listening session was lost; it is made again")
                    connection = None
                try:
                    connection, lost = await self._listen()
                except Exception as error:  # whatever it is: without this session the process hears nothing
                    logger.debug("the listening session is not back yet: %s", error)
                    await asyncio.sleep(delay_s)
                    delay_s = min(delay_s * 2, RECONNECT_MAX_S)
                    continue
                delay_s = RECONNECT_FIRST_S
                self._emit(Wake(WakeKind.RESYNC, ""))
        finally:
            self._connection = None
            if connection is not None:
                connection.terminate()

    async def _listen(self) -> tuple[asyncpg.Connection[asyncpg.Record], asyncio.Event]:
        connection = await self._db.connect()
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        try:
            with translated("listening"):
                await connection.add_listener(CHANNEL, self._own)
                await connection.add_listener(MESSAGES_CHANNEL, self._message)
        except BaseException:
            connection.terminate()
            raise
        return connection, lost

    async def _until_lost(self, connection: asyncpg.Connection[asyncpg.Record], lost: asyncio.Event) -> None:
        self._connection = connection
        while not lost.is_set():
            try:
                # Not ``wait_for``: that of Python 3.11 can forget that this task was cancelled.
                async with asyncio.timeout(PROBE_S):
                    await lost.wait()
            except TimeoutError:
                try:
                    await self._ask()
                except _LOST:
                    break
        self._connection = None
        connection.terminate()

    def _own(self, _connection: Any, pid: int, _channel: str, payload: object) -> None:
        text = str(payload)
        if not text.startswith(self._prefix):
            return  # another namespace's
        kind, _, key = text[len(self._prefix) :].partition("|")
        try:
            wake = Wake(WakeKind(kind), key)
        except ValueError:
            logger.debug("a wake of a kind that this release does not know: %s", kind)
            return
        if wake.kind is WakeKind.MAIL:
            self._mail(key, pid)
        else:
            self._emit(wake)

    def _message(self, _connection: Any, pid: int, _channel: str, payload: object) -> None:
        # The id ends at some "::", and ids and topics may hold more of them. A wake for a run that does not exist is
        # harmless, so every reading is announced.
        parts = str(payload).split("::")
        for n in range(1, len(parts)):
            self._mail("::".join(parts[:n]), pid)

    def _mail(self, key: str, pid: int) -> None:
        if not self._db.is_ours(pid):
            self._emit(Wake(WakeKind.MAIL, key))
            return
        if not self._own_mail:
            asyncio.get_running_loop().call_later(OWN_MAIL_S, self._tell_own_mail)
        self._own_mail[key] = None

    def _tell_own_mail(self) -> None:
        keys, self._own_mail = self._own_mail, {}
        for key in keys:
            self._emit(Wake(WakeKind.MAIL, key))

    def _emit(self, wake: Wake) -> None:
        for callback in self._callbacks:
            try:
                callback(wake)
            except Exception:
                logger.exception("a callback raised on %s", wake)
