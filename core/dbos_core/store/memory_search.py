"""Search in memory: the meaning of ``search.Query``, spelled out. The Postgres store is held to the same answers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from operator import eq, ge, gt, le, lt
from typing import Any

from dbos_core.commit import RunRow
from dbos_core.search import (
    TYPES,
    And,
    Between,
    Compare,
    Count,
    Cursor,
    Field,
    Filter,
    In,
    IsNull,
    Not,
    Op,
    Or,
    Order,
    Page,
    Query,
    Target,
    Value,
    next_cursor,
    words,
)

_OPEN_LAST_MS = 2**63 - 1
_OF_PARENT = {Field.PARENT_WORKFLOW_ID: "workflow_id", Field.PARENT_RUN_ID: "run_id"}
_OF_ROOT = {Field.ROOT_WORKFLOW_ID: "workflow_id", Field.ROOT_RUN_ID: "run_id"}
_COMPARE: dict[Op, Callable[[Any, Any], bool]] = {Op.EQ: eq, Op.LT: lt, Op.LE: le, Op.GT: gt, Op.GE: ge}


def search(rows: Iterable[RunRow], query: Query) -> Page:
    """One page of what ``query`` finds among ``rows``."""
    found = [row for row in rows if query.where is None or matches(query.where, row)]
    found.sort(key=_usual_key, reverse=True)
    if query.order:
        for order in reversed(query.order):
            found = _sorted(found, order)
        found = found[query.after.offset if query.after else 0 :]
    elif query.after is not None:
        last = _cursor_key(query.after)
        found = [row for row in found if _usual_key(row) < last]
    page = found[: query.limit]
    return Page(rows=page, next=next_cursor(query, page) if len(found) > query.limit else None)


def count(rows: Iterable[RunRow], query: Query) -> Count:
    """How many, and of each status if asked."""
    found = [row for row in rows if query.where is None or matches(query.where, row)]
    groups: list[tuple[Value, int]] = []
    if query.group_by is not None:
        numbers = Counter(int(row.status) for row in found)
        groups.extend(sorted(numbers.items(), key=lambda group: (-group[1], group[0])))
    return Count(total=len(found), groups=groups)


def matches(where: Filter, row: RunRow) -> bool:
    """Is the filter true of the row? Unknown is not true."""
    return _truth(where, row) is True


# -- truth: True, False or None (unknown), as in SQL -------------------------------------------------------------------


def _truth(node: Filter, row: RunRow) -> bool | None:
    match node:
        case And(parts):
            values = [_truth(part, row) for part in parts]
            return False if False in values else None if None in values else True
        case Or(parts):
            values = [_truth(part, row) for part in parts]
            return True if True in values else None if None in values else False
        case Not(part):
            return _not(_truth(part, row))
        case IsNull(target, negated):
            return (value_of(target, row) is None) is not negated
        case Compare(target, Op.NE, value):
            return _not(_compare(target, Op.EQ, value, row))
        case Compare(target, Op.NOT_STARTS_WITH, value):
            return _not(_compare(target, Op.STARTS_WITH, value, row))
        case Compare(target, op, value):
            return _compare(target, op, value, row)
        case In(target, values_, negated):
            known = [_compare(target, Op.EQ, value, row) for value in values_]
            inside = True if True in known else None if None in known else False
            return _not(inside) if negated else inside
        case Between(target, low, high, negated):
            inside = _truth(And((Compare(target, Op.GE, low), Compare(target, Op.LE, high))), row)
            return _not(inside) if negated else inside


def _not(value: bool | None) -> bool | None:
    return None if value is None else not value


def _compare(target: Target, op: Op, wanted: Value, row: RunRow) -> bool | None:
    value = value_of(target, row)
    if value is None:
        return None
    if op is Op.EQ and isinstance(value, list):
        return any(_same(item, wanted) for item in value)
    if op is Op.EQ and isinstance(wanted, str) and _is_text(target, row):
        return not set(words(wanted)).isdisjoint(words(value))
    if op is Op.EQ:
        return _same(value, wanted)
    if isinstance(value, str) and isinstance(wanted, str):
        if op is Op.STARTS_WITH:
            return value.startswith(wanted)
        return _COMPARE[op](value.encode(), wanted.encode())
    if op is not Op.STARTS_WITH and _ordered(value, wanted):
        return _COMPARE[op](value, wanted)
    return None


def _same(value: Any, wanted: Value) -> bool:
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    return bool(value == wanted)


def _ordered(value: object, wanted: object) -> bool:
    """Numbers have an order among themselves, and so have false and true."""
    return (_number(value) and _number(wanted)) or (isinstance(value, bool) and isinstance(wanted, bool))


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# -- values ------------------------------------------------------------------------------------------------------------


def value_of(target: Target, row: RunRow) -> Any:
    """What the row has there; None if nothing."""
    if isinstance(target, Field):
        if target is Field.EXECUTION_DURATION:
            return None if row.close_ms is None else row.close_ms - row.execution_ms
        if target is Field.HISTORY_LENGTH and row.close_ms is None:
            return None
        if target in _OF_PARENT:
            return None if row.parent is None else getattr(row.parent, _OF_PARENT[target])
        if target in _OF_ROOT:
            return getattr(row, _OF_ROOT[target]) if row.parent is None else getattr(row.parent, target.value)
        value = getattr(row, target.value)
        return int(value) if target is Field.STATUS else value
    return _attributes(row).get(target.name) if target.name != TYPES else None


def _is_text(target: Target, row: RunRow) -> bool:
    return not isinstance(target, Field) and _attributes(row).get(TYPES, {}).get(target.name) == "Text"


def _attributes(row: RunRow) -> dict[str, Any]:
    return json.loads(row.search_attributes) if row.search_attributes else {}


# -- order -------------------------------------------------------------------------------------------------------------


def _usual_key(row: RunRow) -> tuple[int, int, bytes]:
    return (_OPEN_LAST_MS if row.close_ms is None else row.close_ms, row.start_ms, row.run_id.encode())


def _cursor_key(cursor: Cursor) -> tuple[int, int, bytes]:
    return (_OPEN_LAST_MS if cursor.close_ms is None else cursor.close_ms, cursor.start_ms, cursor.run_id.encode())


def _sorted(rows: list[RunRow], order: Order) -> list[RunRow]:
    """By numbers, then by text; rows without the value last, whichever the direction."""
    having: list[tuple[tuple[float, bytes], RunRow]] = []
    lacking: list[RunRow] = []
    for row in rows:
        value = value_of(order.target, row)
        if _number(value):
            having.append(((value, b""), row))
        elif isinstance(value, str):
            having.append(((float("inf"), value.encode()), row))
        else:
            lacking.append(row)
    having.sort(key=lambda pair: pair[0], reverse=order.descending)
    return [row for _, row in having] + lacking
