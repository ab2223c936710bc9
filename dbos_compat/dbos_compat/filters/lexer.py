"""Tokens of a list filter, as the SQL parser of Temporal's server cuts them.

Nothing is refused here: a token that cannot be read is one of its own kind, and the parser complains when it gets
there, at the place where Temporal would.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass


class BadFilter(ValueError):
    """A filter that cannot be read. The text begins as Temporal's does, after ``invalid query: ``."""


class Kind(enum.Enum):
    NAME = "name"
    """An identifier, or a keyword when its ``word`` is one."""
    QUOTED_NAME = "quoted name"
    STRING = "string"
    INTEGER = "integer"
    FLOAT = "float"
    OTHER_VALUE = "other value"
    """Hexadecimal numbers and placeholders: values to the parser, and nothing that a filter can use."""
    SYMBOL = "symbol"
    BROKEN = "broken"
    END = "end"


RESERVED = frozenset(
    """
    add all alter analyze and as asc auto_increment between binary boolean by case cast collate column constraint
    convert create cross current_date current_time current_timestamp database databases default delete desc describe
    distinct div drop else end escape exists explain extended false for force from full group group_concat having if
    ignore in index inner insert interval into is join key left like limit localtime localtimestamp lock match
    maxvalue mod natural next not null on or order outer processlist regexp rename replace right rlike schema select
    separator set show sql_cache sql_no_cache starts_with straight_join stream substr substring table tables then to
    true union unique update use using utc_date utc_time utc_timestamp values when where
    """.split()  # noqa: SIM905 - a table
)
"""Keywords that are no names."""

UNRESERVED = frozenset(
    """
    accessible against asensitive before begin bigint bit blob bool both call cascade change char character charset
    check comment commit committed condition continue current_user cursor date datetime day_hour day_minute
    day_second dec decimal declare delayed deterministic distinctrow double duplicate each elseif enclosed enum
    escaped exit expansion fetch float float4 float8 foreign fulltext generated geometry geometrycollection get
    global grant high_priority hour_minute infile inout insensitive int int1 int2 integer isolation iterate json
    key_block_size keys kill language last_insert_id leading leave less level linear lines linestring load long
    longblob longtext loop low_priority mediumblob mediumint mediumtext minute_second mode modifies multilinestring
    multipoint multipolygon names nchar no_write_to_binlog numeric offset only optimize option optionally out
    outfile partition point polygon precision primary procedure query range read read_write reads real references
    release reorganize repair repeat repeatable require restrict return revoke rollback schemas sensitive
    serializable session share signal signed smallint spatial specific sql sql_big_result sqlexception ssl start
    starting status stored terminated text than time timestamp tinyblob tinyint tinytext trailing transaction
    trigger truncate uncommitted undo unlock unsigned usage varbinary varchar varcharacter variables varying view
    vindex vindexes virtual vitess_keyspaces vitess_shards vitess_tablets vschema_tables while with write xor year
    year_month zerofill
    """.split()  # noqa: SIM905 - a table
)
"""Keywords that may be names too. An error shows keywords in lower case."""


@dataclass(frozen=True, slots=True)
class Token:
    kind: Kind
    text: str
    """Without quotes."""
    end: int
    """Offset behind the token, in bytes."""

    @property
    def word(self) -> str:
        """The keyword that a plain name may be."""
        return self.text.lower() if self.kind is Kind.NAME else ""

    @property
    def near(self) -> str | None:
        """How an error shows the token; symbols have no text there."""
        if self.kind in (Kind.SYMBOL, Kind.END) or not self.text:
            return None
        return self.word if self.word in RESERVED or self.word in UNRESERVED else self.text


_TOKEN = re.compile(
    r"""(?:[ \n\r\t]|--[^\n]*\n?|\#[^\n]*\n?|//[^\n]*\n?|/\*.*?\*/)*(?:
        (?P<other>[xX]'(?:[0-9a-fA-F]{2})*'|[bB]'[01]*'|::?[A-Za-z_@][A-Za-z0-9_@.]*|\?|0[xX][0-9a-fA-F]*(?![A-Za-z_@]))
      | (?:[xX]'(?P<hex>[0-9a-fA-F]*)'?|[bB]'(?P<bits>[01]*))
      | (?P<name>[A-Za-z_@][A-Za-z0-9_@]*)
      | `(?P<quoted>(?:[^`]|``)+)`
      | '(?P<single>(?:[^'\\]|\\.|'')*)'(?!')
      | "(?P<double>(?:[^"\\]|\\.|"")*)"(?!")
      | (?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d*)?)(?P<letter>(?=[A-Za-z_@]))?
      | (?P<symbol><=>|<=|>=|<>|!=|&&|\|\||<<|>>|->>|->|[=<>!(),;*+/%.&|^~-])
      | (?P<mark>['"`])(?P<open>.*)
      | (?P<broken>/\*.*|.)
      | (?P<end>\Z)
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "b": "\b", "Z": "\x1a"}


def tokens(text: str) -> list[Token]:
    """The tokens of a filter, with an END behind them."""
    found: list[Token] = []
    position = behind = arguments = 0
    while True:
        match = _TOKEN.match(text, position)
        assert match is not None, "the pattern has an alternative for everything"
        behind += len(text[position : match.end()].encode(errors="surrogatepass"))
        position = match.end()
        kind, shown = _read(match)
        if shown == "?" and kind is Kind.OTHER_VALUE:
            arguments += 1
            shown = f":v{arguments}"
        found.append(Token(kind, shown, behind))
        if kind is Kind.END:
            return found


def _read(match: re.Match[str]) -> tuple[Kind, str]:
    groups = match.groupdict()
    if (number := groups["number"]) is not None:
        if groups["letter"] is not None:  # a letter cannot immediately follow a number
            return Kind.BROKEN, number
        return (Kind.INTEGER if number.isdigit() else Kind.FLOAT), number
    if groups["name"] is not None:
        return Kind.NAME, groups["name"]
    if groups["quoted"] is not None:
        return Kind.QUOTED_NAME, groups["quoted"].replace("``", "`")
    if groups["single"] is not None:
        return Kind.STRING, _unescape(groups["single"], "'")
    if groups["double"] is not None:
        return Kind.STRING, _unescape(groups["double"], '"')
    if groups["other"] is not None:
        return Kind.OTHER_VALUE, groups["other"]
    if groups["symbol"] is not None:
        return Kind.SYMBOL, groups["symbol"]
    if groups["end"] is not None:
        return Kind.END, ""
    if groups["open"] is not None:
        return Kind.BROKEN, _unescape(groups["open"], groups["mark"])
    return Kind.BROKEN, next(groups[name] for name in ("hex", "bits", "broken") if groups[name] is not None)


def _unescape(body: str, quote: str) -> str:
    body = body.replace(quote * 2, quote)
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), body, flags=re.DOTALL)


def syntax_error(text: str, token: Token, what: str = "syntax error") -> BadFilter:
    """Temporal counts from the start of the statement that it makes of the filter; so do we, to be comparable."""
    near = f" near '{token.near}'" if token.near is not None else ""
    return BadFilter(f"malformed SQL query: {what} at position {len(statement_head(text)) + token.end + 1}{near}")


def statement_head(text: str) -> str:
    """What Temporal puts before a filter to make a statement of it."""
    clause = not text.strip() or text.strip().lower().startswith(("order by", "group by"))
    return "select * from table1 " if clause else "select * from table1 where "
