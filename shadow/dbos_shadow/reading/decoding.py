"""Decoding: what the user's codec and external storage have made of the payloads is undone, here, in this process.

Whoever compares two runs compares values. Ciphertext differs each time it is made, so the shadow decodes a history once,
before anybody looks at it, and interprets the workflow without the codec.

What is decoded is what the SDK would decode: every payload, with the serialization context that the SDK would give (the
activity's, the child's), but search attributes, which no codec ever sees, and the SDK's own notes in markers. Headers are
encoded only where a client was told so.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import temporalio.converter
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.converter import (
    ActivitySerializationContext,
    DataConverter,
    PayloadConverter,
    SerializationContext,
    WorkflowSerializationContext,
)

from dbos_core.errors import Theirs
from dbos_shadow.recorded import Recorded

__all__ = ["CannotDecode", "Decoder", "decoded", "has_effect"]


class CannotDecode(Theirs):
    """The codec failed on a recorded payload. The message has its error's type, never its text or the payload."""

    code = "DC402"


def has_effect(converter: DataConverter) -> bool:
    """Is there anything to undo?"""
    return converter.payload_codec is not None or getattr(converter, "external_storage", None) is not None


async def decoded(
    recorded: Recorded, converter: DataConverter, *, namespace: str = "default", headers: bool = False
) -> Recorded:
    """The same history with its payloads decoded; the given one is not touched.

    Args:
        converter: the user's, with the codec.
        namespace: that the workflow ran in, for codecs that ask for their context.
        headers: the clients encode headers as well (``HeaderCodecBehavior.CODEC``).

    Raises:
        CannotDecode: the codec or the external storage failed.
    """
    if not has_effect(converter):
        return recorded
    decoder = Decoder(
        recorded.workflow_id,
        recorded.run_id,
        converter,
        namespace=namespace,
        headers=headers,
        workflow_type=recorded.workflow_type,
    )
    return dataclasses.replace(recorded, events=await decoder.events(recorded.events))


class Decoder:
    """Decodes a history that comes piece by piece: what belongs together has the same context, whenever it comes."""

    def __init__(
        self,
        workflow_id: str,
        run_id: str,
        converter: DataConverter,
        *,
        namespace: str = "default",
        headers: bool = False,
        workflow_type: str = "",
    ) -> None:
        """The arguments are those of :func:`decoded`. The type is read in the first event if it is not given."""
        self._who = f"Workflow {workflow_id!r}, run {run_id}"
        self._work = _Decoding(converter, namespace, workflow_id, workflow_type, headers)

    async def events(self, events: Sequence[HistoryEvent]) -> list[HistoryEvent]:
        """The next events, decoded; the given ones are not touched.

        Raises:
            CannotDecode: the codec or the external storage failed.
        """
        made = []
        for event in events:
            try:
                made.append(await self._work.event(event))
            except Exception as error:
                raise CannotDecode(
                    f"{self._who}: the data converter could not decode a payload of event {event.event_id} "
                    f"({type(error).__name__}). Is it the converter, with the keys, that the run was made with?"
                ) from error
        return made


