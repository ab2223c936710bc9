"""Values of all kinds and sizes, by the default converter: nothing, bytes, unicode, big ones, dataclasses, enums."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow

from tests.shadow.corpus.theme import Theme

theme = Theme("payloads")

SOON = timedelta(seconds=30)


class Colour(enum.StrEnum):
    RED = "red"
    GREEN = "green"


@dataclass
class Inner:
    words: list[str]
    colour: Colour = Colour.RED


@dataclass
class Outer:
    name: str
    inner: Inner
    by_name: dict[str, Inner] = field(default_factory=dict)
    maybe: int | None = None


@theme.activity
@activity.defn
async def back(value: Any) -> Any:
    return value


@theme.activity
@activity.defn
async def paint(outer: Outer) -> Outer:
    outer.inner.colour = Colour.GREEN
    return outer


@theme.activity
@activity.defn
async def raw(data: bytes) -> bytes:
    return data[::-1]


@theme.workflow
@workflow.defn
class There:
    """What comes in goes to an activity and out again."""

    @workflow.run
    async def run(self, value: Any) -> Any:
        return await workflow.execute_activity(back, value, start_to_close_timeout=SOON)


@theme.workflow
@workflow.defn
class Painter:
    @workflow.run
    async def run(self, outer: Outer, data: bytes) -> Outer:
        painted = await workflow.execute_activity(paint, outer, start_to_close_timeout=SOON)
        painted.by_name["first"] = outer.inner
        reversed_data = await workflow.execute_activity(raw, data, start_to_close_timeout=SOON)
        painted.maybe = len(reversed_data)
        return painted


VALUES: dict[str, Any] = {
    "nothing": None,
    "empty_text": "",
    "empty_list": [],
    "empty_object": {},
    "unicode": "ünï ©ode ✓ 𝄞 \u202e \x00 end",
    "numbers": [0, -1, 2**53 + 1, 2**70, 1.5e300, -0.0, 1e-9],
    "nested": {"a": [{"b": [[], {}, None, True]}]},
    "large": "x" * 200_000,
    "many": list(range(20_000)),
}
for name, value in VALUES.items():
    theme.runs(name, There.run, value)
theme.runs("dataclasses_and_bytes", Painter.run, Outer("o", Inner(["w"])), bytes(range(256)))
