"""Any filter finds the same runs on Postgres as in memory, where its meaning is spelled out."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dbos_core.clock import SystemClock
from dbos_core.commit import Close, Commit, RunStatus, Verdict
from dbos_core.search import (
    TYPES,
    And,
    Attribute,
    Between,
    Compare,
    Field,
    Filter,
    In,
    IsNull,
    Not,
    Op,
    Or,
    Order,
    Query,
    Value,
)
from dbos_core.store.base import ProcessInfo, Store
from dbos_core.store.memory import MemoryStore
from dbos_core.store.postgres.store import PostgresStore
from tests.fixtures.postgres import PostgresServer
from tests.store.support import new_run

ATTRIBUTES: list[dict[str, Any] | None] = [
    None,
    {},
    {"A": "x"},
    {"A": "X", "B": 1},
    {"A": "", "B": 1.0},
    {"A": "x y", "B": -2.5, TYPES: {"A": "Text"}},
    {"A": ["x", "y"], "B": "1"},
    {"A": True, "B": [1, 2]},
    {"A": 'quote " and \\ and ü', "B": 10**20},
    {"A": None, "B": False},
    {"A": "Ümlaut Straße", TYPES: {"A": "Text"}},
]


class Pair:
    """The same runs in both stores, and the loop on which both are asked."""

    def __init__(self, url: str) -> None:
        self.runner = asyncio.Runner()
        self.memory: Store = MemoryStore(SystemClock())
        self.postgres: Store = PostgresStore(url)
        self.runner.run(self._fill())

    async def _fill(self) -> None:
        numbered = [(number, values) for number, values in enumerate(ATTRIBUTES * 2)]
        runs = [(number, str(uuid.uuid4()), values) for number, values in numbered]
        for store in (self.memory, self.postgres):
            await store.open()
            await store.register(ProcessInfo(process_id="p", identity="p", application_version="v"), 10**9)
            for number, run_id, values in runs:
                start = new_run(
                    f"w{number}",
                    at=1000 + number // 2,
                    run_id=run_id,
                    workflow_type="x" if number % 3 else "X",
                    task_queue="y",
                    execution_ms=1000 + number,
                    search_attributes=None if values is None else json.dumps(values),
                )
                commits = [Commit(workflow_uuid=start.workflow_uuid, fenced=False, start=start)]
                assert await store.flush("p", commits, again=False) == [Verdict.COMMITTED]
                if number % 2:
                    close = Close(status=RunStatus(2 + number % 4), close_ms=2000 + number // 4, record='{"kind": "x"}')
                    assert await store.flush(
                        "p", [Commit(workflow_uuid=start.workflow_uuid, close=close)], again=False
                    ) == [Verdict.COMMITTED]

    def close(self) -> None:
        self.runner.run(self.postgres.close())
        self.runner.close()

    def ask(self, query: Query) -> tuple[list[list[str]], Any]:
        """The answers of both stores, which must be the same: run ids page by page, and the count."""
        answers = [self.runner.run(self._pages(store, query)) for store in (self.memory, self.postgres)]
        assert answers[0] == answers[1]
        counts = [self.runner.run(store.count(query)) for store in (self.memory, self.postgres)]
        assert counts[0] == counts[1]
        assert counts[0].total == sum(len(page) for page in answers[0])
        return answers[0], counts[0]

    @staticmethod
    async def _pages(store: Store, query: Query) -> list[list[str]]:
        pages: list[list[str]] = []
        after = None
        while not pages or after is not None:
            page = await store.search(
                Query(where=query.where, order=query.order, limit=query.limit, after=after, group_by=query.group_by)
            )
            pages.append([row.run_id for row in page.rows])
            after = page.next
        return pages


@pytest.fixture(scope="module")
def pair(postgres_server: PostgresServer) -> Iterator[Pair]:
    url = postgres_server.create_database()
    pair = Pair(url)
    yield pair
    pair.close()
    postgres_server.drop_database(url)


words = st.sampled_from(["x", "X", "y", "", "x y", "Straße", "w1", "w", '"', "\\", "ü", "1", "é%_"])
numbers: st.SearchStrategy[Value] = st.one_of(
    st.integers(-3, 3), st.integers(990, 2030), st.sampled_from([1.0, -2.5, 1010.5, 10**20, 2**63, -(2**63)])
)
values: st.SearchStrategy[Value] = st.one_of(words, numbers, st.booleans())
texts = st.sampled_from([Field.WORKFLOW_ID, Field.RUN_ID, Field.WORKFLOW_TYPE, Field.TASK_QUEUE])
counts = st.sampled_from(
    [Field.STATUS, Field.START_TIME, Field.EXECUTION_TIME, Field.CLOSE_TIME, Field.EXECUTION_DURATION]
)
attributes = st.sampled_from(["A", "B", "C", TYPES, "'--"]).map(Attribute)
ordered = st.sampled_from([Op.EQ, Op.NE, Op.LT, Op.LE, Op.GT, Op.GE])
leaves: st.SearchStrategy[Filter] = st.one_of(
    st.builds(Compare, texts, st.sampled_from(list(Op)), words),
    st.builds(Compare, counts, ordered, numbers),
    st.builds(Compare, attributes, ordered, values),
    st.builds(Compare, attributes, st.sampled_from([Op.STARTS_WITH, Op.NOT_STARTS_WITH]), words),
    st.builds(In, texts, st.lists(words, min_size=1, max_size=3).map(tuple), st.booleans()),
    st.builds(In, counts, st.lists(st.integers(0, 2030), min_size=1, max_size=3).map(tuple), st.booleans()),
    st.builds(In, attributes, st.lists(values, min_size=1, max_size=3).map(tuple), st.booleans()),
    st.builds(Between, texts, words, words, st.booleans()),
    st.builds(Between, counts, numbers, numbers, st.booleans()),
    st.builds(Between, attributes, values, values, st.booleans()),
    st.builds(IsNull, st.one_of(texts, counts, attributes), st.booleans()),
)
trees: st.SearchStrategy[Filter] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(And, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(Not, inner),
    ),
    max_leaves=6,
)
queries = st.builds(
    Query,
    where=st.one_of(st.none(), trees),
    order=st.lists(st.builds(Order, st.one_of(texts, counts, attributes), st.booleans()), max_size=2).map(tuple),
    group_by=st.sampled_from([None, Field.STATUS]),
    limit=st.sampled_from([1, 3, 100]),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(queries)
@example(Query(where=Not(Between(Field.CLOSE_TIME, 10**20, 0, False))))  # open runs have no time, however late one asks
@example(Query(where=Compare(Field.CLOSE_TIME, Op.EQ, 2**63 - 1)))
def test_postgres_and_memory_agree(pair: Pair, query: Query) -> None:
    pair.ask(query)


@pytest.mark.nightly
@settings(max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(queries)
def test_postgres_and_memory_agree_at_length(pair: Pair, query: Query) -> None:
    pair.ask(query)
