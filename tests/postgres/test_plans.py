"""Plans are behaviour: hot statements probe indexes, whatever the statistics say, on empty tables and on full ones."""

from __future__ import annotations

import re
from typing import Any

import pytest

from dbos_core.search import Query
from dbos_core.store.postgres import PostgresStore, claim, load, offers, runs, stray_mail, updates
from dbos_core.store.postgres.connect import _BY_COST
from dbos_core.store.postgres.flush_shape import FENCED_COLUMNS, START_COLUMNS, Shape, used
from dbos_core.store.postgres.flush_sql import compose
from tests.store.support import Process

STATEMENTS = {
    "claim": claim._CLAIM,
    "claim one": claim._CLAIM_ONE,
    "take over": claim._TAKE_OVER,
    "pulse": claim._PULSE,
    "load": load._LOAD,
    "claim activities": offers._CLAIM,
    "release": claim._RELEASE,
    "expired": claim._EXPIRED,
    "terminate": runs._TERMINATE,
    "lock current": runs.LOCK_CURRENT,
    "mail": load._MAIL,
    "rows": load._ROWS,
    "watch": load._WATCHED_ROWS,
    "find": load._FIND,
    "admit update": updates._ADMIT,
    "heartbeat": offers._HEARTBEAT,
    "stray mail": stray_mail._NUDGE,
    "touched": runs._TOUCHED,
    "give back": claim._GIVE_BACK,
    "delete finished": runs._DELETE_FINISHED,
    "take outbox": claim._TAKE_OUTBOX,
    "open children": load._OPEN_CHILDREN,
    "closed children": load._CLOSED_CHILDREN,
    "posted": load._POSTED,
}


async def plan(store: PostgresStore, text: str) -> str:
    """The generic plan of a statement."""
    async with store.database.connection() as connection, connection.transaction():
        text = store.database.sql(text)
        await connection.execute("prepare looked_at as " + text)
        count = len(set(re.findall(r"\$(\d+)", text)))
        arguments = ", ".join(["null"] * count)
        rows = await connection.fetch("explain execute looked_at" + (f"({arguments})" if count else ""))
        await connection.execute("deallocate looked_at")
        return "\n".join(row[0] for row in rows)


async def fill(store: PostgresStore, runs: int) -> None:
    """Many closed runs with journals, some open and some parked ones, and statistics that know of them."""
    await store.database.rows(
        "filling",
        """
        with w as (
            insert into {dbos}.workflow_status (workflow_uuid, status, owner_xid, queue_name, created_at)
            select 'w' || n, case when n % 10 = 0 then 'PENDING' else 'SUCCESS' end,
                   case when n % 20 = 0 then 'somebody' end, 'orders', n
              from generate_series(1, $1::int) as n returning workflow_uuid),
        o as (
            insert into {dbos}.operation_outputs (workflow_uuid, function_id, output)
            select workflow_uuid, f, '1' from w, generate_series(1, 4) as f),
        i as (insert into {dbos}.workflow_input (workflow_uuid, inputs) select workflow_uuid, '{}' from w),
        r as (insert into {dbos}.workflow_output (workflow_uuid, output) select workflow_uuid, '1' from w),
        n as (
            insert into {dbos}.notifications (destination_uuid, topic, message, consumed)
            select workflow_uuid, 'approve', '1', true from w),
        a as (
            insert into {own}.activities (workflow_uuid, seq, task_queue, attempt, scheduled_ms, due_ms)
            select 'w' || n, 1, 'orders', 1, n, n from generate_series(10, $1::int, 10) as n)
        insert into {own}.runs (workflow_uuid, workflow_id, run_id, first_run_id, workflow_type, task_queue, status,
                                owner, wake_at_ms, start_ms, execution_ms, close_ms, close)
        select 'w' || n, 'w' || n, 'r' || n, 'r' || n, 'Order', 'orders', case when n % 10 = 0 then 1 else 2 end,
               case when n % 20 = 0 then 'somebody' end, n, n, n,
               case when n % 10 > 0 then n end, case when n % 10 > 0 then '{}' end
          from generate_series(1, $1::int) as n""",
        runs,
    )


@pytest.fixture(params=[0, 20_000], ids=["empty", "full"])
async def filled(request: pytest.FixtureRequest, ours: Process, store: PostgresStore) -> PostgresStore:
    if request.param:
        await fill(store, request.param)
        async with store.database.connection() as connection:
            await connection.execute("analyze")
    return store


def scans_without_key(text: str) -> list[str]:
    """Scans that walk through a table or a whole index, where it would grow with the number of workflows."""
    lines = text.splitlines()
    found = []
    for number, line in enumerate(lines):
        scan = re.search(r"(\S.* Scan.*) on (workflow_\w+|runs|operation_outputs|notifications)\b", line)
        if scan is None or "CTE Scan" in line or "Bitmap Heap" in line:
            continue
        hopping = "runs_owner" in line and "Limit" in lines[number - 1]
        has_key = "Index" in line and number + 1 < len(lines) and "Cond:" in lines[number + 1]
        if not has_key and not hopping:
            found.append(line.strip())
    return found


