"""List and count: the only composed SQL. Every value, attribute names included, is a bind parameter.

A filter tree becomes a condition by :class:`_Where`, which carries negation down to the leaves: a leaf about a missing
value is then simply not true, whichever way it is asked, and the index on search attributes stays usable. What the
conditions mean is spelled out in ``memory_search``; ``tests/store`` holds both to the same answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import asyncpg

from dbos_core.commit import RunRow
from dbos_core.search import (
    TYPES,
    And,
    Attribute,
    Between,
    Compare,
    Count,
    Field,
    FieldType,
    Filter,
    In,
    IsNull,
    Not,
    Op,
    Or,
    Order,
    Page,
    Query,
    Value,
    next_cursor,
    words,
)
from dbos_core.store.postgres.connect import Database
from dbos_core.store.postgres.load import RUN_COLUMNS, run_row

_OPEN_LAST_MS = 2**63 - 1

# In the order of bytes, as the indexes for filters have them.
_FIELDS = {
    Field.WORKFLOW_ID: 'r.workflow_id collate "C"',
    Field.RUN_ID: 'r.run_id collate "C"',
    Field.WORKFLOW_TYPE: 'r.workflow_type collate "C"',
    Field.TASK_QUEUE: 'r.task_queue collate "C"',
    Field.PARENT_WORKFLOW_ID: 'r.parent_workflow_id collate "C"',
    Field.PARENT_RUN_ID: 'r.parent_run_id collate "C"',
    Field.ROOT_WORKFLOW_ID: 'coalesce(r.root_workflow_id, r.workflow_id) collate "C"',
    Field.ROOT_RUN_ID: 'coalesce(r.root_run_id, r.run_id) collate "C"',
    Field.STATUS: "r.status",
    Field.START_TIME: "r.start_ms",
    Field.EXECUTION_TIME: "r.execution_ms",
    Field.CLOSE_TIME: "r.close_ms",
    Field.EXECUTION_DURATION: "(r.close_ms - r.execution_ms)",
    Field.HISTORY_LENGTH: "(case when r.close_ms is not null then r.history_length end)",
}
_TEXTS = {
    Field.WORKFLOW_ID,
    Field.RUN_ID,
    Field.WORKFLOW_TYPE,
    Field.TASK_QUEUE,
    Field.PARENT_WORKFLOW_ID,
    Field.PARENT_RUN_ID,
    Field.ROOT_WORKFLOW_ID,
    Field.ROOT_RUN_ID,
}
# Those whose index serves other statements too are compared plainly, where order does not matter.
_PLAIN = {
    Field.RUN_ID: "r.run_id",
    Field.PARENT_WORKFLOW_ID: "r.parent_workflow_id",
    Field.PARENT_RUN_ID: "r.parent_run_id",
}
# A root is the run itself or a named one: two probes of two indexes.
_ROOTS = {
    Field.ROOT_WORKFLOW_ID: ('r.root_workflow_id collate "C"', 'r.workflow_id collate "C"', "r.root_workflow_id"),
    Field.ROOT_RUN_ID: ('r.root_run_id collate "C"', "r.run_id", "r.root_run_id"),
}
_CLOSE_KEY = "coalesce(r.close_ms, 9223372036854775807)"
_NEGATED = {Op.EQ: Op.NE, Op.NE: Op.EQ, Op.LT: Op.GE, Op.GE: Op.LT, Op.GT: Op.LE, Op.LE: Op.GT}
_USUAL_KEY = f'{_CLOSE_KEY}, r.start_ms, r.run_id collate "C"'
_USUAL_ORDER = f'{_CLOSE_KEY} desc, r.start_ms desc, r.run_id collate "C" desc'


async def search(db: Database, query: Query) -> Page:
    """One page of the runs that the filter finds."""
    text, values = search_sql(query)
    rows: list[RunRow] = [run_row(row) for row in await _fetch(db, "listing runs", text, values)]
    page = rows[: query.limit]
    return Page(rows=page, next=next_cursor(query, page) if len(rows) > query.limit else None)


def search_sql(query: Query) -> tuple[str, list[Any]]:
    """The statement for one page, and its values. One row more than asked for says whether there is another page."""
    where = _Where()
    condition = where.of(query.where)
    text = f"select {RUN_COLUMNS} from {{own}}.runs r where {condition}"  # noqa: S608 - values are parameters
    if query.order:
        text += f" order by {', '.join(where.sorting(order) for order in query.order)}, {_USUAL_ORDER}"
        text += f" offset {where.bind(query.after.offset if query.after else 0, 'bigint')}"
    else:
        if (after := query.after) is not None:
            close_ms = where.bind(_OPEN_LAST_MS if after.close_ms is None else after.close_ms, "bigint")
            start_ms, run_id = where.bind(after.start_ms, "bigint"), where.bind(after.run_id, "text")
            text += f" and ({_USUAL_KEY}) < ({close_ms}, {start_ms}, {run_id})"
        text += f" order by {_USUAL_ORDER}"
    text += f" limit {where.bind(query.limit + 1, 'bigint')}"
    return text, where.values


async def count(db: Database, query: Query) -> Count:
    """How many runs the filter finds; of each status if the query groups."""
    text, values = count_sql(query)
    rows = await _fetch(db, "counting runs", text, values)
    numbers = [(int(row["status"]), int(row["number"])) for row in rows]
    groups: list[tuple[Value, int]] = []
    if query.group_by is not None:
        groups.extend(sorted(numbers, key=lambda group: (-group[1], group[0])))
    return Count(total=sum(number for _, number in numbers), groups=groups)


def count_sql(query: Query) -> tuple[str, list[Any]]:
    """The statement that counts, and its values."""
    where = _Where()
    condition = where.of(query.where)
    text = f"select r.status, count(*) as number from {{own}}.runs r where {condition} group by r.status"  # noqa: S608
    return text, where.values


# Declared search attributes stand in our own schema's key-value table, under keys of their own.
_DECLARED = "attribute:"
_ATTRIBUTE_TYPES = "select key, value from {own}.meta where starts_with(key, $1)"
_DECLARE = """
    insert into {own}.meta (key, value) select * from unnest($1::text[], $2::text[])
        on conflict (key) do update set value = excluded.value"""
_TAKE_BACK = "delete from {own}.meta where key = any ($1::text[])"


async def attribute_types(db: Database) -> dict[str, str]:
    """Declared search attributes, name → type."""
    rows = await db.rows("reading search attributes", _ATTRIBUTE_TYPES, _DECLARED)
    return {row["key"].removeprefix(_DECLARED): row["value"] for row in rows}


async def declare_attributes(db: Database, changes: Mapping[str, str | None]) -> None:
    """Declare search attributes, or take declarations back (None)."""
    declared = {_DECLARED + name: kind for name, kind in changes.items() if kind is not None}
    if declared:
        await db.rows("declaring search attributes", _DECLARE, list(declared), list(declared.values()))
    back = [_DECLARED + name for name, kind in changes.items() if kind is None]
    if back:
        await db.rows("taking search attributes back", _TAKE_BACK, back)


async def _fetch(db: Database, what: str, text: str, values: list[Any]) -> list[asyncpg.Record]:
    return await db.rows_by_cost(what, text, *values)


class _Where:
    """Conditions, and the values that they bind."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def bind(self, value: Any, kind: str) -> str:
        """A placeholder for a value."""
        self.values.append(value)
        return f"${len(self.values)}::{kind}"

    # -- the tree --------------------------------------------------------------------------------------------------

    def of(self, node: Filter | None, negated: bool = False) -> str:
        match node:
            case None:
                return "true"
            case And(parts):
                return self._join(" or " if negated else " and ", (self.of(part, negated) for part in parts))
            case Or(parts):
                return self._join(" and " if negated else " or ", (self.of(part, negated) for part in parts))
            case Not(part):
                return self.of(part, not negated)
            case Between(target, low, high, itself):
                inside = And((Compare(target, Op.GE, low), Compare(target, Op.LE, high)))
                return self.of(inside, negated is not itself)
            case In(Field.STATUS, values, itself):
                each = Or(tuple(Compare(Field.STATUS, Op.EQ, value) for value in values))
                return self.of(each, negated is not itself)
            case In(Field() as field, values, itself):
                return self._among(field, values, negated is not itself)
            case In(target, values, itself):
                return self.of(Or(tuple(Compare(target, Op.EQ, value) for value in values)), negated is not itself)
            case IsNull(Field() as field, itself):
                return f"{_FIELDS[field]} is {'not ' if negated is not itself else ''}null"
            case IsNull(Attribute(name), itself) if name == TYPES:  # ours, and no attribute
                return "false" if negated is not itself else "true"
            case IsNull(Attribute(name), itself):
                return f"coalesce({self._type(name)}, 'null') {'<>' if negated is not itself else '='} 'null'"
            case Compare(Attribute(name)) if name == TYPES:
                return "false"
            case Compare(Field() as field, op, value):
                return self._field(field, op, value, negated)
            case Compare(Attribute(name, kind), op, value):
                return self._attribute(name, kind, op, value, negated)
        raise AssertionError(f"no SQL for {node!r}")

    @staticmethod
    def _join(word: str, parts: Iterable[str]) -> str:
        return "(" + word.join(parts) + ")"

    # -- leaves ----------------------------------------------------------------------------------------------------

    def _among(self, field: Field, values: Iterable[Value], negated: bool) -> str:
        kind, bound = _array(field, values)
        found = self.bind(bound, kind)
        if negated:
            return f"{_FIELDS[field]} <> all ({found})"
        if (root := _ROOTS.get(field)) is not None:
            named, itself, name = root
            return f"({named} = any ({found}) or ({name} is null and {itself} = any ({found})))"
        return f"{_PLAIN.get(field, _FIELDS[field])} = any ({found})"

    def _field(self, field: Field, op: Op, value: Value, negated: bool) -> str:
        column = _FIELDS[field]
        if op in (Op.STARTS_WITH, Op.NOT_STARTS_WITH):
            if (op is Op.NOT_STARTS_WITH) is not negated:
                return f"not starts_with({column}, {self.bind(str(value), 'text')})"
            return self._prefix(column, str(value))
        if negated:
            op = _NEGATED[op]
        if field in _TEXTS:
            if op is Op.EQ:
                return self._among(field, [value], False)
            return f"{column} {op.value} {self.bind(str(value), 'text')}"
        if field is Field.STATUS:
            return self._status(op, value)
        if field is Field.CLOSE_TIME and op is not Op.NE:
            # The listing's index has the time of open runs as the end of time.
            reaches_it = op in (Op.GT, Op.GE) or (not isinstance(value, str) and value >= _OPEN_LAST_MS)
            still = " and r.close_ms is not null" if reaches_it else ""
            return f"({_CLOSE_KEY} {op.value} {self._number(value)}{still})"
        return f"{column} {op.value} {self._number(value)}"

    def _prefix(self, column: str, prefix: str) -> str:
        """As a range, which an index in the order of bytes can answer; and as a prefix, whose number can be guessed."""
        bound = self.bind(prefix, "text")
        found = f"{column} >= {bound} and starts_with({column}, {bound})"
        behind = _behind(prefix)
        return f"({found})" if behind is None else f"({found} and {column} < {self.bind(behind, 'text')})"

    def _status(self, op: Op, value: Value) -> str:
        """Open runs are the end of the listing's index, closed ones the rest of it."""
        found = f"r.status {op.value} {self._number(value)}"
        if op is Op.EQ and value == 1:
            return f"({found} and {_CLOSE_KEY} = {_OPEN_LAST_MS})"
        if (op is Op.NE and value == 1) or (op is Op.EQ and value != 1):
            return f"({found} and {_CLOSE_KEY} < {_OPEN_LAST_MS})"
        return found

    def _attribute(self, name: str, kind: FieldType | None, op: Op, value: Value, negated: bool) -> str:
        if op in (Op.EQ, Op.NE):
            may_be_text = isinstance(value, str) and kind in (None, FieldType.TEXT)
            return self._equal(name, value, negated is not (op is Op.NE), may_be_text)
        if op in (Op.STARTS_WITH, Op.NOT_STARTS_WITH):
            unlike = "not " if (op is Op.NOT_STARTS_WITH) is not negated else ""
            found = f"{unlike}starts_with({self._text(name)}, {self.bind(str(value), 'text')})"
            return f"case when {self._type(name)} = 'string' then {found} else false end"
        if negated:
            op = _NEGATED[op]
        if isinstance(value, str):
            found = f'({self._text(name)}) collate "C" {op.value} {self.bind(value, "text")}'
            return f"case when {self._type(name)} = 'string' then {found} else false end"
        if isinstance(value, bool):
            found = f"({self._text(name)})::boolean {op.value} {self.bind(value, 'boolean')}"
            return f"case when {self._type(name)} = 'boolean' then {found} else false end"
        found = f"({self._text(name)})::numeric {op.value} {self._number(value)}"
        return f"case when {self._type(name)} = 'number' then {found} else false end"

    def _equal(self, name: str, value: Value, negated: bool, may_be_text: bool) -> str:
        """The value itself, a list with it, or (text) one of its words. Containment can use the index."""
        alone, among = json.dumps({name: value}), json.dumps({name: [value]})
        having = [
            f"r.search_attributes @> {self.bind(alone, 'text')}::jsonb",
            f"r.search_attributes @> {self.bind(among, 'text')}::jsonb",
        ]
        if may_be_text:
            is_text = f"r.search_attributes @> {self.bind(json.dumps({TYPES: {name: 'Text'}}), 'text')}::jsonb"
            split = (
                f"regexp_split_to_array(lower(({self._text(name)}) collate \"C\"), '[\\s!-/:-@\\[-`{{-~]+')"
                f" && {self.bind(words(str(value)), 'text[]')}"
            )
            having.append(f"({is_text} and {split})")
        found = f"coalesce({' or '.join(having)}, false)" if negated else f"({' or '.join(having)})"
        return f"({self._type(name)} <> 'null' and not {found})" if negated else found

    # -- words -----------------------------------------------------------------------------------------------------

    def _name(self, name: str) -> str:
        return self.bind(name, "text")

    def _text(self, name: str) -> str:
        return f"r.search_attributes ->> {self._name(name)}"

    def _type(self, name: str) -> str:
        return f"jsonb_typeof(r.search_attributes -> {self._name(name)})"

    def _number(self, value: Value) -> str:
        if isinstance(value, float):
            return self.bind(value, "float8")
        number = int(value)
        return self.bind(number, "bigint") if -(2**63) <= number < 2**63 else self.bind(Decimal(number), "numeric")

    def sorting(self, order: Order) -> str:
        """An ``order by`` term; rows without the value come last."""
        way = "desc" if order.descending else "asc"
        if isinstance(order.target, Field):
            return f"{_FIELDS[order.target]} {way} nulls last"
        name = order.target.name
        number = f"case when {self._type(name)} = 'number' then ({self._text(name)})::float8 end"
        text = f"case when {self._type(name)} = 'string' then {self._text(name)} end"
        kind = f"case {self._type(name)} when 'number' then 1 when 'string' then 2 end"
        return f'{kind} {way} nulls last, {number} {way} nulls last, ({text}) collate "C" {way} nulls last'


def _behind(prefix: str) -> str | None:
    """The least text, in the order of bytes, that is behind all that begin like this; None: there is none."""
    while prefix:
        code = ord(prefix[-1]) + 1
        if 0xD800 <= code <= 0xDFFF:  # no characters
            code = 0xE000
        if code <= 0x10FFFF:
            return prefix[:-1] + chr(code)
        prefix = prefix[:-1]
    return None


def _array(field: Field, values: Iterable[Value]) -> tuple[str, list[Any]]:
    if field in _TEXTS:
        return "text[]", [str(value) for value in values]
    if all(isinstance(value, int) and -(2**63) <= value < 2**63 for value in values):
        return "bigint[]", list(values)
    return "float8[]", [float(value) for value in values]
