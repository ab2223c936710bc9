"""Activities of every kind, and what an activity knows about itself."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RawValue
from temporalio.worker import SharedStateManager

from .calls import Call, Order, Retry, call, call_fails
from .support import MakeWorker


@dataclass
class Parcel:
    weight: float
    to: list[str]


@activity.defn
async def double(parcel: Parcel) -> Parcel:
    return Parcel(parcel.weight * 2, parcel.to * 2)


@activity.defn
async def add(left: int, right: int) -> int:
    return left + right


@activity.defn
async def nothing() -> None:
    return None


@activity.defn(name="named-otherwise")
async def named() -> str:
    return "named"


@activity.defn
def in_thread() -> list[Any]:
    return [threading.current_thread().name.startswith("mine"), activity.info().activity_type]


@activity.defn
def in_process(parent: int) -> list[Any]:
    activity.heartbeat("from another process")
    return [os.getpid() != parent, activity.info().activity_type]


@activity.defn
async def about_me() -> dict[str, Any]:
    info = activity.info()
    assert info.retry_policy is not None
    return {
        "activity_id": info.activity_id,
        "type": info.activity_type,
        "attempt": info.attempt,
        "queue": info.task_queue,
        "namespace": info.namespace,
        "workflow": [info.workflow_id, info.workflow_run_id, info.workflow_type, info.workflow_namespace],
        "local": info.is_local,
        "heartbeat_details": list(info.heartbeat_details),
        "heartbeat": info.heartbeat_timeout.total_seconds() if info.heartbeat_timeout else None,
        "start_to_close": info.start_to_close_timeout.total_seconds() if info.start_to_close_timeout else None,
        "schedule_to_close": info.schedule_to_close_timeout.total_seconds() if info.schedule_to_close_timeout else None,
        "times": [
            info.scheduled_time.isoformat(),
            info.current_attempt_scheduled_time.isoformat(),
            info.started_time.isoformat(),
        ],
        "retry": [
            info.retry_policy.initial_interval.total_seconds(),
            info.retry_policy.backoff_coefficient,
            info.retry_policy.maximum_interval.total_seconds() if info.retry_policy.maximum_interval else None,
            info.retry_policy.maximum_attempts,
            list(info.retry_policy.non_retryable_error_types or []),
        ],
        "token": len(info.task_token) > 0,
        "in_activity": activity.in_activity(),
        "cancelled": activity.is_cancelled(),
        "shutdown": activity.is_worker_shutdown(),
    }


@activity.defn(dynamic=True)
async def anything(args: Sequence[RawValue]) -> list[Any]:
    values = [activity.payload_converter().from_payload(arg.payload) for arg in args]
    return [activity.info().activity_type, values]


class Shop:
    """Activities may be methods, with state of their worker."""

    def __init__(self, name: str) -> None:
        self.name = name

    @activity.defn
    async def greet(self, who: str) -> str:
        return f"{self.name} greets {who}"


@workflow.defn
class Several:
    """Typed calls, one after another and side by side."""

    @workflow.run
    async def run(self) -> list[Any]:
        limit = timedelta(seconds=30)
        parcel = await workflow.execute_activity(double, Parcel(1.5, ["a"]), start_to_close_timeout=limit)
        total = await workflow.execute_activity(add, args=[1, 2], start_to_close_timeout=limit)
        greeting = await workflow.execute_activity_method(Shop.greet, "Ada", start_to_close_timeout=limit)
        sums = await asyncio.gather(
            *[workflow.execute_activity(add, args=[n, n], start_to_close_timeout=limit) for n in range(10)]
        )
        by_name = await workflow.execute_activity("double", Parcel(1, []), start_to_close_timeout=limit)
        typed = await workflow.execute_activity(
            "double", Parcel(1, []), start_to_close_timeout=limit, result_type=Parcel
        )
        return [isinstance(parcel, Parcel), parcel, total, greeting, sums, by_name, isinstance(typed, Parcel)]


async def test_typed_calls(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(
        client, task_queue=queue, workflows=[Several], activities=[double, add, Shop("Corner").greet]
    ):
        result = await client.execute_workflow(Several.run, id=wid, task_queue=queue)
    assert result == [
        True,
        {"weight": 3.0, "to": ["a", "a"]},
        3,
        "Corner greets Ada",
        [0, 2, 4, 6, 8, 10, 12, 14, 16, 18],
        {"weight": 2, "to": []},
        True,
    ]


async def test_none_and_names(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[nothing, named]):
        assert await call(client, queue, f"{wid}-1", Order("nothing")) is None
        assert await call(client, queue, f"{wid}-2", Order("named-otherwise")) == "named"


async def test_a_plain_function_runs_in_the_thread_pool(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    with ThreadPoolExecutor(2, thread_name_prefix="mine") as pool:
        async with make_worker(
            client, task_queue=queue, workflows=[Call], activities=[in_thread], activity_executor=pool
        ):
            assert await call(client, queue, wid, Order("in_thread")) == [True, "in_thread"]


async def test_a_plain_function_runs_in_a_process_pool(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(1, mp_context=context) as pool:
        async with make_worker(
            client,
            task_queue=queue,
            workflows=[Call],
            activities=[in_process],
            activity_executor=pool,
            shared_state_manager=SharedStateManager.create_from_multiprocessing(manager),
            max_concurrent_activities=1,
        ):
            order = Order("in_process", [os.getpid()], heartbeat=20)
            assert await call(client, queue, wid, order) == [True, "in_process"]


async def test_an_activity_knows_who_it_is(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[about_me]):
        handle = await client.start_workflow(
            Call.run, Order("about_me", heartbeat=5, schedule_to_close=60), id=wid, task_queue=queue
        )
        about = await handle.result()
    scheduled, this_attempt, started = (datetime.fromisoformat(text) for text in about.pop("times"))
    assert before < scheduled == this_attempt <= started < datetime.now(UTC) + timedelta(seconds=1)
    assert about == {
        "activity_id": "1",
        "type": "about_me",
        "attempt": 1,
        "queue": queue,
        "namespace": "default",
        "workflow": [wid, handle.result_run_id, "Call", "default"],
        "local": False,
        "heartbeat_details": [],
        "heartbeat": 5.0,
        "start_to_close": 30.0,
        "schedule_to_close": 60.0,
        "retry": [1.0, 2.0, 100.0, 0, []],
        "token": True,
        "in_activity": True,
        "cancelled": False,
        "shutdown": False,
    }


@pytest.mark.parametrize(
    ("given", "heartbeat", "start_to_close", "schedule_to_close"),
    [
        (Order("about_me", start_to_close=9, activity_id="mine"), None, 9, None),
        (Order("about_me", start_to_close=None, schedule_to_close=9, activity_id="mine"), None, 9, 9),
        (Order("about_me", start_to_close=30, schedule_to_close=9, heartbeat=20, activity_id="mine"), 9, 9, 9),
    ],
)
async def test_timeouts_complete_each_other(
    client: Client,
    make_worker: MakeWorker,
    queue: str,
    wid: str,
    given: Order,
    heartbeat: float | None,
    start_to_close: float,
    schedule_to_close: float | None,
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[about_me]):
        about = await call(client, queue, wid, given)
    assert about["activity_id"] == "mine"
    assert about["heartbeat"] == heartbeat
    assert about["start_to_close"] == start_to_close
    assert about["schedule_to_close"] == schedule_to_close


async def test_the_retry_policy_is_completed(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[about_me]):
        retry = Retry(initial=0.5, coefficient=3, attempts=4, non_retryable=["Fatal"])
        about = await call(client, queue, wid, Order("about_me", retry=retry))
        assert about["retry"] == [0.5, 3.0, 50.0, 4, ["Fatal"]]
        about = await call(client, queue, wid, Order("about_me", retry=Retry(maximum_interval=7)))
        assert about["retry"] == [0.01, 1.0, 7.0, 0, []]


async def test_a_dynamic_activity_takes_any_name(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[anything, add]):
        assert await call(client, queue, f"{wid}-1", Order("whatever", ["x", 1])) == ["whatever", ["x", 1]]
        assert await call(client, queue, f"{wid}-2", Order("add", [1, 2])) == 3


async def test_an_activity_nobody_has_is_retried_and_names_the_known_ones(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[add, nothing]):
        assert await call_fails(client, queue, wid, Order("missing", retry=Retry(attempts=2))) == [
            "ActivityError 'Activity task failed' missing MAXIMUM_ATTEMPTS_REACHED",
            f"ApplicationError 'Activity function missing for workflow {wid} is not registered on this worker, "
            "available activities: add, nothing' type=NotFoundError",
        ]


async def test_arguments_that_do_not_decode_fail_the_attempt(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[add]):
        order = Order("add", ["one", 2], retry=Retry(attempts=2))
        assert await call_fails(client, queue, wid, order) == [
            "ActivityError 'Activity task failed' add MAXIMUM_ATTEMPTS_REACHED",
            "ApplicationError 'Failed decoding arguments' type=None",
            "ApplicationError \"Expected value to be int|float, was <class 'str'>\" type=TypeError",
        ]


async def test_an_activity_on_another_queue_runs_on_the_worker_that_serves_it(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    other = f"{queue}-other"
    async with (
        make_worker(client, task_queue=queue, workflows=[Call], activities=[]),
        make_worker(client, task_queue=other, workflows=[], activities=[about_me]),
    ):
        about = await call(client, queue, wid, Order("about_me", queue=other))
    assert about["queue"] == other


async def test_an_activity_waits_for_the_worker_of_its_queue(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    other = f"{queue}-other"
    async with make_worker(client, task_queue=queue, workflows=[Call]):
        handle = await client.start_workflow(Call.run, Order("about_me", queue=other), id=wid, task_queue=queue)
        assert await handle.query(Call.current) == "calling"
        async with make_worker(client, task_queue=other, activities=[about_me]):
            assert (await handle.result())["queue"] == other
