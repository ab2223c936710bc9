"""Search attributes ⇄ the JSON object in ``runs.search_attributes``.

Name → value, readable and filterable in SQL; the types that cannot be told from the value stand beside them under
``TYPES`` (which no attribute may be called)::

    {"CustomerId": "c-7", "Since": "2026-01-02T03:04:05.000000Z", "@types": {"CustomerId": "Keyword", "Since": "Datetime"}}

Datetimes are written in UTC with six digits, so that their text sorts as they do. The exact payloads of the start stay
in the start record.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from temporalio.api.common.v1 import Payload

from dbos_compat.convert.payloads import dumps
from dbos_core.search import TYPES

_NAMES = {
    "text": "Text",
    "keyword": "Keyword",
    "int": "Int",
    "double": "Double",
    "bool": "Bool",
    "datetime": "Datetime",
    "keywordlist": "KeywordList",
}


CHANGE_VERSION = "TemporalChangeVersion"
"""The patches of a run: a list of keywords."""


VALUE_BYTES_MAX = 2048


class BadSearchAttribute(ValueError):
    """A value that is not of the attribute's type, or no JSON."""


def column_text(attributes: Mapping[str, Payload]) -> str | None:
    """The column's text for these attributes (the start's); None for none."""
    return merged_text(None, attributes) if attributes else None


def merged_text(column: str | None, changes: Mapping[str, Payload]) -> str:
    """The column's text after an upsert: ``changes`` replace, a null or an empty list removes."""
    values: dict[str, Any] = json.loads(column) if column else {}
    types: dict[str, str] = values.pop(TYPES, {})
    for name in sorted(changes):
        kind, value = decode(name, changes[name], types.get(name))
        if value is None or value == []:
            values.pop(name, None)
            types.pop(name, None)
        else:
            values[name] = value
            types[name] = kind
    if types:
        values[TYPES] = types
    return dumps(values)


def decode(name: str, payload: Payload, otherwise: str | None = None, *, strict: bool = False) -> tuple[str, Any]:
    """(type, JSON value) of one attribute; the type is ``otherwise`` where the payload has none, or what the value says.

    Args:
        strict: a single word is no list of keywords. A journal may have one.

    Raises:
        BadSearchAttribute: with Temporal's text.
    """
    try:
        value = json.loads(payload.data) if payload.data else None
    except ValueError:
        raise BadSearchAttribute(f"unable to decode search attribute {name}: its payload is not JSON") from None
    given = value
    declared = _NAMES.get(
        payload.metadata.get("type", b"").decode(errors="replace").replace("_", "").lower(), otherwise
    )
    if isinstance(value, list) and declared != "KeywordList" and len(value) < 2:
        value = value[0] if value else None  # the SDK's untyped encoding makes a list of every value
    kind = declared or guess(value)
    if value is None:
        return kind, None
    if "\0" in name or any(
        "\0" in text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)
    ):
        raise BadSearchAttribute(f"search attribute {name!r} has a NUL character, which Postgres cannot keep")
    try:
        if strict and kind == "KeywordList" and not isinstance(value, list):
            raise TypeError(value)
        return kind, _CHECKS[kind](value)
    except (ValueError, TypeError):
        raise BadSearchAttribute(f"invalid value for search attribute {name} of type {kind}: {_shown(given)}") from None


def too_big(attributes: Mapping[str, Payload]) -> str:
    """Temporal's refusal of the first value that has too many bytes; nothing if none has."""
    for name in sorted(attributes):
        if (size := len(attributes[name].data)) > VALUE_BYTES_MAX:
            return f"search attribute {name} value size {size} exceeds size limit {VALUE_BYTES_MAX}"
    return ""


def _shown(value: Any) -> str:
    """As Temporal writes values into its messages."""
    match value:
        case bool():
            return str(value).lower()
        case list():
            return "[" + " ".join(_shown(item) for item in value) + "]"
        case None:
            return "<nil>"
        case float() if value.is_integer() and abs(value) < 1e21:
            return str(int(value))
        case _:
            return str(value)


def guess(value: Any) -> str:
    """The type that a value without a declared one has."""
    match value:
        case bool():
            return "Bool"
        case int():
            return "Int"
        case float():
            return "Double"
        case list():
            return "KeywordList"
        case _:
            return "Keyword"


def encode(column: str | None) -> dict[str, Payload]:
    """Payloads, typed as Temporal shows them in describe and list."""
    if not column:
        return {}
    values: dict[str, Any] = json.loads(column)
    types: dict[str, str] = values.pop(TYPES, {})
    return {
        name: Payload(
            metadata={"encoding": b"json/plain", "type": types.get(name, guess(value)).encode()},
            data=dumps(value).encode(),
        )
        for name, value in values.items()
    }


def versions_payload(patches: Sequence[str]) -> Payload:
    """The value of ``CHANGE_VERSION``."""
    return Payload(metadata={"encoding": b"json/plain", "type": b"KeywordList"}, data=dumps(patches).encode())


def datetime_text(value: str) -> str:
    """An RFC 3339 time in UTC with six digits: ordered like text. Raises ValueError."""
    if "T" not in value:
        raise ValueError(value)
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError(value)
    try:
        return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    except OverflowError:  # in UTC it is before the first year, or after the last
        raise ValueError(value) from None


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(value)
    return value


def _double(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(value)
    return float(value)


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


def _datetime(value: Any) -> str:
    return datetime_text(_string(value))


def _keywords(value: Any) -> list[str]:
    return [_string(item) for item in (value if isinstance(value, list) else [value])]


_CHECKS = {
    "Text": _string,
    "Keyword": _string,
    "Int": _int,
    "Double": _double,
    "Bool": _bool,
    "Datetime": _datetime,
    "KeywordList": _keywords,
}
