"""A converter without a context is asked for one only once; any other as ever."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
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