class _AsTheyAre(PayloadConverter):
    """Stops behind the codec: the "values" are the payloads."""

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        return list(values)

    def from_payloads(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        return list(payloads)


class _Decoding:
    """The events of one run, one after the other."""

    def __init__(
        self, converter: DataConverter, namespace: str, workflow_id: str, workflow_type: str, headers: bool
    ) -> None:
        self._converter = dataclasses.replace(converter, payload_converter_class=_AsTheyAre)
        self._namespace = namespace
        self._skipped = _NEVER if headers else _NEVER | {"temporal.api.common.v1.Header"}
        self._run = WorkflowSerializationContext(namespace=namespace, workflow_id=workflow_id)
        self._workflow_type = workflow_type
        self._workflow_id = workflow_id
        self._queue = ""
        self._asked: dict[int, SerializationContext] = {}
        """Id of the event that asked for something → the context of what belongs to it."""
        self._with: tuple[SerializationContext | None, DataConverter] = (None, self._converter)

    async def event(self, event: HistoryEvent) -> HistoryEvent:
        which = event.WhichOneof("attributes")
        attributes: Any = getattr(event, which) if which else None
        context = self._context(event.event_id, which or "", attributes)
        if not _holds_payloads(event):
            return event
        if self._with[0] != context:
            self._with = (context, self._converter.with_context(context))
        copied = HistoryEvent()
        copied.CopyFrom(event)
        if which == "marker_recorded_event_attributes":
            await self._marker(copied.marker_recorded_event_attributes)
        else:
            await self._message(copied)
        return copied

    def _context(self, event_id: int, which: str, a: Any) -> SerializationContext:
        if which == "workflow_execution_started_event_attributes":
            self._queue = a.task_queue.name
            self._workflow_type = self._workflow_type or a.workflow_type.name
        elif which == "activity_task_scheduled_event_attributes":
            self._asked[event_id] = self._activity(a.activity_type.name, a.activity_id, a.task_queue.name, local=False)
        elif which == "start_child_workflow_execution_initiated_event_attributes":
            self._asked[event_id] = WorkflowSerializationContext(
                namespace=a.namespace or self._namespace, workflow_id=a.workflow_id
            )
        elif which == "signal_external_workflow_execution_initiated_event_attributes":
            self._asked[event_id] = WorkflowSerializationContext(
                namespace=a.namespace or self._namespace, workflow_id=a.workflow_execution.workflow_id
            )
        elif which == "nexus_operation_scheduled_event_attributes" and _NEXUS is not None:
            self._asked[event_id] = _NEXUS(endpoint=a.endpoint, service=a.service, operation=a.operation)
        elif which == "marker_recorded_event_attributes" and a.marker_name == _LOCAL_ACTIVITY:
            data = json.loads(a.details["data"].payloads[0].data)
            return self._activity(data["activity_type"], data["activity_id"], self._queue, local=True)
        about = getattr(a, "scheduled_event_id", 0) or getattr(a, "initiated_event_id", 0) or event_id
        return self._asked.get(about, self._run)

    def _activity(self, name: str, activity_id: str, queue: str, *, local: bool) -> SerializationContext:
        return ActivitySerializationContext(
            namespace=self._namespace,
            workflow_id=self._workflow_id,
            workflow_type=self._workflow_type,
            activity_type=name,
            activity_id=activity_id,
            activity_task_queue=queue,
            is_local=local,
        )

    async def _marker(self, a: Any) -> None:
        """What the SDK notes for itself is not encoded; what it keeps for the workflow is."""
        if a.marker_name == _PATCH:
            return
        for key in sorted(a.details):
            if not (a.marker_name == _LOCAL_ACTIVITY and key == "data"):
                await self._message(a.details[key])
        await self._message(a.failure)

    async def _message(self, message: Any) -> None:
        """Everything inside of a message, in place."""
        name = message.DESCRIPTOR.full_name
        if name in self._skipped or not _may_hold(message.DESCRIPTOR):
            return
        if name == _PAYLOAD:
            message.CopyFrom((await self._payloads([message]))[0])
            return
        if name == _PAYLOADS:
            found = await self._payloads(message.payloads)
            del message.payloads[:]
            message.payloads.extend(found)
            return
        for field, value in message.ListFields():
            if field.type != FieldDescriptor.TYPE_MESSAGE or not _may_hold(field.message_type):
                continue
            if field.message_type.GetOptions().map_entry:
                for key in sorted(value):
                    if isinstance(value[key], Message):
                        await self._message(value[key])
            elif isinstance(value, Message):
                await self._message(value)
            else:
                for one in value:
                    await self._message(one)
        if name == _FAILURE:
            _unseal(message)

    async def _payloads(self, payloads: Sequence[Payload]) -> list[Payload]:
        return await self._with[1].decode(payloads) if payloads else []


def _unseal(failure: Failure) -> None:
    """Message and stack trace go back to where they were before the failure converter hid them from the server."""
    if not failure.HasField("encoded_attributes"):
        return
    payload = failure.encoded_attributes
    if not payload.metadata.get("encoding", b"").startswith(b"json/"):
        return
    hidden = json.loads(payload.data)
    if isinstance(hidden, dict) and isinstance(hidden.get("message"), str):
        failure.message = hidden["message"]
        stack_trace = hidden.get("stack_trace")
        failure.stack_trace = stack_trace if isinstance(stack_trace, str) else ""
        failure.ClearField("encoded_attributes")


def _holds_payloads(event: HistoryEvent) -> bool:
    return any(
        field.type == FieldDescriptor.TYPE_MESSAGE and _may_hold(field.message_type) for field, _ in event.ListFields()
    )


@cache
def _may_hold(descriptor: Descriptor) -> bool:
    """Can a message of this type have a payload anywhere inside?"""
    seen: set[str] = set()
    waiting = [descriptor]
    while waiting:
        found = waiting.pop()
        if found.full_name in (_PAYLOAD, _PAYLOADS):
            return True
        if found.full_name in seen or found.full_name in _NEVER:
            continue
        seen.add(found.full_name)
        waiting += [field.message_type for field in found.fields if field.message_type is not None]
    return False


_PAYLOAD = "temporal.api.common.v1.Payload"
_PAYLOADS = "temporal.api.common.v1.Payloads"
_FAILURE = "temporal.api.failure.v1.Failure"
_NEVER = frozenset({"temporal.api.common.v1.SearchAttributes"})
_PATCH = "core_patch"
_LOCAL_ACTIVITY = "core_local_activity"
_NEXUS: Any = getattr(temporalio.converter, "NexusSerializationContext", None)  # since temporalio 1.33
