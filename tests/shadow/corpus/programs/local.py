"""Local activities: no events of their own but a marker when they end."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, FailureError

from tests.shadow.corpus.theme import Theme

theme = Theme("local")

SOON = timedelta(seconds=30)


@theme.activity
@activity.defn
async def double(number: int) -> int:
    return 2 * number


@theme.activity
@activity.defn
async def second_time(word: str) -> str:
    if activity.info().attempt < 2:
        raise ApplicationError("not yet")
    return word


@theme.activity
@activity.defn
async def refuse(word: str) -> None:
    raise ApplicationError(word, {"word": word}, type="Refused", non_retryable=True)


@theme.activity
@activity.defn
async def slow() -> None:
    await asyncio.sleep(60)


@theme.workflow
@workflow.defn
class Locally:
    @workflow.run
    async def run(self, number: int) -> list[Any]:
        found: list[Any] = [await workflow.execute_local_activity(double, number, start_to_close_timeout=SOON)]
        found += await asyncio.gather(
            *[workflow.execute_local_activity(double, other, start_to_close_timeout=SOON) for other in (5, 6, 7)]
        )
        found.append(await workflow.execute_activity(double, found[-1], start_to_close_timeout=SOON))
        found.append(
            await workflow.execute_local_activity(
                second_time,
                "again",
                start_to_close_timeout=SOON,
                retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=5), maximum_attempts=3),
            )
        )
        return found


@theme.workflow
@workflow.defn
class LocallyRefused:
    @workflow.run
    async def run(self) -> str:
        try:
            await workflow.execute_local_activity(refuse, "no", start_to_close_timeout=SOON)
        except ApplicationError as error:
            said = f"{error.type} {error.details}"
        except ActivityError as error:
            said = str(error.cause)
        return said


async def be_late() -> None:
    await workflow.execute_local_activity(
        slow, start_to_close_timeout=timedelta(milliseconds=100), retry_policy=RetryPolicy(maximum_attempts=1)
    )


@theme.workflow
@workflow.defn
class LocallyLate:
    @workflow.run
    async def run(self) -> str:
        try:
            await be_late()
        except FailureError:
            return "too late"
        return "in time"


@theme.workflow
@workflow.defn
class LocallyLateByType:
    """Looks at the type of the failure: Temporal shows another one when it replays, and refuses its own history."""

    @workflow.run
    async def run(self) -> str:
        try:
            await be_late()
        except ActivityError:
            return "too late"
        return "in time"


@theme.workflow
@workflow.defn
class LocallyBeside:
    """Between timers and remote activities."""

    @workflow.run
    async def run(self) -> int:
        local = workflow.start_local_activity(double, 1, start_to_close_timeout=SOON)
        remote = workflow.start_activity(double, 2, start_to_close_timeout=SOON)
        await asyncio.sleep(0.01)
        return await local + await remote


@theme.workflow
@workflow.defn
class LocallyCancelled:
    @workflow.run
    async def run(self) -> str:
        local = workflow.start_local_activity(slow, start_to_close_timeout=SOON)
        await asyncio.sleep(0.01)
        local.cancel()
        (end,) = await asyncio.gather(local, return_exceptions=True)
        return type(end).__name__


theme.runs("locally", Locally.run, 3)
theme.runs("refused", LocallyRefused.run)
theme.runs("late", LocallyLate.run)
theme.runs("late_by_type", LocallyLateByType.run)
theme.runs("beside", LocallyBeside.run)
theme.runs("cancelled", LocallyCancelled.run, task_timeout=timedelta(seconds=2))
