"""Workflows of one type, as they were when their histories were made and as they are now."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import Any

from temporalio import workflow

SOON = timedelta(seconds=20)


async def step(name: str, value: object) -> str:
    return str(await workflow.execute_activity(name, value, start_to_close_timeout=SOON, result_type=str))


async def reserve_and_charge(amount: int) -> tuple[str, str]:
    return await asyncio.gather(step("reserve", {"amount": amount}), step("charge", {"amount": amount}))


@workflow.defn(name="Order")
class Order:
    def __init__(self) -> None:
        self.notes: list[str] = []

    @workflow.signal
    def note(self, text: str) -> None:
        self.notes.append(text)

    async def end(self, shipped: str) -> dict[str, Any]:
        await workflow.wait_condition(lambda: bool(self.notes))
        return {"shipped": shipped, "notes": self.notes}

    @workflow.run
    async def run(self, amount: int) -> dict[str, Any]:
        paid = await reserve_and_charge(amount)
        await asyncio.sleep(0.01)
        return await self.end(await step("ship", paid))


@workflow.defn(name="Order")
class OtherInput(Order):
    @workflow.run
    async def run(self, amount: int) -> dict[str, Any]:
        paid = await asyncio.gather(step("reserve", {"amount": amount}), step("charge", {"amount": amount + 1}))
        await asyncio.sleep(0.01)
        return await self.end(await step("ship", paid))


@workflow.defn(name="Order")
class OtherTimer(Order):
    @workflow.run
    async def run(self, amount: int) -> dict[str, Any]:
        paid = await reserve_and_charge(amount)
        await asyncio.sleep(0.02)
        return await self.end(await step("ship", paid))


@workflow.defn(name="Order")
class TwoTimers(Order):
    @workflow.run
    async def run(self, amount: int) -> dict[str, Any]:
        paid = await reserve_and_charge(amount)
        await asyncio.sleep(0.01)
        shipped = await step("ship", paid)
        await workflow.wait_condition(lambda: bool(self.notes))
        await asyncio.sleep(86_400)
        return {"shipped": shipped, "notes": self.notes}


@workflow.defn(name="Order")
class Endless(Order):
    @workflow.run
    async def run(self, amount: int) -> dict[str, Any]:
        await reserve_and_charge(amount)
        while True:
            await asyncio.sleep(60)


@workflow.defn(name="Order")
class NoTimer(Order):
    @workflow.run
    async def run(self, amount: int) -> dict[str, Any]:
        paid = await reserve_and_charge(amount)
        return await self.end(await step("ship", paid))


@workflow.defn(name="Order")
class ShipsEarly(Order):
    """Asks for something before it was recorded."""

    @workflow.run
    async def run(self, amount: int) -> dict[str, Any]:
        paid = await reserve_and_charge(amount)
        shipped = await step("ship", paid)
        await asyncio.sleep(0.01)
        await workflow.wait_condition(lambda: bool(self.notes))
        return {"shipped": shipped, "notes": self.notes}


@workflow.defn(name="Order")
class OneMore(Order):
    """Asks for something that was never recorded, and waits for it."""

    @workflow.run
    async def run(self, amount: int) -> dict[str, Any]:
        paid = await reserve_and_charge(amount)
        await step("audit", amount)
        return {"shipped": paid, "notes": self.notes}


@workflow.defn(name="Order")
class Fails(Order):
    @workflow.run
    async def run(self, amount: int) -> dict[str, Any]:
        await reserve_and_charge(amount)
        raise KeyError("canary")


@workflow.defn(name="Order")
class OtherInputFails(Order):
    @workflow.run
    async def run(self, amount: int) -> dict[str, Any]:
        await asyncio.gather(step("reserve", {"amount": amount}), step("charge", {"amount": amount + 1}))
        raise KeyError("canary")


@workflow.defn(name="Order")
class OtherOutcome(Order):
    @workflow.run
    async def run(self, amount: int) -> dict[str, Any]:
        paid = await reserve_and_charge(amount)
        await asyncio.sleep(0.01)
        shipped = await step("ship", paid)
        await workflow.wait_condition(lambda: bool(self.notes))
        return {"shipped": shipped, "notes": self.notes[1:]}


@workflow.defn(name="Order")
class Unsteady(Order):
    """Chance that is not the workflow's own."""

    @workflow.run
    async def run(self, amount: int) -> dict[str, Any]:
        paid = await reserve_and_charge(amount)
        await asyncio.sleep(0.01)
        shipped = await step("ship", [*paid, str(random.SystemRandom().random())])
        await workflow.wait_condition(lambda: bool(self.notes))
        return {"shipped": shipped, "notes": self.notes}


RAN: list[str] = []
"""What the activities have really done."""
