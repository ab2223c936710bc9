"""Cancelling activities: the three types, and the activity's side of it."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError, CancelledError

from .calls import Call, Order, Retry, start_call
from .support import MakeWorker, chain, eventually


class Worker:
    """Runs until it is cancelled, and then does as it is told."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.go = asyncio.Event()
        self.ended = asyncio.Event()
        self.events: list[str] = []

    @activity.defn
    async def run_until_cancelled(self, then: str = "raise") -> str:
        self.started.set()
        try:
            while not self.go.is_set():
                activity.heartbeat("beating")
                await asyncio.sleep(0.05)
            return "went on"
        except asyncio.CancelledError:
            self.events.append("cancelled")
            details = activity.cancellation_details()
            assert details is not None
            self.events.append(
                ",".join(
                    name
                    for name in ("not_found", "cancel_requested", "paused", "timed_out", "worker_shutdown")
                    if getattr(details, name)
                )
            )
            if then == "return":
                return "finished anyway"
            if then == "fail":
                raise ApplicationError("failed while cancelling", type="Cleanup") from None
            raise
        finally:
            self.ended.set()

    @activity.defn
    async def run_without_heartbeat(self) -> str:
        self.started.set()
        try:
            await self.go.wait()
            return "never knew"
        finally:
            self.ended.set()


async def cancelled_call(client: Client, queue: str, wid: str, order: Order, work: Worker) -> Any:
    handle = await start_call(client, queue, wid, order)
    await work.started.wait()
    await handle.signal(Call.cancel_activity)
    return handle


CANCELLED_CHAIN = [
    "ActivityError 'Activity cancelled' run_until_cancelled CANCEL_REQUESTED",
    "CancelledError 'Cancelled'",
]


async def test_try_cancel_tells_the_activity_and_does_not_wait(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    work = Worker()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[work.run_until_cancelled]):
        order = Order("run_until_cancelled", heartbeat=0.5, cancellation="TRY_CANCEL")
        handle = await cancelled_call(client, queue, wid, order, work)
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        assert chain(failed.value)[1:] == CANCELLED_CHAIN


async def test_try_cancel_reaches_the_activity_at_a_heartbeat(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    work = Worker()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[work.run_until_cancelled]):
        order = Order("run_until_cancelled", heartbeat=0.5, cancellation="TRY_CANCEL")
        handle = await start_call(client, queue, wid, order)
        await handle.signal(Call.hold)
        await work.started.wait()
        await handle.signal(Call.cancel_activity)
        await asyncio.wait_for(work.ended.wait(), 15)
        await handle.signal(Call.release)
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    assert work.events == ["cancelled", "cancel_requested"]


@pytest.mark.parametrize("then", ["raise", "return", "fail"])
async def test_wait_cancellation_completed_waits_for_the_real_outcome(
    client: Client, make_worker: MakeWorker, queue: str, wid: str, then: str
) -> None:
    work = Worker()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[work.run_until_cancelled]):
        order = Order(
            "run_until_cancelled", [then], heartbeat=0.5, cancellation="WAIT_CANCELLATION_COMPLETED", retry=Retry()
        )
        handle = await cancelled_call(client, queue, wid, order, work)
        if then == "return":
            assert await handle.result() == "finished anyway"
        else:
            with pytest.raises(WorkflowFailureError) as failed:
                await handle.result()
            expected = {
                "raise": CANCELLED_CHAIN,
                "fail": [
                    "ActivityError 'Activity task failed' run_until_cancelled CANCEL_REQUESTED",
                    "ApplicationError 'failed while cancelling' type=Cleanup",
                ],
            }
            assert chain(failed.value)[1:] == expected[then]
        assert work.ended.is_set()
    assert work.events == ["cancelled", "cancel_requested"]


async def test_abandon_neither_waits_nor_tells(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    work = Worker()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[work.run_until_cancelled]):
        order = Order("run_until_cancelled", heartbeat=0.5, cancellation="ABANDON")
        handle = await start_call(client, queue, wid, order)
        await handle.signal(Call.hold)
        await work.started.wait()
        await handle.signal(Call.cancel_activity)

        async def called() -> None:
            assert await handle.query(Call.current) == "called"

        await eventually(called)
        assert work.events == []
        work.go.set()
        await asyncio.wait_for(work.ended.wait(), 15)
        await handle.signal(Call.release)
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        assert chain(failed.value)[1:] == CANCELLED_CHAIN
    assert work.events == []


async def test_an_activity_that_does_not_heartbeat_is_not_told(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    work = Worker()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[work.run_without_heartbeat]):
        order = Order("run_without_heartbeat", cancellation="WAIT_CANCELLATION_COMPLETED")
        handle = await cancelled_call(client, queue, wid, order, work)
        work.go.set()
        assert await handle.result() == "never knew"


