"""Payloads that a codec has encoded: undone once, with the context that the SDK gives, and nothing else touched."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.history.v1 import HistoryEvent
from temporalio.converter import (
    ActivitySerializationContext,
    DataConverter,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)

from dbos_shadow.reading.decoding import CannotDecode, decoded
from dbos_shadow.recorded import Recorded
from tests.unit.shadow.events import history, payload, payloads, recorded


class Rot(PayloadCodec, WithSerializationContext):
    """Adds the name of its context to the bytes, and wants to find it again."""

    def __init__(self, context: SerializationContext | None = None) -> None:
        self.name = name_of(context)

    def with_context(self, context: SerializationContext) -> Rot:
        return Rot(context)

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [sealed(one, self.name) for one in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        found = []
        for one in payloads:
            if one.metadata.get("encoding") != b"binary/rot":
                raise ValueError(f"never encoded: {one.data!r}")
            name, _, data = one.data.partition(b"|")
            if name.decode() != self.name:
                raise ValueError(f"sealed by {name!r}, asked as {self.name}")
            found.append(Payload.FromString(data))
        return found


def name_of(context: SerializationContext | None) -> str:
    if isinstance(context, WorkflowSerializationContext):
        return f"{context.namespace}/{context.workflow_id}"
    if isinstance(context, ActivitySerializationContext):
        local = " local" if context.is_local else ""
        return (
            f"{context.workflow_id}.{context.activity_type}.{context.activity_id}@{context.activity_task_queue}{local}"
        )
    return ""


def sealed(one: Payload, by: str) -> Payload:
    data = by.encode() + b"|" + one.SerializeToString(deterministic=True)
    return Payload(metadata={"encoding": b"binary/rot"}, data=data)


CONVERTER = DataConverter(payload_codec=Rot())
RUN = "default/w"


def run_of(*events: HistoryEvent) -> Recorded:
    started = history()[0]
    started.workflow_execution_started_event_attributes.ClearField("input")
    given = [started, *events]
    for number, event in enumerate(given, 1):
        event.event_id = number
    return Recorded(workflow_id="w", run_id="r", workflow_type="Order", events=given, source="test")


async def attributes(event: HistoryEvent, name: str) -> Any:
    found = await decoded(run_of(event), CONVERTER)
    return getattr(found.events[-1], f"{name}_event_attributes")


async def test_without_a_codec_nothing_happens() -> None:
    run = recorded()
    assert await decoded(run, DataConverter.default) is run


async def test_start_and_end_in_the_workflows_context_and_the_given_run_is_not_touched() -> None:
    run = recorded()
    started = run.events[0].workflow_execution_started_event_attributes
    started.input.payloads[0].CopyFrom(sealed(payload('"x"'), RUN))
    started.memo.fields["note"].CopyFrom(sealed(payload('"memo"'), RUN))
    started.search_attributes.indexed_fields["Customer"].CopyFrom(payload('"plain"'))
    started.header.fields["trace"].CopyFrom(payload('"plain"'))
    result = run.events[4].workflow_execution_completed_event_attributes.result
    result.payloads[0].CopyFrom(sealed(payload('"done"'), RUN))
    before = [event.SerializeToString(deterministic=True) for event in run.events]
    found = await decoded(run, CONVERTER)
    assert [event.SerializeToString(deterministic=True) for event in run.events] == before
    now = found.events[0].workflow_execution_started_event_attributes
    assert now.input.payloads[0].data == b'"x"'
    assert now.memo.fields["note"].data == b'"memo"'
    assert now.search_attributes.indexed_fields["Customer"].data == b'"plain"'
    assert now.header.fields["trace"].data == b'"plain"'
    assert found.events[4].workflow_execution_completed_event_attributes.result.payloads[0].data == b'"done"'


async def test_headers_where_clients_encode_them() -> None:
    event = HistoryEvent()
    signalled = event.workflow_execution_signaled_event_attributes
    signalled.header.fields["trace"].CopyFrom(sealed(payload('"t"'), RUN))
    assert (await attributes(event, "workflow_execution_signaled")).header.fields["trace"].metadata[
        "encoding"
    ] == b"binary/rot"
    found = await decoded(run_of(event), CONVERTER, headers=True)
    assert found.events[-1].workflow_execution_signaled_event_attributes.header.fields["trace"].data == b'"t"'


async def test_an_activity_has_a_context_of_its_own_to_its_end() -> None:
    asked, ended = HistoryEvent(), HistoryEvent()
    by = "w.charge.7@other"
    a = asked.activity_task_scheduled_event_attributes
    a.activity_id, a.activity_type.name, a.task_queue.name = "7", "charge", "other"
    a.input.payloads.append(sealed(payload('"in"'), by))
    b = ended.activity_task_completed_event_attributes
    b.scheduled_event_id = 2
    b.result.payloads.append(sealed(payload('"out"'), by))
    found = await decoded(run_of(asked, ended), CONVERTER)
    assert found.events[1].activity_task_scheduled_event_attributes.input.payloads[0].data == b'"in"'
    assert found.events[2].activity_task_completed_event_attributes.result.payloads[0].data == b'"out"'


async def test_a_child_and_who_is_signalled_have_their_own() -> None:
    asked, ended, signal = HistoryEvent(), HistoryEvent(), HistoryEvent()
    a = asked.start_child_workflow_execution_initiated_event_attributes
    a.namespace, a.workflow_id = "elsewhere", "child"
    a.input.payloads.append(sealed(payload('"in"'), "elsewhere/child"))
    b = ended.child_workflow_execution_completed_event_attributes
    b.initiated_event_id = 2
    b.result.payloads.append(sealed(payload('"out"'), "elsewhere/child"))
    c = signal.signal_external_workflow_execution_initiated_event_attributes
    c.workflow_execution.workflow_id = "friend"
    c.input.payloads.append(sealed(payload('"hi"'), "default/friend"))
    found = await decoded(run_of(asked, ended, signal), CONVERTER)
    assert found.events[2].child_workflow_execution_completed_event_attributes.result.payloads[0].data == b'"out"'
    told = found.events[3].signal_external_workflow_execution_initiated_event_attributes
    assert told.input.payloads[0].data == b'"hi"'


async def test_markers_what_the_sdk_notes_is_plain_and_what_it_keeps_is_not() -> None:
    patch, local = HistoryEvent(), HistoryEvent()
    a = patch.marker_recorded_event_attributes
    a.marker_name = "core_patch"
    a.details["patch-data"].CopyFrom(payloads('{"id": "newer"}'))
    b = local.marker_recorded_event_attributes
    b.marker_name = "core_local_activity"
    data = json.dumps({"activity_type": "add", "activity_id": "3"})
    b.details["data"].CopyFrom(payloads(data))
    b.details["result"].payloads.append(sealed(payload("5"), "w.add.3@q local"))
    found = await decoded(run_of(patch, local), CONVERTER)
    assert found.events[1] == patch
    now = found.events[2].marker_recorded_event_attributes
    assert now.details["data"].payloads[0].data == data.encode()
    assert now.details["result"].payloads[0].data == b"5"


async def test_failures_get_their_message_back() -> None:
    event = HistoryEvent()
    failure = event.workflow_execution_failed_event_attributes.failure
    failure.message = "Encoded failure"
    hidden = {"message": "card refused", "stack_trace": "at charge()"}
    failure.encoded_attributes.CopyFrom(sealed(payload(json.dumps(hidden)), RUN))
    failure.cause.message = "Encoded failure"
    failure.cause.application_failure_info.details.payloads.append(sealed(payload('"why"'), RUN))
    now = (await attributes(event, "workflow_execution_failed")).failure
    assert (now.message, now.stack_trace) == ("card refused", "at charge()")
    assert not now.HasField("encoded_attributes")
    assert now.cause.application_failure_info.details.payloads[0].data == b'"why"'


async def test_a_codec_that_fails_is_told_without_what_it_says() -> None:
    with pytest.raises(CannotDecode) as caught:
        await decoded(recorded(argument='"canary"'), CONVERTER)
    assert "event 1 (ValueError)" in str(caught.value)
    assert "canary" not in str(caught.value)
