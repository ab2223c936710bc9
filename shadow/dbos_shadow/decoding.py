"""What a codec has encoded in a history, decoded: in this process, by the user's own codec, before anybody compares.

Values are compared and not ciphertext, which differs each time it is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from temporalio.api.common.v1 import Header, Payload, Payloads, SearchAttributes
from temporalio.api.history.v1 import HistoryEvent, MarkerRecordedEventAttributes
from temporalio.converter import PayloadCodec, WithSerializationContext, WorkflowSerializationContext

__all__ = ["decoded"]

_OF_THE_CORE = frozenset({"data", "patch-data"})
"""Details of markers that no codec has seen."""


async def decoded(
    events: Sequence[HistoryEvent],
    codec: PayloadCodec,
    *,
    namespace: str = "default",
    workflow_id: str = "",
    headers: bool = False,
) -> list[HistoryEvent]:
    """Copies of the events with their payloads decoded.

    Args:
        headers: the client was told to encode headers as well (``HeaderCodecBehavior.CODEC``).

    Raises:
        whatever the codec raises.
    """
    if isinstance(codec, WithSerializationContext):
        codec = codec.with_context(WorkflowSerializationContext(namespace=namespace, workflow_id=workflow_id))
    made = []
    for event in events:
        copy = HistoryEvent()
        copy.CopyFrom(event)
        await _message(copy, codec, headers)
        made.append(copy)
    return made


async def _message(message: Message, codec: PayloadCodec, headers: bool) -> None:
    if isinstance(message, Payload):
        found = await codec.decode([message])
        message.CopyFrom(found[0])
        return
    if isinstance(message, Payloads):
        if message.payloads:
            values = await codec.decode(list(message.payloads))
            del message.payloads[:]
            message.payloads.extend(values)
        return
    if isinstance(message, SearchAttributes) or (isinstance(message, Header) and not headers):
        return
    for field, value in message.ListFields():
        if field.type != FieldDescriptor.TYPE_MESSAGE:
            continue
        await _field(message, field, value, codec, headers)


async def _field(message: Message, field: FieldDescriptor, value: Any, codec: PayloadCodec, headers: bool) -> None:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        if kind.fields_by_name["value"].type != FieldDescriptor.TYPE_MESSAGE:
            return
        marker = isinstance(message, MarkerRecordedEventAttributes)
        for key in list(value):
            if not (marker and key in _OF_THE_CORE):
                await _message(value[key], codec, headers)
    elif isinstance(value, Message):
        await _message(value, codec, headers)
    else:
        for one in value:
            await _message(one, codec, headers)
