"""Datetimes of search attributes: in UTC, in the order of their text, or refused by name."""

from __future__ import annotations

import json

import pytest
from temporalio.api.common.v1 import Payload

from dbos_compat.convert.search_attributes import BadSearchAttribute, column_text, datetime_text


def typed(value: str) -> dict[str, Payload]:
    payload = Payload(metadata={"encoding": b"json/plain", "type": b"Datetime"}, data=json.dumps(value).encode())
    return {"Since": payload}


@pytest.mark.parametrize(
    "value", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "soon", "2020-01-01T00:00"]
)
def test_what_is_no_time_in_utc_is_refused_by_name(value: str) -> None:
    with pytest.raises(BadSearchAttribute, match="Since of type Datetime"):
        column_text(typed(value))


def test_zones_are_turned_into_utc() -> None:
    assert datetime_text("2026-01-02T03:04:05.6+02:00") == "2026-01-02T01:04:05.600000Z"
