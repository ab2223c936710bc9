"""The tree of a list filter → a ``Query`` that a store understands; names and values are checked in Temporal's order."""

from __future__ import annotations

from collections.abc import Mapping

from dbos_compat.differences import LEDGER
from dbos_compat.filters.fields import KNOWN, NOT_KEPT, SYSTEM_ATTRIBUTES, SYSTEM_FIELDS, resolved
from dbos_compat.filters.lexer import BadFilter, Kind
from dbos_compat.filters.syntax import (
    FUNCTION,
    Both,
    Comparison,
    Either,
    Is,
    Literal,
    Name,
    Negation,
    Node,
    Odd,
    Parens,
    Range,
    Several,
    Truth,
    parse_syntax,
)
from dbos_compat.filters.values import (
    STATUS_NAMES,
    as_moment,
    attribute_value,
    check_operator,
    check_range,
    comparable,
    type_name,
)
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
    Query,
    Target,
    Value,
)


def parse(text: str, types: Mapping[str, FieldType] | None = None) -> Query:
    """Read a filter.

    Args:
        text: Temporal's list filter; empty finds everything.
        types: the search attributes that were added. Where none were, any name and any type will do.

    Raises:
        BadFilter: the text is Temporal's, after ``invalid query: ``.
    """
    tree = parse_syntax(text)
    if tree.limited:
        raise BadFilter("operation is not supported: 'LIMIT' clause")
    meaning = _Meaning(types or {})
    where = None if tree.where is None else meaning.condition(tree.where)
    group_by = meaning.group(tree.group_by)
    return Query(where=where, order=meaning.order(tree.order_by), group_by=group_by)


class _Column:
    """A name of the filter, and what it stands for."""

    def __init__(self, name: str, target: Target, kind: FieldType | None) -> None:
        self.name = name
        """As it was written."""
        self.target = target
        self.kind = kind
        """None: an attribute that nobody has added, where any may be used."""

    def value(self, literal: Value) -> Value:
        """The literal, checked and converted for this column."""
        if isinstance(self.target, Field):
            return comparable(literal, self.name, self.kind)
        return attribute_value(literal, self.name, self.kind)

    def moment(self, value: Value) -> Value | None:
        """A time as it is kept, if the column may hold times and the literal may be one."""
        return as_moment(value) if self.kind is None else None


VALUES_MAX = 5_000
"""Of search attributes in one filter. Each is a few parameters of a statement, which has 32,767 at most."""


