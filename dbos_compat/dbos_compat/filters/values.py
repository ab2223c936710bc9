"""Literals and operators of a filter, checked against the type of the field and turned into what the store compares."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

from temporalio.api.enums.v1 import WorkflowExecutionStatus

from dbos_compat.convert.search_attributes import datetime_text
from dbos_compat.filters.lexer import BadFilter
from dbos_core.search import FieldType, Value

_STATUS = {
    WorkflowExecutionStatus.Name(number).removeprefix("WORKFLOW_EXECUTION_STATUS_").title().replace("_", ""): number
    for number in WorkflowExecutionStatus.values()
} | dict(WorkflowExecutionStatus.items())

STATUS_NAMES: dict[int, str] = {
    number: name for name, number in _STATUS.items() if not name.startswith("WORKFLOW_EXECUTION_STATUS_")
}
"""How Temporal writes a status in filters and groups."""

_OPERATORS = {
    FieldType.KEYWORD_LIST: {"=", "!=", "IN", "NOT IN"},
    FieldType.TEXT: {"=", "!="},
}
_ORDERED = {"=", "!=", "<", "<=", ">", ">=", "IN", "NOT IN"}
_PREFIX = {"STARTS_WITH", "NOT STARTS_WITH"}

_DURATION = re.compile(r"([+-]?)((?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h|d))+")
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h|d)")
_INTEGER = re.compile(r"[+-]?\d+")
_DURATION_CHARACTERS_MAX = 200
"""More digits than any number of nanoseconds has."""
_CLOCK = re.compile(r"(\d+):([0-5]?\d):([0-5]?\d(?:\.\d+)?)")
_UNIT_MS = {
    "ns": 1e-6,
    "us": 1e-3,
    "µs": 1e-3,
    "μs": 1e-3,
    "ms": 1.0,
    "s": 1e3,
    "m": 6e4,
    "h": 3.6e6,
    "d": 8.64e7,
}


def check_operator(operator: str, name: str, kind: FieldType | None) -> None:
    """Temporal's text for an operator that the type does not know. ``None``: an attribute nobody has registered."""
    if kind is None or kind in (FieldType.KEYWORD, FieldType.STATUS):
        allowed = _ORDERED | _PREFIX
    else:
        allowed = _OPERATORS.get(kind, _ORDERED)
    if operator not in allowed:
        shown = type_name(kind)
        raise BadFilter(
            f"operation is not supported: operator '{operator}' not supported for {shown} type search attribute '{name}'"
        )


def check_range(name: str, kind: FieldType | None) -> None:
    """Temporal's text for BETWEEN on a type that has no order."""
    if kind in (FieldType.BOOL, FieldType.TEXT, FieldType.KEYWORD_LIST):
        raise BadFilter(
            f"invalid expression: cannot do range condition on search attribute '{name}' of type {type_name(kind)}"
        )


def as_moment(value: Value) -> Value | None:
    """A time as it is kept, if the text is one and is written otherwise."""
    if not isinstance(value, str):
        return None
    try:
        kept = datetime_text(value)
    except ValueError:
        return None
    return None if kept == value else kept


def comparable(value: Value, name: str, kind: FieldType | None) -> Value:
    """The literal as the store compares it: times in milliseconds, a status as its number."""
    match kind:
        case FieldType.STATUS:
            return _status(value, name)
        case FieldType.DATETIME:
            return _moment(value, name)
        case FieldType.DURATION:
            return _duration(value, name)
        case FieldType.TEXT if isinstance(value, str) and not value.strip(" "):
            raise BadFilter(f"invalid expression: no tokens found filtering on Text type search attribute {name}")
        case FieldType.KEYWORD | FieldType.KEYWORD_LIST | FieldType.TEXT if not isinstance(value, str):
            raise _wrong_type(value, name, kind)
        case FieldType.INT | FieldType.DOUBLE if isinstance(value, str | bool):
            raise _wrong_type(value, name, kind)
        case FieldType.BOOL if not isinstance(value, bool):
            raise _wrong_type(value, name, kind)
        case _:
            return value


