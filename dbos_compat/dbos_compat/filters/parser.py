"""The grammar of a list filter, by recursive descent: one method per rule, lowest precedence first.

::

    query     = [ or ] { "group by" name | "order by" name [asc|desc] {, ...} }
    or        = and { ("or" | "||") and }
    and       = not { ("and" | "&&") not }
    not       = ("not" | "!") not | "(" or ")" | predicate
    predicate = name ( comparison literal | [not] "in" (list) | [not] "between" a "and" b | [not] "starts_with" literal
                     | "is" [not] "null" )
"""

from __future__ import annotations

from collections.abc import Mapping

from dbos_compat.convert.search_attributes import datetime_text
from dbos_compat.filters.fields import FILLED_BY_TEMPORAL, SYSTEM_ATTRIBUTES, SYSTEM_FIELDS
from dbos_compat.filters.lexer import BadFilter, Kind, Token, syntax_error, tokens
from dbos_compat.filters.values import attribute_value, check_operator, comparable
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

_COMPARISONS = {"=": Op.EQ, "!=": Op.NE, "<>": Op.NE, "<": Op.LT, "<=": Op.LE, ">": Op.GT, ">=": Op.GE}
_RESERVED = {
    "AND",
    "OR",
    "NOT",
    "IN",
    "IS",
    "NULL",
    "BETWEEN",
    "ORDER",
    "GROUP",
    "BY",
    "LIMIT",
    "LIKE",
    "SELECT",
    "XOR",
}
_LOWERED = {name.lower(): name for name in SYSTEM_ATTRIBUTES}
_NOT_KEPT = {"HistorySizeBytes", "StateTransitionCount"}
DEPTH_MAX = 100
"""Nested parentheses and nots: more is no query that anybody wrote."""


def parse(text: str, types: Mapping[str, FieldType] | None = None) -> Query:
    """A filter's tree, with its GROUP BY and ORDER BY.

    Args:
        text: the filter; empty for everything.
        types: the declared search attributes. If there are any, a filter may name no others; if there are none, every
            name is one, of the type that its values are of.

    Raises:
        BadFilter: with Temporal's text.
    """
    return _Parser(text, types or {}).query()


