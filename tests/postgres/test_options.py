"""What a user may choose: a transaction pooler in between, a clock of the test's own, several namespaces."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from dbos_core.commit import Commit, Verdict
from dbos_core.errors import StoreUnavailable
from dbos_core.store.postgres import PostgresStore
from tests.store.support import HOUR, Process, close, entry, letter, post, request

NOON_MS = 1_800_000_000_000


async def life_of_a_run(process: Process) -> None:
    await process.start("order-42")
    assert await process.commit(post(letter("order-42"))) is Verdict.COMMITTED
    [mail] = await process.mailbox("order-42")
    last = Commit(workflow_uuid="order-42", entry=entry(2), consumed=(mail.mail_id,), close=close(seen=mail.created_ms))
    assert await process.commit(last) is Verdict.COMMITTED
    assert len((await process.load("order-42")).entries) == 2


async def test_nothing_is_prepared_behind_a_transaction_pooler(postgres_url: str) -> None:
    store = PostgresStore(postgres_url, statement_cache=0, pool_max=1)
    await store.open()
    try:
        process = Process(store)
        await process.register()
        await life_of_a_run(process)
        assert (await process.pulse()).alive
        async with store.database.connection() as connection:
            assert await connection.fetchval("select count(*) from pg_prepared_statements") == 0
            assert await connection.fetchval("show enable_seqscan") == "on"
    finally:
        await store.close()


@pytest.fixture
async def at_noon(postgres_url: str) -> AsyncIterator[Process]:
    store = PostgresStore(postgres_url, settings={"dbos_compat.now_ms": str(NOON_MS)})
    await store.open()
    yield Process(store)
    await store.close()


async def test_the_clock_is_the_sessions(at_noon: Process, postgres_url: str) -> None:
    """A month later costs nothing: another store simply says that it is."""
    assert await at_noon.store.now_ms() == NOON_MS
    await at_noon.register(HOUR)
    await at_noon.start("sleeper")
    await at_noon.park("sleeper", until=NOON_MS + 30 * 24 * HOUR)
    await at_noon.start("owned")
    assert await at_noon.claim() == []

    store = PostgresStore(postgres_url, settings={"dbos_compat.now_ms": str(NOON_MS + 30 * 24 * HOUR)})
    await store.open()
    try:
        later = Process(store)
        await later.register()
        assert await later.claim() == ["sleeper"]
        assert (await later.pulse()).lapsed == (at_noon.id,)
        assert await later.take_over(at_noon) == ["owned"]
    finally:
        await store.close()


async def test_two_namespaces_in_one_database_are_two_worlds(postgres_url: str) -> None:
    stores = [PostgresStore(postgres_url, namespace=name) for name in ("default", "other")]
    for store in stores:
        await store.open()
    try:
        for store in stores:
            process = Process(store)
            await process.register()
            await life_of_a_run(process)
            assert (await process.pulse()).lapsed == ()
    finally:
        for store in stores:
            await store.close()


async def test_questions_whose_askers_went_away_are_deleted_now_and_then(at_noon: Process) -> None:
    await at_noon.register()
    await at_noon.store.ask(request("order-42", deadline=NOON_MS - HOUR))
    await at_noon.store.ask(request("order-42", deadline=NOON_MS + HOUR))

    await at_noon.pulse()

    assert isinstance(at_noon.store, PostgresStore)
    async with at_noon.store.database.connection() as connection:
        assert await connection.fetchval("select count(*) from dbos_compat.requests") == 1


async def test_what_a_beat_has_found_is_not_lost_with_what_is_looked_for_more_rarely(
    at_noon: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> int:
        raise StoreUnavailable("away")

    await at_noon.register()
    monkeypatch.setattr(at_noon.store, "now_ms", away)

    assert (await at_noon.pulse()).alive
