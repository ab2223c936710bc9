"""List filters: what they mean, and Temporal's words for what they cannot be. The texts were taken from a dev server."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbos_compat.filters import BadFilter, parse
from dbos_core.search import (
    And,
    Attribute,
    Between,
    Compare,
    Field,
    FieldType,
    Filter,
    In,
    IsNull,
    Not,
    Op,
    Or,
    Order,
)

TYPES = {
    "Foo": FieldType.KEYWORD,
    "L": FieldType.KEYWORD_LIST,
    "T": FieldType.TEXT,
    "I": FieldType.INT,
    "D": FieldType.DOUBLE,
    "B": FieldType.BOOL,
    "DT": FieldType.DATETIME,
}


def where(text: str) -> Filter | None:
    """What the filter means where ``TYPES`` are declared, or where nothing is if it says so."""
    return parse(text, {} if "Undeclared" in text else TYPES).where


def eq(target: Any, value: Any) -> Compare:
    return Compare(target, Op.EQ, value)


MEANINGS: list[tuple[str, Filter]] = [
    ("WorkflowId = 'a'", eq(Field.WORKFLOW_ID, "a")),
    ("`WorkflowId`='a'", eq(Field.WORKFLOW_ID, "a")),
    ('WorkflowId = "a"', eq(Field.WORKFLOW_ID, "a")),
    ("WorkflowId='it''s'", eq(Field.WORKFLOW_ID, "it's")),
    ("WorkflowId='it\\'s'", eq(Field.WORKFLOW_ID, "it's")),
    ("WorkflowId <> 'a'", Compare(Field.WORKFLOW_ID, Op.NE, "a")),
    ("WorkflowId STARTS_WITH 'x'", Compare(Field.WORKFLOW_ID, Op.STARTS_WITH, "x")),
    ("WorkflowId not starts_with 'x'", Compare(Field.WORKFLOW_ID, Op.NOT_STARTS_WITH, "x")),
    ("WorkflowType between 'a' and 'b'", Between(Field.WORKFLOW_TYPE, "a", "b")),
    ("ExecutionStatus = 'Running'", eq(Field.STATUS, 1)),
    ("ExecutionStatus = 'WORKFLOW_EXECUTION_STATUS_RUNNING'", eq(Field.STATUS, 1)),
    ("ExecutionStatus in ('TimedOut', 2)", In(Field.STATUS, (7, 2))),
    ("ExecutionStatus = 'ContinuedAsNew'", eq(Field.STATUS, 6)),
    ("WorkflowId not in ('a',\"b\")", In(Field.WORKFLOW_ID, ("a", "b"), True)),
    ("not WorkflowId = 'a'", Not(eq(Field.WORKFLOW_ID, "a"))),
    ("CloseTime is not null", IsNull(Field.CLOSE_TIME, True)),
    ("StartTime >= '1970-01-01T00:00:01Z'", Compare(Field.START_TIME, Op.GE, 1000)),
    ("StartTime >= '1970-01-01T02:00:01.5+02:00'", Compare(Field.START_TIME, Op.GE, 1500)),
    ("StartTime > 1700000000000000000", Compare(Field.START_TIME, Op.GT, 1_700_000_000_000)),
    ("ExecutionDuration > '1h30m'", Compare(Field.EXECUTION_DURATION, Op.GT, 5_400_000)),
    ("ExecutionDuration > '1.5s'", Compare(Field.EXECUTION_DURATION, Op.GT, 1500)),
    ("ExecutionDuration > '1:00:00'", Compare(Field.EXECUTION_DURATION, Op.GT, 3_600_000)),
    ("ExecutionDuration > 1000000", Compare(Field.EXECUTION_DURATION, Op.GT, 1)),
    ("HistoryLength > -1", Compare(Field.HISTORY_LENGTH, Op.GT, -1)),
    ("HistoryLength = 1.5", eq(Field.HISTORY_LENGTH, 1.5)),
    ("RootWorkflowId = 'r'", eq(Field.ROOT_WORKFLOW_ID, "r")),
    ("Foo = 'x'", eq(Attribute("Foo"), "x")),
    ("L != 'a'", Or((IsNull(Attribute("L")), Compare(Attribute("L"), Op.NE, "a")))),
    ("L not in ('a')", Or((IsNull(Attribute("L")), In(Attribute("L"), ("a",), True)))),
    ("B = TRUE", eq(Attribute("B"), True)),
    ("DT = '2021-01-02T03:04:05+02:00'", eq(Attribute("DT"), "2021-01-02T01:04:05.000000Z")),
    ("Undeclared = 3", eq(Attribute("Undeclared"), 3)),
    (
        "Undeclared > '2021-01-02T03:04:05Z'",
        Compare(Attribute("Undeclared"), Op.GT, "2021-01-02T03:04:05.000000Z"),
    ),
    (
        "Undeclared = '2021-01-02T03:04:05Z'",
        In(Attribute("Undeclared"), ("2021-01-02T03:04:05Z", "2021-01-02T03:04:05.000000Z")),
    ),
    (
        "(WorkflowId='a' or WorkflowId='b') && not (RunId='x')",
        And(
            (
                Or((eq(Field.WORKFLOW_ID, "a"), eq(Field.WORKFLOW_ID, "b"))),
                Not(eq(Field.RUN_ID, "x")),
            )
        ),
    ),
    (
        "WorkflowId='a' or WorkflowId='b' and RunId='x'",
        Or((eq(Field.WORKFLOW_ID, "a"), And((eq(Field.WORKFLOW_ID, "b"), eq(Field.RUN_ID, "x"))))),
    ),
]


@pytest.mark.parametrize(("text", "tree"), MEANINGS, ids=[text for text, _ in MEANINGS])
def test_a_filter_is_read_as_temporal_reads_it(text: str, tree: Filter) -> None:
    assert where(text) == tree


REFUSALS = [
    ("foo", "invalid expression: incomplete expression"),
    ("WorkflowId", "invalid expression: incomplete expression"),
    ("WorkflowId ==1", "malformed SQL query: syntax error at position 41"),
    ("ExecutionStatus='Running' and", "malformed SQL query: syntax error at position 57"),
    ("WorkflowId='a", "malformed SQL query: syntax error at position 41 near 'a'"),
    ("select * from x", "malformed SQL query: syntax error at position 34 near 'select'"),
    ("WorkflowId = 'a' xor WorkflowId='b'", "malformed SQL query: syntax error at position 48 near 'xor'"),
    ("workflowid = 'a'", "invalid search attribute: workflowid"),
    ("Nonsense = 1", "invalid search attribute: Nonsense"),
    (
        "WorkflowId = 1",
        "invalid expression: invalid value type for search attribute WorkflowId of type Keyword: 1 (type: int64)",
    ),
    (
        "WorkflowId = true",
        "invalid expression: invalid value type for search attribute WorkflowId of type Keyword: true (type: bool)",
    ),
    (
        "HistoryLength='a'",
        'invalid expression: invalid value type for search attribute HistoryLength of type Int: "a" (type: string)',
    ),
    ("Foo = -1", "invalid expression: invalid value type for search attribute Foo of type Keyword: -1 (type: int64)"),
    ("I='5'", 'invalid expression: invalid value type for search attribute I of type Int: "5" (type: string)'),
    ("B=1", "invalid expression: invalid value type for search attribute B of type Bool: 1 (type: int64)"),
    ("ExecutionStatus='x'", "invalid expression: invalid ExecutionStatus value 'x'"),
    ("ExecutionStatus = 'running'", "invalid expression: invalid ExecutionStatus value 'running'"),
    ("StartTime > 'yesterday'", "invalid expression: unable to parse datetime 'yesterday'"),
    ("StartTime > '2020-01-01'", "invalid expression: unable to parse datetime '2020-01-01'"),
    ("StartTime='2021-01-02 03:04:05'", "invalid expression: unable to parse datetime '2021-01-02 03:04:05'"),
    (
        "ExecutionDuration > 'abc'",
        "invalid expression: invalid duration value for search attribute ExecutionDuration: abc",
    ),
    ("1=1", "invalid expression: must be a column name but was *sqlparser.SQLVal"),
    ("'a' = WorkflowId", "invalid expression: must be a column name but was *sqlparser.SQLVal"),
    (
        "WorkflowId = RunId",
        "operation is not supported: column name on the right side of comparison expression "
        '(did you forget to quote "RunId"?)',
    ),
    (
        "WorkflowId like 'x%'",
        "operation is not supported: operator 'LIKE' not supported for Keyword type search attribute 'WorkflowId'",
    ),
    (
        "L > 'a'",
        "operation is not supported: operator '>' not supported for KeywordList type search attribute 'L'",
    ),
    (
        "T starts_with 'Hello'",
        "operation is not supported: operator 'STARTS_WITH' not supported for Text type search attribute 'T'",
    ),
    (
        "ExecutionStatus starts_with 'Running'",
        'invalid expression: right-hand side of "starts_with" operator must be a literal string (got: Running)',
    ),
    (
        "ExecutionStatus NOT STARTS_WITH 'Failed'",
        'invalid expression: right-hand side of "not starts_with" operator must be a literal string (got: Failed)',
    ),
    ("T in ('a')", "operation is not supported: operator 'IN' not supported for Text type search attribute 'T'"),
    ("TaskQueue='q' limit 1", "operation is not supported: 'LIMIT' clause"),
    (
        "group by WorkflowType",
        "operation is not supported: 'GROUP BY' clause is not supported for search attribute WorkflowType",
    ),
    (
        "group by ExecutionStatus, WorkflowType",
        "operation is not supported: 'GROUP BY' clause supports only a single field",
    ),
]


@pytest.mark.parametrize(("text", "message"), REFUSALS, ids=[text for text, _ in REFUSALS])
def test_what_cannot_be_read_is_refused_in_temporals_words(text: str, message: str) -> None:
    with pytest.raises(BadFilter) as refused:
        parse(text, TYPES)
    assert str(refused.value) == message


def test_nothing_is_everything() -> None:
    query = parse("  ")
    assert (query.where, query.order, query.group_by) == (None, (), None)


def test_group_and_order() -> None:
    query = parse("WorkflowId = 'a' GROUP BY ExecutionStatus")
    assert query.where == eq(Field.WORKFLOW_ID, "a")
    assert query.group_by is Field.STATUS
    assert parse("order by StartTime, Foo desc").order == (
        Order(Field.START_TIME),
        Order(Attribute("Foo"), descending=True),
    )


DIGITS = "9" * 5000


@pytest.mark.parametrize(
    "text",
    [
        "StartTime > '0001-01-01T00:00:00+14:00'",
        "DT = '9999-12-31T23:59:59-14:00'",
        f"ExecutionDuration > '{DIGITS[:400]}'",
        f"ExecutionDuration > '{DIGITS}'",
        f"ExecutionDuration > '{DIGITS[:400]}h'",
        f"ExecutionDuration > '{DIGITS}:00:00'",
        " or ".join(["Foo='a'"] * 5001),
    ],
    ids=lambda text: text[:30],
)
def test_values_beyond_all_bounds_are_refused(text: str) -> None:
    with pytest.raises(BadFilter):
        parse(text, TYPES)


def test_a_list_of_workflow_ids_may_be_long() -> None:
    ids = ",".join(f"'{n}'" for n in range(6000))
    assert isinstance(where(f"WorkflowId in ({ids})"), In)


def test_deep_nesting_is_refused_and_not_a_stack_overflow() -> None:
    with pytest.raises(BadFilter, match="max nesting level"):
        parse("(" * 5000 + "WorkflowId = 'a'" + ")" * 5000)
    with pytest.raises(BadFilter, match="max nesting level"):
        parse("not " * 5000 + "WorkflowId = 'a'")


@given(st.text(max_size=60))
def test_any_text_is_a_query_or_a_bad_filter(text: str) -> None:
    with contextlib.suppress(BadFilter):
        assert parse(text, TYPES).limit > 0


# -- round trip: tree → text → the same tree -------------------------------------------------------------------------------


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12).filter(lambda t: "T" not in t)
targets = st.sampled_from([Field.WORKFLOW_ID, Field.TASK_QUEUE, Attribute("Foo"), Attribute("Some.Name")])
comparisons = st.sampled_from(list(Op))
leaves: st.SearchStrategy[Filter] = st.one_of(
    st.builds(Compare, targets, comparisons, texts),
    st.builds(Compare, st.just(Field.HISTORY_LENGTH), st.sampled_from([Op.EQ, Op.LT, Op.GE]), st.integers(-9, 10**12)),
    st.builds(In, targets, st.lists(texts, min_size=1, max_size=3).map(tuple), st.booleans()),
    st.builds(Between, targets, texts, texts, st.booleans()),
    st.builds(IsNull, targets, st.booleans()),
)
trees: st.SearchStrategy[Filter] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(And, st.lists(inner.filter(lambda n: not isinstance(n, And)), min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner.filter(lambda n: not isinstance(n, Or)), min_size=2, max_size=3).map(tuple)),
        st.builds(Not, inner),
    ),
    max_leaves=8,
)
NAMES: dict[Any, str] = {
    Field.WORKFLOW_ID: "WorkflowId",
    Field.TASK_QUEUE: "TaskQueue",
    Field.HISTORY_LENGTH: "HistoryLength",
}


def written(node: Filter) -> str:
    match node:
        case And(parts):
            return " AND ".join(f"({written(part)})" for part in parts)
        case Or(parts):
            return " or ".join(f"({written(part)})" for part in parts)
        case Not(part):
            return f"NOT ({written(part)})"
        case IsNull(target, negated):
            return f"{name(target)} IS {'NOT ' if negated else ''}NULL"
        case In(target, values, negated):
            return f"{name(target)} {'NOT ' if negated else ''}IN ({', '.join(map(literal, values))})"
        case Between(target, low, high, negated):
            return f"{name(target)} {'NOT ' if negated else ''}BETWEEN {literal(low)} AND {literal(high)}"
        case Compare(target, op, value):
            return f"{name(target)} {op.value} {literal(value)}"


def name(target: Any) -> str:
    return NAMES[target] if isinstance(target, Field) else f"`{target.name}`"


def literal(value: Any) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'" if isinstance(value, str) else str(value)


@given(trees)
def test_a_written_tree_is_read_back(tree: Filter) -> None:
    assert parse(written(tree)).where == tree