class _Meaning:
    def __init__(self, types: Mapping[str, FieldType]) -> None:
        self.types = types
        self.values = 0

    # -- conditions ------------------------------------------------------------------------------------------------

    def condition(self, node: Node) -> Filter:
        match node:
            case Parens(inner):
                return self.condition(inner)
            case Negation(inner):
                return Not(self.condition(inner))
            case Both(items):
                return And(tuple(self.condition(item) for item in items))
            case Either(items):
                return Or(tuple(self.condition(item) for item in items))
            case Comparison():
                return self.comparison(node)
            case Range():
                return self.range(node)
            case Is():
                return self.is_null(node)
            case Name():
                raise BadFilter("invalid expression: incomplete expression")
            case Odd(type_name=found) if found == FUNCTION:
                raise BadFilter("operation is not supported: function expression")
            case _:
                raise BadFilter(f"operation is not supported: expression of type {_type_of(node)}")

    def comparison(self, node: Comparison) -> Filter:
        column = self.column(node.left)
        operator = node.operator.upper()
        if isinstance(node.right, Several):
            values = tuple(self.value(column, item) for item in node.right.items)
            check_operator(operator, column.name, column.kind)
            return self.member(column, operator, values)
        if operator in ("IN", "NOT IN") and isinstance(node.right, Parens):
            values = (self.value(column, node.right.inner),)
            check_operator(operator, column.name, column.kind)
            return self.member(column, operator, values)
        value = self.value(column, node.right)
        check_operator(operator, column.name, column.kind)
        op = Op(operator.replace("NOT STARTS_WITH", Op.NOT_STARTS_WITH.value))
        if op in (Op.STARTS_WITH, Op.NOT_STARTS_WITH) and column.kind is FieldType.STATUS:
            match node.right:
                case Literal(Kind.STRING, text):
                    raise _no_prefix(operator, text)
                case _:
                    raise _no_prefix(operator, STATUS_NAMES[int(value)])
        also = column.moment(value)
        if op in (Op.EQ, Op.NE):
            if also is not None:
                return self.unlike(column, In(column.target, (value, also), op is Op.NE))
            return self.unlike(column, Compare(column.target, op, value))
        return Compare(column.target, op, value if also is None else also)

    def member(self, column: _Column, operator: str, values: tuple[Value, ...]) -> Filter:
        if operator in ("STARTS_WITH", "NOT STARTS_WITH"):
            shown = " ".join(str(value) for value in values)
            raise _no_prefix(operator, f"[{shown}]")
        if operator not in ("IN", "NOT IN"):
            raise BadFilter(f"operation is not supported: operator '{operator}' with a list of values")
        values += tuple(also for value in values if (also := column.moment(value)) is not None)
        return self.unlike(column, In(column.target, values, operator == "NOT IN"))

    def unlike(self, column: _Column, found: Compare | In) -> Filter:
        """A list or a text has a value or has it not, also when it is not there at all, as on Temporal."""
        if column.kind not in (FieldType.KEYWORD_LIST, FieldType.TEXT):
            return found
        negated = found.negated if isinstance(found, In) else found.op is Op.NE
        if negated:
            return Or((IsNull(found.target), found))
        return And((IsNull(found.target, negated=True), found))

    def range(self, node: Range) -> Filter:
        column = self.column(node.left)
        check_range(column.name, column.kind)
        low, high = self.value(column, node.low), self.value(column, node.high)
        low_moment, high_moment = column.moment(low), column.moment(high)
        return Between(
            column.target,
            low if low_moment is None else low_moment,
            high if high_moment is None else high_moment,
            node.negated,
        )

    def is_null(self, node: Is) -> Filter:
        column = self.column(node.left)
        if node.what not in ("null", "not null"):
            raise BadFilter("invalid expression: 'IS' operator can only be used as 'IS NULL' or 'IS NOT NULL'")
        return IsNull(column.target, node.what == "not null")

    # -- clauses ---------------------------------------------------------------------------------------------------

    def group(self, nodes: list[Node]) -> Field | None:
        if len(nodes) > 1:
            raise BadFilter("operation is not supported: 'GROUP BY' clause supports only a single field")
        if not nodes:
            return None
        column = self.column(nodes[0])
        if column.target is not Field.STATUS:
            raise BadFilter(
                f"operation is not supported: 'GROUP BY' clause is not supported for search attribute {column.name}"
            )
        return Field.STATUS

    def order(self, terms: list[tuple[Node, bool]]) -> tuple[Order, ...]:
        found = []
        for node, descending in terms:
            column = self.column(node)
            if column.kind is FieldType.TEXT:
                raise BadFilter(
                    f"operation is not supported: unable to sort by search attribute type {type_name(column.kind)}"
                )
            found.append(Order(column.target, descending))
        return tuple(found)

    # -- names and values ------------------------------------------------------------------------------------------

    def column(self, node: Node) -> _Column:
        """What a name stands for: an attribute that was added, else a known one, else any where none were added."""
        if not isinstance(node, Name):
            raise BadFilter(f"invalid expression: must be a column name but was {_type_of(node)}")
        name = node.text
        if name in self.types and name not in KNOWN:
            return _Column(name, Attribute(name, self.types[name]), self.types[name])
        known = resolved(name)
        if known in NOT_KEPT:
            raise BadFilter(
                f"operation is not supported: {known} (dbos-compat does not keep it. {_NOT_KEPT.advice} See "
                f"{_NOT_KEPT.anchor})"
            )
        if known is not None:
            target: Target = SYSTEM_FIELDS.get(known) or Attribute(known, KNOWN[known])
            return _Column(name, target, KNOWN[known])
        if self.types or name.lower() in _LOWERED:  # system names are case sensitive; a near miss is no attribute
            raise BadFilter(f"invalid search attribute: {name}")
        return _Column(name, Attribute(name), None)

    def value(self, column: _Column, node: Node) -> Value:
        self.values += isinstance(column.target, Attribute)
        if self.values > VALUES_MAX:
            raise BadFilter(f"operation is not supported: more than {VALUES_MAX} values of search attributes")
        match node:
            case Literal(kind, text):
                return column.value(_literal(kind, text))
            case Truth(value):
                return column.value(value)
            case Name(text):
                raise BadFilter(
                    "operation is not supported: column name on the right side of comparison expression "
                    f'(did you forget to quote "{text}"?)'
                )
            case Odd(type_name=found) if found == FUNCTION:
                raise BadFilter("operation is not supported: nested func")
            case Odd(type_name="*sqlparser.GroupConcatExpr"):
                raise BadFilter("operation is not supported: 'group_concat'")
            case _:
                raise BadFilter(f"invalid expression: unexpected value type {_type_of(node)}")


_NOT_KEPT = LEDGER["filters-on-history-size"]
_LOWERED = {name.lower() for name in SYSTEM_ATTRIBUTES}


def _no_prefix(operator: str, got: str) -> BadFilter:
    return BadFilter(
        f'invalid expression: right-hand side of "{operator.lower()}" operator must be a literal string (got: {got})'
    )


def _literal(kind: Kind, text: str) -> Value:
    """Numbers as Temporal takes them: whole where they fit, else floating."""
    if kind is Kind.STRING:
        return text
    try:
        if kind is Kind.INTEGER and -(2**63) <= int(text) < 2**63:
            return int(text)
        return float(text)
    except ValueError:
        raise BadFilter(f'invalid expression: unable to parse value "{text}"') from None


def _type_of(node: Node) -> str:
    match node:
        case Odd(type_name=found):
            return found
        case Truth():
            return "sqlparser.BoolVal"
        case Several():
            return "sqlparser.ValTuple"
        case _:
            return f"*sqlparser.{_TYPES[type(node)]}"


_TYPES: dict[type, str] = {
    Literal: "SQLVal",
    Name: "ColName",
    Parens: "ParenExpr",
    Both: "AndExpr",
    Either: "OrExpr",
    Negation: "NotExpr",
    Comparison: "ComparisonExpr",
    Range: "RangeCond",
    Is: "IsExpr",
}
