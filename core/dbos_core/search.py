"""Searching runs: a filter as a tree of values, what to sort by, where the next page begins.

Pure. Whoever reads a filter language makes these values (``dbos_compat.filters``); a store answers them
(``store/postgres/listing.py``, ``store/memory_search.py``), with the same meaning:

* comparing with a value that a run does not have is neither true nor false, as in SQL; ``IsNull`` asks for it;
* text is compared by its bytes, and false is less than true;
* a list attribute equals a value that it contains; a text attribute equals words that it contains, whatever their case.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field

from dbos_core.commit import RunRow


class FieldType(enum.Enum):
    """What a field's values are, and so what they may be compared with."""

    KEYWORD = "Keyword"
    KEYWORD_LIST = "KeywordList"
    TEXT = "Text"
    INT = "Int"
    DOUBLE = "Double"
    BOOL = "Bool"
    DATETIME = "Datetime"
    STATUS = "Status"
    DURATION = "Duration"


class Field(enum.Enum):
    """What every run has. Times are milliseconds since the epoch, durations milliseconds, the status its number."""

    WORKFLOW_ID = "workflow_id"
    RUN_ID = "run_id"
    WORKFLOW_TYPE = "workflow_type"
    TASK_QUEUE = "task_queue"
    STATUS = "status"
    START_TIME = "start_ms"
    EXECUTION_TIME = "execution_ms"
    CLOSE_TIME = "close_ms"
    EXECUTION_DURATION = "duration_ms"
    """From ``execution_ms`` to ``close_ms``; none while the run is open."""
    PARENT_WORKFLOW_ID = "parent_workflow_id"
    PARENT_RUN_ID = "parent_run_id"
    ROOT_WORKFLOW_ID = "root_workflow_id"
    """Its own id for a run that is nobody's child; likewise ``ROOT_RUN_ID``."""
    ROOT_RUN_ID = "root_run_id"
    HISTORY_LENGTH = "history_length"
    """None while the run is open."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """A search attribute by name."""

    name: str
    kind: FieldType | None = field(default=None, compare=False)
    """What it was declared as, for whoever answers quickly. None: any runs may have anything in it."""


Target = Field | Attribute
Value = str | int | float | bool


class Op(enum.Enum):
    EQ = "="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    STARTS_WITH = "STARTS_WITH"
    NOT_STARTS_WITH = "NOT STARTS_WITH"


@dataclass(frozen=True, slots=True)
class Compare:
    target: Target
    op: Op
    value: Value


@dataclass(frozen=True, slots=True)
class In:
    target: Target
    values: tuple[Value, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Between:
    target: Target
    low: Value
    high: Value
    negated: bool = False


@dataclass(frozen=True, slots=True)
class IsNull:
    target: Target
    negated: bool = False


@dataclass(frozen=True, slots=True)
class And:
    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: Filter


Filter = Compare | In | Between | IsNull | And | Or | Not


@dataclass(frozen=True, slots=True)
class Order:
    target: Target
    descending: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """Where the next page begins: after this row in the usual order, or after so many rows in an asked one."""

    close_ms: int | None = None
    """None: the row before was of an open run."""
    start_ms: int = 0
    run_id: str = ""
    offset: int = 0


PAGE_ROWS_MAX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What to look for. The usual order (``order`` empty): open runs first, then by close time and start time, newest
    first, then by run id."""

    where: Filter | None = None
    order: tuple[Order, ...] = ()
    group_by: Field | None = None
    """For counts. Only ``Field.STATUS``."""
    limit: int = PAGE_ROWS_MAX
    after: Cursor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    rows: list[RunRow]
    next: Cursor | None = None
    """None: there is no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    total: int
    groups: list[tuple[Value, int]] = field(default_factory=list)
    """With ``group_by``: value and number, largest number first."""


def next_cursor(query: Query, rows: list[RunRow]) -> Cursor:
    """The cursor after a full page."""
    if query.order:
        return Cursor(offset=(query.after.offset if query.after else 0) + len(rows))
    last = rows[-1]
    return Cursor(close_ms=last.close_ms, start_ms=last.start_ms, run_id=last.run_id)


TYPES = "@types"
"""Key in ``RunRow.search_attributes`` under which name → type stands, for values whose type they do not show."""

_BETWEEN_WORDS = re.compile(r"[\s!-/:-@\[-`{-~]+")
_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


def words(text: str) -> list[str]:
    """The words of a text attribute: between white space and ASCII punctuation, ASCII letters in lower case."""
    return [word for word in _BETWEEN_WORDS.split(text.translate(_LOWER)) if word]
