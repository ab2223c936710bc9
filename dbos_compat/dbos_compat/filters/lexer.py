"""Tokens of a list filter. The syntax is that of a SQL ``where`` clause, as Temporal's server reads it."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass


class BadFilter(ValueError):
    """A filter that cannot be read. The text begins as Temporal's does, after ``invalid query: ``."""


class Kind(enum.Enum):
    NAME = "name"
    QUOTED_NAME = "quoted name"
    STRING = "string"
    NUMBER = "number"
    SYMBOL = "symbol"
    END = "end"


@dataclass(frozen=True, slots=True)
class Token:
    kind: Kind
    text: str
    """Without quotes."""
    end: int
    """Offset behind the token."""

    @property
    def word(self) -> str:
        """The keyword that a plain name may be."""
        return self.text.upper() if self.kind is Kind.NAME else ""


_TOKEN = re.compile(
    r"""\s*(?:
        (?P<name>[A-Za-z_@][A-Za-z0-9_.@$-]*)
      | `(?P<quoted>(?:[^`]|``)+)`
      | '(?P<single>(?:[^'\\]|\\.|'')*)'
      | "(?P<double>(?:[^"\\]|\\.|"")*)"
      | (?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\.\d+)
      | (?P<symbol><=|>=|<>|!=|&&|\|\||[=<>!(),;*+/%-])
      | (?P<open>['"`](?P<rest>.*))
      | (?P<other>\S)
      | (?P<end>\Z)
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "b": "\b", "Z": "\x1a"}


def tokens(text: str) -> list[Token]:
    """The tokens of a filter, with an END behind them."""
    found: list[Token] = []
    position = 0
    while True:
        match = _TOKEN.match(text, position)
        assert match is not None, "the pattern has an alternative for everything"
        position = match.end()
        kind = match.lastgroup
        if kind == "end":
            return [*found, Token(Kind.END, "", len(text))]
        if kind == "name":
            found.append(Token(Kind.NAME, match["name"], position))
        elif kind == "quoted":
            found.append(Token(Kind.QUOTED_NAME, match["quoted"].replace("``", "`"), position))
        elif kind == "single":
            found.append(Token(Kind.STRING, _unescape(match["single"], "'"), position))
        elif kind == "double":
            found.append(Token(Kind.STRING, _unescape(match["double"], '"'), position))
        elif kind == "number":
            found.append(Token(Kind.NUMBER, match["number"], position))
        elif kind == "symbol":
            found.append(Token(Kind.SYMBOL, match["symbol"], position))
        elif kind == "open":
            raise syntax_error(text, Token(Kind.STRING, match["rest"], position))
        else:
            raise syntax_error(text, Token(Kind.SYMBOL, match["other"], position))


def _unescape(body: str, quote: str) -> str:
    body = body.replace(quote * 2, quote)
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), body, flags=re.DOTALL)


def syntax_error(text: str, token: Token) -> BadFilter:
    """Temporal counts from the start of the statement that it makes of the filter; so do we, to be comparable."""
    clause = re.match(r"\s*(order|group)\s+by\b", text, re.IGNORECASE)
    statement = "select * from table1 " if clause else "select * from table1 where "
    near = f" near '{token.text}'" if token.kind in (Kind.NAME, Kind.STRING, Kind.NUMBER, Kind.QUOTED_NAME) else ""
    return BadFilter(f"malformed SQL query: syntax error at position {len(statement) + token.end + 1}{near}")