@pytest.mark.parametrize("cancellation", ["TRY_CANCEL", "WAIT_CANCELLATION_COMPLETED", "ABANDON"])
async def test_cancelled_before_it_started(
    client: Client, make_worker: MakeWorker, queue: str, wid: str, cancellation: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Call]):
        order = Order("nobody_runs_this", queue=f"{queue}-empty", cancellation=cancellation)
        handle = await start_call(client, queue, wid, order)
        assert await handle.query(Call.current) == "calling"
        await handle.signal(Call.cancel_activity)
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        details = " details=('ACTIVITY_ID_NOT_STARTED',)" if cancellation == "WAIT_CANCELLATION_COMPLETED" else ""
        assert chain(failed.value)[1:] == [
            "ActivityError 'Activity cancelled' nobody_runs_this CANCEL_REQUESTED",
            f"CancelledError 'Cancelled'{details}",
        ]


async def test_cancelled_between_two_attempts(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    attempts: list[int] = []

    @activity.defn
    async def fail_slowly() -> None:
        attempts.append(activity.info().attempt)
        raise ApplicationError("later")

    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[fail_slowly]):
        order = Order("fail_slowly", retry=Retry(initial=3600), cancellation="WAIT_CANCELLATION_COMPLETED")
        handle = await start_call(client, queue, wid, order)

        async def is_in_backoff() -> None:
            pending = (await handle.describe()).raw_description.pending_activities
            assert pending
            assert pending[0].attempt == 2

        await eventually(is_in_backoff)
        await handle.signal(Call.cancel_activity)
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        assert chain(failed.value)[1:] == [
            "ActivityError 'Activity cancelled' fail_slowly CANCEL_REQUESTED",
            "CancelledError 'Cancelled' details=('ACTIVITY_ID_NOT_STARTED',)",
        ]
    assert attempts == [1]


@pytest.mark.parametrize("cancellation", ["TRY_CANCEL", "WAIT_CANCELLATION_COMPLETED"])
async def test_cancelling_the_workflow_cancels_its_activity(
    client: Client, make_worker: MakeWorker, queue: str, wid: str, cancellation: str
) -> None:
    work = Worker()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[work.run_until_cancelled]):
        order = Order("run_until_cancelled", heartbeat=0.5, cancellation=cancellation)
        handle = await start_call(client, queue, wid, order)
        await work.started.wait()
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        assert chain(failed.value) == [
            "WorkflowFailureError 'Workflow execution failed'",
            "CancelledError 'Workflow cancelled'",
        ]
    assert work.events[:1] == ["cancelled"]


async def test_a_terminated_workflow_stops_its_activity_at_a_heartbeat(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    work = Worker()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[work.run_until_cancelled]):
        handle = await start_call(client, queue, wid, Order("run_until_cancelled", heartbeat=0.5))
        await work.started.wait()
        await handle.terminate()
        await asyncio.wait_for(work.ended.wait(), 15)
    assert work.events == ["cancelled", "not_found"]


class ThreadWorker:
    def __init__(self) -> None:
        self.started = threading.Event()
        self.events: list[str] = []

    @activity.defn
    def block(self) -> None:
        self.started.set()
        try:
            while True:
                activity.heartbeat()
                time.sleep(0.05)
        except CancelledError:
            self.events.append("cancelled")
            raise


async def test_a_threaded_activity_gets_the_cancellation_as_an_exception(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    work = ThreadWorker()
    with ThreadPoolExecutor(2) as pool:
        async with make_worker(
            client, task_queue=queue, workflows=[Call], activities=[work.block], activity_executor=pool
        ):
            order = Order("block", heartbeat=0.5, cancellation="WAIT_CANCELLATION_COMPLETED")
            handle = await start_call(client, queue, wid, order)
            await asyncio.to_thread(work.started.wait, 15)
            await handle.signal(Call.cancel_activity)
            with pytest.raises(WorkflowFailureError) as failed:
                await handle.result()
            assert chain(failed.value)[1:] == [
                "ActivityError 'Activity cancelled' block CANCEL_REQUESTED",
                "CancelledError 'Cancelled'",
            ]
    assert work.events == ["cancelled"]


async def test_a_timed_out_attempt_is_told_so(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    work = Worker()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[work.run_until_cancelled]):
        order = Order("run_until_cancelled", start_to_close=0.5, heartbeat=0.4, retry=Retry(attempts=1))
        handle = await start_call(client, queue, wid, order)
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        expected = "TimeoutError 'activity StartToClose timeout' START_TO_CLOSE heartbeat=('beating',)"
        assert chain(failed.value)[2] == expected
        await asyncio.wait_for(work.ended.wait(), 15)
    assert work.events[0] == "cancelled"
    assert "not_found" in work.events[1] or "timed_out" in work.events[1]


@workflow.defn
class CancelAtOnce:
    """Cancels an activity in the very task that asks for it."""

    @workflow.run
    async def run(self, queue: str) -> str:
        calling = workflow.start_activity(
            "nobody_runs_this", task_queue=queue, start_to_close_timeout=timedelta(seconds=30)
        )
        calling.cancel()
        try:
            await calling
        except asyncio.CancelledError as error:
            return type(error).__name__
        return "not cancelled"


async def test_cancelled_in_the_same_task_it_is_never_asked_for(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[CancelAtOnce]):
        handle = await client.start_workflow(CancelAtOnce.run, f"{queue}-empty", id=wid, task_queue=queue)
        assert await handle.result() == "CancelledError"
        history = await handle.fetch_history()
    assert not [event for event in history.events if event.HasField("activity_task_scheduled_event_attributes")]
