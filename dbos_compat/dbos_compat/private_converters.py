"""The data converter that comes with temporalio, quicker. Converters of the user's own, codecs and external storage are
left as they are.

*Context.* Before each payload it converts, the SDK asks every part of a data converter for a copy of itself that knows the
context. The stock one has none and says so each time, a dozen times per workflow, through abstract base classes. Here it is
asked once.

*Scalars.* A string, a whole number or a truth value is tried by five converters, and then written by a JSON encoder that
is made for it. Here it is written at once, to the same bytes. Anything else takes the SDK's way.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from json.encoder import encode_basestring_ascii
from typing import Any

import temporalio.converter
from temporalio.api.common.v1 import Payload
from temporalio.converter import DataConverter, _payload_converter
from temporalio.worker import _workflow_instance

logger = logging.getLogger("dbos_compat")

_KNOWN = "_dbos_compat_takes_no_context"

_FAILURE_CONVERTERS = (
    temporalio.converter.DefaultFailureConverter,
    temporalio.converter.DefaultFailureConverterWithEncodedAttributes,
)


def install() -> None:
    """Ask once. Call once per process."""
    DataConverter.with_context = _with_context  # type: ignore[method-assign,assignment]
    instance = _workflow_instance._WorkflowInstanceImpl
    if hasattr(instance, "_payload_converter_with_context"):
        instance._payload_converter_with_context = _payload_converter_with_context  # type: ignore[method-assign]
    else:
        logger.info("this release of temporalio asks converters for a context elsewhere: it stays as slow as it is")
    for stock in (temporalio.converter.DefaultPayloadConverter, _Wrapper):
        if stock is not None:
            _quicken(stock)


def takes_no_context(converter: DataConverter) -> bool:
    """Is every part of it known to be the same in every context?"""
    known: bool | None = converter.__dict__.get(_KNOWN)
    if known is None:
        known = (
            converter.payload_codec is None
            and getattr(converter, "external_storage", None) is None
            and type(converter.failure_converter) in _FAILURE_CONVERTERS
            and _is_stock(converter.payload_converter)
        )
        object.__setattr__(converter, _KNOWN, known)
    return known


def _is_stock(converter: Any) -> bool:
    """Is it temporalio's own payload converter, perhaps in the wrapper that newer releases put around it?"""
    if type(converter) is _Wrapper:
        converter = converter._inner_payload_converter
    return _STOCK_TAKES_NONE and type(converter) is temporalio.converter.DefaultPayloadConverter


_Wrapper = getattr(_payload_converter, "_TemporalTransferTypePayloadConverter", None)

_STOCK_TAKES_NONE = not any(
    isinstance(part, temporalio.converter.WithSerializationContext)
    for part in temporalio.converter.DefaultPayloadConverter().converters.values()
)


_asked_with_context = DataConverter.with_context


def _with_context(self: DataConverter, context: Any) -> DataConverter:
    return self if takes_no_context(self) else _asked_with_context(self, context)


_asked_in_workflow = getattr(_workflow_instance._WorkflowInstanceImpl, "_payload_converter_with_context", None)


def _payload_converter_with_context(self: Any, context: Any) -> Any:
    converter = self._context_free_payload_converter
    if _is_stock(converter):
        return converter
    assert _asked_in_workflow is not None
    return _asked_in_workflow(self, context)


# -- scalars -----------------------------------------------------------------------------------------------------------

_JSON = b"json/plain"
_decode = json.JSONDecoder().raw_decode


def _written(value: Any) -> Payload | None:
    """The payload that the stock converter makes of a scalar; None: it is not one."""
    kind = type(value)
    if kind is str:
        text = encode_basestring_ascii(value)
    elif kind is int:
        text = int.__repr__(value)
    elif kind is bool:
        text = "true" if value else "false"
    else:
        return None
    payload = Payload(data=text.encode())
    payload.metadata["encoding"] = _JSON
    return payload


_NOTHING = object()


def _read(payload: Payload, hint: Any) -> Any:
    """What the stock converter reads where exactly that is hinted at; ``_NOTHING``: it takes more than that to know."""
    if not (hint is str or hint is int or hint is bool) or payload.metadata.get("encoding") != _JSON:
        return _NOTHING
    data = payload.data
    try:
        value, end = _decode(data.decode("ascii"))
    except ValueError:
        return _NOTHING
    return value if end == len(data) and type(value) is hint else _NOTHING


def _quicken(stock: Any) -> None:
    """Let a class of the SDK's try the short way first. What is derived from it is somebody else's, and keeps its own."""
    to_payloads, from_payloads = stock.to_payloads, stock.from_payloads

    def to(self: Any, values: Sequence[Any]) -> list[Payload]:
        if _is_stock(self):
            payloads: list[Payload] = []
            for value in values:
                payload = _written(value)
                if payload is None:
                    break
                payloads.append(payload)
            else:
                return payloads
        made: list[Payload] = to_payloads(self, values)
        return made

    def back(self: Any, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        if type_hints is not None and len(payloads) == len(type_hints) and _is_stock(self):
            values = []
            for payload, hint in zip(payloads, type_hints, strict=True):
                value = _read(payload, hint)
                if value is _NOTHING:
                    break
                values.append(value)
            else:
                return values
        read: list[Any] = from_payloads(self, payloads, type_hints)
        return read

    stock.to_payloads, stock.from_payloads = to, back
