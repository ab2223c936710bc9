"""Listing a big namespace: each kind of filter finds its index, and visits about as many rows as it finds."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from dbos_compat.filters import parse
from dbos_core.search import FieldType, Query
from dbos_core.store.postgres import PostgresStore
from dbos_core.store.postgres.connect import _BY_COST
from dbos_core.store.postgres.listing import count_sql, search_sql

DAY_MS = 86_400_000
START_MS = 1_700_000_000_000
TYPES = {
    "Customer": FieldType.KEYWORD,
    "Tags": FieldType.KEYWORD_LIST,
    "Notes": FieldType.TEXT,
    "Amount": FieldType.INT,
}

FILL = """
    with w as (
        insert into {dbos}.workflow_status (workflow_uuid, status, queue_name, created_at)
        select 'order-' || n, case when n % 100 = 0 then 'PENDING' else 'SUCCESS' end, 'orders', $2::bigint + n
          from generate_series($3::int, $1::int) as n)
    insert into {own}.runs (workflow_uuid, workflow_id, run_id, first_run_id, workflow_type, task_queue, status,
                            start_ms, execution_ms, close_ms, close, history_length, search_attributes,
                            parent_workflow_id, parent_run_id, root_workflow_id, root_run_id,
                            parent_workflow_uuid, parent_seq, parent_policy)
    select 'order-' || n, 'order-' || n, md5(n::text)::uuid::text, md5(n::text)::uuid::text,
           case when n % 10000 = 7 then 'Rare' else 'Order' || n % 20 end,
           case when n % 10000 = 9 then 'express' else 'orders' end,
           case when n % 100 = 0 then 1 when n % 1000 = 3 then 3 when n % 5000 = 5 then 5 else 2 end,
           $2::bigint + n::bigint * 1000, $2::bigint + n::bigint * 1000,
           case when n % 100 > 0 then $2::bigint + n::bigint * 1000 + n % 77 * 100 end,
           case when n % 100 > 0 then '{}' end, n % 40,
           case when n % 2 = 0 then jsonb_build_object(
               'Customer', 'customer-' || n % 50000, 'Amount', n % 1000,
               'Tags', case when n % 10000 = 2 then '["vip", "new"]'::jsonb else '["new"]'::jsonb end,
               'Notes', case when n % 10000 = 4 then 'handle with care' end,
               '@types', '{"Customer": "Keyword", "Amount": "Int", "Tags": "KeywordList", "Notes": "Text"}'::jsonb) end,
           case when n % 500 = 1 then 'order-' || n / 10 end, case when n % 500 = 1 then 'parent' || n / 10 end,
           case when n % 500 = 1 then 'order-' || n / 10 end, case when n % 500 = 1 then 'root' || n / 10 end,
           case when n % 500 = 1 then 'order-' || n / 10 end, case when n % 500 = 1 then 1 end,
           case when n % 500 = 1 then 2 end
      from generate_series($3::int, $1::int) as n"""

AT_A_TIME = 50_000

FILTERS = {
    # filter → the index that answers it (one of them, where the planner may choose)
    "": "runs_listing",
    "ExecutionStatus = 'Running'": "runs_listing",
    "ExecutionStatus = 'Completed'": "runs_listing",
    "ExecutionStatus = 'Failed'": "runs_ended_otherwise|runs_listing",
    "ExecutionStatus = 'Terminated' OR ExecutionStatus = 'TimedOut'": "runs_ended_otherwise",
    "ExecutionStatus IN ('Failed', 'Canceled')": "runs_ended_otherwise|runs_listing",
    "WorkflowId = 'order-4711'": "runs_id",
    "WorkflowId IN ('order-4711', 'order-4712', 'nobody')": "runs_id",
    "WorkflowId STARTS_WITH 'order-4711'": "runs_id",
    "WorkflowId BETWEEN 'order-4711' AND 'order-4712'": "runs_id",
    "RunId = '00000000-0000-0000-0000-000000000000'": "runs_run_id_key",
    "WorkflowType = 'Rare'": "runs_type",
    "WorkflowType = 'Nobody' AND ExecutionStatus = 'Running'": "runs_type",
    "WorkflowType STARTS_WITH 'Rar'": "runs_type",
    "WorkflowType = 'Order7'": "runs_listing|runs_type",
    "StartTime > '{late}'": "runs_started|runs_listing",
    "StartTime BETWEEN '{early}' AND '{soon}'": "runs_started",
    "CloseTime > '{late}'": "runs_listing",
    "CloseTime BETWEEN '{early}' AND '{soon}'": "runs_listing",
    "CloseTime < '{soon}' AND ExecutionStatus = 'Completed'": "runs_listing",
    "ParentWorkflowId = 'order-100'": "runs_parent",
    "RootWorkflowId = 'order-100'": "runs_root",
    "Customer = 'customer-4712'": "runs_search",
    "Customer IN ('customer-4712', 'customer-4714')": "runs_search",
    "Tags = 'vip'": "runs_search",
    "Customer = 'customer-4712' AND ExecutionStatus = 'Completed'": "runs_search",
    "Amount = 12 AND Customer = 'customer-10012'": "runs_search",
}


@pytest.fixture
async def few(postgres_url: str) -> AsyncIterator[PostgresStore]:
    store = await filled(postgres_url, 40_000)
    yield store
    await store.close()


@pytest.fixture
async def million(postgres_url: str) -> AsyncIterator[PostgresStore]:
    store = await filled(postgres_url, 1_000_000)
    yield store
    await store.close()


async def filled(url: str, number: int) -> PostgresStore:
    store = PostgresStore(url)
    await store.open()
    async with store.database.connection() as connection:
        for first in range(1, number + 1, AT_A_TIME):
            last = min(first + AT_A_TIME - 1, number)
            await connection.execute(store.database.sql(FILL), last, START_MS, first)
        await connection.execute("vacuum analyze")
    return store


def times(text: str, number: int) -> str:
    """With moments that suit a population of that size, one started each second."""

    def written(at: int) -> str:
        return datetime.fromtimestamp(START_MS / 1000 + at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    return text.format(early=written(number // 2), soon=written(number // 2 + 30), late=written(number - 60))


async def explained(store: PostgresStore, text: str, values: list[object]) -> str:
    async with store.database.connection() as connection, connection.transaction():
        await connection.execute(_BY_COST)
        rows = await connection.fetch("explain (analyze, timing off) " + store.database.schemas.fill(text), *values)
    return "\n".join(row[0] for row in rows)


def visited(plan: str) -> int:
    """Rows that the scans of a plan came upon."""
    found = 0
    for match in re.finditer(r"Scan.*?\(actual rows=(\d+)\S* loops=(\d+)\)", plan):
        found += int(match[1]) * int(match[2])
    return found + sum(int(n) for n in re.findall(r"Rows Removed by (?:Filter|Index Recheck): (\d+)", plan))


async def look(store: PostgresStore, number: int, page: int) -> None:
    for raw, index in FILTERS.items():
        query = parse(times(raw, number), TYPES)
        text, values = search_sql(Query(where=query.where, limit=page))
        plan = await explained(store, text, values)
        assert re.search(rf"using ({index}) on|on ({index})\b", plan), f"{raw}\n{plan}"
        assert "Seq Scan" not in plan, f"{raw}\n{plan}"
        found = len((await store.search(Query(where=query.where, limit=page))).rows)
        # Each scan may come upon a row once for the index and once for the table; sparse pages are looked for.
        assert visited(plan) <= 8 * found + number // 50 + 100, f"{raw} found {found}\n{plan}"


async def test_each_filter_finds_its_index(few: PostgresStore) -> None:
    await look(few, 40_000, 20)


@pytest.mark.nightly
@pytest.mark.timeout(900)
async def test_each_filter_finds_its_index_among_a_million(million: PostgresStore) -> None:
    await look(million, 1_000_000, 100)
    for page in (100, 1000):
        await walk(million, page)
    text, values = count_sql(parse("ExecutionStatus = 'Running' AND WorkflowType = 'Rare'", TYPES))
    assert "Seq Scan" not in await explained(million, text, values)


async def walk(store: PostgresStore, page: int) -> None:
    """Page after page visits each row once: the next page begins where the last one ended."""
    after = None
    for _ in range(20):
        query = Query(limit=page, after=after)
        text, values = search_sql(query)
        plan = await explained(store, text, values)
        assert visited(plan) <= 2 * page + 10, plan
        after = (await store.search(query)).next
        assert after is not None
