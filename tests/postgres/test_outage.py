"""The database goes away and comes back: every call says so, and the next one works."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from dbos_core.commit import Commit, Verdict
from dbos_core.errors import StoreUnavailable
from dbos_core.store.base import WakeKind
from dbos_core.store.postgres import PostgresStore
from tests.fixtures.postgres import PrivatePostgres
from tests.store.support import Ear, Process, entry


@pytest.fixture
async def on_private(private_postgres: PrivatePostgres) -> AsyncIterator[Process]:
    store = PostgresStore(private_postgres.url)
    await store.open()
    process = Process(store)
    await process.register()
    yield process
    await store.close()


async def test_a_restart_of_the_server(on_private: Process, private_postgres: PrivatePostgres) -> None:
    process = on_private
    ear = Ear(process)
    await process.start("order-42")

    await asyncio.to_thread(private_postgres.stop, "immediate")
    commit = Commit(workflow_uuid="order-42", entry=entry(2))
    for call in (
        lambda: process.commit(commit),
        process.pulse,
        process.claim,
        lambda: process.load("order-42"),
        lambda: process.store.find("order-42", None),
    ):
        with pytest.raises(StoreUnavailable):
            await call()

    await asyncio.to_thread(private_postgres.start)
    assert await process.commit(commit, again=True) is Verdict.COMMITTED
    assert (await process.pulse()).alive
    await ear.hears(WakeKind.RESYNC, "")


async def test_a_closed_store_says_so(postgres_url: str) -> None:
    store = PostgresStore(postgres_url)
    await store.open()
    await store.close()

    with pytest.raises(StoreUnavailable, match="closed"):
        await store.now_ms()
