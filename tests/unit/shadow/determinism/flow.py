"""Workflows for the front doors: one that holds, one that does not."""

from __future__ import annotations

from datetime import timedelta

from temporalio import activity, workflow

MINUTE = timedelta(minutes=1)


@activity.defn
async def reserve(item: str) -> str:
    raise NotImplementedError("the kit runs no activity")


@activity.defn
async def ship(item: str) -> int:
    raise NotImplementedError("the kit runs no activity")


@workflow.defn
class Holds:
    """Two activities, one after the other."""

    @workflow.run
    async def run(self, item: str) -> int:
        found = await workflow.execute_activity(reserve, item, start_to_close_timeout=MINUTE)
        return await workflow.execute_activity(ship, found, start_to_close_timeout=MINUTE)


@workflow.defn(name="Holds")
class Swapped:
    """The same two, the other way round: no run that has begun can go on with it."""

    @workflow.run
    async def run(self, item: str) -> int:
        await workflow.execute_activity(ship, item, start_to_close_timeout=MINUTE)
        await workflow.execute_activity(reserve, item, start_to_close_timeout=MINUTE)
        return 1


_runs: list[str] = []


@workflow.defn
class Breaks:
    """A replay does something else."""

    @workflow.run
    async def run(self, item: str) -> None:
        _runs.append(item)
        await workflow.execute_activity(reserve if len(_runs) % 2 else ship, item, start_to_close_timeout=MINUTE)
