"""Operators pause, unpause and reset activities, whatever these are doing, and change their options."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from temporalio.activity import ActivityCancellationDetails
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.common.v1 import Priority, RetryPolicy
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.client import AsyncActivityCancelledError, Client, WorkflowFailureError, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from .calls import Call, Order, Retry, start_call
from .operators import Operator, Workshop, s
from .support import MakeWorker, chain, eventually

NO_SUCH = "Can't find pending activity with such ID. Invalid activityID or activity already completed"


@pytest.fixture
def shop() -> Workshop:
    return Workshop()


@pytest.fixture
def ops(client: Client, wid: str) -> Operator:
    return Operator(client, wid)


Begin = Callable[[Order], Awaitable[WorkflowHandle[Any, Any]]]


@pytest.fixture
async def call(client: Client, make_worker: MakeWorker, queue: str, wid: str, shop: Workshop) -> AsyncIterator[Begin]:
    """Starts a workflow that calls an activity of the shop."""
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[shop.silent, shop.beating]):
        yield lambda order: start_call(client, queue, wid, order)


@pytest.fixture
def begin(call: Begin, shop: Workshop) -> Begin:
    """The same, and the activity has started."""

    async def begun(order: Order) -> WorkflowHandle[Any, Any]:
        handle = await call(order)
        await shop.starts()
        return handle

    return begun


async def test_a_running_activity_is_told_of_its_pause_and_goes_on_after_it(
    begin: Begin, shop: Workshop, ops: Operator
) -> None:
    handle = await begin(Order("beating", heartbeat=1.0, retry=Retry(initial=0.1)))
    assert not (await ops.sees()).paused
    await ops.pause(id="1", reason="too hot")
    await ops.sees_it("PAUSED")
    seen = await ops.sees()
    assert (seen.paused, seen.attempt) == (True, 2)
    assert (seen.pause_info.manual.identity, seen.pause_info.manual.reason) == ("the operator", "too hot")
    assert seen.last_failure.application_failure_info.type == "ActivityPause"
    assert shop.cancelled == [ActivityCancellationDetails(paused=True)]
    assert shop.started.empty()

    await ops.unpause(id="1")
    again = await shop.starts()
    assert (again.attempt, list(again.heartbeat_details)) == (2, ["alive", 1])
    await shop.finish(handle)


async def test_a_running_activity_that_does_not_heartbeat_may_complete_although_paused(
    begin: Begin, shop: Workshop, ops: Operator
) -> None:
    handle = await begin(Order("silent"))
    await ops.pause(type="silent")
    assert await ops.state() == "PAUSE_REQUESTED"
    await shop.finish(handle)


async def test_no_clock_runs_while_paused(begin: Begin, ops: Operator) -> None:
    handle = await begin(Order("silent", start_to_close=0.5, schedule_to_close=1.0, retry=Retry(initial=0.1)))
    await ops.pause(id="1")
    await asyncio.sleep(1.5)  # there is no fact to wait for: nothing must happen
    assert await ops.state() == "PAUSE_REQUESTED"
    await ops.unpause(id="1")
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert "SCHEDULE_TO_CLOSE" in chain(failed.value)[-1]


async def test_a_paused_activity_is_not_out_of_attempts(begin: Begin, shop: Workshop, ops: Operator) -> None:
    handle = await begin(Order("silent", retry=Retry(attempts=1)))
    await ops.pause(id="1")
    shop.say.put_nowait("fail")
    await ops.sees_it("PAUSED", attempt=2)
    await ops.unpause(id="1")
    assert (await shop.starts()).attempt == 2
    shop.say.put_nowait("fail")
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert chain(failed.value)[1] == "ActivityError 'Activity task failed' silent MAXIMUM_ATTEMPTS_REACHED"


async def test_a_paused_backoff_ends_with_the_pause_and_attempts_may_be_counted_anew(
    begin: Begin, shop: Workshop, ops: Operator
) -> None:
    handle = await begin(Order("silent", retry=Retry(initial=3600)))
    shop.say.put_nowait("fail")

    async def waits() -> None:
        seen = await ops.sees()
        assert (await ops.state(), seen.attempt) == ("SCHEDULED", 2)
        assert seen.current_retry_interval.seconds >= 3600
        assert seen.next_attempt_schedule_time == seen.scheduled_time

    await eventually(waits)
    await ops.pause(id="1")
    assert await ops.state() == "PAUSED"
    await ops.unpause(id="1", reset_attempts=True)
    assert (await shop.starts()).attempt == 1
    await shop.finish(handle)


async def test_a_paused_activity_is_cancelled_at_once(begin: Begin, shop: Workshop, ops: Operator) -> None:
    handle = await begin(Order("silent", retry=Retry(initial=3600), cancellation="WAIT_CANCELLATION_COMPLETED"))
    await ops.pause(id="1")
    shop.say.put_nowait("fail")
    await ops.sees_it("PAUSED")
    await handle.signal(Call.cancel_activity)
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert chain(failed.value)[-1] == "CancelledError 'Cancelled' details=('ACTIVITY_ID_NOT_STARTED',)"


async def test_an_activity_without_a_worker_is_paused_and_moved_to_another_queue(
    call: Begin, shop: Workshop, ops: Operator, queue: str
) -> None:
    handle = await call(Order("silent", queue=f"nobody-{queue}"))
    await ops.sees_it("SCHEDULED")
    await ops.pause(id="1")
    changed = await ops.change(ActivityOptions(task_queue=TaskQueue(name=queue)), "task_queue.name", id="1")
    assert changed.task_queue.name == queue
    seen = await ops.sees()
    assert (await ops.state(), seen.activity_options.task_queue.name) == ("PAUSED", queue)
    assert shop.started.empty()
    await ops.unpause(unpause_all=True)
    await shop.starts()
    await shop.finish(handle)


async def test_a_reset_ends_the_backoff_and_forgets_what_was(begin: Begin, shop: Workshop, ops: Operator) -> None:
    handle = await begin(Order("beating", heartbeat=20, retry=Retry(initial=3600)))
    shop.say.put_nowait("fail")
    await ops.sees_it("SCHEDULED", attempt=2)
    await ops.pause(id="1")
    await ops.reset(id="1", keep_paused=True)
    assert ((await ops.sees()).attempt, await ops.state()) == (1, "PAUSED")
    await ops.reset(match_all=True, reset_heartbeat=True)
    again = await shop.starts()
    assert (again.attempt, list(again.heartbeat_details)) == (1, [])
    await shop.finish(handle)


async def test_a_running_attempt_is_told_of_its_reset(begin: Begin, shop: Workshop, ops: Operator) -> None:
    handle = await begin(Order("beating", heartbeat=1.0, retry=Retry(initial=0.1)))
    await ops.reset(id="1", reset_heartbeat=True)
    again = await shop.starts()
    assert (again.attempt, list(again.heartbeat_details)) == (2, [])
    assert shop.cancelled == [ActivityCancellationDetails(reset=True)]
    await shop.finish(handle)


async def test_options_are_merged_by_the_mask_shown_and_restored(begin: Begin, shop: Workshop, ops: Operator) -> None:
    handle = await begin(Order("silent", retry=Retry(initial=1.0)))
    asked = (await ops.sees()).activity_options
    wanted = ActivityOptions(
        schedule_to_close_timeout=s(20),
        heartbeat_timeout=s(5),
        retry_policy=RetryPolicy(maximum_attempts=7, backoff_coefficient=9),
        priority=Priority(priority_key=3),
    )
    changed = await ops.change(
        wanted, "schedule_to_close_timeout", "heartbeatTimeout", "retry_policy.maximum_attempts", "priority", id="1"
    )
    assert changed.schedule_to_close_timeout == changed.start_to_close_timeout == s(20)
    assert changed.heartbeat_timeout == s(5)
    assert (changed.retry_policy.maximum_attempts, changed.retry_policy.backoff_coefficient) == (7, 1.0)
    assert changed.retry_policy.initial_interval == s(1)
    assert changed.priority.priority_key == 3
    seen = await ops.sees()
    assert (seen.maximum_attempts, seen.activity_options.heartbeat_timeout) == (7, s(5))

    restored = await ops.restore(type="silent")
    assert restored.start_to_close_timeout == s(30)
    assert (await ops.sees()).activity_options == asked
    await shop.finish(handle)


async def test_a_changed_retry_policy_is_counted_from_the_attempt_before(
    begin: Begin, shop: Workshop, ops: Operator
) -> None:
    handle = await begin(Order("silent", retry=Retry(initial=3600)))
    shop.say.put_nowait("fail")
    await ops.sees_it("SCHEDULED", attempt=2)
    wanted = ActivityOptions(retry_policy=RetryPolicy(initial_interval=s(0.2)))
    await ops.change(wanted, "retry_policy.initial_interval", id="1")
    assert (await shop.starts()).attempt == 2
    await shop.finish(handle)


async def test_a_changed_timeout_ends_the_attempt_that_runs(begin: Begin, ops: Operator) -> None:
    handle = await begin(Order("silent", retry=Retry(attempts=1)))
    await ops.change(ActivityOptions(start_to_close_timeout=s(0.5)), "start_to_close_timeout", id="1")
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert chain(failed.value)[-1] == "TimeoutError 'activity StartToClose timeout' START_TO_CLOSE"


async def test_whoever_completes_from_outside_is_told_by_heartbeats(
    client: Client, call: Begin, shop: Workshop, ops: Operator, wid: str
) -> None:
    handle = await call(Order("silent", heartbeat=20))
    info = await shop.starts()
    for outside in (
        client.get_async_activity_handle(task_token=info.task_token),
        client.get_async_activity_handle(workflow_id=wid, run_id=None, activity_id="1"),
    ):
        await ops.pause(id="1")
        with pytest.raises(AsyncActivityCancelledError) as told:
            await outside.heartbeat()
        assert told.value.details == ActivityCancellationDetails(paused=True)
        await ops.unpause(id="1")
        await outside.heartbeat()
    await ops.reset(id="1")
    with pytest.raises(AsyncActivityCancelledError) as told:
        await outside.heartbeat()
    assert told.value.details == ActivityCancellationDetails(reset=True)
    await shop.finish(handle)


async def test_what_is_wrong_with_a_command_is_said_as_by_a_server(
    client: Client, begin: Begin, shop: Workshop, ops: Operator, wid: str
) -> None:
    async def refused(call: Any) -> tuple[RPCStatusCode, str]:
        with pytest.raises(RPCError) as error:
            await call
        return error.value.status, error.value.message

    unclear = RPCStatusCode.INVALID_ARGUMENT, "Either Activity.Id or Activity.Type should be set on request."
    unknown = RPCStatusCode.NOT_FOUND, NO_SUCH
    handle = await begin(Order("silent"))
    for command in (ops.pause, ops.unpause, ops.reset):
        assert await refused(command()) == unclear
        assert await refused(command(id="nope")) == unknown
        assert await refused(command(type="nope")) == unknown
    options = ActivityOptions(heartbeat_timeout=s(-3))
    assert await refused(ops.change(options, "heartbeat_timeout")) == unclear
    assert await refused(ops.change(options, "heartbeat_timeout", id="nope")) == unknown
    negative = await refused(ops.change(options, "heartbeat_timeout", id="1"))
    assert negative == (RPCStatusCode.INVALID_ARGUMENT, "invalid HeartbeatTimeout: negative duration")
    both = await refused(ops.change(options, "heartbeat_timeout", id="1", restore_original=True))
    assert both[1] == "Both UpdateMask and RestoreOriginal are provided"
    await ops.unpause(id="1")  # is not paused: nothing happens
    await shop.finish(handle)
    closed = RPCStatusCode.NOT_FOUND, "workflow execution already completed"
    assert await refused(ops.pause(id="1")) == closed
    assert await refused(ops.reset(match_all=True)) == closed
    nobody = Operator(client, f"{wid}-nobody")
    assert await refused(nobody.pause(id="1")) == (
        RPCStatusCode.NOT_FOUND,
        f"workflow not found for ID: {wid}-nobody",
    )
