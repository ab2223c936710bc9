"""The database goes away and comes back: every call says so, and the next one works."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from dbos_core.activities.spec import ActivityRow
from dbos_core.commit import Commit, Verdict
from dbos_core.errors import StoreUnavailable
from dbos_core.store.base import WakeKind
from dbos_core.store.postgres import PostgresStore, connect, lost
from tests.fixtures.postgres import PrivatePostgres
from tests.store.support import HOUR, QUEUE, Ear, Process, activity, entry, letter, post


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


# -- a server process that stands still, and goes on after the statement was repeated elsewhere -------------------------


class Standstill:
    """Server processes of a store that stand still for a while."""

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._url = url
        monkeypatch.setattr(connect, "COMMAND_TIMEOUT_S", 0.5)
        monkeypatch.setattr(lost, "WAIT_S", 0.2)
        self._stopped: list[int] = []

    def stop(self, *pids: int) -> None:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
            self._stopped.append(pid)

    def go_on(self) -> None:
        for pid in self._stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    async def over(self) -> None:
        """They go on; returns when they have ended."""
        self.go_on()
        session = await asyncpg.connect(self._url)
        try:
            while await session.fetchval(
                "select exists (select from pg_stat_activity where pid = any ($1))", self._stopped
            ):
                await asyncio.sleep(0.01)
        finally:
            await session.close()
        self._stopped.clear()

    async def late(self, process: Process, commit: Commit) -> None:
        """``commit`` is sent to a server process that stands still, and repeated until it is answered, as the writer
        does."""
        # What a session has said before goes to the server in one piece; anything else is first asked about.
        twin = replace(commit, workflow_uuid="order-41", activities=tuple(_of_twin(row) for row in commit.activities))
        await process.start("order-41")
        assert await process.commit(twin) is Verdict.COMMITTED
        held = database(process)._held
        assert held is not None
        self.stop(held.get_server_pid())
        with pytest.raises(StoreUnavailable):
            await process.commit(commit)
        assert await self.answered(lambda: process.commit(commit, again=True)) is Verdict.COMMITTED

    async def answered(self, call: Callable[[], Any]) -> Any:
        """Repeat until there is an answer. Those that are waited for go on."""
        while True:
            try:
                return await call()
            except StoreUnavailable as error:
                if "has not ended" in str(error):
                    self.go_on()
                await asyncio.sleep(0.05)


def _of_twin(row: ActivityRow) -> ActivityRow:
    return replace(row, workflow_uuid="order-41", task_queue="elsewhere")


def database(process: Process) -> connect.Database:
    assert isinstance(process.store, PostgresStore)
    return process.store.database


@pytest.fixture
def standstill(private_postgres: PrivatePostgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[Standstill]:
    standstill = Standstill(private_postgres.url, monkeypatch)
    yield standstill
    standstill.go_on()


@pytest.fixture
async def pair(standstill: Standstill, private_postgres: PrivatePostgres) -> AsyncIterator[tuple[Process, Process]]:
    """Two processes whose patience is short."""
    stores = [PostgresStore(private_postgres.url) for _ in range(2)]
    processes = []
    for store in stores:
        await store.open()
        processes.append(Process(store))
        await processes[-1].register()
    yield processes[0], processes[1]
    for store in stores:
        await store.close()


async def test_a_late_commit_does_not_take_an_attempt_back(
    pair: tuple[Process, Process], standstill: Standstill
) -> None:
    process, _ = pair
    now = await process.store.now_ms()
    await process.start("order-42")
    first = Commit(workflow_uuid="order-42", activities=(activity("order-42", 1, at=now, attempt=1, started_ms=now),))
    second = Commit(workflow_uuid="order-42", activities=(activity("order-42", 1, at=now, attempt=2, started_ms=now),))

    await standstill.late(process, first)
    await process.commit(second)
    await standstill.over()

    [row] = (await process.load("order-42")).activities
    assert row.attempt == 2


async def test_a_late_commit_does_not_offer_an_activity_that_has_completed(
    pair: tuple[Process, Process], standstill: Standstill
) -> None:
    process, other = pair
    now = await process.store.now_ms()
    await process.start("order-42")
    offer = activity("order-42", 1, at=now, offered=True, spec="{}")

    await standstill.late(process, Commit(workflow_uuid="order-42", activities=(offer,)))
    assert len(await other.store.claim_activities(other.id, [QUEUE], 10)) == 1
    await process.commit(Commit(workflow_uuid="order-42", entry=entry(2), activities_done=(1,)))
    await standstill.over()

    assert (await process.load("order-42")).activities == []
    assert await other.store.claim_activities(other.id, [QUEUE], 10) == []


async def test_a_late_commit_does_not_park_a_run_that_has_been_claimed_again(
    pair: tuple[Process, Process], standstill: Standstill
) -> None:
    process, other = pair
    now = await process.store.now_ms()
    await process.start("order-42")
    mail = letter("order-42")

    await standstill.late(process, Commit(workflow_uuid="order-42", park_until_ms=now + HOUR, mail_seen_ms=0))
    await other.commit(post(mail))
    assert await process.claim() == ["order-42"]
    await process.commit(Commit(workflow_uuid="order-42", entry=entry(2), consumed=(mail.mail_id,)))
    await standstill.over()

    assert (await process.row("order-42")).owner == process.id
    assert await process.commit(Commit(workflow_uuid="order-42", entry=entry(3))) is Verdict.COMMITTED


async def test_a_late_claim_takes_no_run_that_its_process_does_not_hear_of(
    pair: tuple[Process, Process], standstill: Standstill
) -> None:
    process, other = pair
    assert await process.claim() == []
    standstill.stop(*[session.get_server_pid() for session in database(process)._sessions])
    with pytest.raises(StoreUnavailable):
        await process.claim()
    assert await standstill.answered(process.claim) == []

    await other.start("order-42", claimed=False)
    await standstill.over()

    assert await process.claim() == ["order-42"]


async def test_nothing_is_said_to_a_server_that_may_yet_carry_out_the_last_word(
    pair: tuple[Process, Process], standstill: Standstill
) -> None:
    process, _ = pair
    await process.start("order-42")
    held = database(process)._held
    assert held is not None
    standstill.stop(held.get_server_pid())
    with pytest.raises(StoreUnavailable):
        await process.commit(Commit(workflow_uuid="order-42", entry=entry(2)))

    with pytest.raises(StoreUnavailable, match="has not ended on the server"):
        await process.load("order-42")

    await standstill.over()
    assert len(await process.journal("order-42")) == 1
