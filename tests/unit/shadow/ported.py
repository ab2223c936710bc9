"""The order of ``changed``, ported by hand: other names, and a step that is new."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow

from tests.unit.shadow.changed import RAN

SOON = timedelta(seconds=20)


async def step(name: str, value: object) -> str:
    return str(await workflow.execute_activity(name, value, start_to_close_timeout=SOON, result_type=str))


@workflow.defn
class Purchase:
    """Names are others, and nothing else is."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    @workflow.signal
    def remark(self, text: str) -> None:
        self.notes.append(text)

    @workflow.run
    async def run(self, amount: int) -> dict[str, Any]:
        first, second = await asyncio.gather(step("hold", {"amount": amount}), step("pay", {"amount": amount}))
        await asyncio.sleep(0.01)
        shipped = await step("send", [first, second])
        await workflow.wait_condition(lambda: bool(self.notes))
        return {"shipped": shipped, "notes": self.notes}


@workflow.defn(name="Purchase")
class WithAudit(Purchase):
    """Has a step more, for which nothing is recorded."""

    @workflow.run
    async def run(self, amount: int) -> dict[str, Any]:
        first, second = await asyncio.gather(step("hold", {"amount": amount}), step("pay", {"amount": amount}))
        await asyncio.sleep(0.01)
        await step("audit", amount)
        shipped = await step("send", [first, second])
        await workflow.wait_condition(lambda: bool(self.notes))
        return {"shipped": shipped, "notes": self.notes}


async def audit(amount: int) -> str:
    """A side effect, planted."""
    RAN.append(f"audit {amount}")
    return "audited"


@activity.defn(name="audit")
async def real_audit(amount: int) -> str:
    return await audit(amount)


STUBS = {"audit": "as if audited"}
REAL = {"audit": real_audit}
