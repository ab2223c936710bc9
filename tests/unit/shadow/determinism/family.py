"""Workflows for real worker processes: one with children and an activity that is cancelled, one with a single attempt."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError
from temporalio.workflow import ActivityCancellationType

MINUTE = timedelta(minutes=1)


@activity.defn
async def watch() -> str:
    raise NotImplementedError("the kit runs no activity")


@workflow.defn
class Child:
    @workflow.run
    async def run(self, number: int) -> int:
        return number


@workflow.defn
class Family:
    """Two children, and somebody who watches until they are there."""

    @workflow.run
    async def run(self) -> str:
        watching = workflow.start_activity(
            watch,
            start_to_close_timeout=MINUTE,
            heartbeat_timeout=timedelta(seconds=20),
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        numbers = await asyncio.gather(
            workflow.execute_child_workflow(Child.run, 1, id=f"{workflow.info().workflow_id}-elder"),
            workflow.execute_child_workflow(Child.run, 2),
        )
        watching.cancel()
        try:
            await watching
        except ActivityError as error:
            return f"{type(error.cause).__name__} {len(numbers)}"
        return "watched to the end"


@workflow.defn
class Once:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(
            watch, start_to_close_timeout=MINUTE, retry_policy=RetryPolicy(maximum_attempts=1)
        )
