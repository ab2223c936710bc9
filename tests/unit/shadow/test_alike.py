"""Values of an encoding of the user's own are compared by the converter that has made them."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.converter import CompositePayloadConverter, DefaultPayloadConverter, EncodingPayloadConverter

from dbos_shadow.alike import alike_by
from dbos_shadow.diff import diff
from dbos_shadow.trace import Opaque, Outcome, Status, Trace


class Blob:
    """Has no equality."""


class ByFirstByte(EncodingPayloadConverter):
    """Reads one number; what follows it is salt."""

    encoding = "text/first"

    def to_payload(self, value: Any) -> Payload | None:
        return None

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        return Blob() if payload.data[0] == 0 else payload.data[0]


class Own(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(ByFirstByte(), *DefaultPayloadConverter.default_encoding_payload_converters)


def ended_with(data: bytes, encoding: str = "text/first") -> Trace:
    return Trace(workflow_type="W", outcome=Outcome(status=Status.COMPLETED, values=(Opaque(encoding, data),)))


@pytest.mark.parametrize(
    ("one", "other", "encoding", "differences", "unchecked"),
    [
        (b"\x01a", b"\x01b", "text/first", 0, 0),
        (b"\x01a", b"\x02a", "text/first", 1, 0),
        (b"\x00a", b"\x00b", "text/first", 0, 1),
        (b"", b"x", "text/first", 0, 1),
        (b"a", b"b", "binary/sealed", 0, 1),
    ],
    ids=["equal", "unequal", "no equality", "unreadable", "unknown"],
)
def test_the_converter_is_asked(one: bytes, other: bytes, encoding: str, differences: int, unchecked: int) -> None:
    found = diff(ended_with(one, encoding), ended_with(other, encoding), alike=alike_by(Own()))
    assert (len(found.differences), len(found.unchecked)) == (differences, unchecked)