@pytest.mark.parametrize("name", list(STATEMENTS))
async def test_no_statement_walks_through_a_table(filled: PostgresStore, name: str) -> None:
    text = await plan(filled, STATEMENTS[name])
    assert scans_without_key(text) == [], text


async def test_the_claim_walks_the_index_of_runnable_runs_in_its_order(filled: PostgresStore) -> None:
    text = await plan(filled, claim._CLAIM)
    assert re.search(r"Index Scan using runs_runnable on runs r\b", text), text
    inner = text[text.index("LockRows") :]
    assert "Sort" not in inner[: inner.index("runs_runnable")], text


async def test_the_journal_comes_from_its_primary_key_without_a_sort(filled: PostgresStore) -> None:
    text = await plan(filled, load._LOAD)
    at = text.index("operation_outputs")
    assert "Index Scan using operation_outputs_pkey on operation_outputs" in text, text
    assert "Sort" not in text[text.rindex("Plan", 0, at) : at], text


@pytest.mark.parametrize(
    "shape",
    [
        Shape.FENCED | Shape.ENTRY,
        Shape.FENCED | Shape.ENTRY | Shape.END | Shape.RUN | Shape.CONSUMED | Shape.START | Shape.START_ENTRY,
        Shape.MAIL | Shape.FENCED | Shape.ENTRY,
    ],
)
async def test_a_flush_probes_keys_only(filled: PostgresStore, shape: int) -> None:
    """No scan but by key, no hash, no plan that compares two lists."""
    text, names = compose(shape)
    text = await plan(filled, text)
    assert scans_without_key(text) == [], text
    assert "idx_workflow_status_pending" not in text, text
    assert "Seq Scan" not in text, text
    assert "hashed SubPlan" not in text, text
    assert not re.search(r"Join Filter: \((?!NOT)", text), text
    assert names


async def test_a_flush_takes_time_in_proportion_to_its_commits(filled: PostgresStore, ours: Process) -> None:
    """Rows that a statement visits per commit do not grow with the number of commits."""
    small, large = [await rows_visited(filled, ours, size) for size in (20, 200)]
    assert large / 200 < 2 * small / 20, (small, large)


async def rows_visited(store: PostgresStore, ours: Process, size: int) -> int:
    """How many rows the plan of one flush of ``size`` journal rows touches, all nodes together."""
    for number in range(size):
        await ours.start(f"visited-{size}-{number}")
    shape = Shape.FENCED | Shape.ENTRY
    values: dict[str, Any] = {
        "f_i": list(range(size)),
        "f_uuid": [f"visited-{size}-{number}" for number in range(size)],
        "f_position": [2] * size,
        "f_entry_name": ["step"] * size,
        "f_entry": ["{}"] * size,
        "f_entry_started": [1] * size,
        "f_entry_completed": [1] * size,
        "process": ours.id,
        "application": "dbos-compat",
    }
    text, names = compose(shape)
    async with store.database.connection() as connection:
        rows = await connection.fetch(
            "explain (analyze) " + store.database.sql(text), *[values[name] for name in names]
        )
    plan_text = "\n".join(row[0] for row in rows)
    visited = sum(
        int(n) * int(loops) for n, loops in re.findall(r"actual time=\S+ rows=(\d+)\S* loops=(\d+)", plan_text)
    )
    removed = sum(int(n) for n in re.findall(r"Rows Removed by \w+: (\d+)", plan_text))
    return visited + removed


def test_columns_are_parameters() -> None:
    every = 0
    for bit in [value for name, value in vars(Shape).items() if name.isupper() and value != Shape.LONE]:
        every |= bit
    _, names = compose(every)
    expected = {f"s_{name}" for name, _ in used(START_COLUMNS, every)} | {
        f"f_{name}" for name, _ in used(FENCED_COLUMNS, every)
    }
    assert expected <= set(names)


async def test_listing_and_retention_walk_one_index(ours: Process, store: PostgresStore) -> None:
    await fill(store, 20_000)
    async with store.database.connection() as connection:
        await connection.execute("analyze")

    retention = await plan(store, runs._DELETE_FINISHED)
    assert "using runs_listing on runs" in retention, retention

    first = await store.search(Query(limit=3))
    assert first.next is not None
    second = await store.search(Query(limit=3, after=first.next))
    assert [row.run_id for row in first.rows + second.rows] == [f"r{n}" for n in range(20_000, 19_940, -10)]
    async with store.database.connection() as connection, connection.transaction():
        await connection.execute(_BY_COST)
        rows = await connection.fetch(
            store.database.sql(
                "explain select * from {own}.runs r where (coalesce(r.close_ms, 9223372036854775807), r.start_ms, "
                "r.run_id collate \"C\") < (19000, 19000, 'r19000') order by coalesce(r.close_ms, 9223372036854775807) "
                'desc, r.start_ms desc, r.run_id collate "C" desc limit 10'
            )
        )
    text = "\n".join(row[0] for row in rows)
    assert "Index Scan Backward using runs_listing" in text, text