def attribute_value(value: Value, name: str, kind: FieldType | None) -> Value:
    """The literal for a search attribute. Times are kept as text in UTC, whose order is theirs."""
    if kind is not FieldType.DATETIME:
        return comparable(value, name, kind)
    if isinstance(value, bool | float):
        raise _wrong_type(value, name, kind)
    if isinstance(value, int):
        moment = datetime.fromtimestamp(value / 1e9, UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    try:
        return datetime_text(value)
    except ValueError:
        raise _no_datetime(value) from None


def _status(value: Value, name: str) -> int:
    if isinstance(value, str) and value in _STATUS:
        return int(_STATUS[value])
    if isinstance(value, int) and not isinstance(value, bool) and _int32(value) in _STATUS.values():
        return _int32(value)
    if isinstance(value, bool):
        raise _wrong_type(value, name, FieldType.STATUS)
    if isinstance(value, float):
        raise BadFilter(f"invalid expression: unexpected value type float64 for search attribute {name}")
    shown = f"'{value}'" if isinstance(value, str) else str(value)
    raise BadFilter(f"invalid expression: invalid ExecutionStatus value {shown}")


def _int32(value: int) -> int:
    """What is left of a number in 32 bits: that is how Temporal reads the number of a status."""
    return (value + 2**31) % 2**32 - 2**31


def _moment(value: Value, name: str) -> Value:
    """Milliseconds since the epoch. Numbers are nanoseconds."""
    if isinstance(value, bool | float):
        raise _wrong_type(value, name, FieldType.DATETIME)
    if isinstance(value, int):
        return _whole(value / 1e6)
    try:
        moment = datetime.fromisoformat(datetime_text(value))
    except ValueError:
        raise _no_datetime(value) from None
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return _whole((since.days * 86_400 + since.seconds) * 1000 + since.microseconds / 1000)


def _duration(value: Value, name: str) -> Value:
    """Milliseconds. Numbers are nanoseconds; text is ``1h30m``, ``1.5s`` or ``hh:mm:ss``."""
    if isinstance(value, bool):
        raise _wrong_type(value, name, FieldType.DURATION)
    if isinstance(value, float):
        raise BadFilter(f"invalid expression: unexpected value type float64 for search attribute {name}")
    if isinstance(value, str) and len(value) > _DURATION_CHARACTERS_MAX:
        raise BadFilter(f"invalid expression: invalid duration value for search attribute {name}: {value[:40]}...")
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value)
    if isinstance(value, int):
        return _whole(value / 1e6)
    if clock := _CLOCK.fullmatch(value):
        return _whole(int(clock[1]) * 3.6e6 + int(clock[2]) * 6e4 + float(clock[3]) * 1e3)
    if not _DURATION.fullmatch(value):
        raise BadFilter(f"invalid expression: invalid duration value for search attribute {name}: {value}")
    total = sum(float(number) * _UNIT_MS[unit] for number, unit in _PART.findall(value))
    return _whole(-total if value.startswith("-") else total)


def _whole(number: float) -> Value:
    """An int where it is one, so that the store can use its index."""
    return int(number) if number == int(number) else number


def _no_datetime(value: Value) -> BadFilter:
    return BadFilter(f"invalid expression: unable to parse datetime '{value}'")


def _wrong_type(value: Value, name: str, kind: FieldType) -> BadFilter:
    match value:
        case str():
            shown = json.dumps(value, ensure_ascii=False)
        case bool():
            shown = str(value).lower()
        case float():  # Temporal checks it before it looks at the sign
            shown = str(int(abs(value))) if value.is_integer() and abs(value) < 1e21 else str(abs(value))
        case _:
            shown = str(value)
    given = {bool: "bool", int: "int64", float: "float64", str: "string"}[type(value)]
    return BadFilter(
        f"invalid expression: invalid value type for search attribute {name} of type {type_name(kind)}: {shown} "
        f"(type: {given})"
    )


def type_name(kind: FieldType | None) -> str:
    if kind is None or kind is FieldType.STATUS:
        return FieldType.KEYWORD.value
    return FieldType.INT.value if kind is FieldType.DURATION else kind.value
