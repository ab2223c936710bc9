"""The database goes away and comes back: every call says so, and the next one works."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest

from dbos_core.commit import Commit, Verdict
from dbos_core.errors import StoreUnavailable
from dbos_core.store.base import WakeKind
from dbos_core.store.postgres import PostgresStore
from tests.fixtures.postgres import PrivatePostgres
from tests.store.support import QUEUE, Ear, Process, activity, entry


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


@pytest.fixture
def cut_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lose the answer of the next statement that contains a text, after it took effect."""

    def arm(text: str) -> None:
        real = asyncpg.connection.Connection.fetch
        armed = [True]

        async def fetch(self: Any, query: str, *args: Any, **options: Any) -> Any:
            rows = await real(self, query, *args, **options)
            if armed and text in query:
                armed.clear()
                raise asyncpg.ConnectionDoesNotExistError("cut by the test")
            return rows

        monkeypatch.setattr(asyncpg.connection.Connection, "fetch", fetch)

    return arm


async def test_runs_whose_claim_was_not_answered_are_told_by_the_next_claim(
    ours: Process, cut_after: Callable[[str], None]
) -> None:
    await ours.start("order-42", claimed=False)

    cut_after("skip locked) as due")
    with pytest.raises(StoreUnavailable):
        await ours.claim()

    assert (await ours.row("order-42")).owner == ours.id
    assert (await ours.pulse()).runnable
    assert await ours.claim() == ["order-42"]
    assert await ours.claim() == []
    assert not (await ours.pulse()).runnable


async def test_activities_whose_commit_was_not_answered_are_told_by_the_next_claim(
    ours: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = await ours.store.now_ms()
    await ours.start("order-42")
    row = activity("order-42", at=now, offered=True)
    await ours.commit(Commit(workflow_uuid="order-42", activities=(row,)))
    real = asyncpg.transaction.Transaction.__aexit__
    cuts = iter([True])
    here = asyncio.current_task()

    async def leave(self: Any, *error: Any) -> None:
        await real(self, *error)
        if asyncio.current_task() is here and next(cuts, False):  # not what the store does in the background
            raise asyncpg.ConnectionDoesNotExistError("cut by the test")

    monkeypatch.setattr(asyncpg.transaction.Transaction, "__aexit__", leave)
    with pytest.raises(StoreUnavailable):
        await ours.store.claim_activities(ours.id, [QUEUE], 10)

    assert (await ours.pulse()).offered
    [taken] = await ours.store.claim_activities(ours.id, [QUEUE], 10)
    assert (taken.row.seq, taken.row.worker) == (1, ours.id)
    assert await ours.store.claim_activities(ours.id, [QUEUE], 10) == []
    assert not (await ours.pulse()).offered


async def test_a_session_that_died_while_idle_is_not_noticed_by_readers(
    ours: Process, cut_after: Callable[[str], None]
) -> None:
    await ours.start("order-42")

    cut_after("r.workflow_id = $1 and r.is_current")

    found = await ours.store.find("order-42", None)
    assert found is not None
