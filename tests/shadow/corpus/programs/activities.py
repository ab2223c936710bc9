"""Activities: in a row, side by side, tried again, timed out, cancelled, completed by somebody else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.api.enums.v1 import EventType
from temporalio.common import Priority, RawValue, RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.workflow import ActivityCancellationType

from tests.shadow.corpus.stage import Stage
from tests.shadow.corpus.theme import Theme

theme = Theme("activities")

SOON = timedelta(seconds=30)
ONCE = RetryPolicy(maximum_attempts=1)
QUICKLY = RetryPolicy(initial_interval=timedelta(milliseconds=10), backoff_coefficient=1.0, maximum_attempts=3)


@dataclass
class Parcel:
    number: int
    weight_kg: float
    labels: list[str]


@theme.activity
@activity.defn
async def weigh(number: int) -> Parcel:
    return Parcel(number, number / 2, [f"no {number}", "fragile"])


@theme.activity
@activity.defn
async def send(parcel: Parcel, to: str) -> str:
    return f"{parcel.number} to {to}"


@theme.activity
@activity.defn
def add_up(numbers: list[int]) -> int:
    """Synchronous: it runs in a thread."""
    return sum(numbers)


@theme.activity
@activity.defn
async def after(seconds: float, value: str) -> str:
    await asyncio.sleep(seconds)
    return value


@theme.activity
@activity.defn
async def third_time() -> int:
    if activity.info().attempt < 3:
        raise ApplicationError(f"attempt {activity.info().attempt}", {"attempt": activity.info().attempt})
    return activity.info().attempt


@theme.activity
@activity.defn
async def refuse(kind: str, non_retryable: bool) -> None:
    raise ApplicationError("refused", {"kind": kind}, 7, type=kind, non_retryable=non_retryable)


@theme.activity
@activity.defn
async def again_in_a_moment() -> str:
    if activity.info().attempt < 2:
        raise ApplicationError("later", next_retry_delay=timedelta(milliseconds=20))
    return "now"


@theme.activity
@activity.defn
async def too_slow() -> None:
    await asyncio.sleep(60)


@theme.activity
@activity.defn
async def counts_up(limit: int) -> int:
    """Goes on where the attempt before has stopped."""
    reached = activity.info().heartbeat_details[0] if activity.info().heartbeat_details else 0
    while reached < limit:
        reached += 1
        activity.heartbeat(reached)
        if reached == limit // 2 and activity.info().attempt == 1:
            raise ApplicationError("half way")
    return reached


@theme.activity
@activity.defn
async def until_cancelled(how: str) -> str:
    try:
        while True:
            activity.heartbeat("still here")
            await asyncio.sleep(0.02)
    except asyncio.CancelledError:
        if how == "return":
            return "stopped tidily"
        if how == "fail":
            raise ApplicationError("failed on the way out", non_retryable=True) from None
        raise


@theme.activity
@activity.defn
async def by_somebody_else() -> str:
    activity.raise_complete_async()


@theme.activity
@activity.defn(dynamic=True)
async def anything(arguments: Sequence[RawValue]) -> str:
    return f"{activity.info().activity_type} with {len(arguments)}"


# -- workflows ---------------------------------------------------------------------------------------------------------


@theme.workflow
@workflow.defn
class InARow:
    @workflow.run
    async def run(self, first: int, city: str) -> dict[str, Any]:
        parcel = await workflow.execute_activity(weigh, first, start_to_close_timeout=SOON)
        parcel.labels.append(f"for {city}")
        receipt = await workflow.execute_activity(
            send, args=[parcel, city.upper()], start_to_close_timeout=SOON, heartbeat_timeout=timedelta(seconds=9)
        )
        total = await workflow.execute_activity(add_up, [first, first + 1, 40], schedule_to_close_timeout=SOON)
        return {"receipt": receipt, "total": total, "city": city}


@theme.workflow
@workflow.defn
class AllAtOnce:
    @workflow.run
    async def run(self, count: int) -> list[float]:
        parcels = await asyncio.gather(
            *[workflow.execute_activity(weigh, number, start_to_close_timeout=SOON) for number in range(count)]
        )
        return [parcel.weight_kg for parcel in parcels]


@theme.workflow
@workflow.defn
class TwoBranches:
    """Two independent rows of steps, side by side."""

    @workflow.run
    async def run(self) -> list[str]:
        async def row(city: str, number: int) -> str:
            parcel = await workflow.execute_activity(weigh, number, start_to_close_timeout=SOON)
            return await workflow.execute_activity(send, args=[parcel, city], start_to_close_timeout=SOON)

        return list(await asyncio.gather(row("Oslo", 1), row("Rome", 2)))


@theme.workflow
@workflow.defn
class AsTheyCome:
    """The order of completion decides what is asked for next."""

    @workflow.run
    async def run(self) -> list[str]:
        tasks = [
            asyncio.create_task(workflow.execute_activity(after, args=[delay, name], start_to_close_timeout=SOON))
            for delay, name in ((0.3, "slow"), (0.0, "quick"), (0.15, "middling"))
        ]
        seen = []
        for task in workflow.as_completed(tasks):
            name = await task
            seen.append(
                await workflow.execute_activity(after, args=[0.0, f"after {name}"], start_to_close_timeout=SOON)
            )
        return seen


@theme.workflow
@workflow.defn
class FirstOfThem:
    """The first result wins, the others are cancelled."""

    @workflow.run
    async def run(self, kind: str) -> str:
        cancellation = ActivityCancellationType[kind]
        quick = asyncio.create_task(workflow.execute_activity(after, args=[0.2, "quick"], start_to_close_timeout=SOON))
        slow = asyncio.create_task(
            workflow.execute_activity(
                until_cancelled,
                "raise",
                start_to_close_timeout=SOON,
                heartbeat_timeout=timedelta(seconds=10),
                retry_policy=ONCE,
                cancellation_type=cancellation,
            )
        )
        done, pending = await workflow.wait([quick, slow], return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await workflow.wait(pending)
        return done.pop().result()


@theme.workflow
@workflow.defn
class CancelsOne:
    """An activity that has begun is cancelled by the workflow, and has its say, or not."""

    @workflow.run
    async def run(self, kind: str, how: str) -> str:
        task = workflow.start_activity(
            until_cancelled,
            how,
            start_to_close_timeout=SOON,
            heartbeat_timeout=timedelta(seconds=10),
            retry_policy=ONCE,
            cancellation_type=ActivityCancellationType[kind],
        )
        await asyncio.sleep(0.5)
        task.cancel()
        try:
            return await task
        except ActivityError as error:
            return f"{type(error.cause).__name__} {error.retry_state}"


@theme.workflow
@workflow.defn
class CancelledBeforeItBegan:
    @workflow.run
    async def run(self) -> str:
        task = workflow.start_activity(weigh, 1, start_to_close_timeout=SOON)
        task.cancel()
        waiting = workflow.start_activity(weigh, 2, task_queue="nobody serves this", start_to_close_timeout=SOON)
        await asyncio.sleep(0.01)
        waiting.cancel()
        ends = await asyncio.gather(task, waiting, return_exceptions=True)
        return ", ".join(type(end).__name__ for end in ends)


@theme.workflow
@workflow.defn
class TriedAgain:
    @workflow.run
    async def run(self) -> list[Any]:
        return [
            await workflow.execute_activity(third_time, start_to_close_timeout=SOON, retry_policy=QUICKLY),
            await workflow.execute_activity(again_in_a_moment, start_to_close_timeout=SOON),
            await workflow.execute_activity(
                counts_up,
                6,
                start_to_close_timeout=SOON,
                heartbeat_timeout=timedelta(seconds=10),
                retry_policy=QUICKLY,
            ),
        ]


@theme.workflow
@workflow.defn
class GivesUp:
    """Fails for good, in each of the ways, and is caught."""

    @workflow.run
    async def run(self) -> list[str]:
        policies = {
            "Often": QUICKLY,
            "Listed": RetryPolicy(initial_interval=timedelta(milliseconds=10), non_retryable_error_types=["Listed"]),
            "Never": None,
        }
        ends = []
        for kind, policy in policies.items():
            try:
                await workflow.execute_activity(
                    refuse, args=[kind, kind == "Never"], start_to_close_timeout=SOON, retry_policy=policy
                )
            except ActivityError as error:
                ends.append(f"{error.retry_state} {error.cause}")
        return ends


@theme.workflow
@workflow.defn
class TimesOut:
    @workflow.run
    async def run(self, which: str) -> str:
        short = timedelta(milliseconds=200)
        clocks: dict[str, dict[str, Any]] = {
            "start_to_close": {"start_to_close_timeout": short},
            "schedule_to_start": {
                "schedule_to_start_timeout": short,
                "start_to_close_timeout": SOON,
                "task_queue": "nobody serves this",
            },
            "schedule_to_close": {"schedule_to_close_timeout": short},
            "heartbeat": {"start_to_close_timeout": SOON, "heartbeat_timeout": short},
        }
        try:
            await workflow.execute_activity(too_slow, retry_policy=ONCE, **clocks[which])
        except ActivityError as error:
            return f"{type(error.cause).__name__}: {error.cause}"
        return "in time"


@theme.workflow
@workflow.defn
class WithOptions:
    @workflow.run
    async def run(self) -> list[Any]:
        named = workflow.execute_activity(
            "nobody has written this", args=["a", {"b": 1}], start_to_close_timeout=SOON, activity_id="the chosen one"
        )
        urgent = workflow.execute_activity(
            weigh,
            9,
            start_to_close_timeout=SOON,
            priority=Priority(priority_key=2),
            summary="first of all",
            retry_policy=RetryPolicy(
                initial_interval=timedelta(seconds=2),
                maximum_interval=timedelta(seconds=7),
                backoff_coefficient=1.5,
                maximum_attempts=4,
                non_retryable_error_types=["Broken", "Lost"],
            ),
        )
        return [await named, (await urgent).number]


@theme.workflow
@workflow.defn
class ByHand:
    """Waits for a completion that comes from outside."""

    @workflow.run
    async def run(self) -> str:
        try:
            return await workflow.execute_activity(
                by_somebody_else,
                start_to_close_timeout=SOON,
                activity_id="by hand",
                retry_policy=ONCE,
                cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            )
        except ActivityError as error:
            return f"{type(error.cause).__name__}: {error.cause}"


@theme.workflow
@workflow.defn
class TakesBack:
    """A saga: what was done is undone, last first."""

    @workflow.run
    async def run(self, fails_at: int) -> list[str]:
        undo: list[int] = []
        said: list[str] = []
        try:
            for number in range(4):
                if number == fails_at:
                    await workflow.execute_activity(refuse, args=["Step", True], start_to_close_timeout=SOON)
                await workflow.execute_activity(weigh, number, start_to_close_timeout=SOON)
                undo.append(number)
        except ActivityError:
            for number in reversed(undo):
                said.append(
                    await workflow.execute_activity(after, args=[0.0, f"undo {number}"], start_to_close_timeout=SOON)
                )
        return said


theme.runs("in_a_row", InARow.run, 3, "Turin")
for count in (0, 1, 2, 7):
    theme.runs(f"all_at_once_{count}", AllAtOnce.run, count)
theme.runs("two_branches", TwoBranches.run)
theme.runs("as_they_come", AsTheyCome.run)
for kind in ("TRY_CANCEL", "WAIT_CANCELLATION_COMPLETED", "ABANDON"):
    theme.runs(f"first_of_them_{kind}", FirstOfThem.run, kind)
    for how in ("raise", "return", "fail"):
        theme.runs(f"cancels_one_{kind}_{how}", CancelsOne.run, kind, how)
theme.runs("cancelled_before_it_began", CancelledBeforeItBegan.run)
theme.runs("tried_again", TriedAgain.run)
theme.runs("gives_up", GivesUp.run)
for which in ("start_to_close", "schedule_to_start", "schedule_to_close", "heartbeat"):
    theme.runs(f"times_out_{which}", TimesOut.run, which)
theme.runs("with_options", WithOptions.run)
for fails_at in (0, 2, 9):
    theme.runs(f"takes_back_{fails_at}", TakesBack.run, fails_at)


@theme.scene
async def completed_by_hand(stage: Stage) -> None:
    handle = await stage.start(ByHand.run)
    await stage.until_activity_runs(handle)
    by_id = stage.client.get_async_activity_handle(workflow_id=handle.id, run_id=None, activity_id="by hand")
    await by_id.heartbeat("nearly")
    await by_id.complete("by hand")
    await stage.end(handle)


@theme.scene
async def failed_by_hand(stage: Stage) -> None:
    handle = await stage.start(ByHand.run)
    await stage.until_activity_runs(handle)
    by_id = stage.client.get_async_activity_handle(workflow_id=handle.id, run_id=None, activity_id="by hand")
    await by_id.fail(ApplicationError("by hand", "a detail", type="ByHand", non_retryable=True))
    await stage.end(handle)


@theme.scene
async def cancelled_by_hand(stage: Stage) -> None:
    handle = await stage.start(ByHand.run)
    await stage.until_activity_runs(handle)
    await handle.cancel()
    await stage.until_event(handle, EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED)
    by_id = stage.client.get_async_activity_handle(workflow_id=handle.id, run_id=None, activity_id="by hand")
    await by_id.report_cancellation("because")
    await stage.end(handle)


@theme.workflow
@workflow.defn
class CleansUp:
    """Cancelled in the middle of an activity: cleans up behind a shield, and says that it was cancelled, or not."""

    @workflow.run
    async def run(self, swallows: bool) -> str:
        try:
            await workflow.execute_activity(
                until_cancelled,
                "raise",
                start_to_close_timeout=SOON,
                heartbeat_timeout=timedelta(seconds=10),
                cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            )
        except ActivityError as error:
            done = await asyncio.shield(
                workflow.execute_activity(after, args=[0.0, "cleaned up"], start_to_close_timeout=SOON)
            )
            if not swallows:
                raise
            return f"{done}: {error.cause}"
        return "never"


@theme.scene
async def cancelled_with_clean_up(stage: Stage) -> None:
    for swallows in (True, False):
        handle = await stage.start(CleansUp.run, swallows, also=f"-{swallows}")
        await stage.until_activity_runs(handle)
        await handle.cancel(reason="enough")
        await stage.end(handle)
