"""Activities that fail: how often they are tried, and what the workflow sees in the end."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError

from .calls import Call, Order, Retry, call, call_fails
from .support import MakeWorker


class Attempts:
    """Counts attempts and the time between them; succeeds at a given one."""

    def __init__(self) -> None:
        self.times: list[float] = []

    @property
    def gaps(self) -> list[float]:
        return [later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False)]

    @activity.defn
    async def fail_until(self, success: int, kind: str = "error") -> Any:
        self.times.append(time.monotonic())
        attempt = activity.info().attempt
        assert attempt == len(self.times)
        if attempt == success:
            return f"attempt {attempt}"
        match kind:
            case "application":
                raise ApplicationError("broken", {"attempt": attempt}, type="Broken")
            case "fatal":
                raise ApplicationError("hopeless", type="Fatal", non_retryable=True)
            case "soon":
                raise ApplicationError("wait a little", next_retry_delay=timedelta(milliseconds=20))
            case "late":
                raise ApplicationError("wait long", next_retry_delay=timedelta(seconds=1))
            case "cause":
                try:
                    raise KeyError("deep")
                except KeyError as deep:
                    raise ValueError("shallow") from deep
            case "empty":
                raise RuntimeError
        raise ValueError(f"attempt {attempt} failed")


async def test_it_is_tried_again_until_it_succeeds(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    attempts = Attempts()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[attempts.fail_until]):
        assert await call(client, queue, wid, Order("fail_until", [3], retry=Retry())) == "attempt 3"
    assert len(attempts.times) == 3


async def test_without_a_policy_it_is_retried_after_a_second(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    attempts = Attempts()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[attempts.fail_until]):
        assert await call(client, queue, wid, Order("fail_until", [2])) == "attempt 2"
    assert attempts.gaps[0] > 0.9


async def test_maximum_attempts(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    attempts = Attempts()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[attempts.fail_until]):
        assert await call_fails(client, queue, wid, Order("fail_until", [0], retry=Retry(attempts=3))) == [
            "ActivityError 'Activity task failed' fail_until MAXIMUM_ATTEMPTS_REACHED",
            "ApplicationError 'attempt 3 failed' type=ValueError",
        ]
    assert len(attempts.times) == 3


async def test_one_attempt_only(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    attempts = Attempts()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[attempts.fail_until]):
        order = Order("fail_until", [0, "application"], retry=Retry(attempts=1))
        assert await call_fails(client, queue, wid, order) == [
            "ActivityError 'Activity task failed' fail_until MAXIMUM_ATTEMPTS_REACHED",
            "ApplicationError 'broken' type=Broken details=({'attempt': 1},)",
        ]
    assert len(attempts.times) == 1


async def test_a_non_retryable_error_is_final(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    attempts = Attempts()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[attempts.fail_until]):
        assert await call_fails(client, queue, wid, Order("fail_until", [0, "fatal"], retry=Retry())) == [
            "ActivityError 'Activity task failed' fail_until NON_RETRYABLE_FAILURE",
            "ApplicationError 'hopeless' type=Fatal non_retryable",
        ]
    assert len(attempts.times) == 1


async def test_a_type_that_the_policy_lists_is_final(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    attempts = Attempts()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[attempts.fail_until]):
        order = Order("fail_until", [0, "application"], retry=Retry(non_retryable=["Other", "Broken"]))
        assert await call_fails(client, queue, wid, order) == [
            "ActivityError 'Activity task failed' fail_until NON_RETRYABLE_FAILURE",
            "ApplicationError 'broken' type=Broken details=({'attempt': 1},)",
        ]
        attempts.times.clear()
        order = Order("fail_until", [0], retry=Retry(non_retryable=["ValueError"]))
        assert await call_fails(client, queue, f"{wid}-2", order) == [
            "ActivityError 'Activity task failed' fail_until NON_RETRYABLE_FAILURE",
            "ApplicationError 'attempt 1 failed' type=ValueError",
        ]


async def test_listed_types_are_compared_with_their_case(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    attempts = Attempts()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[attempts.fail_until]):
        order = Order("fail_until", [2, "application"], retry=Retry(non_retryable=["broken"]))
        assert await call(client, queue, wid, order) == "attempt 2"


async def test_intervals_grow_by_the_coefficient_up_to_the_maximum(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    attempts = Attempts()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[attempts.fail_until]):
        retry = Retry(initial=0.1, coefficient=3, maximum_interval=0.5)
        assert await call(client, queue, wid, Order("fail_until", [5], retry=retry)) == "attempt 5"
    for gap, expected in zip(attempts.gaps, [0.1, 0.3, 0.5, 0.5], strict=True):
        assert expected - 0.02 <= gap <= expected + 1.5


async def test_the_error_may_say_when_to_retry(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    attempts = Attempts()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[attempts.fail_until]):
        order = Order("fail_until", [2, "soon"], retry=Retry(initial=20))
        assert await call(client, queue, f"{wid}-1", order) == "attempt 2"
        attempts.times.clear()
        order = Order("fail_until", [2, "late"], retry=Retry(initial=0.01, maximum_interval=0.02))
        assert await call(client, queue, f"{wid}-2", order) == "attempt 2"
    assert attempts.gaps[0] >= 0.95


async def test_no_retry_that_would_begin_after_the_schedule_to_close_timeout(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    attempts = Attempts()
    began = time.monotonic()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[attempts.fail_until]):
        order = Order("fail_until", [0], schedule_to_close=20, retry=Retry(initial=60))
        assert await call_fails(client, queue, wid, order) == [
            "ActivityError 'Activity task failed' fail_until TIMEOUT",
            "ApplicationError 'attempt 1 failed' type=ValueError",
        ]
    assert time.monotonic() - began < 10


async def test_causes_and_empty_messages(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    attempts = Attempts()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[attempts.fail_until]):
        order = Order("fail_until", [0, "cause"], retry=Retry(attempts=1))
        assert await call_fails(client, queue, f"{wid}-1", order) == [
            "ActivityError 'Activity task failed' fail_until MAXIMUM_ATTEMPTS_REACHED",
            "ApplicationError 'shallow' type=ValueError",
            "ApplicationError \"'deep'\" type=KeyError",
        ]
        attempts.times.clear()
        order = Order("fail_until", [0, "empty"], retry=Retry(attempts=1))
        assert await call_fails(client, queue, f"{wid}-2", order) == [
            "ActivityError 'Activity task failed' fail_until MAXIMUM_ATTEMPTS_REACHED",
            "ApplicationError 'Application error' type=RuntimeError",
        ]


async def test_the_failure_names_the_activity_its_events_and_its_worker(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    attempts = Attempts()
    async with make_worker(
        client, task_queue=queue, workflows=[Call], activities=[attempts.fail_until], identity="worker-1"
    ):
        await call_fails(client, queue, wid, Order("fail_until", [0], retry=Retry(attempts=1), activity_id="mine"))
    history = await client.get_workflow_handle(wid).fetch_history()
    closing = history.events[-1].workflow_execution_failed_event_attributes.failure
    info = closing.activity_failure_info
    assert closing.message == "Activity task failed"
    assert (info.activity_id, info.activity_type.name, info.identity) == ("mine", "fail_until", "worker-1")
    assert (info.scheduled_event_id, info.started_event_id) == (5, 6)
    assert "fail_until" in closing.cause.stack_trace
