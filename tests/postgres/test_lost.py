"""Lost sessions end on the server, and nobody else's do."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from dbos_core.errors import StoreUnavailable
from dbos_core.store.postgres import lost
from dbos_core.store.postgres.lost import Backend, LostSessions, backend_of


def on(session: Any) -> Any:
    @contextlib.asynccontextmanager
    async def acquire() -> AsyncIterator[Any]:
        yield session

    return acquire


@pytest.fixture
async def sessions(postgres_url: str) -> AsyncIterator[tuple[Any, Any]]:
    two = [await asyncpg.connect(postgres_url) for _ in range(2)]
    yield two[0], two[1]
    for session in two:
        session.terminate()


async def backend(session: Any) -> Backend:
    found = await backend_of(session)
    assert found is not None
    return found


async def test_a_lost_session_is_ended(sessions: tuple[Any, Any]) -> None:
    gone, here = sessions
    lost_sessions = LostSessions()
    lost_sessions.add(await backend(gone))

    await lost_sessions.end(on(here))

    assert not lost_sessions
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
        await gone.execute("select 1")


async def test_another_that_got_its_number_is_left_alone(sessions: tuple[Any, Any]) -> None:
    other, here = sessions
    pid, began = await backend(other)
    lost_sessions = LostSessions()
    lost_sessions.add(Backend(pid, began - timedelta(microseconds=1)))

    await lost_sessions.end(on(here))

    assert await other.fetchval("select 1") == 1


async def test_where_it_may_not_be_ended_it_is_waited_for(
    postgres_url: str, sessions: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lost, "WAIT_S", 0.1)
    administrator = sessions[0]
    role = "r" + urlsplit(postgres_url).path[1:]
    signature = await administrator.fetchval("select 'pg_terminate_backend'::regproc::oid::regprocedure::text")
    await administrator.execute(f"create role {role} login password 'x'")
    await administrator.execute(f"revoke execute on function {signature} from public")
    try:
        parts = urlsplit(postgres_url)
        url = urlunsplit(parts._replace(netloc=f"{role}:x@" + parts.netloc.rpartition("@")[2]))
        gone, here = await asyncpg.connect(url), await asyncpg.connect(url)
        lost_sessions = LostSessions()
        lost_sessions.add(await backend(gone))

        with pytest.raises(StoreUnavailable, match="has not ended"):
            await lost_sessions.end(on(here))
        assert "permission denied" in caplog.text
        await gone.close()
        await lost_sessions.end(on(here))
        await here.close()
    finally:
        await administrator.execute(f"grant execute on function {signature} to public")
        await administrator.execute(f"drop role {role}")


async def test_where_sessions_are_not_listed_there_is_nothing_to_end() -> None:
    class OnlyTheProtocol:
        async def fetchrow(self, _text: str) -> None:
            raise asyncpg.UndefinedFunctionError("unknown function: pg_backend_pid()")

    lost_sessions = LostSessions()
    lost_sessions.add(await backend_of(OnlyTheProtocol()))

    assert not lost_sessions
