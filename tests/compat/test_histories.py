"""Histories: events as a Temporal server would number them, readable by Temporal's own tools."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from temporalio import activity, workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHistory, WorkflowHistoryEventFilterType
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Replayer

from .support import MakeWorker, eventually


@activity.defn
async def reserve(what: str) -> str:
    return f"reserved {what}"


@activity.defn
async def charge(what: str) -> str:
    return f"charged {what}"


@workflow.defn(name="purchase")
class Purchase:
    def __init__(self) -> None:
        self.approved = False

    @workflow.run
    async def run(self, what: str) -> list[str]:
        first = await workflow.execute_activity(reserve, what, start_to_close_timeout=timedelta(seconds=30))
        await workflow.wait_condition(lambda: self.approved)
        await workflow.sleep(0.01)
        second = await workflow.execute_activity(charge, what, start_to_close_timeout=timedelta(seconds=30))
        return [first, second]

    @workflow.signal
    def approve(self) -> None:
        self.approved = True

    @workflow.query
    def waits(self) -> bool:
        return not self.approved


@workflow.defn(name="purchase")
class OtherPurchase:
    """What `Purchase` may not become."""

    @workflow.run
    async def run(self, what: str) -> list[str]:
        second = await workflow.execute_activity(charge, what, start_to_close_timeout=timedelta(seconds=30))
        return [second]


TASK = ["WORKFLOW_TASK_SCHEDULED", "WORKFLOW_TASK_STARTED", "WORKFLOW_TASK_COMPLETED"]
ACTIVITY = ["ACTIVITY_TASK_SCHEDULED", "ACTIVITY_TASK_STARTED", "ACTIVITY_TASK_COMPLETED"]


async def purchase(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> WorkflowHistory:
    """The history of one finished purchase whose signal came after the first step."""
    async with make_worker(client, task_queue=queue, workflows=[Purchase], activities=[reserve, charge]):
        handle = await client.start_workflow(Purchase.run, "tea", id=wid, task_queue=queue)

        async def first_step_is_done() -> None:
            kinds = [event.event_type for event in (await handle.fetch_history()).events]
            assert kinds.count(EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED) == 2

        await eventually(first_step_is_done)
        await handle.signal(Purchase.approve)
        assert await handle.result() == ["reserved tea", "charged tea"]
        return await handle.fetch_history()


async def test_the_events_of_a_purchase(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    history = await purchase(client, make_worker, queue, wid)
    kinds = [EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in history.events]
    assert kinds == [
        "WORKFLOW_EXECUTION_STARTED",
        *TASK,
        *ACTIVITY,
        *TASK,
        "WORKFLOW_EXECUTION_SIGNALED",
        *TASK,
        "TIMER_STARTED",
        "TIMER_FIRED",
        *TASK,
        *ACTIVITY,
        *TASK,
        "WORKFLOW_EXECUTION_COMPLETED",
    ]
    assert [event.event_id for event in history.events] == list(range(1, len(kinds) + 1))
    times = [event.event_time.ToDatetime(UTC) for event in history.events]
    assert times == sorted(times)
    assert before < times[0]
    assert times[-1] < datetime.now(UTC) + timedelta(seconds=1)

    started = history.events[0].workflow_execution_started_event_attributes
    assert started.workflow_type.name == "purchase"
    assert started.task_queue.name == queue
    assert started.workflow_id == wid
    assert started.original_execution_run_id == started.first_execution_run_id == history.run_id
    assert started.attempt == 1
    assert started.identity == client.identity
    assert await client.data_converter.decode(started.input.payloads) == ["tea"]

    scheduled = history.events[4].activity_task_scheduled_event_attributes
    assert (scheduled.activity_id, scheduled.activity_type.name) == ("1", "reserve")
    assert scheduled.task_queue.name == queue
    assert scheduled.workflow_task_completed_event_id == 4
    assert scheduled.start_to_close_timeout.ToTimedelta() == timedelta(seconds=30)
    assert scheduled.retry_policy.initial_interval.ToTimedelta() == timedelta(seconds=1)
    begun = history.events[5].activity_task_started_event_attributes
    assert (begun.scheduled_event_id, begun.attempt) == (5, 1)
    done = history.events[6].activity_task_completed_event_attributes
    assert (done.scheduled_event_id, done.started_event_id) == (5, 6)
    assert await client.data_converter.decode(done.result.payloads) == ["reserved tea"]

    signalled = history.events[10].workflow_execution_signaled_event_attributes
    assert (signalled.signal_name, signalled.identity) == ("approve", client.identity)
    timer = history.events[14].timer_started_event_attributes
    assert timer.start_to_fire_timeout.ToTimedelta() == timedelta(milliseconds=10)
    fired = history.events[15].timer_fired_event_attributes
    assert (fired.timer_id, fired.started_event_id) == (timer.timer_id, 15)

    completed = history.events[-1].workflow_execution_completed_event_attributes
    assert completed.workflow_task_completed_event_id == len(kinds) - 1
    assert await client.data_converter.decode(completed.result.payloads) == [["reserved tea", "charged tea"]]


async def test_the_replayer_takes_it_also_from_json_and_refuses_other_code(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    history = await purchase(client, make_worker, queue, wid)
    again = WorkflowHistory.from_json(wid, history.to_json())
    await Replayer(workflows=[Purchase]).replay_workflow(again)
    with pytest.raises(workflow.NondeterminismError):
        await Replayer(workflows=[OtherPurchase]).replay_workflow(again)


async def test_the_closing_event_alone(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    history = await purchase(client, make_worker, queue, wid)
    handle = client.get_workflow_handle(wid)
    closing = [
        event
        async for event in handle.fetch_history_events(event_filter_type=WorkflowHistoryEventFilterType.CLOSE_EVENT)
    ]
    assert [event.event_id for event in closing] == [history.events[-1].event_id]


async def test_in_pages(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    history = await purchase(client, make_worker, queue, wid)
    pages = client.get_workflow_handle(wid).fetch_history_events(page_size=2)
    ids = []
    await pages.fetch_next_page()
    assert pages.current_page is not None
    assert 0 < len(pages.current_page) < len(history.events)  # the size of a page counts batches, not events
    async for event in pages:
        ids.append(event.event_id)
    assert ids == [event.event_id for event in history.events]


async def test_a_reader_can_wait_for_what_comes(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    handle = await client.start_workflow(Purchase.run, "tea", id=wid, task_queue=queue)

    async def read() -> list[EventType.ValueType]:
        return [event.event_type async for event in handle.fetch_history_events(wait_new_event=True)]

    reading = asyncio.create_task(read())
    await handle.signal(Purchase.approve)
    async with make_worker(client, task_queue=queue, workflows=[Purchase], activities=[reserve, charge]):
        await handle.result()
        kinds = await asyncio.wait_for(reading, 15)
    assert kinds[0] == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED
    assert kinds[-1] == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED
    assert kinds.count(EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED) == 2


async def test_an_open_run_has_a_history_too(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    handle = await client.start_workflow(Purchase.run, "tea", id=wid, task_queue=queue)
    kinds = [EventType.Name(event.event_type) for event in (await handle.fetch_history()).events]
    assert kinds == ["EVENT_TYPE_WORKFLOW_EXECUTION_STARTED", "EVENT_TYPE_WORKFLOW_TASK_SCHEDULED"]
    await handle.terminate("by hand", reason="enough")
    closing = (await handle.fetch_history()).events[-1]
    assert closing.workflow_execution_terminated_event_attributes.reason == "enough"
    assert closing.workflow_execution_terminated_event_attributes.identity == client.identity


async def test_the_history_of_nobody_is_not_found(client: Client, wid: str) -> None:
    with pytest.raises(RPCError) as refused:
        await client.get_workflow_handle(wid).fetch_history()
    assert (refused.value.status, refused.value.message) == (
        RPCStatusCode.NOT_FOUND,
        f"workflow not found for ID: {wid}",
    )
