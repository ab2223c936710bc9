"""The DBOS schema that we make is the one that stock DBOS 3.4 makes, and stock DBOS works on it unchanged."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from dbos_core.store.postgres import PostgresStore
from tests.fixtures.postgres import PostgresServer
from tests.postgres import stock
from tests.postgres.catalog import dump, pg_dump, shape

needs_pg_dump = pytest.mark.skipif(pg_dump() is None, reason="there is no pg_dump on this machine")


async def create(url: str) -> None:
    store = PostgresStore(url)
    await store.open()
    await store.close()


@pytest.fixture
def stock_url(postgres_server: PostgresServer):
    url = postgres_server.create_database()
    stock.migrate(url)
    yield url
    postgres_server.drop_database(url)


async def test_the_catalogs_agree_with_stock(postgres_url: str, stock_url: str) -> None:
    await create(postgres_url)

    ours, theirs = shape(postgres_url), shape(stock_url)

    assert [line for line in theirs if line not in ours] == []
    assert [line for line in ours if line not in theirs] == []
    assert len(ours) > 150


@needs_pg_dump
async def test_the_dumps_agree_with_stock_but_for_function_bodies(postgres_url: str, stock_url: str) -> None:
    await create(postgres_url)

    assert dump(postgres_url, bodies=False) == dump(stock_url, bodies=False)


@pytest.mark.parametrize("migrate", [False, True], ids=["run_migrations=False", "default"])
async def test_stock_launches_on_ours_and_changes_nothing(postgres_url: str, migrate: bool) -> None:
    await create(postgres_url)
    before = shape(postgres_url), dump(postgres_url) if pg_dump() else None

    answer = await asyncio.to_thread(stock.launch, postgres_url, migrate=migrate)

    assert answer == "42"
    assert (shape(postgres_url), dump(postgres_url) if pg_dump() else None) == before


async def test_what_stock_made_is_left_as_it_is(stock_url: str) -> None:
    before = shape(stock_url)

    await create(stock_url)

    assert shape(stock_url) == before
    assert [name for kind, name, *_ in shape(stock_url, "dbos_compat") if kind == "column" and name == "runs"]


def test_the_sql_functions_behave_as_stocks_do(postgres_url: str) -> None:
    asyncio.run(create(postgres_url))
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        one = connection.execute
        enqueue = "select dbos.enqueue_workflow(workflow_name => %s, queue_name => %s, workflow_id => %s)"
        assert one(enqueue, ["w", "q", "id-1"]).fetchone() == ("id-1",)
        assert one(enqueue, ["w", "q", "id-1"]).fetchone() == ("id-1",)
        row = one(
            "select s.status, s.name, s.queue_name, s.serialization, s.recovery_attempts, s.priority, "
            "       s.owner_xid is not null, s.creator_xid, i.inputs::jsonb "
            "  from dbos.workflow_status s join dbos.workflow_input i using (workflow_uuid)"
        ).fetchall()
        inputs: dict[str, object] = {"namedArgs": {}, "positionalArgs": []}
        assert row == [("ENQUEUED", "w", "q", "portable_json", 0, 0, True, None, inputs)]
        made = one(
            "select dbos.enqueue_workflow('w', 'q', array['1'::json, '\"x\"'], '{\"k\": 2}', priority => 5, "
            "deduplication_id => 'd', delay_until_epoch_ms => 99)"
        ).fetchone()
        assert made is not None
        assert len(made[0]) == 36
        delayed = one(
            "select s.status, s.priority, s.delay_until_epoch_ms, i.inputs::jsonb "
            "  from dbos.workflow_status s join dbos.workflow_input i using (workflow_uuid) where workflow_uuid = %s",
            [made[0]],
        )
        assert delayed.fetchone() == ("DELAYED", 5, 99, {"namedArgs": {"k": 2}, "positionalArgs": [1, "x"]})
        for bad, message in (
            ("workflow_name => '', queue_name => 'q'", "Workflow name"),
            ("workflow_name => 'w', queue_name => ''", "Queue name"),
            ("workflow_name => 'w', queue_name => 'q', workflow_id => ''", "Workflow ID"),
            ("workflow_name => 'w', queue_name => 'q', named_args => '[]'", "Named args"),
            ("workflow_name => 'w', queue_name => 'q', delay_until_epoch_ms => -1", "delay_until_epoch_ms"),
        ):
            with pytest.raises(psycopg.errors.RaiseException, match=message):
                one("select dbos.enqueue_workflow(" + bad + ")")
        with pytest.raises(psycopg.errors.UniqueViolation, match="DBOS queue duplicated"):
            one("select dbos.enqueue_workflow('w', 'q', deduplication_id => 'd')")
        one("select dbos.send_message('id-1', '{\"a\": 1}', 'topic', 'm-1')")
        one("select dbos.send_message('id-1', '{\"a\": 2}', 'topic', 'm-1')")
        one("select dbos.send_message('id-1', '3')")
        with pytest.raises(psycopg.errors.ForeignKeyViolation, match="non-existent workflow"):
            one("select dbos.send_message('nobody', '1')")
        messages = one("select topic, message, serialization, consumed from dbos.notifications order by topic")
        assert messages.fetchall() == [
            ("__null__topic__", "3", "portable_json", False),
            ("topic", '{"a": 1}', "portable_json", False),
        ]
