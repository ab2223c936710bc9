"""Converters of one's own: pydantic, an encrypting codec, a payload converter for a type that is no JSON."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from pydantic import BaseModel
from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    PayloadCodec,
)
from temporalio.exceptions import ActivityError, ApplicationError

from tests.shadow.corpus.stage import Stage
from tests.shadow.corpus.theme import Theme

SOON = timedelta(seconds=30)


# -- pydantic ----------------------------------------------------------------------------------------------------------


class Order(BaseModel):
    sku: str
    price: Decimal
    due: datetime
    tags: set[str]


pydantic = Theme("pydantic", data_converter=pydantic_data_converter)


@pydantic.activity
@activity.defn
async def discount(order: Order) -> Order:
    return order.model_copy(update={"price": order.price / 2})


@pydantic.workflow
@workflow.defn
class Orders:
    @workflow.run
    async def run(self, order: Order) -> Order:
        order = await workflow.execute_activity(discount, order, start_to_close_timeout=SOON)
        order.due += timedelta(days=1)
        return await workflow.execute_activity(discount, order, start_to_close_timeout=SOON)


pydantic.runs(
    "orders",
    Orders.run,
    Order(sku="engine", price=Decimal("18.42"), due=datetime.fromisoformat("2026-01-01T00:00:00+00:00"), tags={"new"}),
)


# -- a codec -----------------------------------------------------------------------------------------------------------


class Scramble(PayloadCodec):
    """Stands for encryption: nothing can be read without it, and the same value looks different each time."""

    def __init__(self) -> None:
        self._count = 0

    async def encode(self, payloads: Iterable[Payload]) -> list[Payload]:
        return [self._sealed(payload) for payload in payloads]

    async def decode(self, payloads: Iterable[Payload]) -> list[Payload]:
        return [self._opened(payload) for payload in payloads]

    def _sealed(self, payload: Payload) -> Payload:
        self._count += 1
        salt = self._count.to_bytes(4)
        return Payload(
            metadata={"encoding": b"binary/scrambled", "salt": salt},
            data=base64.b85encode(salt + payload.SerializeToString()[::-1]),
        )

    def _opened(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != b"binary/scrambled":
            return payload
        return Payload.FromString(base64.b85decode(payload.data)[4:][::-1])


codec = Theme(
    "codec",
    data_converter=dataclasses.replace(
        DataConverter.default,
        payload_codec=Scramble(),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    ),
)


@codec.activity
@activity.defn
async def whisper(secret: str) -> str:
    return f"({secret})"


@codec.activity
@activity.defn
async def blurt_out(secret: str) -> None:
    raise ApplicationError(f"it is {secret}", secret, type="Indiscreet", non_retryable=True)


@codec.workflow
@workflow.defn
class Secrets:
    def __init__(self) -> None:
        self.told: list[str] = []

    @workflow.run
    async def run(self, secret: str) -> list[str]:
        said = [await workflow.execute_activity(whisper, secret, start_to_close_timeout=SOON)]
        try:
            await workflow.execute_activity(blurt_out, secret, start_to_close_timeout=SOON)
        except ActivityError as error:
            said.append(str(error.cause))
        workflow.upsert_memo({"secret": secret})
        await workflow.wait_condition(lambda: bool(self.told))
        return said + self.told

    @workflow.signal
    def tell(self, word: str) -> None:
        self.told.append(word)

    @workflow.update
    def ask(self, word: str) -> str:
        return word.upper()


@codec.scene
async def secrets(stage: Stage) -> None:
    handle = await stage.start(Secrets.run, "sesame", memo={"also": "secret"})
    await handle.execute_update(Secrets.ask, "who")
    await handle.signal(Secrets.tell, "nobody")
    await stage.end(handle)


@codec.workflow
@workflow.defn
class FailsInSecret:
    @workflow.run
    async def run(self, secret: str) -> None:
        raise ApplicationError(f"it was {secret}", {"secret": secret})


codec.runs("fails_in_secret", FailsInSecret.run, "sesame")


# -- a type of one's own ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    x: int
    y: int


class PointConverter(EncodingPayloadConverter):
    @property
    def encoding(self) -> str:
        return "text/point"

    def to_payload(self, value: Any) -> Payload | None:
        if not isinstance(value, Point):
            return None
        return Payload(metadata={"encoding": self.encoding.encode()}, data=f"{value.x};{value.y}".encode())

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        x, y = payload.data.decode().split(";")
        return Point(int(x), int(y))


class PayloadConverterWithPoints(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(PointConverter(), *DefaultPayloadConverter.default_encoding_payload_converters)


points = Theme(
    "points",
    data_converter=dataclasses.replace(DataConverter.default, payload_converter_class=PayloadConverterWithPoints),
)


@points.activity
@activity.defn
async def move(point: Point, by: int) -> Point:
    return Point(point.x + by, point.y - by)


@points.workflow
@workflow.defn
class Walk:
    @workflow.run
    async def run(self, start: Point) -> Point:
        here = start
        for by in (1, 2, 3):
            here = await workflow.execute_activity(move, args=[here, by], start_to_close_timeout=SOON)
        return here


points.runs("walk", Walk.run, Point(3, 4))
