"""Data converters that take no serialization context are not asked for one again and again.

Before each payload it converts, the SDK asks every part of a data converter for a copy of itself that knows the context.
The converter that comes with temporalio has none and says so each time, a dozen times per workflow, through abstract
base classes. Here it is asked once. Converters of the user's own, codecs and external storage are asked as ever.
"""

from __future__ import annotations

import logging
from typing import Any

import temporalio.converter
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
