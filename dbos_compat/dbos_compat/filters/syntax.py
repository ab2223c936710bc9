"""The grammar of a list filter: text → tree, with no idea of what the names mean.

Temporal reads a filter as the ``where`` clause of a MySQL statement, first as a whole and then for its meaning; what it
refuses, and in which words, depends on that order. So this parser knows more of SQL than a filter may use: what has no
meaning there becomes :class:`Odd` with the name that Temporal's parser gives it. By recursive descent, lowest
precedence first::

    filter    = [ or ] [ "group by" or {, or} ] [ "order by" or [asc|desc] {, ...} ] [ "limit" ... ]
    or        = and { ("or" | "||") and }
    and       = not { ("and" | "&&") not }
    not       = "not" not | test { "is" [not] ("null" | "true" | "false") }
    test      = sum [ comparison sum | [not] "in" (list) | [not] "between" sum "and" sum | [not] "like" sum ... ]
    sum       = unary { ("+" | "-" | "*" | ...) unary }
    unary     = ("-" | "+" | "!" | "~") unary | "(" or {, or} ")" | literal | name [ "." name ] | name "(" ... ")"
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dbos_compat.filters.lexer import RESERVED, BadFilter, Kind, Token, statement_head, syntax_error, tokens

NESTING_MAX = 100
"""Of parentheses and nots. Temporal's is 200; half of it is safe on Python's stack."""
LENGTH_MAX = 64 * 1024
"""Of a filter, in characters; more is no filter that anybody wrote."""


@dataclass(frozen=True, slots=True)
class Literal:
    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Truth:
    value: bool


@dataclass(frozen=True, slots=True)
class Name:
    text: str


@dataclass(frozen=True, slots=True)
class Several:
    """A list in parentheses."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Parens:
    inner: Node


@dataclass(frozen=True, slots=True)
class Both:
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Either:
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Negation:
    inner: Node


@dataclass(frozen=True, slots=True)
class Comparison:
    left: Node
    operator: str
    """As Temporal writes it: lower case."""
    right: Node


@dataclass(frozen=True, slots=True)
class Range:
    left: Node
    negated: bool
    low: Node
    high: Node


@dataclass(frozen=True, slots=True)
class Is:
    left: Node
    what: str
    """``null``, ``not null``, ``true`` ..."""


@dataclass(frozen=True, slots=True)
class Odd:
    """SQL that has no meaning in a filter, by the name of its type in Temporal's parser."""

    type_name: str


Node = Literal | Truth | Name | Several | Parens | Both | Either | Negation | Comparison | Range | Is | Odd


@dataclass(slots=True)
class Parsed:
    """The clauses of a filter."""

    where: Node | None = None
    group_by: list[Node] = field(default_factory=list)
    order_by: list[tuple[Node, bool]] = field(default_factory=list)
    """With ``True`` for descending."""
    limited: bool = False


def parse_syntax(text: str) -> Parsed:
    """The tree of a filter.

    Raises:
        BadFilter: it is no SQL; the text is Temporal's.
    """
    if len(text) > LENGTH_MAX:
        raise BadFilter(f"operation is not supported: filters of more than {LENGTH_MAX} characters")
    return _Parser(text).filter()


