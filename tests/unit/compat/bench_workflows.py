"""What lies on the workbench in its tests."""

from __future__ import annotations

from datetime import timedelta

from temporalio import activity, workflow

RAN: list[str] = []


@activity.defn
async def charge(amount: int) -> str:
    RAN.append(f"charge {amount}")
    return "charged"


@workflow.defn
class Order:
    @workflow.run
    async def run(self, amount: int) -> str:
        made = await workflow.execute_activity(charge, amount, start_to_close_timeout=timedelta(seconds=5))
        return f"{workflow.info().task_queue} {made} {workflow.uuid4()}"
