"""Search attributes of a request: those that name no type get the one they were added with, as on Temporal."""

from __future__ import annotations

from typing import TypeVar

from temporalio.api.workflowservice.v1 import (
    SignalWithStartWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
)

from dbos_compat.convert.search_attributes import BadSearchAttribute, decode, too_big
from dbos_compat.errors import invalid
from dbos_compat.filters.fields import PREDEFINED
from dbos_compat.service.cluster import attribute_types
from dbos_compat.service.common import Context

Request = TypeVar("Request", StartWorkflowExecutionRequest, SignalWithStartWorkflowExecutionRequest)


async def typed(context: Context, request: Request) -> Request:
    """The request with types on its search attributes; the same one where there is nothing to do.

    Raises INVALID_ARGUMENT for a value that is not of the type its attribute was added with, or too big.
    """
    if not request.HasField("search_attributes") or not request.search_attributes.indexed_fields:
        return request
    types = PREDEFINED | await attribute_types(context)
    found = type(request)()
    found.CopyFrom(request)
    for name, payload in found.search_attributes.indexed_fields.items():
        kind = types.get(name)
        if kind is None:
            continue
        payload.metadata["type"] = kind.value.encode()
        try:
            decode(name, payload, strict=True)
        except BadSearchAttribute as error:
            raise invalid(str(error)) from None
    if wrong := too_big(found.search_attributes.indexed_fields):
        raise invalid(wrong)
    return found
