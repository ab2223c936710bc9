"""Connect: the pool, the settings of its sessions, and the translation of driver errors into the kernel's.

Everything that the store says to Postgres goes through :class:`Database`. It fills the schema names into the literal
SQL of its callers, repeats what Postgres asks to repeat (deadlock, serialization failure) and raises two errors only:
``StoreUnavailable`` (the database is away; repeat) and ``BadCommit`` (it refuses these values). After a lost session it
says nothing to the server before that one has ended there (``lost``).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from dbos_core.errors import BadCommit, BadDatabaseURL, SchemaMissing, StoreUnavailable
from dbos_core.store.postgres.lost import Backend, LostSessions, backend_of
from dbos_core.store.postgres.schema.names import Schemas

Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
T = TypeVar("T")

SESSION = {
    # Every statement of ours is a chain of index probes whose plan does not depend on the values. Plans made while the
    # tables are young and small must stay right when they have grown, so whatever reads a table from end to end is out.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
}

_BY_COST = """
    set local plan_cache_mode = force_custom_plan;
    set local enable_seqscan = on;
    set local enable_bitmapscan = on;
    set local enable_hashjoin = on;
    set local enable_mergejoin = on"""

CONNECT_TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 60.0
"""A statement that takes longer is a network that swallowed the answer."""

ATTEMPTS_MAX = 10
"""How often a statement is repeated that met a concurrent writer, before it counts as unavailable."""

AWAY = (  # the database, or this session with it, is gone
    OSError,
    EOFError,
    asyncio.TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.PostgresSystemError,
    asyncpg.InternalClientError,
)
_RACE = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError)
_RACE_OR_REFUSED = (asyncpg.IntegrityConstraintViolationError,)
_REFUSED = (
    asyncpg.DataError,
    asyncpg.ProgramLimitExceededError,
    asyncpg.IntegrityConstraintViolationError,
    UnicodeEncodeError,
    OverflowError,
)


class Race(Exception):
    """A concurrent writer was met; look again."""


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn driver errors into ours."""
    try:
        yield
    except (*_RACE, *_RACE_OR_REFUSED):
        raise
    except _REFUSED as error:
        raise BadCommit(
            f"{what}: the database refuses a value ({_said(error)}). Nothing was written; encode or shorten it."
        ) from error
    except asyncpg.UndefinedTableError as error:
        raise SchemaMissing(f"{what}: {_said(error)}. Was the schema dropped? Start again to create it.") from error
    except AWAY as error:
        raise StoreUnavailable(f"{what}: {_said(error)}. It is safe to repeat.") from error


