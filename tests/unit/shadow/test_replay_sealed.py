"""Replay behind a codec: values are compared and not ciphertext, which is another each time; nothing is compared without it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.client import WorkflowFailureError
from temporalio.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes, PayloadCodec

from dbos_compat.workbench import Workbench
from dbos_shadow.free_run import free_run
from dbos_shadow.recorded import Recorded
from dbos_shadow.replay import replay_recorded
from dbos_shadow.verdict import Reason, Verdict
from tests.unit.shadow.engine import engine, recorded
from tests.unit.shadow.programs import ACTIVITIES, WORKFLOWS


class Sealing(PayloadCodec):
    """As an encrypting codec: equal values are other bytes each time."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [_sealed(payload.SerializeToString(), os.urandom(16)) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [
            Payload.FromString(_xor(payload.data[16:], payload.data[:16]))
            if payload.metadata.get("encoding") == b"binary/sealed"
            else payload
            for payload in payloads
        ]


class Broken(Sealing):
    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        raise ValueError("canary")


def _xor(data: bytes, nonce: bytes) -> bytes:
    return bytes(byte ^ nonce[index % 16] for index, byte in enumerate(data))


def _sealed(data: bytes, nonce: bytes) -> Payload:
    return Payload(metadata={"encoding": b"binary/sealed"}, data=nonce + _xor(data, nonce))


SEALED = DataConverter(payload_codec=Sealing(), failure_converter_class=DefaultFailureConverterWithEncodedAttributes)


async def history_of(name: str) -> Recorded:
    async with engine(WORKFLOWS, ACTIVITIES, data_converter=SEALED) as client:
        args = [5] if name == "Steps" else []
        handle = await client.start_workflow(name, args=args, id=name, task_queue="q")
        try:
            await handle.result()
        except WorkflowFailureError:
            assert name == "Fails"
        return await recorded(handle)


@pytest.mark.parametrize("name", ["Steps", "Fails", "Parent"])
async def test_values_are_compared(name: str) -> None:
    found = await history_of(name)
    async with Workbench(WORKFLOWS, data_converter=SEALED) as bench:  # with the sandbox
        for judgement in (await replay_recorded(found, bench), await free_run(found, bench)):
            assert judgement.comparison is not None, judgement.note
            assert judgement.comparison.differences == ()
            assert judgement.comparison.unchecked == ()
            assert judgement.verdict is Verdict.MATCH


async def test_a_codec_that_fails_is_told_without_what_it_says() -> None:
    found = await history_of("Fails")
    broken = dataclasses.replace(SEALED, payload_codec=Broken())
    async with Workbench(WORKFLOWS, data_converter=broken) as bench:
        for judgement in (await replay_recorded(found, bench), await free_run(found, bench)):
            assert (judgement.verdict, judgement.reason) == (Verdict.INCONCLUSIVE, Reason.SEALED)
            assert "canary" not in judgement.note


async def test_without_the_codec_nobody_can_tell() -> None:
    found = await history_of("Fails")
    async with Workbench(WORKFLOWS) as bench:
        judgement = await replay_recorded(found, bench)
    assert judgement.verdict is not Verdict.MATCH
