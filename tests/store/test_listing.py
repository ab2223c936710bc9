"""Search and count: the same answers from every store."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from dbos_core.commit import Commit, ParentClosePolicy, ParentLink, RunRow, RunStatus
from dbos_core.search import (
    TYPES,
    And,
    Attribute,
    Between,
    Compare,
    Cursor,
    Field,
    Filter,
    In,
    IsNull,
    Not,
    Op,
    Or,
    Order,
    Query,
)
from dbos_core.store.base import Store
from tests.store.support import Process, new_run

T0 = 1_700_000_000_000


@pytest.fixture
async def six(ours: Process) -> Store:
    """Six runs: one to three are open, four to six closed, in that order."""
    attributes: list[dict[str, Any] | None] = [
        {"Customer": "ada", "Size": 5, "Tags": ["a", "b"]},
        {"Customer": "Bob", "Size": 7.5, "Gift": True},
        None,
        {"Note": "Hello big World", "Size": -1, TYPES: {"Note": "Text"}},
        {"Customer": "ada", "When": "2026-01-02T03:04:05.000000Z", TYPES: {"When": "Datetime"}},
        {"Customer": "a%a", "Size": "five"},
    ]
    for number, values in enumerate(attributes, 1):
        run = new_run(
            f"order-{number}",
            at=T0 + number,
            run_id=f"00000000-0000-4000-8000-00000000000{number}",
            workflow_type="Big" if number % 2 else "Small",
            task_queue="orders" if number < 5 else "Orders",
            search_attributes=None if values is None else json.dumps(values),
        )
        await ours.commit(Commit(workflow_uuid=run.workflow_uuid, fenced=False, start=run))
        if number > 3:
            status = [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.COMPLETED][number - 4]
            await ours.finish(run.workflow_uuid, status, at=T0 + 100 * number)
    return ours.store


async def ids(store: Store, where: Filter | None, **options: Any) -> str:
    """The numbers of the runs found, in their order."""
    page = await store.search(Query(where=where, **options))
    return "".join(row.workflow_id[-1] for row in page.rows)


def attribute(name: str, op: Op, value: Any) -> Compare:
    return Compare(Attribute(name), op, value)


def field(name: Field, op: Op, value: Any) -> Compare:
    return Compare(name, op, value)


EVERYTHING = "321654"
"""Open runs first, then by close time, newest first."""

MEANINGS: list[tuple[Filter | None, str]] = [
    (None, EVERYTHING),
    (field(Field.WORKFLOW_ID, Op.EQ, "order-2"), "2"),
    (field(Field.WORKFLOW_ID, Op.NE, "order-2"), "31654"),
    (field(Field.WORKFLOW_ID, Op.GE, "order-5"), "65"),
    (field(Field.WORKFLOW_ID, Op.STARTS_WITH, "order-"), EVERYTHING),
    (field(Field.WORKFLOW_ID, Op.STARTS_WITH, "order_"), ""),
    (field(Field.WORKFLOW_ID, Op.NOT_STARTS_WITH, "order"), ""),
    (field(Field.WORKFLOW_TYPE, Op.EQ, "Big"), "315"),
    (field(Field.TASK_QUEUE, Op.LT, "orders"), "65"),
    (field(Field.STATUS, Op.EQ, 1), "321"),
    (field(Field.STATUS, Op.NE, 1), "654"),
    (In(Field.STATUS, (1, 3)), "3215"),
    (In(Field.STATUS, (1, 3), negated=True), "64"),
    (In(Field.WORKFLOW_ID, ("order-1", "order-6", "x")), "16"),
    (field(Field.START_TIME, Op.GT, T0 + 3), "654"),
    (field(Field.START_TIME, Op.GT, T0 + 3.5), "654"),
    (field(Field.START_TIME, Op.GT, 10**30), ""),
    (Between(Field.START_TIME, T0 + 2, T0 + 4), "324"),
    (Between(Field.START_TIME, T0 + 2, T0 + 4, negated=True), "165"),
    (field(Field.CLOSE_TIME, Op.LT, T0 + 600), "54"),
    (Not(field(Field.CLOSE_TIME, Op.LT, T0 + 600)), "6"),
    (IsNull(Field.CLOSE_TIME), "321"),
    (IsNull(Field.CLOSE_TIME, negated=True), "654"),
    (field(Field.EXECUTION_DURATION, Op.GT, 500), "6"),
    (attribute("Customer", Op.EQ, "ada"), "15"),
    (attribute("Customer", Op.NE, "ada"), "26"),
    (Not(attribute("Customer", Op.EQ, "ada")), "26"),
    (attribute("Customer", Op.GT, "Z"), "165"),
    (attribute("Customer", Op.STARTS_WITH, "a%"), "6"),
    (attribute("Customer", Op.NOT_STARTS_WITH, "a"), "2"),
    (IsNull(Attribute("Customer")), "34"),
    (IsNull(Attribute("Customer"), negated=True), "2165"),
    (attribute("Size", Op.EQ, 5), "1"),
    (attribute("Size", Op.EQ, 5.0), "1"),
    (attribute("Size", Op.GE, 5), "21"),
    (attribute("Size", Op.LT, 0), "4"),
    (Not(attribute("Size", Op.LT, 0)), "21"),
    (attribute("Size", Op.GE, "five"), "6"),
    (attribute("Gift", Op.EQ, True), "2"),
    (attribute("Gift", Op.EQ, 1), ""),
    (attribute("Gift", Op.GT, False), "2"),
    (attribute("Gift", Op.LT, True), ""),
    (attribute("Gift", Op.LE, True), "2"),
    (Not(attribute("Gift", Op.LT, True)), "2"),
    (attribute("Gift", Op.GE, 0), ""),
    (attribute("Size", Op.GE, False), ""),
    (attribute("Tags", Op.EQ, "a"), "1"),
    (attribute("Tags", Op.NE, "a"), ""),
    (In(Attribute("Tags"), ("b", "z")), "1"),
    (attribute("Note", Op.EQ, "BIG"), "4"),
    (attribute("Note", Op.EQ, "small world"), "4"),
    (attribute("Note", Op.EQ, "bi"), ""),
    (attribute("Note", Op.NE, "big"), ""),
    (attribute("When", Op.GT, "2026-01-01T00:00:00.000000Z"), "5"),
    (attribute("Nobody's", Op.EQ, 1), ""),
    (attribute(TYPES, Op.GT, ""), ""),
    (attribute("'; drop table runs; --", Op.EQ, "'; select 1; --"), ""),
    (attribute("{own}", Op.EQ, "{dbos}"), ""),
    (And((attribute("Customer", Op.EQ, "ada"), field(Field.STATUS, Op.EQ, 1))), "1"),
    (Not(And((attribute("Customer", Op.EQ, "ada"), field(Field.STATUS, Op.EQ, 1)))), "2654"),
    (Or((attribute("Customer", Op.EQ, "Bob"), field(Field.STATUS, Op.EQ, 3))), "25"),
    (Not(Or((attribute("Customer", Op.EQ, "Bob"), field(Field.STATUS, Op.EQ, 3)))), "16"),
]


async def test_filters_find(six: Store) -> None:
    found = [(where, await ids(six, where)) for where, _ in MEANINGS]
    assert found == MEANINGS
    for where, numbers in MEANINGS:
        assert (await six.count(Query(where=where))).total == len(numbers), where


ORDERS: list[tuple[tuple[Order, ...], str]] = [
    ((Order(Field.START_TIME),), "123456"),
    ((Order(Field.WORKFLOW_TYPE), Order(Field.START_TIME, descending=True)), "531642"),
    ((Order(Field.CLOSE_TIME),), "456321"),
    ((Order(Field.CLOSE_TIME, descending=True),), "654321"),
    ((Order(Attribute("Size")),), "412635"),
    ((Order(Attribute("Size"), descending=True),), "621435"),
]


async def test_an_asked_order_puts_missing_values_last(six: Store) -> None:
    assert [(order, await ids(six, None, order=order)) for order, _ in ORDERS] == ORDERS


@pytest.mark.parametrize("order", [(), (Order(Field.WORKFLOW_TYPE),)], ids=["usual", "asked"])
async def test_pages_together_are_the_list(six: Store, order: tuple[Order, ...]) -> None:
    whole = await six.search(Query(order=order))
    for size in (1, 2, 3, 5, 6, 7):
        rows: list[RunRow] = []
        after: Cursor | None = None
        pages = 0
        while pages == 0 or after is not None:
            page = await six.search(Query(order=order, limit=size, after=after))
            assert len(page.rows) <= size
            rows += page.rows
            after = page.next
            pages += 1
        assert [row.run_id for row in rows] == [row.run_id for row in whole.rows]
        assert pages == -(-6 // size)


async def test_counting_by_status(six: Store) -> None:
    count = await six.count(Query(group_by=Field.STATUS))
    assert (count.total, count.groups) == (6, [(1, 3), (2, 2), (3, 1)])
    assert (await six.count(Query())).groups == []


async def test_declared_attributes_are_there_for_every_process(ours: Process, theirs: Process) -> None:
    await ours.store.declare_attributes({"Customer": "Keyword", "Size": "Int", "Old": "Text"})
    await ours.store.declare_attributes({"Size": "Double", "Old": None, "Never": None})
    assert await theirs.store.attribute_types() == {"Customer": "Keyword", "Size": "Double"}


FAMILY = ParentLink(
    workflow_uuid="parent~2",
    workflow_id="parent",
    run_id="parent-run",
    seq=1,
    policy=ParentClosePolicy.TERMINATE,
    root_workflow_id="grandparent",
    root_run_id="grandparent-run",
)


@pytest.mark.parametrize(
    ("field", "value", "found"),
    [
        (Field.PARENT_WORKFLOW_ID, "parent", ["child"]),
        (Field.PARENT_RUN_ID, "parent-run", ["child"]),
        (Field.PARENT_WORKFLOW_ID, "orphan", []),
        (Field.ROOT_WORKFLOW_ID, "grandparent", ["child"]),
        (Field.ROOT_WORKFLOW_ID, "orphan", ["orphan"]),
        (Field.ROOT_RUN_ID, "grandparent-run", ["child"]),
        (Field.ROOT_RUN_ID, "child-run", []),
    ],
)
async def test_families_are_found(ours: Process, field: Field, value: str, found: list[str]) -> None:
    await ours.start("orphan")
    child = new_run("child", at=T0, parent=replace(FAMILY, policy=ParentClosePolicy.ABANDON), run_id="child-run")
    await ours.commit(Commit(workflow_uuid="child", fenced=False, start=child))

    page = await ours.store.search(Query(where=Compare(field, Op.EQ, value)))

    assert [row.workflow_id for row in page.rows] == found


async def test_who_has_no_parent_is_found_by_that(ours: Process) -> None:
    await ours.start("orphan")
    child = new_run("child", at=T0, parent=replace(FAMILY, policy=ParentClosePolicy.ABANDON))
    await ours.commit(Commit(workflow_uuid="child", fenced=False, start=child))

    page = await ours.store.search(Query(where=IsNull(Field.PARENT_WORKFLOW_ID)))

    assert [row.workflow_id for row in page.rows] == ["orphan"]


async def test_pages_stay_right_while_runs_start_and_close(ours):
    """A run that stays as it is is met once, and one that closes at least once, whatever starts meanwhile."""
    now = await ours.store.now_ms()
    for number in range(12):
        await ours.start(f"open-{number:02}", start_ms=now + number)
    for number in range(6):
        await ours.start(f"closed-{number}", start_ms=now + number)
        await ours.finish(f"closed-{number}", at=now + 100 + number)

    met = []
    after = None
    for turn in range(20):
        page = await ours.store.search(Query(limit=3, after=after))
        met += [row.workflow_id for row in page.rows]
        after = page.next
        if after is None:
            break
        await ours.start(f"late-{turn}", start_ms=now + 1000 + turn)  # in front of all: not met
        if turn < 3:
            await ours.finish(f"open-{11 - turn:02}", at=now + 90 + turn)  # met already; behind the closed ones now
        if turn == 1:
            await ours.finish("open-03", at=now + 200)  # not met yet; now in front of the closed ones
            await ours.store.delete_run("closed-5")

    still = [f"open-{number:02}" for number in range(9) if number != 3] + [f"closed-{number}" for number in range(5)]
    assert {workflow_id: met.count(workflow_id) for workflow_id in still} == dict.fromkeys(still, 1)
    assert "open-03" in met
    assert not any(workflow_id.startswith("late-") for workflow_id in met)