def _said(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


if TYPE_CHECKING:
    _Base = asyncpg.Connection[asyncpg.Record]
else:
    _Base = asyncpg.Connection


class _PooledConnection(_Base):
    """A connection that keeps nothing between two users, so that giving it back costs no round trip."""

    backend: Backend | None = None
    """Who serves it. None behind a transaction pooler, where that is somebody else each time."""

    def get_reset_query(self) -> str:
        return ""


class Database:
    """A pool of sessions on one database, and the two schemas of one namespace in it."""

    def __init__(
        self, url: str, schemas: Schemas, *, pool_max: int, statement_cache: int, settings: dict[str, str]
    ) -> None:
        self.url = checked_url(url)
        self.schemas = schemas
        self._pool_max = pool_max
        self._statement_cache = statement_cache
        # A transaction pooler (statement_cache=0) may refuse or mix up session settings.
        self.settings = {**(SESSION if statement_cache else {}), **settings}
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._held: Connection | None = None
        """The session of whoever flushes: taking one from the pool and giving it back costs more than a small flush."""
        self._held_busy = False
        self._lost = LostSessions()
        self._filled: dict[str, str] = {}
        self._sessions: weakref.WeakSet[Any] = weakref.WeakSet()
        """Of the pool, those that have ended meanwhile included."""

    def is_ours(self, server_pid: int) -> bool:
        """Is this one of the pool's sessions? (Behind a pooler nobody knows: False.)"""
        return any(not session.is_closed() and session.get_server_pid() == server_pid for session in self._sessions)

    async def open(self) -> None:
        """Make the pool and prove that the database answers."""
        with connecting(self.url):
            self._pool = await asyncpg.create_pool(
                self.url,
                min_size=1,
                max_size=self._pool_max,
                connection_class=_PooledConnection,
                statement_cache_size=self._statement_cache,
                max_cacheable_statement_size=0,
                max_cached_statement_lifetime=0,
                max_inactive_connection_lifetime=300,
                command_timeout=COMMAND_TIMEOUT_S,
                timeout=CONNECT_TIMEOUT_S,
                server_settings=self.settings,
                init=self._remember,
            )

    async def _remember(self, session: Any) -> None:
        self._sessions.add(session)
        if self._statement_cache:
            session.backend = await backend_of(session)

    async def connect(self) -> asyncpg.Connection[asyncpg.Record]:
        """A session of its own, outside the pool. Whoever asks for it closes it."""
        with connecting(self.url):
            return await asyncpg.connect(
                self.url,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=COMMAND_TIMEOUT_S,
                statement_cache_size=0,
                server_settings=self.settings,
            )

    @contextlib.asynccontextmanager
    async def session(self, what: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """A session of its own, outside the pool, for as long as the block runs; ``what`` names it in errors."""
        session = await self.connect()
        try:
            with translated(what):
                yield session
        finally:
            await session.close()

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is None:
            return
        await self._lost.stop()
        held, self._held = self._held, None
        if held is not None and not self._held_busy:
            await pool.release(held)
        try:
            async with asyncio.timeout(5):
                await pool.close()
        except (*AWAY, asyncpg.PostgresError):
            pool.terminate()

    def sql(self, text: str) -> str:
        """The text with the schema names filled in."""
        filled = self._filled.get(text)
        if filled is None:
            filled = self._filled[text] = self.schemas.fill(text)
        return filled

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        if self._pool is None:
            raise StoreUnavailable("the store is closed. Open it first.")
        async with self._pool.acquire(timeout=COMMAND_TIMEOUT_S) as connection:
            yield connection

    async def rows(self, what: str, text: str, *args: Any, safe: bool = False) -> list[asyncpg.Record]:
        """Run one statement in a transaction of its own; ``what`` names it in errors, ``safe`` is as in :meth:`run`."""

        async def once(connection: Connection) -> list[asyncpg.Record]:
            return await connection.fetch(self.sql(text), *args)

        return await self.run(what, once, safe=safe)

    async def rows_by_cost(self, what: str, text: str, *args: Any) -> list[asyncpg.Record]:
        """Run one reading statement whose best plan depends on its values (listing), unlike those of ``SESSION``."""

        filled = self.schemas.fill(text)  # not kept: there may be many such texts

        async def once(connection: Connection) -> list[asyncpg.Record]:
            async with connection.transaction(readonly=True):
                await connection.execute(_BY_COST)
                return await connection.fetch(filled, *args)

        return await self.run(what, once, safe=True)

    async def row(self, what: str, text: str, *args: Any, safe: bool = False) -> asyncpg.Record | None:
        rows = await self.rows(what, text, *args, safe=safe)
        return rows[0] if rows else None

    async def value(self, what: str, text: str, *args: Any, safe: bool = False) -> Any:
        row = await self.row(what, text, *args, safe=safe)
        return None if row is None else row[0]

    async def run(
        self, what: str, body: Callable[[Connection], Awaitable[T]], *, safe: bool = False, held: bool = False
    ) -> T:
        """Run ``body`` on a session; repeat it when it met a concurrent writer. ``body`` begins its transaction.

        With ``safe`` it is also repeated, once and at once, after a lost session: the pool may have held one that died
        while it was idle, and doing this twice is as good as doing it once. With ``held`` it runs on the session that
        is kept for such calls, if nobody else is on it.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                with translated(what):
                    if self._lost:
                        await self._lost.end(self.connection)
                    if held and self._pool_max > 1 and not self._held_busy:
                        return await self._on_held(body)
                    return await self._on_session(body)
            except StoreUnavailable:
                if not safe:
                    raise
                safe = False
            except Race as race:
                if attempt >= ATTEMPTS_MAX:
                    raise StoreUnavailable(f"{what}: too many concurrent writers. It is safe to repeat.") from race
            except _RACE as error:
                if attempt >= ATTEMPTS_MAX:
                    raise StoreUnavailable(f"{what}: {_said(error)}, again and again. It is safe to repeat.") from error
            except _RACE_OR_REFUSED as error:
                # A row that the statement's snapshot did not show yet: the next one sees it.
                if attempt >= ATTEMPTS_MAX:
                    raise BadCommit(f"{what}: {_said(error)}. Nothing was written.") from error
            await asyncio.sleep(random.uniform(0, 0.002 * attempt))

    async def _on_held(self, body: Callable[[Connection], Awaitable[T]]) -> T:
        self._held_busy = True
        try:
            connection = self._held
            if connection is None or _is_closed(connection):
                if self._pool is None:
                    raise StoreUnavailable("the store is closed. Open it first.")
                connection = self._held = await self._pool.acquire(timeout=COMMAND_TIMEOUT_S)
            backend = _backend(connection)
            try:
                return await body(connection)
            except (*AWAY, asyncio.CancelledError) as error:
                self._held = None
                self._lost.add(backend)
                connection.terminate()
                if self._pool is not None and not isinstance(error, asyncio.CancelledError):
                    await self._pool.expire_connections()
                raise
        finally:
            self._held_busy = False

    async def _on_session(self, body: Callable[[Connection], Awaitable[T]]) -> T:
        begun, backend = False, None
        try:
            async with self.connection() as connection:
                begun, backend = True, _backend(connection)
                try:
                    return await body(connection)
                except AWAY:
                    connection.terminate()  # whatever state it is in, nobody else shall get it
                    raise
        except AWAY:  # also when a caller gave up, and the server does not answer that
            self._lost.add(backend)
            if begun and self._pool is not None:
                await self._pool.expire_connections()  # those that idle may have gone with it
            raise


def _backend(connection: Connection) -> Backend | None:
    found: Backend | None = connection.backend  # type: ignore[attr-defined]  # a ``_PooledConnection``'s
    return found


def _is_closed(connection: Connection) -> bool:
    """Has the session ended? The pool takes one back that ends while somebody holds it; asking it is an error then."""
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True


@contextlib.contextmanager
def connecting(url: str) -> Iterator[None]:
    """Turn what can go wrong while connecting into our errors. No password gets into a message."""
    shown = without_password(url)
    try:
        yield
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidPasswordError) as error:
        raise BadDatabaseURL(f"{shown}: the database refuses this user ({_said(error)}). Mend the URL.") from error
    except asyncpg.InvalidCatalogNameError as error:
        raise BadDatabaseURL(f"{shown}: {_said(error)}. Create the database, or mend the URL.") from error
    except (asyncpg.ClientConfigurationError, ValueError) as error:
        raise BadDatabaseURL(f"{shown}: {_said(error)}. Mend the URL.") from error
    except AWAY as error:
        raise StoreUnavailable(
            f"{shown} cannot be reached ({_said(error)}). Is the server running, and the address right?"
        ) from error


def checked_url(url: str) -> str:
    """The URL as the driver takes it (``postgresql+psycopg://`` loses its driver's name)."""
    try:
        scheme = urlsplit(url).scheme
    except ValueError as error:
        raise BadDatabaseURL(f"{without_password(url)} cannot be read ({error}). Mend it.") from None
    if "://" not in url or not re.fullmatch(r"postgres(ql)?(\+\w+)?", scheme):
        raise BadDatabaseURL(
            f"{without_password(url)} is no Postgres URL. It looks like postgresql://user:password@host:5432/database."
        )
    return "postgresql" + url[len(scheme) :]


def without_password(url: str) -> str:
    """For messages. What is no URL at all (a key=value string, say) may have its secrets anywhere."""
    if "://" not in url:
        return "the given URL"
    try:
        parts = urlsplit(url)
        user, at, host = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=user.partition(":")[0] + at + host, query=""))
    except ValueError:
        return "the given URL"
