"""The four timeouts of an activity, and the exact failure that each becomes."""

from __future__ import annotations

import asyncio
import time

from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError

from .calls import Call, Order, Retry, call, call_fails
from .support import MakeWorker


class Sleeper:
    """Does not come back in time; says in which attempts it ran."""

    def __init__(self) -> None:
        self.attempts: list[int] = []

    @activity.defn
    async def oversleep(self) -> None:
        self.attempts.append(activity.info().attempt)
        await asyncio.sleep(60)

    @activity.defn
    async def beat_once_and_oversleep(self) -> None:
        self.attempts.append(activity.info().attempt)
        activity.heartbeat("last words", len(self.attempts))
        await asyncio.sleep(60)

    @activity.defn
    async def oversleep_once(self) -> str:
        self.attempts.append(activity.info().attempt)
        if len(self.attempts) == 1:
            await asyncio.sleep(60)
        return f"attempt {activity.info().attempt}"

    @activity.defn
    async def fail_then_oversleep(self) -> None:
        self.attempts.append(activity.info().attempt)
        if len(self.attempts) == 1:
            raise ApplicationError("first failure", "with details", type="First")
        await asyncio.sleep(60)

    @activity.defn
    async def always_fail(self) -> None:
        self.attempts.append(activity.info().attempt)
        raise ApplicationError("failed", type="Again")


async def test_start_to_close(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    sleeper = Sleeper()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[sleeper.oversleep]):
        order = Order("oversleep", start_to_close=0.3, retry=Retry(attempts=1))
        assert await call_fails(client, queue, wid, order) == [
            "ActivityError 'Activity task timed out' oversleep MAXIMUM_ATTEMPTS_REACHED",
            "TimeoutError 'activity StartToClose timeout' START_TO_CLOSE",
        ]
    assert sleeper.attempts == [1]


async def test_start_to_close_is_retried(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    sleeper = Sleeper()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[sleeper.oversleep_once]):
        order = Order("oversleep_once", start_to_close=0.3, retry=Retry())
        assert await call(client, queue, wid, order) == "attempt 2"
    assert sleeper.attempts == [1, 2]


async def test_schedule_to_start_is_final(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Call]):
        order = Order("oversleep", queue=f"{queue}-empty", schedule_to_start=0.3, retry=Retry())
        assert await call_fails(client, queue, wid, order) == [
            "ActivityError 'Activity task timed out' oversleep TIMEOUT",
            "TimeoutError 'activity ScheduleToStart timeout' SCHEDULE_TO_START",
        ]


async def test_schedule_to_close_of_an_activity_that_never_starts(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Call]):
        order = Order("oversleep", queue=f"{queue}-empty", start_to_close=None, schedule_to_close=0.3)
        assert await call_fails(client, queue, wid, order) == [
            "ActivityError 'Activity task timed out' oversleep TIMEOUT",
            "TimeoutError 'activity ScheduleToStart timeout' SCHEDULE_TO_START",
        ]


async def test_schedule_to_close_while_an_attempt_runs(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    sleeper = Sleeper()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[sleeper.oversleep]):
        order = Order("oversleep", start_to_close=None, schedule_to_close=0.5, retry=Retry())
        assert await call_fails(client, queue, wid, order) == [
            "ActivityError 'Activity task timed out' oversleep TIMEOUT",
            "TimeoutError 'Not enough time to schedule next retry before activity ScheduleToClose timeout, "
            "giving up retrying' SCHEDULE_TO_CLOSE",
        ]
    assert sleeper.attempts == [1]


async def test_schedule_to_close_is_not_waited_for_when_no_retry_fits(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    sleeper = Sleeper()
    began = time.monotonic()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[sleeper.always_fail]):
        order = Order("always_fail", schedule_to_close=8, retry=Retry(initial=0.1, coefficient=100))
        assert await call_fails(client, queue, wid, order) == [
            "ActivityError 'Activity task failed' always_fail TIMEOUT",
            "ApplicationError 'failed' type=Again",
        ]
    assert sleeper.attempts == [1, 2]
    assert time.monotonic() - began < 5


async def test_heartbeat(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    sleeper = Sleeper()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[sleeper.oversleep]):
        order = Order("oversleep", heartbeat=0.3, retry=Retry(attempts=1))
        assert await call_fails(client, queue, wid, order) == [
            "ActivityError 'Activity task timed out' oversleep MAXIMUM_ATTEMPTS_REACHED",
            "TimeoutError 'activity Heartbeat timeout' HEARTBEAT",
        ]


async def test_a_heartbeat_timeout_keeps_the_last_details(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    sleeper = Sleeper()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[sleeper.beat_once_and_oversleep]):
        order = Order("beat_once_and_oversleep", heartbeat=0.5, retry=Retry(attempts=1))
        assert await call_fails(client, queue, wid, order) == [
            "ActivityError 'Activity task timed out' beat_once_and_oversleep MAXIMUM_ATTEMPTS_REACHED",
            "TimeoutError 'activity Heartbeat timeout' HEARTBEAT heartbeat=('last words', 1)",
        ]


async def test_a_timeout_after_a_failure_has_that_failure_as_its_cause(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    sleeper = Sleeper()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[sleeper.fail_then_oversleep]):
        order = Order("fail_then_oversleep", start_to_close=0.3, retry=Retry(attempts=2))
        assert await call_fails(client, queue, wid, order) == [
            "ActivityError 'Activity task timed out' fail_then_oversleep MAXIMUM_ATTEMPTS_REACHED",
            "TimeoutError 'activity StartToClose timeout' START_TO_CLOSE",
            "ApplicationError 'first failure' type=First details=('with details',)",
        ]


async def test_a_timeout_after_a_timeout_has_it_as_its_cause(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    sleeper = Sleeper()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[sleeper.oversleep]):
        order = Order("oversleep", start_to_close=0.2, retry=Retry(attempts=2))
        assert await call_fails(client, queue, wid, order) == [
            "ActivityError 'Activity task timed out' oversleep MAXIMUM_ATTEMPTS_REACHED",
            "TimeoutError 'activity StartToClose timeout' START_TO_CLOSE",
            "TimeoutError 'activity StartToClose timeout' START_TO_CLOSE",
        ]
