"""The flush on Postgres: what the shared store suite cannot see."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import asyncpg
import pytest

from dbos_core.commit import Commit, JournalRow, Verdict
from dbos_core.errors import BadCommit, StoreUnavailable
from dbos_core.store.postgres import PostgresStore
from dbos_core.store.postgres.flush_shape import Shape
from dbos_core.store.postgres.flush_sql import compose
from tests.fixtures.postgres import PostgresServer
from tests.fixtures.waiting import eventually
from tests.store.support import Process, close, entry, letter, post


def started(run: Any, **fields: Any) -> Commit:
    return Commit(workflow_uuid=run.workflow_uuid, fenced=False, start=run, entry=entry(1), **fields)


@pytest.mark.parametrize("bad", ["nul \0 byte", "lone \ud800 surrogate"])
async def test_a_text_that_postgres_refuses_is_a_bad_commit_and_writes_nothing(ours: Process, bad: str) -> None:
    await ours.start("order-42")
    await ours.start("order-43")

    with pytest.raises(BadCommit):
        await ours.flush(
            Commit(workflow_uuid="order-42", entry=entry(2)), Commit(workflow_uuid="order-43", entry=entry(2, bad))
        )

    assert [position for position, _ in await ours.journal("order-42")] == [1]
    assert await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2))) is Verdict.COMMITTED


async def test_a_row_too_large_is_a_bad_commit(ours: Process) -> None:
    await ours.start("order-42")

    with pytest.raises(BadCommit):
        # an index entry ends at a third of a page, and a name is part of one
        await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2, name=random_text(20_000))))


def random_text(length: int) -> str:
    import random

    source = random.Random(7)
    return "".join(source.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=length))


async def test_one_flush_is_one_statement(ours: Process, store: PostgresStore) -> None:
    """All kinds of commits at once, without BEGIN and COMMIT of its own."""
    for name in ("a", "b", "c", "d"):
        await ours.start(name)
    now = await store.now_ms()
    from tests.store.support import new_run

    queries: list[str] = []

    def log(record: Any) -> None:
        queries.append(record.query)

    real = asyncpg.connection.Connection.fetchrow

    async def logged(self: Any, query: str, *args: Any, **kwargs: Any) -> Any:
        queries.append(query)
        return await real(self, query, *args, **kwargs)

    asyncpg.connection.Connection.fetchrow = logged  # type: ignore[method-assign]
    try:
        verdicts = await ours.flush(
            started(new_run("new", at=now)),
            Commit(workflow_uuid="a", entry=entry(2)),
            Commit(workflow_uuid="b", entry=entry(2), close=close()),
            Commit(workflow_uuid="c", park_until_ms=now + 1000),
            post(letter("d")),
            Commit(workflow_uuid="nobody", entry=entry(2)),
        )
    finally:
        asyncpg.connection.Connection.fetchrow = real  # type: ignore[method-assign]

    assert verdicts == [Verdict.COMMITTED] * 5 + [Verdict.CLAIM_LOST]
    assert len(queries) == 1


async def test_mail_and_close_of_one_run_in_one_flush_keep_their_order(ours: Process) -> None:
    await ours.start("order-42")

    verdicts = await ours.flush(
        post(letter("order-42")), Commit(workflow_uuid="order-42", entry=entry(2), close=close())
    )

    assert verdicts == [Verdict.COMMITTED, Verdict.MAIL_WAITING]


async def test_mail_to_a_run_that_starts_in_the_same_flush(ours: Process, store: PostgresStore) -> None:
    from tests.store.support import new_run

    run = new_run("order-42", at=await store.now_ms())

    assert await ours.flush(started(run), post(letter("order-42"))) == [Verdict.COMMITTED] * 2
    assert len(await ours.mailbox("order-42")) == 1


async def test_an_answer_that_was_lost_is_recognised(
    ours: Process, store: PostgresStore, postgres_server: PostgresServer, postgres_url: str
) -> None:
    """The sessions are cut in the middle of flushes, before or after the commit; the repeat tells the same story."""
    await ours.start("order-42")
    position = 1
    lost = 0
    for round_number in itertools.count():
        commit = Commit(workflow_uuid="order-42", entry=entry(position + 1))
        cut = asyncio.create_task(asyncio.to_thread(postgres_server.kill_backends, postgres_url))
        again = False
        while True:
            try:
                verdict = await ours.commit(commit, again=again)
                break
            except StoreUnavailable:
                again = True
                lost += 1
        await cut
        assert verdict is Verdict.COMMITTED
        position += 1
        if round_number >= 10 and lost >= 3:
            break
        assert round_number < 500, "no session was cut in the middle of a flush"
    assert [at for at, _ in await ours.journal("order-42")] == list(range(1, position + 1))


async def test_a_repeat_waits_for_its_own_first_try_that_still_runs(
    ours: Process, store: PostgresStore, postgres_url: str
) -> None:
    """The connection died, the backend did not notice yet: its transaction is open while the repeat comes."""
    await ours.start("order-42")
    commit = Commit(workflow_uuid="order-42", entry=entry(2))
    zombie = await asyncpg.connect(postgres_url)
    try:
        transaction = zombie.transaction()
        await transaction.start()
        await zombie.execute(
            "select from dbos.workflow_status where workflow_uuid = 'order-42' for no key update;"
            "insert into dbos.operation_outputs (workflow_uuid, function_id, function_name, output) "
            "values ('order-42', 2, 'step', '{\"entry\": 2}')"
        )
        repeat = asyncio.create_task(ours.commit(commit, again=True))
        waiting = (
            "select count(*) > 0 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
        )
        await eventually(lambda: zombie.fetchval(waiting), what="the repeat waits for the row")
        await transaction.commit()
        assert await repeat is Verdict.COMMITTED
    finally:
        await zombie.close()


async def test_two_processes_that_start_one_id_at_once(ours: Process, postgres_url: str) -> None:
    from tests.store.support import new_run

    other_store = PostgresStore(postgres_url)
    await other_store.open()
    try:
        theirs = Process(other_store)
        now = await other_store.now_ms()
        for number in range(30):
            name = f"order-{number}"
            verdicts = await asyncio.gather(
                ours.commit(started(new_run(name, at=now))), theirs.commit(started(new_run(name, at=now)))
            )
            assert sorted(verdict.name for verdict in verdicts) == ["COMMITTED", "ID_TAKEN"]
    finally:
        await other_store.close()


async def test_opposite_orders_do_not_deadlock(ours: Process, postgres_url: str) -> None:
    """Two flushes over the same runs, given in opposite order, many times."""
    names = [f"order-{number:02}" for number in range(20)]
    for name in names:
        await ours.start(name)

    async def rounds(step: int) -> None:
        for number in range(15):
            order = names if step > 0 else names[::-1]
            await ours.flush(*[post(letter(name, str(number))) for name in order])
            await ours.flush(*[Commit(workflow_uuid=name, memo=f'{{"n": {number}}}') for name in order])

    before = await deadlocks(postgres_url)
    await asyncio.gather(rounds(1), rounds(-1))
    assert await deadlocks(postgres_url) == before
    for name in names:
        assert len(await ours.mailbox(name)) == 30


async def deadlocks(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        count = await connection.fetchval("select deadlocks from pg_stat_database where datname = current_database()")
        return int(count)
    finally:
        await connection.close()


async def test_big_payloads_and_many_commits(ours: Process) -> None:
    await ours.start("order-42")
    big = '"' + "x" * 3_000_000 + '"'
    row = JournalRow(position=2, name="step", record=big, started_ms=1, completed_ms=2)
    assert await ours.commit(Commit(workflow_uuid="order-42", entry=row)) is Verdict.COMMITTED
    assert (await ours.journal("order-42"))[1] == (2, big)
    now = await ours.store.now_ms()
    from tests.store.support import new_run

    many = [started(new_run(f"many-{number}", at=now)) for number in range(2_000)]
    assert set(await ours.flush(*many)) == {Verdict.COMMITTED}


async def test_without_the_schemas_trigger_mail_is_announced_all_the_same(postgres_url: str) -> None:
    """A schema that stock made with use_listen_notify=False."""
    from dbos_core.store.base import WakeKind
    from tests.store.support import Ear

    first = PostgresStore(postgres_url)
    await first.open()
    await first.database.rows("dropping", "drop trigger dbos_notifications_trigger on {dbos}.notifications")
    await first.close()
    store = PostgresStore(postgres_url)
    await store.open()
    try:
        process = Process(store)
        ear = Ear(process)
        await process.start("order-42")
        await process.commit(post(letter("order-42")))
        await ear.hears(WakeKind.MAIL, "order-42")
    finally:
        await store.close()


def test_every_shape_can_be_written_down() -> None:
    """A lone journal row is a small statement, and no shape has a parameter twice or a mark left in it."""
    small, names = compose(Shape.FENCED | Shape.ENTRY)
    assert len(names) < 12
    assert "runs" not in small
    for shape in range(0, 2 * Shape.LONE, 1999):
        if not shape & (Shape.START | Shape.FENCED | Shape.MAIL):
            continue
        text, names = compose(shape)
        assert len(set(names)) == len(names)
        assert text.count("$" + str(len(names))) >= 1
