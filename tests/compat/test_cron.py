"""Cron schedules on a workflow: runs that follow each other at set times, results and failures handed on."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from temporalio import workflow
from temporalio.api.enums.v1 import ContinueAsNewInitiator, RetryState
from temporalio.client import (
    Client,
    WorkflowContinuedAsNewError,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHistoryEventFilterType,
)
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from .chains import began, ended, has_runs, runs
from .support import MakeWorker, chain, eventually

BY_CRON = ContinueAsNewInitiator.CONTINUE_AS_NEW_INITIATOR_CRON_SCHEDULE


@workflow.defn(name="counting")
class Counting:
    """One more each run; the second run fails."""

    @workflow.run
    async def run(self) -> int:
        last = (workflow.get_last_completion_result(int) or 0) if workflow.has_last_completion_result() else 0
        if last == 1 and workflow.get_last_failure() is None:
            raise ApplicationError("odd")
        return last + 1


@workflow.defn(name="waits")
class Waits:
    def __init__(self) -> None:
        self.go = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.go)
        return "went"

    @workflow.signal
    def proceed(self) -> None:
        self.go = True


@workflow.defn(name="flaky-once")
class FlakyOnce:
    @workflow.run
    async def run(self) -> str:
        if workflow.info().attempt == 1:
            raise ApplicationError("first attempt")
        return f"attempt {workflow.info().attempt}"


async def test_each_run_follows_the_one_before(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Counting]):
        handle = await client.start_workflow(
            Counting.run,
            id=wid,
            task_queue=queue,
            cron_schedule="@every 1s",
            memo={"kept": 1},
            static_summary="of the first run",
        )
        with pytest.raises(WorkflowContinuedAsNewError):
            await handle.result(follow_runs=False)
        (told,) = [
            event.workflow_execution_continued_as_new_event_attributes
            async for event in client.get_workflow_handle(
                wid, run_id=handle.first_execution_run_id
            ).fetch_history_events(event_filter_type=WorkflowHistoryEventFilterType.CLOSE_EVENT)
        ]
        assert await client.data_converter.decode(told.last_completion_result.payloads) == [1]
        assert {field.name for field, _ in told.ListFields()} == {"new_execution_run_id", "last_completion_result"}
        described = await handle.describe()
        assert described.execution_time is not None
        assert described.execution_time - described.start_time == timedelta(seconds=1)
        histories = await has_runs(client, handle, 4)
        await client.get_workflow_handle(wid).terminate(reason="enough")
    assert [ended(events) for events in histories[:3]] == ["COMPLETED", "FAILED", "COMPLETED"]
    first, second, third, fourth = (began(events) for events in histories[:4])
    for started in (first, second, third, fourth):
        assert started.initiator == BY_CRON
        assert started.cron_schedule == "@every 1s"
        assert started.attempt == 1
        assert set(started.memo.fields) == {"kept"}
        assert started.first_execution_run_id == handle.first_execution_run_id
        assert started.first_workflow_task_backoff.ToTimedelta() == timedelta(seconds=1)
    assert [events[0].HasField("user_metadata") for events in histories[:4]] == [True, False, False, False]
    decode = client.data_converter.decode
    assert not first.HasField("last_completion_result")
    assert await decode(second.last_completion_result.payloads) == [1]
    assert await decode(third.last_completion_result.payloads) == [1]
    assert await decode(fourth.last_completion_result.payloads) == [2]
    assert third.continued_failure.message == "odd"
    assert not fourth.HasField("continued_failure")
    failed = histories[1][-1].workflow_execution_failed_event_attributes
    assert failed.retry_state == RetryState.RETRY_STATE_RETRY_POLICY_NOT_SET
    with pytest.raises(WorkflowFailureError) as ending:
        await handle.result()
    assert chain(ending.value.cause) == ["TerminatedError 'enough'"]


async def test_attempts_come_before_the_next_time(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[FlakyOnce]):
        handle = await client.start_workflow(
            FlakyOnce.run,
            id=wid,
            task_queue=queue,
            cron_schedule="@every 3s",
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=100)),
        )
        histories = await has_runs(client, handle, 3)
        await client.get_workflow_handle(wid).terminate()
    assert [ended(events) for events in histories[:2]] == ["FAILED", "COMPLETED"]
    initiators = [began(events).initiator for events in histories[:3]]
    assert initiators == [BY_CRON, ContinueAsNewInitiator.CONTINUE_AS_NEW_INITIATOR_RETRY, BY_CRON]
    assert [began(events).attempt for events in histories[:3]] == [1, 2, 1]


async def test_a_run_that_times_out_is_followed(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Waits]):
        handle = await client.start_workflow(
            Waits.run, id=wid, task_queue=queue, cron_schedule="@every 1s", run_timeout=timedelta(seconds=1)
        )
        histories = await has_runs(client, handle, 2)
        await client.get_workflow_handle(wid).terminate()
    assert ended(histories[0]) == "TIMED_OUT"
    assert began(histories[1]).continued_failure.message == "workflow timeout"


async def test_a_cancelled_run_is_the_last(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Waits]):
        handle = await client.start_workflow(Waits.run, id=wid, task_queue=queue, cron_schedule="@every 1s")

        async def has_begun() -> None:
            assert len((await handle.fetch_history()).events) > 3

        await eventually(has_begun)
        await handle.signal(Waits.proceed)
        await has_runs(client, handle, 2)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        described = await client.get_workflow_handle(wid).describe()
        assert described.status == WorkflowExecutionStatus.CANCELED
        histories = await runs(client, handle)
        assert [ended(events) for events in histories] == ["COMPLETED", "CANCELED"]


async def test_the_first_time(client: Client, queue: str, wid: str) -> None:
    """The delay before the first run, in the dialect of Temporal's server: whole seconds, rounded up."""

    async def delay(number: int, schedule: str) -> tuple[datetime, timedelta]:
        handle = await client.start_workflow(Waits.run, id=f"{wid}-{number}", task_queue=queue, cron_schedule=schedule)
        event = (await handle.fetch_history()).events[0]
        await handle.terminate()
        started = event.workflow_execution_started_event_attributes
        return event.event_time.ToDatetime(UTC), started.first_workflow_task_backoff.ToTimedelta()

    for number, (schedule, minute, hour) in enumerate(
        [("17 * * * *", 17, None), ("30 4 * * ?", 30, 4), ("CRON_TZ=Asia/Kolkata 0 12 * * *", 30, 6), ("@daily", 0, 0)]
    ):
        at, waits = await delay(number, schedule)
        assert waits.microseconds == 0
        begins = at + waits
        assert begins.minute == minute
        assert begins.second == 0
        assert hour is None or begins.hour == hour


@pytest.mark.parametrize(
    "schedule", ["bad", "* * * *", "60 * * * *", "* * * * 7", "* * * * * *", "@every 1x", "TZ=No/Where * * * * *"]
)
async def test_refused_schedules(client: Client, queue: str, wid: str, schedule: str) -> None:
    with pytest.raises(RPCError) as refused:
        await client.start_workflow(Waits.run, id=wid, task_queue=queue, cron_schedule=schedule)
    assert refused.value.status == RPCStatusCode.INVALID_ARGUMENT
    assert refused.value.message == "invalid CronSchedule."


async def test_a_cancel_request_does_not_wait_for_its_time(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    """A cancel request is not kept waiting by the schedule."""
    async with make_worker(client, task_queue=queue, workflows=[Waits]):
        handle = await client.start_workflow(Waits.run, id=wid, task_queue=queue, cron_schedule="0 0 1 1 *")
        await handle.cancel()
        async with asyncio.timeout(10):
            with pytest.raises(WorkflowFailureError):
                await handle.result()