_COMPARISONS = {"=": "=", "!=": "!=", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">=", "<=>": "<=>"}
_WORDS = {"like": "like", "regexp": "regexp", "rlike": "regexp", "starts_with": "starts_with"}
_ARITHMETIC = {"+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>", "->", "->>"}
_UNARY = {"!", "~"}
_CALLS = {
    "group_concat": "*sqlparser.GroupConcatExpr",
    "convert": "*sqlparser.ConvertExpr",
    "cast": "*sqlparser.ConvertExpr",
    "substr": "*sqlparser.SubstrExpr",
    "substring": "*sqlparser.SubstrExpr",
    "match": "*sqlparser.MatchExpr",
    "values": "*sqlparser.ValuesFuncExpr",
}
FUNCTION = "*sqlparser.FuncExpr"


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokens(text.strip() if text.strip() else "")
        self.at = 0
        self.nesting = 0

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def take(self) -> Token:
        token = self.token
        self.at += 1
        return token

    def accept(self, *words: str) -> str:
        """Take the next token if it is one of these keywords or symbols; which."""
        token = self.token
        found = token.word or (token.text if token.kind is Kind.SYMBOL else "")
        if not found or found not in words:
            return ""
        self.at += 1
        return found

    def expect(self, *words: str) -> str:
        found = self.accept(*words)
        if not found:
            raise self.unexpected()
        return found

    def unexpected(self) -> BadFilter:
        return syntax_error(self.text.strip(), self.token)

    def deeper(self) -> None:
        self.nesting += 1
        if self.nesting >= NESTING_MAX:
            raise syntax_error(self.text.strip(), self.token, "max nesting level reached")

    # -- clauses ---------------------------------------------------------------------------------------------------

    def filter(self) -> Parsed:
        parsed = Parsed()
        if statement_head(self.text).endswith("where "):
            parsed.where = self.either()
        if self.accept("group"):
            self.expect("by")
            parsed.group_by.append(self.either())
            while self.accept(","):
                parsed.group_by.append(self.either())
        if self.accept("order"):
            self.expect("by")
            parsed.order_by.append(self.order())
            while self.accept(","):
                parsed.order_by.append(self.order())
        if self.accept("limit"):
            parsed.limited = True
            self.either()
            if self.accept(",", "offset"):
                self.either()
        self.accept(";")
        if self.token.kind is not Kind.END:
            raise self.unexpected()
        return parsed

    def order(self) -> tuple[Node, bool]:
        node = self.either()
        return node, self.accept("asc", "desc") == "desc"

    # -- conditions ------------------------------------------------------------------------------------------------

    def either(self) -> Node:
        items = [self.both()]
        while self.accept("or", "||"):
            items.append(self.both())
        return items[0] if len(items) == 1 else Either(tuple(items))

    def both(self) -> Node:
        items = [self.negation()]
        while self.accept("and", "&&"):
            items.append(self.negation())
        return items[0] if len(items) == 1 else Both(tuple(items))

    def negation(self) -> Node:
        if self.accept("not"):
            self.deeper()
            inner = self.negation()
            self.nesting -= 1
            return Negation(inner)
        node = self.test()
        while self.accept("is"):
            negated = "not " if self.accept("not") else ""
            node = Is(node, negated + self.expect("null", "true", "false"))
        return node

    def test(self) -> Node:
        if self.accept("exists"):
            self.expect("(")
            self.skip_to_close()
            return Odd("*sqlparser.ExistsExpr")
        left = self.sum()
        if self.token.kind is Kind.SYMBOL and self.token.text in _COMPARISONS:
            return Comparison(left, _COMPARISONS[self.take().text], self.sum())
        negated = "not " if self.accept("not") else ""
        if self.accept("in"):
            return Comparison(left, negated + "in", self.members())
        if self.accept("between"):
            low = self.sum()
            self.expect("and")
            return Range(left, bool(negated), low, self.sum())
        if word := self.accept(*_WORDS):
            right = self.sum()
            if word == "like" and self.accept("escape"):
                self.sum()
            return Comparison(left, negated + _WORDS[word], right)
        if negated:
            raise self.unexpected()
        return left

    def members(self) -> Node:
        if self.token.kind is Kind.OTHER_VALUE and self.token.text.startswith("::"):
            self.take()
            return Odd("sqlparser.ListArg")
        self.expect("(")
        return self.parens()

    # -- values ----------------------------------------------------------------------------------------------------

    def sum(self) -> Node:
        node = self.unary()
        while True:
            if self.accept("collate"):
                self.take_name()
                node = Odd("*sqlparser.CollateExpr")
            elif self.accept(*_ARITHMETIC, "div", "mod"):
                self.unary()
                node = Odd("*sqlparser.BinaryExpr")
            else:
                return node

    def unary(self) -> Node:
        if sign := self.accept("-", "+"):
            self.deeper()
            inner = self.unary()
            self.nesting -= 1
            return _signed(sign, inner)
        if self.accept(*_UNARY, "binary", "_binary"):
            self.deeper()
            self.unary()
            self.nesting -= 1
            return Odd("*sqlparser.UnaryExpr")
        if self.accept("interval"):
            self.sum()
            self.take_name()
            return Odd("*sqlparser.IntervalExpr")
        if self.accept("("):
            return self.parens()
        return self.value()

    def parens(self) -> Node:
        """What stands in parentheses; the first is taken."""
        if self.accept("select"):
            self.skip_to_close()
            return Odd("*sqlparser.Subquery")
        self.deeper()
        items = [self.either()]
        while self.accept(","):
            items.append(self.either())
        self.expect(")")
        self.nesting -= 1
        return Parens(items[0]) if len(items) == 1 else Several(tuple(items))

    def value(self) -> Node:
        token = self.token
        if token.kind in (Kind.STRING, Kind.INTEGER, Kind.FLOAT, Kind.OTHER_VALUE):
            self.take()
            return Literal(token.kind, token.text)
        if token.word in ("true", "false"):
            return Truth(self.take().word == "true")
        if self.accept("null"):
            return Odd("*sqlparser.NullVal")
        if self.accept("default"):
            return Odd("*sqlparser.Default")
        if self.accept("case"):
            return self.case()
        call = self.tokens[self.at + 1 : self.at + 2]
        if call and call[0].kind is Kind.SYMBOL and call[0].text == "(" and token.kind in (Kind.NAME, Kind.QUOTED_NAME):
            known = _CALLS.get(token.word)
            if known is None and token.word in RESERVED - {"if", "left", "right", "replace", "mod"}:
                raise self.unexpected()
            self.at += 2
            self.arguments() if known is None else self.skip_to_close()
            return Odd(known or FUNCTION)
        if token.word.startswith(("current_", "utc_", "localtime")) and token.word in RESERVED:
            self.take()
            return Odd("*sqlparser.CurTimeFuncExpr")
        return Name(self.take_name())

    def take_name(self) -> str:
        parts = [self.part()]
        while self.accept("."):
            parts.append(self.part())
        return ".".join(parts)

    def part(self) -> str:
        token = self.token
        if token.kind is Kind.QUOTED_NAME or (token.kind is Kind.NAME and token.word not in RESERVED):
            return self.take().text.replace("`", "")
        raise self.unexpected()

    def case(self) -> Node:
        depth = 1
        while depth:
            if self.token.kind in (Kind.END, Kind.BROKEN):
                raise self.unexpected()
            word = self.take().word
            depth += (word == "case") - (word == "end")
        return Odd("*sqlparser.CaseExpr")

    def arguments(self) -> None:
        """Of a function, behind its parenthesis."""
        self.deeper()
        self.accept("distinct")
        if not self.accept(")"):
            self.argument()
            while self.accept(","):
                self.argument()
            self.expect(")")
        self.nesting -= 1

    def argument(self) -> None:
        if self.accept("*"):
            return
        self.either()
        if self.accept("as") or self.token.kind is Kind.QUOTED_NAME or self.nameable():
            self.part()

    def nameable(self) -> bool:
        return self.token.kind is Kind.NAME and self.token.word not in RESERVED

    def skip_to_close(self) -> None:
        """Over something in parentheses that cannot mean anything; the first is taken."""
        depth = 1
        while depth:
            if self.token.kind in (Kind.END, Kind.BROKEN):
                raise self.unexpected()
            token = self.take()
            if token.kind is Kind.SYMBOL:
                depth += (token.text == "(") - (token.text == ")")


def _signed(sign: str, inner: Node) -> Node:
    if not isinstance(inner, Literal) or inner.kind not in (Kind.INTEGER, Kind.FLOAT):
        return Odd("*sqlparser.UnaryExpr")
    if sign == "+":
        return inner
    text = inner.text[1:] if inner.text.startswith("-") else "-" + inner.text
    return Literal(inner.kind, text)
