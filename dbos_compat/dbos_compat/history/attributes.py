"""The small parts that history events are made of: the event around its attributes, payloads, metadata."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.message import Message
from temporalio.api.common.v1 import Header, Payload, Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.sdk.v1 import UserMetadata

from dbos_compat.convert.payloads import as_payloads, payload_map
from dbos_compat.convert.times import timestamp

_SUFFIX = "_event_attributes"


def _kinds() -> dict[str, tuple[str, int]]:
    """Attributes' message name → (field of HistoryEvent, event type). The three names are one name, always."""
    types = EventType.DESCRIPTOR.values_by_name
    kinds = {}
    for field in HistoryEvent.DESCRIPTOR.oneofs_by_name["attributes"].fields:
        value = types.get("EVENT_TYPE_" + field.name.removesuffix(_SUFFIX).upper())
        if value is not None and field.message_type is not None:
            kinds[field.message_type.full_name] = (field.name, value.number)
    return kinds


_KINDS = _kinds()


def event(event_id: int, at_ms: int, attributes: Message) -> HistoryEvent:
    """The event that has these attributes; its type follows from theirs."""
    field, event_type = _KINDS[attributes.DESCRIPTOR.full_name]
    made = HistoryEvent(event_id=event_id, event_time=timestamp(at_ms), event_type=event_type)  # type: ignore[arg-type]
    getattr(made, field).CopyFrom(attributes)
    getattr(made, field).SetInParent()
    return made


def some_payloads(forms: Iterable[Mapping[str, Any]] | None) -> Payloads | None:
    """Payloads, or nothing where there are none: an absent field is not an empty one."""
    return as_payloads(forms) if forms else None


def json_payload(text: str) -> Payload:
    """A payload as Temporal's core writes one for itself."""
    return Payload(metadata={"encoding": b"json/plain"}, data=text.encode())


def header(forms: Mapping[str, Mapping[str, Any]] | None) -> Header | None:
    return Header(fields=payload_map(forms)) if forms else None


def user_metadata(text: str | None) -> UserMetadata | None:
    """Summary and details that user code gave a step."""
    return UserMetadata.FromString(b64decode(text)) if text else None
