"""Activities that someone else completes: by token, or by ids."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import (
    AsyncActivityCancelledError,
    AsyncActivityHandle,
    Client,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from .calls import Call, Order, Retry, start_call
from .support import MakeWorker, chain, eventually


class Desk:
    """Hands its work out, and remembers who asked."""

    def __init__(self) -> None:
        self.infos: asyncio.Queue[activity.Info] = asyncio.Queue()

    @activity.defn
    async def later(self) -> str:
        self.infos.put_nowait(activity.info())
        activity.raise_complete_async()


def the_handle(client: Client, how: str, info: activity.Info) -> AsyncActivityHandle:
    if how == "token":
        return client.get_async_activity_handle(task_token=info.task_token)
    run_id = info.workflow_run_id if how == "ids" else None
    assert info.workflow_id is not None
    return client.get_async_activity_handle(workflow_id=info.workflow_id, run_id=run_id, activity_id=info.activity_id)


HOW = pytest.mark.parametrize("how", ["token", "ids", "ids of the latest run"])


@HOW
async def test_complete(client: Client, make_worker: MakeWorker, queue: str, wid: str, how: str) -> None:
    desk = Desk()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[desk.later]):
        handle = await start_call(client, queue, wid, Order("later"))
        outside = the_handle(client, how, await desk.infos.get())
        await outside.complete({"from": "outside"})
        assert await handle.result() == {"from": "outside"}


@HOW
async def test_fail_and_be_tried_again(client: Client, make_worker: MakeWorker, queue: str, wid: str, how: str) -> None:
    desk = Desk()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[desk.later]):
        handle = await start_call(client, queue, wid, Order("later", retry=Retry(attempts=2), heartbeat=20))
        first = await desk.infos.get()
        await the_handle(client, how, first).fail(
            ApplicationError("not yet", type="Later"), last_heartbeat_details=["half way"]
        )
        second = await desk.infos.get()
        assert second.attempt == 2
        assert list(second.heartbeat_details) == ["half way"]
        assert second.task_token != first.task_token
        await the_handle(client, how, second).fail(ApplicationError("never", 7, type="Never"))
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        assert chain(failed.value)[1:] == [
            "ActivityError 'Activity task failed' later MAXIMUM_ATTEMPTS_REACHED",
            "ApplicationError 'never' type=Never details=(7,)",
        ]


@HOW
async def test_heartbeat(client: Client, make_worker: MakeWorker, queue: str, wid: str, how: str) -> None:
    desk = Desk()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[desk.later]):
        handle = await start_call(client, queue, wid, Order("later", heartbeat=1, retry=Retry()))
        outside = the_handle(client, how, await desk.infos.get())
        await outside.heartbeat("still", "alive")
        pending = (await handle.describe()).raw_description.pending_activities[0]
        assert await client.data_converter.decode(pending.heartbeat_details.payloads) == ["still", "alive"]
        again = await desk.infos.get()
        assert list(again.heartbeat_details) == ["still", "alive"]
        await the_handle(client, how, again).complete("done")
        assert await handle.result() == "done"


@HOW
async def test_cancellation_is_told_by_a_heartbeat_and_confirmed(
    client: Client, make_worker: MakeWorker, queue: str, wid: str, how: str
) -> None:
    desk = Desk()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[desk.later]):
        order = Order("later", cancellation="WAIT_CANCELLATION_COMPLETED", heartbeat=20)
        handle = await start_call(client, queue, wid, order)
        outside = the_handle(client, how, await desk.infos.get())
        with pytest.raises(RPCError) as refused:
            await outside.report_cancellation("why")
        assert (refused.value.status, refused.value.message) == (
            RPCStatusCode.INVALID_ARGUMENT,
            "unable to mark activity as canceled without activity being request canceled first",
        )
        await handle.signal(Call.cancel_activity)

        async def told() -> AsyncActivityCancelledError:
            try:
                await outside.heartbeat()
            except AsyncActivityCancelledError as error:
                return error
            raise AssertionError("not cancelled yet")

        details = (await eventually(told)).details
        assert details is not None
        assert details.cancel_requested
        assert not details.paused
        await outside.report_cancellation("as you wish")
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        assert chain(failed.value)[1:] == [
            "ActivityError 'Activity cancelled' later CANCEL_REQUESTED",
            "CancelledError 'Cancelled' details=('as you wish',)",
        ]


async def everything(outside: AsyncActivityHandle) -> list[tuple[RPCStatusCode, str]]:
    """The refusals of all four calls."""
    answers = []
    for action in (
        outside.complete("x"),
        outside.fail(ApplicationError("x")),
        outside.heartbeat("x"),
        outside.report_cancellation(),
    ):
        with pytest.raises(RPCError) as refused:
            await action
        answers.append((refused.value.status, refused.value.message))
    return answers


def unknown_activity(activity_id: str) -> str:
    return (
        f"cannot find pending activity with ActivityID {activity_id}, check workflow execution history for more details"
    )


async def test_a_finished_activity_cannot_be_finished_again(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    desk = Desk()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[desk.later]):
        handle = await start_call(client, queue, wid, Order("later"))
        await handle.signal(Call.hold)
        info = await desk.infos.get()
        by_token = the_handle(client, "token", info)
        by_id = the_handle(client, "ids", info)
        await by_token.complete("once")
        gone = "invalid activityID or activity already timed out or invoking workflow is completed"
        assert await everything(by_token) == [(RPCStatusCode.NOT_FOUND, gone)] * 4
        gone = unknown_activity(info.activity_id)
        assert [status for status, _ in await everything(by_id)] == [RPCStatusCode.NOT_FOUND] * 4
        assert [message for _, message in await everything(by_id)] == [gone] * 4
        await handle.signal(Call.release)
        assert await handle.result() == "once"


async def test_the_token_of_an_earlier_attempt_is_void(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    desk = Desk()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[desk.later]):
        handle = await start_call(client, queue, wid, Order("later", retry=Retry()))
        first = the_handle(client, "token", await desk.infos.get())
        await first.fail(ApplicationError("again"))
        second = the_handle(client, "token", await desk.infos.get())
        gone = "invalid activityID or activity already timed out or invoking workflow is completed"
        assert await everything(first) == [(RPCStatusCode.NOT_FOUND, gone)] * 4
        await second.complete("second")
        assert await handle.result() == "second"


async def test_an_activity_of_a_closed_workflow_is_not_found(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    desk = Desk()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[desk.later]):
        handle = await start_call(client, queue, wid, Order("later"))
        info = await desk.infos.get()
        await handle.terminate()
        for how in ("token", "ids"):
            answers = await everything(the_handle(client, how, info))
            assert answers == [(RPCStatusCode.NOT_FOUND, "workflow execution already completed")] * 4


async def test_unknown_activities(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    nobody = client.get_async_activity_handle(workflow_id=wid, run_id=None, activity_id="1")
    assert {status for status, _ in await everything(nobody)} == {RPCStatusCode.NOT_FOUND}
    assert {message for _, message in await everything(nobody)} == {f"workflow not found for ID: {wid}"}
    handle: WorkflowHandle[Any, Any] = await client.start_workflow("Call", id=wid, task_queue=queue)
    other = client.get_async_activity_handle(workflow_id=wid, run_id=handle.result_run_id, activity_id="unheard")
    gone = unknown_activity("unheard")
    assert {message for _, message in await everything(other)} == {gone}
    junk = client.get_async_activity_handle(task_token=b"junk")
    assert {status for status, _ in await everything(junk)} == {RPCStatusCode.INVALID_ARGUMENT}


async def test_timeouts_go_on_while_someone_else_works(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    desk = Desk()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[desk.later]):
        order = Order("later", start_to_close=0.3, retry=Retry(attempts=1))
        handle = await start_call(client, queue, wid, order)
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        assert chain(failed.value)[1:] == [
            "ActivityError 'Activity task timed out' later MAXIMUM_ATTEMPTS_REACHED",
            "TimeoutError 'activity StartToClose timeout' START_TO_CLOSE",
        ]
