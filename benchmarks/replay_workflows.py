"""The workflow whose histories are replayed: eight activities, two of them at once, which makes fifty events."""

import asyncio
from datetime import timedelta

from temporalio import activity, workflow

SOON = timedelta(seconds=10)


@activity.defn
async def add(left: int, right: int) -> int:
    return left + right


@workflow.defn
class FiftyEvents:
    @workflow.run
    async def run(self, total: int) -> int:
        total += sum(
            await asyncio.gather(
                *(workflow.execute_activity(add, args=[total, n], start_to_close_timeout=SOON) for n in (1, 2))
            )
        )
        for number in range(6):
            total = await workflow.execute_activity(add, args=[total, number], start_to_close_timeout=SOON)
        return total
