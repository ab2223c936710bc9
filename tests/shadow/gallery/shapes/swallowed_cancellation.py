"""Whoever catches cancellation and goes on cannot be cancelled."""

from __future__ import annotations

import asyncio

from temporalio import workflow

from dbos_shadow.determinism import Rule, plan
from tests.shadow.gallery.shape import Shape


@workflow.defn(name="SwallowedCancellation")
class Broken:
    def __init__(self) -> None:
        self.paid = False

    @workflow.run
    async def run(self) -> None:
        while not self.paid:
            try:
                await workflow.wait_condition(lambda: self.paid)
            except asyncio.CancelledError:
                continue  # it is not paid yet

    @workflow.signal
    def pay(self) -> None:
        self.paid = True


@workflow.defn(name="SwallowedCancellation")
class Mended:
    def __init__(self) -> None:
        self.paid = False

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: self.paid)

    @workflow.signal
    def pay(self) -> None:
        self.paid = True


SHAPE = Shape(
    title="A swallowed `CancelledError`",
    lesson="Let it through, or clean up and raise it again.",
    broken=plan(Broken.run, sandboxed=False),
    mended=plan(Mended.run, sandboxed=False),
    rules=frozenset({Rule.CANCEL_ENDS}),
)
BROKEN = SHAPE.broken
