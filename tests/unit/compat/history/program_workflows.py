"""The workflows and activities of ``programs``: each uses one part of the language."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.common import (
    Priority,
    RetryPolicy,
    SearchAttributeKey,
)
from temporalio.exceptions import ActivityError, ApplicationError

ONCE = RetryPolicy(maximum_attempts=1)
SOON = timedelta(seconds=20)
INT = SearchAttributeKey.for_int("HistoryInt")
KEYWORD = SearchAttributeKey.for_keyword("HistoryKeyword")

# -- activities --------------------------------------------------------------------------------------------------------


@activity.defn
async def add(left: int, right: int) -> int:
    return left + right


@activity.defn
async def refuse(message: str) -> None:
    raise ApplicationError(message, {"reason": message}, type="Refused", non_retryable=True)


@activity.defn
async def fail_twice() -> str:
    if activity.info().attempt < 3:
        raise ApplicationError(f"attempt {activity.info().attempt}", "its detail")
    return f"attempt {activity.info().attempt}"


@activity.defn
async def hang() -> None:
    await asyncio.Event().wait()


@activity.defn
async def beat_then_hang() -> None:
    activity.heartbeat("halfway", 50)
    await asyncio.Event().wait()


@activity.defn
async def fail_then_hang() -> None:
    if activity.info().attempt == 1:
        raise ApplicationError("first attempt", "its detail", type="First")
    await asyncio.Event().wait()


@activity.defn
async def beat_until_cancelled(swallow: bool) -> str:
    try:
        while True:
            activity.heartbeat()
            await asyncio.sleep(0.05)
    except asyncio.CancelledError:
        if swallow:
            return "cancelled, but done"
        raise


ACTIVITIES: list[Callable[..., Any]] = [
    add,
    refuse,
    fail_twice,
    hang,
    beat_then_hang,
    fail_then_hang,
    beat_until_cancelled,
]

# -- workflows ---------------------------------------------------------------------------------------------------------


@workflow.defn
class Nothing:
    @workflow.run
    async def run(self) -> None:
        pass


@workflow.defn
class Echo:
    @workflow.run
    async def run(self, value: Any) -> Any:
        return value


@workflow.defn
class TwoSteps:
    @workflow.run
    async def run(self) -> list[Any]:
        lengths = [workflow.info().get_current_history_length()]
        first = await workflow.execute_activity(add, args=[1, 2], start_to_close_timeout=SOON)
        lengths.append(workflow.info().get_current_history_length())
        second = await workflow.execute_activity(
            add,
            args=[first, 3],
            activity_id="the second",
            schedule_to_close_timeout=SOON,
            heartbeat_timeout=timedelta(seconds=7),
            retry_policy=RetryPolicy(
                initial_interval=timedelta(milliseconds=1500),
                backoff_coefficient=1.5,
                maximum_interval=timedelta(seconds=30),
                maximum_attempts=4,
                non_retryable_error_types=["Never"],
            ),
            summary="adds three",
            priority=Priority(priority_key=2),
        )
        lengths.append(workflow.info().get_current_history_length())
        return [second, lengths]


@workflow.defn
class Parallel:
    @workflow.run
    async def run(self) -> list[int]:
        return await asyncio.gather(
            *[workflow.execute_activity(add, args=[n, n], start_to_close_timeout=SOON) for n in range(5)]
        )


@workflow.defn
class Refused:
    @workflow.run
    async def run(self, catch: bool) -> list[Any]:
        try:
            await workflow.execute_activity(refuse, "no", start_to_close_timeout=SOON)
        except ActivityError as error:
            if not catch:
                raise
            return [error.scheduled_event_id, error.started_event_id, str(error.cause)]
        return []


@workflow.defn
class Retried:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(
            fail_twice,
            start_to_close_timeout=SOON,
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10)),
        )


async def _ended(awaitable: Awaitable[Any]) -> list[Any]:
    try:
        return ["completed", await awaitable]
    except ActivityError as error:
        return [type(error.cause).__name__, str(error.cause), error.scheduled_event_id, error.started_event_id]
    except asyncio.CancelledError:
        return ["cancelled"]


@workflow.defn
class TimedOut:
    @workflow.run
    async def run(self, which: str) -> list[Any]:
        short = timedelta(milliseconds=300)
        if which == "start to close":
            return await _ended(workflow.execute_activity(hang, start_to_close_timeout=short, retry_policy=ONCE))
        if which == "schedule to start":
            return await _ended(
                workflow.execute_activity(
                    hang,
                    task_queue="nobody-" + workflow.info().workflow_id,
                    schedule_to_start_timeout=short,
                    start_to_close_timeout=SOON,
                )
            )
        if which == "never started":
            return await _ended(
                workflow.execute_activity(
                    hang, task_queue="nobody-" + workflow.info().workflow_id, schedule_to_close_timeout=short
                )
            )
        if which == "heartbeat":
            return await _ended(
                workflow.execute_activity(
                    beat_then_hang, start_to_close_timeout=SOON, heartbeat_timeout=short, retry_policy=ONCE
                )
            )
        return await _ended(
            workflow.execute_activity(
                fail_then_hang,
                schedule_to_close_timeout=timedelta(seconds=2),
                retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10)),
            )
        )


@workflow.defn
class Sleeps:
    @workflow.run
    async def run(self) -> int:
        await asyncio.sleep(0.1)
        await workflow.sleep(0.2, summary="a nap")
        return workflow.info().get_current_history_length()


@workflow.defn
class Approval:
    """Waits for signals with a timeout, so that its timer is cancelled or rings."""

    def __init__(self) -> None:
        self.names: list[str] = []

    @workflow.signal
    def approve(self, name: str) -> None:
        self.names.append(name)

    @workflow.run
    async def run(self, timeout_s: float, wanted: int) -> list[str]:
        try:
            await workflow.wait_condition(
                lambda: len(self.names) >= wanted, timeout=timeout_s, timeout_summary="patience"
            )
        except TimeoutError:
            return ["too late", *self.names]
        return self.names


@workflow.defn
class Cancels:
    """Starts an activity, gives it a moment, cancels it."""

    @workflow.run
    async def run(self, kind: str, where: str) -> list[Any]:
        types = {
            "try": workflow.ActivityCancellationType.TRY_CANCEL,
            "wait": workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            "abandon": workflow.ActivityCancellationType.ABANDON,
        }
        queue = "nobody-" + workflow.info().workflow_id if where == "nowhere" else None
        handle = workflow.start_activity(
            beat_until_cancelled,
            where == "swallow",
            task_queue=queue,
            start_to_close_timeout=SOON,
            heartbeat_timeout=timedelta(seconds=1),
            cancellation_type=types[kind],
            retry_policy=ONCE,
        )
        if where != "at once":
            await asyncio.sleep(1)
        else:
            await asyncio.sleep(0)
        handle.cancel()
        ended = await _ended(handle)
        second = await workflow.execute_activity(add, args=[1, 1], start_to_close_timeout=SOON)
        return [ended, second]


@workflow.defn
class CancelledBeforeSent:
    @workflow.run
    async def run(self) -> str:
        timer = asyncio.create_task(asyncio.sleep(100))
        step = workflow.start_activity(add, args=[1, 1], start_to_close_timeout=SOON)
        await asyncio.sleep(0)
        timer.cancel()
        step.cancel()
        outcome = await _ended(step)
        await asyncio.sleep(0.01)
        return str(outcome[0])


@workflow.defn
class Cancellable:
    @workflow.run
    async def run(self, clean_up: bool) -> str:
        try:
            await asyncio.gather(
                asyncio.sleep(1000),
                workflow.execute_activity(
                    beat_until_cancelled,
                    False,
                    start_to_close_timeout=SOON,
                    heartbeat_timeout=timedelta(seconds=1),
                    cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
                ),
            )
        except BaseException:
            if clean_up:
                await workflow.execute_activity(add, args=[0, 0], start_to_close_timeout=SOON)
                return "cleaned up"
            raise
        return "not cancelled"


@workflow.defn
class Counter:
    """Updates of every fate, and signals between them."""

    def __init__(self) -> None:
        self.total = 0
        self.done = False

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: self.done)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self.total

    @workflow.signal
    def finish(self) -> None:
        self.done = True

    @workflow.signal
    def bump(self, by: int) -> None:
        self.total += by

    @workflow.update
    def add_now(self, by: int) -> int:
        self.total += by
        return self.total

    @add_now.validator
    def positive(self, by: int) -> None:
        if by < 0:
            raise ValueError("negative")

    @workflow.update
    async def add_slowly(self, by: int) -> int:
        self.total = await workflow.execute_activity(add, args=[self.total, by], start_to_close_timeout=SOON)
        return self.total

    @workflow.update
    async def break_down(self) -> None:
        await asyncio.sleep(0.01)
        raise ApplicationError("broken", type="Broken")


@workflow.defn
class Metadata:
    @workflow.run
    async def run(self) -> str:
        workflow.upsert_memo({"phase": "one", "count": 1})
        workflow.upsert_search_attributes([INT.value_set(7), KEYWORD.value_set("blue")])
        await asyncio.sleep(0.01)
        workflow.upsert_memo({"count": None})
        workflow.upsert_search_attributes([KEYWORD.value_unset()])
        await workflow.execute_activity(add, args=[1, 1], start_to_close_timeout=SOON)
        return str(workflow.uuid4())


@workflow.defn
class Loop:
    @workflow.run
    async def run(self, rounds: int) -> int:
        total = 0
        for n in range(rounds):
            if workflow.random().random() < 0.5:
                total = await workflow.execute_activity(add, args=[total, n], start_to_close_timeout=SOON)
            else:
                await asyncio.sleep(0.001)
        return total


@workflow.defn
class FirstWins:
    @workflow.run
    async def run(self) -> int:
        nap = asyncio.create_task(asyncio.sleep(100))
        step = asyncio.create_task(workflow.execute_activity(add, args=[1, 1], start_to_close_timeout=SOON))
        await workflow.wait([nap, step], return_when=asyncio.FIRST_COMPLETED)
        nap.cancel()
        try:
            async with asyncio.timeout(100):
                return await workflow.execute_activity(add, args=[2, 2], start_to_close_timeout=SOON)
        except TimeoutError:
            return 0


@workflow.defn
class Fails:
    @workflow.run
    async def run(self) -> None:
        try:
            raise ValueError("root")
        except ValueError as error:
            raise ApplicationError("failed on purpose", 1, {"two": 2}, type="OnPurpose") from error


@workflow.defn
class Forever:
    @workflow.signal
    def note(self, _text: str) -> None:
        pass

    @workflow.run
    async def run(self) -> None:
        step = workflow.start_activity(hang, start_to_close_timeout=SOON)
        await asyncio.sleep(1000)
        await step


@workflow.defn
class CompletesWithOpenWork:
    """An activity asked for together with the end, and an update that ends with the run."""

    def __init__(self) -> None:
        self.done = False

    @workflow.update
    def finish(self) -> str:
        self.done = True
        return "finishing"

    @workflow.run
    async def run(self) -> str:
        nap = asyncio.create_task(asyncio.sleep(1000))
        await workflow.wait_condition(lambda: self.done)
        workflow.start_activity(add, args=[1, 1], start_to_close_timeout=SOON)
        del nap
        return "done"


WORKFLOWS: list[type] = [
    Nothing,
    Echo,
    TwoSteps,
    Parallel,
    Refused,
    Retried,
    TimedOut,
    Sleeps,
    Approval,
    Cancels,
    CancelledBeforeSent,
    Cancellable,
    Counter,
    Metadata,
    Loop,
    FirstWins,
    Fails,
    Forever,
    CompletesWithOpenWork,
]