class _Parser:
    def __init__(self, text: str, types: Mapping[str, FieldType]) -> None:
        self.text = text
        self.types = types
        self.tokens = tokens(text)
        self.at = 0
        self.depth = 0

    # -- reading ---------------------------------------------------------------------------------------------------

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def take(self) -> Token:
        token = self.token
        if token.kind is not Kind.END:
            self.at += 1
        return token

    def accept(self, *words: str) -> bool:
        """Take a keyword or symbol if it is next."""
        token = self.token
        if token.word in words or (token.kind is Kind.SYMBOL and token.text in words):
            self.at += 1
            return True
        return False

    def expect(self, word: str) -> None:
        if not self.accept(word):
            raise self.unexpected()

    def unexpected(self) -> BadFilter:
        return syntax_error(self.text, self.token)

    # -- rules -----------------------------------------------------------------------------------------------------

    def query(self) -> Query:
        where = None
        if self.token.kind is not Kind.END and self.token.word not in ("ORDER", "GROUP", "LIMIT"):
            where = self.any_of()
        group_by: Field | None = None
        order: tuple[Order, ...] = ()
        if self.accept("GROUP"):
            self.expect("BY")
            group_by = self.group()
        if self.accept("ORDER"):
            self.expect("BY")
            order = self.order()
        if self.token.word == "LIMIT":
            raise BadFilter("operation is not supported: 'LIMIT' clause")
        if self.token.kind is not Kind.END:
            raise self.unexpected()
        return Query(where=where, order=order, group_by=group_by)

    def any_of(self) -> Filter:
        parts = [self.all_of()]
        while self.accept("OR", "||"):
            parts.append(self.all_of())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def all_of(self) -> Filter:
        parts = [self.negation()]
        while self.accept("AND", "&&"):
            parts.append(self.negation())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def negation(self) -> Filter:
        if self.depth == DEPTH_MAX:
            raise BadFilter(f"operation is not supported: more than {DEPTH_MAX} nested conditions")
        self.depth += 1
        try:
            if self.accept("NOT", "!"):
                return Not(self.negation())
            if self.accept("("):
                inner = self.any_of()
                self.expect(")")
                return inner
            return self.predicate()
        finally:
            self.depth -= 1

    def predicate(self) -> Filter:
        if self.token.kind in (Kind.STRING, Kind.NUMBER):
            raise BadFilter("invalid expression: must be a column name but was *sqlparser.SQLVal")
        name = self.name()
        if self.token.kind is Kind.END or self.token.text == ")" or self.token.word in ("AND", "OR", "ORDER", "GROUP"):
            raise BadFilter("invalid expression: incomplete expression")
        if self.accept("IS"):
            negated = self.accept("NOT")
            self.expect("NULL")
            return IsNull(self.target(name), negated)
        negated = self.accept("NOT")
        if self.accept("IN"):
            return self.member(name, negated)
        if self.accept("BETWEEN"):
            return self.between(name, negated)
        if self.accept("STARTS_WITH"):
            op = Op.NOT_STARTS_WITH if negated else Op.STARTS_WITH
            return Compare(self.target(name), op, self.value(name, op.value))
        if self.accept("LIKE"):
            self.target(name)
            self.value(name, "NOT LIKE" if negated else "LIKE")  # which no type knows
        if not negated and self.token.kind is Kind.SYMBOL and self.token.text in _COMPARISONS:
            op = _COMPARISONS[self.take().text]
            return self.comparison(name, op)
        raise self.unexpected()

    def comparison(self, name: str, op: Op) -> Filter:
        target, value = self.target(name), self.value(name, op.value)
        if op in (Op.EQ, Op.NE) and (also := self.as_moment(target, value)) is not None:
            return self.unlike(name, In(target, (value, also), op is Op.NE))
        if op in (Op.EQ, Op.NE):
            return self.unlike(name, Compare(target, op, value))
        return Compare(target, op, self.as_moment(target, value) or value)

    def member(self, name: str, negated: bool) -> Filter:
        target, operator = self.target(name), "NOT IN" if negated else "IN"
        self.expect("(")
        values = [self.value(name, operator)]
        while self.accept(","):
            values.append(self.value(name, operator))
        self.expect(")")
        values += [also for value in values if (also := self.as_moment(target, value)) is not None]
        return self.unlike(name, In(target, tuple(values), negated))

    def unlike(self, name: str, found: Compare | In) -> Filter:
        """A list or a text is unlike a value also when it is not there, as on Temporal."""
        negated = found.negated if isinstance(found, In) else found.op is Op.NE
        if negated and self.types.get(name) in (FieldType.KEYWORD_LIST, FieldType.TEXT):
            return Or((IsNull(found.target), found))
        return found

    def as_moment(self, target: Target, value: Value) -> Value | None:
        """A time as it is kept, if the literal is one that an attribute of unknown type may be compared with."""
        if isinstance(target, Field) or not isinstance(value, str) or target.name in self.types:
            return None
        try:
            kept = datetime_text(value)
        except ValueError:
            return None
        return None if kept == value else kept

    def between(self, name: str, negated: bool) -> Filter:
        target, operator = self.target(name), "NOT BETWEEN" if negated else "BETWEEN"
        low = self.value(name, operator)
        self.expect("AND")
        high = self.value(name, operator)
        return Between(target, self.as_moment(target, low) or low, self.as_moment(target, high) or high, negated)

    def group(self) -> Field:
        name = self.name()
        self.target(name)
        if self.token.text == ",":
            raise BadFilter("operation is not supported: 'GROUP BY' clause supports only a single field")
        if name != "ExecutionStatus":
            raise BadFilter(
                f"operation is not supported: 'GROUP BY' clause is not supported for search attribute {name}"
            )
        return Field.STATUS

    def order(self) -> tuple[Order, ...]:
        found = []
        while True:
            target = self.target(self.name())
            descending = self.accept("DESC")
            if not descending:
                self.accept("ASC")
            found.append(Order(target, descending))
            if not self.accept(","):
                return tuple(found)

    # -- words -----------------------------------------------------------------------------------------------------

    def name(self) -> str:
        token = self.token
        if token.kind is Kind.QUOTED_NAME or (token.kind is Kind.NAME and token.word not in _RESERVED):
            return self.take().text
        raise self.unexpected()

    def target(self, name: str) -> Target:
        """What a name stands for. System names are case sensitive, and a near miss is no custom attribute."""
        if name in SYSTEM_FIELDS:
            return SYSTEM_FIELDS[name]
        if name in _NOT_KEPT or (name.lower() in _LOWERED and name not in SYSTEM_ATTRIBUTES):
            raise BadFilter(f"invalid search attribute: {name}")
        if self.types and name not in self.types and name not in FILLED_BY_TEMPORAL:
            raise BadFilter(f"invalid search attribute: {name}")
        return Attribute(name)

    def value(self, name: str, operator: str) -> Value:
        """The next literal, checked and converted for that field."""
        literal = self.literal()
        kind: FieldType | None
        if name in SYSTEM_FIELDS:
            kind = SYSTEM_ATTRIBUTES[name]
            value = comparable(literal, name, kind)
        else:
            kind = self.types.get(name) or SYSTEM_ATTRIBUTES.get(name)
            value = attribute_value(literal, name, kind)
        check_operator(operator, name, kind)
        return value

    def literal(self) -> Value:
        negative = self.accept("-")
        token = self.token
        if token.kind is Kind.NUMBER:
            self.at += 1
            number = float(token.text) if any(c in token.text for c in ".eE") else int(token.text)
            return -number if negative else number
        if negative:
            raise self.unexpected()
        if token.kind is Kind.STRING:
            return self.take().text
        if token.word in ("TRUE", "FALSE"):
            return self.take().word == "TRUE"
        if token.kind is Kind.QUOTED_NAME or (token.kind is Kind.NAME and token.word not in _RESERVED):
            raise BadFilter(
                "operation is not supported: column name on the right side of comparison expression "
                f'(did you forget to quote "{token.text}"?)'
            )
        raise self.unexpected()
