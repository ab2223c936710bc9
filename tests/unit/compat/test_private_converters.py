"""The stock converter is quicker and does what it did; any other is left alone."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverter,
    DefaultPayloadConverter,
    PayloadCodec,
    PayloadConverter,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)

from dbos_compat import private
from dbos_compat.private_converters import takes_no_context

CONTEXT = WorkflowSerializationContext(namespace="default", workflow_id="order-42")


@pytest.fixture(autouse=True)
def installed() -> None:
    private.install()


class Contextual(DefaultPayloadConverter):
    """Remembers the context that it was given."""

    context: SerializationContext | None = None

    def with_context(self, context: SerializationContext) -> Any:
        made = Contextual()
        made.context = context
        return made


class Codec(PayloadCodec, WithSerializationContext):
    def __init__(self, context: SerializationContext | None = None) -> None:
        self.context = context

    def with_context(self, context: SerializationContext) -> Any:
        return Codec(context)

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)


class Failures(DefaultFailureConverter, WithSerializationContext):
    context: SerializationContext | None = None

    def with_context(self, context: SerializationContext) -> Any:
        made = Failures()
        made.context = context
        return made


class Slotted(PayloadConverter):
    """As little as a payload converter can be."""

    __slots__ = ()

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        return []

    def from_payloads(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        return []


def contexts(converter: DataConverter) -> Iterable[Any]:
    payload_converter = converter.payload_converter
    inner = getattr(payload_converter, "_inner_payload_converter", payload_converter)
    return [getattr(part, "context", None) for part in (inner, converter.payload_codec, converter.failure_converter)]


def test_the_default_converter_is_the_same_in_every_context() -> None:
    assert takes_no_context(DataConverter.default)
    assert DataConverter.default.with_context(CONTEXT) is DataConverter.default


@pytest.mark.parametrize(
    ("changed", "heard"),
    [
        ({"payload_converter_class": Contextual}, [CONTEXT, None, None]),
        ({"payload_codec": Codec()}, [None, CONTEXT, None]),
        ({"failure_converter_class": Failures}, [None, None, CONTEXT]),
    ],
)
def test_a_part_that_takes_a_context_gets_it(changed: dict[str, Any], heard: list[Any]) -> None:
    converter = dataclasses.replace(DataConverter.default, **changed)
    assert not takes_no_context(converter)
    assert contexts(converter.with_context(CONTEXT)) == heard
    assert contexts(converter) == [None, None, None]


def test_a_converter_of_which_nothing_is_known_is_asked() -> None:
    assert not takes_no_context(dataclasses.replace(DataConverter.default, payload_converter_class=Slotted))


def test_a_changed_copy_is_looked_at_anew() -> None:
    assert takes_no_context(DataConverter.default)
    assert not takes_no_context(dataclasses.replace(DataConverter.default, payload_codec=Codec()))
    assert takes_no_context(dataclasses.replace(DataConverter.default, payload_codec=None))


@dataclasses.dataclass
class Point:
    x: int
    y: int


class Count(enum.IntEnum):
    ONE = 1


class Name(str):
    """Derived from a scalar: not one."""


VALUES = [
    0, 7, -3, 10**30, True, False, "", "plain", 'quo"te\\ and \n control \x00', "grüße 🦆", "\ud800", 1.5, float("inf"), None,
    [1, "a"], {"b": 1, "a": [True]}, b"bytes", Point(1, 2), Count.ONE, Name("derived"), RawValue(Payload(data=b"raw")),
]  # fmt: skip


def stock() -> PayloadConverter:
    """The default converter as a worker has it, wrapped where this release wraps it."""
    return DataConverter.default.payload_converter


class Derived(DefaultPayloadConverter):
    """Not quickened: it goes the SDK's way, and so says what that is."""


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_scalar_is_written_as_ever(value: Any) -> None:
    try:
        expected = Derived().to_payloads([value])
    except UnicodeEncodeError:
        with pytest.raises(UnicodeEncodeError):
            stock().to_payloads([value])
        return
    assert stock().to_payloads([value]) == expected
    assert stock().to_payloads([1, value, "x"]) == Derived().to_payloads([1, value, "x"])


DATA = [
    b"1", b"-12", b"1.0", b"1e3", b" 1", b"1 ", b"1x", b"", b"true", b"false", b'"a"', b'"\\u00fc"', '"ü"'.encode(), b'"a',
    b"null", b"[1]", b'\xef\xbb\xbf"a"', b"1" * 5000, b"NaN",
]  # fmt: skip


@pytest.mark.parametrize("hint", [int, str, bool, float, Any, list[int], Annotated[int, []], Count, None], ids=str)
@pytest.mark.parametrize("data", DATA, ids=lambda data: repr(data[:12]))
def test_a_scalar_is_read_as_ever(data: bytes, hint: Any) -> None:
    payloads = [Payload(metadata={"encoding": b"json/plain"}, data=data)]
    assert outcome(stock(), payloads, [hint]) == outcome(Derived(), payloads, [hint])
    assert outcome(stock(), payloads, None) == outcome(Derived(), payloads, None)
    assert outcome(stock(), payloads, [hint, int]) == outcome(Derived(), payloads, [hint, int])


def outcome(converter: PayloadConverter, payloads: Sequence[Payload], hints: Any) -> str:
    """What comes of reading: values with their types, or the error with its cause."""
    try:
        return repr([(type(value), value) for value in converter.from_payloads(payloads, hints)])
    except Exception as error:
        return repr((type(error), str(error), type(error.__cause__)))
