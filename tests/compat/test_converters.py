"""Data converters: own types, encrypting codecs, and what is stored of them."""

from __future__ import annotations

import base64
import dataclasses
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    PayloadCodec,
)
from temporalio.exceptions import ApplicationError

from .support import Connect, MakeWorker, chain


class Money:
    """A type that JSON does not know."""

    def __init__(self, cents: int) -> None:
        self.cents = cents


class MoneyConverter(EncodingPayloadConverter):
    @property
    def encoding(self) -> str:
        return "text/money"

    def to_payload(self, value: Any) -> Payload | None:
        if not isinstance(value, Money):
            return None
        return Payload(metadata={"encoding": self.encoding.encode()}, data=str(value.cents).encode())

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        return Money(int(payload.data))


class WithMoney(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(MoneyConverter(), *DefaultPayloadConverter.default_encoding_payload_converters)


class Scrambled(PayloadCodec):
    """An encryption for tests: unreadable at rest, and different every time, as with a nonce."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [
            Payload(
                metadata={"encoding": b"binary/scrambled", "nonce": uuid.uuid4().bytes},
                data=base64.b85encode(payload.SerializeToString()[::-1]),
            )
            for payload in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        decoded = []
        for payload in payloads:
            assert payload.metadata["encoding"] == b"binary/scrambled", payload
            decoded.append(Payload.FromString(base64.b85decode(payload.data)[::-1]))
        return decoded


SCRAMBLED = dataclasses.replace(
    DataConverter.default,
    payload_codec=Scrambled(),
    failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
)


@activity.defn
async def tax(price: Money) -> Money:
    return Money(price.cents // 10)


@activity.defn
async def secret_step(text: str) -> str:
    activity.heartbeat(f"heartbeat of {text}")
    if text == "fail":
        raise ApplicationError("secret message", "secret detail", type="Secret", non_retryable=True)
    return f"secret {text}"


@workflow.defn
class Buy:
    @workflow.run
    async def run(self, price: Money) -> Money:
        added = await workflow.execute_activity(tax, price, start_to_close_timeout=timedelta(seconds=30))
        return Money(price.cents + added.cents)


@workflow.defn
class Secret:
    def __init__(self) -> None:
        self.text = ""

    @workflow.run
    async def run(self, given: str) -> str:
        await workflow.wait_condition(lambda: bool(self.text))
        workflow.upsert_memo({"note": "secret note"})
        step = await workflow.execute_activity(
            secret_step,
            self.text,
            start_to_close_timeout=timedelta(seconds=30),
            heartbeat_timeout=timedelta(seconds=20),
        )
        return f"{given} {step}"

    @workflow.signal
    def tell(self, text: str) -> None:
        self.text = text

    @workflow.query
    def told(self) -> str:
        return f"told {self.text}"

    @workflow.update
    def ask(self, text: str) -> str:
        if text == "fail":
            raise ApplicationError("secret refusal")
        return f"asked {text}"


async def test_a_payload_converter_for_an_own_type(
    connect: Connect, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    client = await connect(data_converter=dataclasses.replace(DataConverter.default, payload_converter_class=WithMoney))
    async with make_worker(client, task_queue=queue, workflows=[Buy], activities=[tax]):
        result = await client.execute_workflow(Buy.run, Money(200), id=wid, task_queue=queue)
    assert result.cents == 220


async def test_everything_works_through_a_codec(
    connect: Connect, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    client = await connect(data_converter=SCRAMBLED)
    async with make_worker(client, task_queue=queue, workflows=[Secret], activities=[secret_step]):
        handle = await client.start_workflow(
            Secret.run, "given", id=wid, task_queue=queue, memo={"about": "secret about"}
        )
        assert await handle.query(Secret.told) == "told "
        assert await handle.execute_update(Secret.ask, "me") == "asked me"
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await handle.execute_update(Secret.ask, "fail")
        assert chain(refused.value)[1] == "ApplicationError 'secret refusal' type=None"
        await handle.signal(Secret.tell, "text")
        assert await handle.result() == "given secret text"
        assert await (await handle.describe()).memo() == {"about": "secret about", "note": "secret note"}


async def test_failures_go_through_the_codec_too(
    connect: Connect, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    client = await connect(data_converter=SCRAMBLED)
    async with make_worker(client, task_queue=queue, workflows=[Secret], activities=[secret_step]):
        handle = await client.start_workflow(Secret.run, "given", id=wid, task_queue=queue)
        await handle.signal(Secret.tell, "fail")
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        assert chain(failed.value)[1:] == [
            "ActivityError 'Activity task failed' secret_step NON_RETRYABLE_FAILURE",
            "ApplicationError 'secret message' type=Secret non_retryable details=('secret detail',)",
        ]
    history = await handle.fetch_history()
    failure = history.events[-1].workflow_execution_failed_event_attributes.failure
    assert failure.cause.message == "Encoded failure"
    assert "secret" not in history.to_json().replace("secret_step", "")


async def test_the_history_keeps_payloads_as_the_codec_made_them(
    connect: Connect, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    client = await connect(data_converter=SCRAMBLED)
    async with make_worker(client, task_queue=queue, workflows=[Secret], activities=[secret_step]):
        handle = await client.start_workflow(
            Secret.run, "given", id=wid, task_queue=queue, memo={"about": "secret about"}
        )
        await handle.execute_update(Secret.ask, "me")
        await handle.signal(Secret.tell, "text")
        await handle.result()
    history = await handle.fetch_history()
    seen = {}
    for event in history.events:
        match event.event_type:
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
                started = event.workflow_execution_started_event_attributes
                seen["input"] = started.input.payloads[0]
                seen["memo"] = started.memo.fields["about"]
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
                seen["signal"] = event.workflow_execution_signaled_event_attributes.input.payloads[0]
            case EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                seen["activity"] = event.activity_task_scheduled_event_attributes.input.payloads[0]
            case EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
                seen["activity result"] = event.activity_task_completed_event_attributes.result.payloads[0]
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED:
                accepted = event.workflow_execution_update_accepted_event_attributes.accepted_request
                seen["update"] = accepted.input.args.payloads[0]
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED:
                outcome = event.workflow_execution_update_completed_event_attributes.outcome
                seen["update result"] = outcome.success.payloads[0]
            case EventType.EVENT_TYPE_WORKFLOW_PROPERTIES_MODIFIED:
                modified = event.workflow_properties_modified_event_attributes
                seen["upserted memo"] = modified.upserted_memo.fields["note"]
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED:
                seen["result"] = event.workflow_execution_completed_event_attributes.result.payloads[0]
    assert len(seen) == 9
    for what, payload in seen.items():
        assert payload.metadata["encoding"] == b"binary/scrambled", what


@workflow.defn
class Echo:
    @workflow.run
    async def run(self, value: Any) -> Any:
        return value


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -1.5,
        2**62,
        "",
        "plain",
        "Zoë 🎈 \u2028",
        "a NUL \x00 inside",
        "half a pair \\ud800",
        b"",
        b"bytes \x00\xff",
        [],
        {"nested": [1, {"deep": None}], "": "empty key", "nul \x00 key": 1},
    ],
    ids=repr,
)
async def test_values_of_every_kind_come_back(
    client: Client, make_worker: MakeWorker, queue: str, wid: str, value: Any
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Echo]):
        assert await client.execute_workflow(Echo.run, value, id=wid, task_queue=queue) == value


async def test_json_keeps_its_exact_bytes(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    """Not only equal values: the payload in the history is the payload that was sent."""
    sent = Payload(metadata={"encoding": b"json/plain", "own": b"\x00\xff"}, data=b'{"b": 1.0,  "a":1e2}')
    from temporalio.common import RawValue

    async with make_worker(client, task_queue=queue, workflows=[Echo]):
        handle = await client.start_workflow("Echo", RawValue(sent), id=wid, task_queue=queue)
        assert await handle.result() == {"b": 1.0, "a": 100.0}
    history = await handle.fetch_history()
    started = history.events[0].workflow_execution_started_event_attributes
    assert started.input.payloads[0] == sent
