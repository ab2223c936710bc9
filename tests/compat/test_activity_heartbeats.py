"""Heartbeats: what the next attempt knows of the last one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio import activity
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.workflowservice.v1 import RecordActivityTaskHeartbeatRequest
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from .calls import Call, Order, Retry, call, call_fails, start_call
from .support import MakeWorker, chain, eventually


class Beats:
    def __init__(self) -> None:
        self.seen: list[list[Any]] = []
        self.go = asyncio.Event()

    @activity.defn
    async def beat_and_fail(self) -> list[Any]:
        attempt = activity.info().attempt
        self.seen.append(list(activity.info().heartbeat_details))
        if attempt == 1:
            activity.heartbeat("at", 1)
            activity.heartbeat("at", 2)
            activity.heartbeat("at", 3)
        if attempt == 3:
            activity.heartbeat({"row": 30})
        if attempt < 5:
            raise ApplicationError("again")
        return self.seen

    @activity.defn
    async def beat_and_oversleep(self) -> list[Any]:
        self.seen.append(list(activity.info().heartbeat_details))
        if activity.info().attempt == 1:
            activity.heartbeat("before the silence")
            await asyncio.sleep(60)
        return self.seen

    @activity.defn
    async def beat_on(self) -> str:
        for number in range(8):
            activity.heartbeat(number)
            await asyncio.sleep(0.15)
        return f"attempt {activity.info().attempt}"

    @activity.defn
    async def beat_and_wait(self) -> str:
        activity.heartbeat("waiting")
        await self.go.wait()
        return "went on"


async def test_the_next_attempt_gets_the_last_details_of_any_before(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    beats = Beats()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[beats.beat_and_fail]):
        order = Order("beat_and_fail", heartbeat=20, retry=Retry())
        assert await call(client, queue, wid, order) == [[], ["at", 3], ["at", 3], [{"row": 30}], [{"row": 30}]]


async def test_details_survive_a_heartbeat_timeout(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    beats = Beats()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[beats.beat_and_oversleep]):
        order = Order("beat_and_oversleep", heartbeat=0.5, retry=Retry())
        assert await call(client, queue, wid, order) == [[], ["before the silence"]]


async def test_heartbeats_keep_a_long_attempt_alive(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    beats = Beats()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[beats.beat_on]):
        assert await call(client, queue, wid, Order("beat_on", heartbeat=0.8, retry=Retry())) == "attempt 1"


async def test_describe_shows_the_details_of_a_running_attempt(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    beats = Beats()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[beats.beat_and_wait]):
        handle = await start_call(client, queue, wid, Order("beat_and_wait", heartbeat=20))

        async def shown() -> None:
            pending = (await handle.describe()).raw_description.pending_activities
            assert len(pending) == 1
            assert await client.data_converter.decode(pending[0].heartbeat_details.payloads) == ["waiting"]
            assert pending[0].HasField("last_heartbeat_time")

        await eventually(shown)
        beats.go.set()
        assert await handle.result() == "went on"


class Big:
    """An activity whose heartbeat carries more than Temporal takes."""

    def __init__(self) -> None:
        self.cancelled: asyncio.Future[activity.ActivityCancellationDetails | None] = asyncio.Future()
        self.started: asyncio.Future[activity.Info] = asyncio.Future()

    @activity.defn
    async def big(self, here: bool) -> str:
        self.started.set_result(activity.info())
        try:
            if here:
                activity.heartbeat("x" * 3_000_000)
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            self.cancelled.set_result(activity.cancellation_details())
            raise
        return "unreachable"


async def test_details_that_are_too_large_fail_the_attempt(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    work = Big()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[work.big]):
        order = Order("big", args=[True], heartbeat=20, retry=Retry(attempts=1))
        assert await call_fails(client, queue, wid, order) == [
            "ActivityError 'Activity task failed' big MAXIMUM_ATTEMPTS_REACHED",
            "ApplicationError '[TMPRL1103] Attempted to upload payloads with size that exceeded the error limit.' "
            "type=PayloadsTooLarge",
        ]
        details = await asyncio.wait_for(work.cancelled, 10)
        assert details is not None
        assert details.cancel_requested


async def test_details_from_outside_that_are_too_large_end_the_activity(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    work = Big()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[work.big]):
        handle = await start_call(client, queue, wid, Order("big", args=[False], start_to_close=40, heartbeat=20))
        info = await asyncio.wait_for(work.started, 10)
        answer = await client.workflow_service.record_activity_task_heartbeat(
            RecordActivityTaskHeartbeatRequest(
                namespace=client.namespace,
                task_token=info.task_token,
                details=Payloads(payloads=[Payload(data=b"x" * 3_000_000)]),
            )
        )
        assert answer.cancel_requested
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        assert chain(failed.value)[1:] == [
            "ActivityError 'Activity task failed' big NON_RETRYABLE_FAILURE",
            "ServerError 'Heartbeat details exceed size limit.'",
        ]
