"""Code that does not fit the history any more, in workflows that are to fail on a NondeterminismError: when they do."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowHistory,
    WorkflowQueryFailedError,
)
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from .support import MakeWorker, chain, eventually

SHORT = timedelta(seconds=1)
SOON = timedelta(seconds=30)

pytestmark = pytest.mark.no_replay("two versions of the code are meant to disagree")


class Parcel:
    """What the activity waits for."""

    ready = False


@activity.defn
async def pack() -> str:
    return "packed"


@activity.defn
async def send() -> str:
    """Of two tries the first is lost with its worker."""
    if not Parcel.ready:
        await asyncio.Event().wait()
    return "sent"


@workflow.defn(name="Changed")
class Before:
    """Waits for what it is told to wait for."""

    def __init__(self) -> None:
        self.go = False

    @workflow.run
    async def run(self, wait_for: str) -> str:
        await workflow.execute_activity(pack, start_to_close_timeout=SOON)
        if wait_for == "timer":
            await workflow.sleep(3)
        elif wait_for == "activity":
            await workflow.execute_activity(send, start_to_close_timeout=timedelta(seconds=3))
        elif wait_for == "child":
            await workflow.execute_child_workflow("Child", id=f"{workflow.info().workflow_id}-child")
        else:
            await workflow.wait_condition(lambda: self.go)
        return "before"

    @workflow.signal
    def proceed(self) -> None:
        self.go = True

    @workflow.update
    def hurry(self) -> None:
        self.go = True

    @workflow.query
    def ready(self) -> bool:
        return True


@workflow.defn(name="Changed")
class After:
    @workflow.run
    async def run(self, wait_for: str) -> str:
        await workflow.sleep(1)
        return "after"

    @workflow.signal
    def proceed(self) -> None:
        pass

    @workflow.update
    def hurry(self) -> None:
        pass

    @workflow.query
    def ready(self) -> bool:
        return True


@workflow.defn(name="Changed", failure_exception_types=[workflow.NondeterminismError])
class Strict(After):
    @workflow.run
    async def run(self, wait_for: str) -> str:
        return await super().run(wait_for)


@workflow.defn
class Child:
    def __init__(self) -> None:
        self.go = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.go)
        return "grown"

    @workflow.signal
    def proceed(self) -> None:
        self.go = True


@workflow.defn
class Sound:
    """Another run of the worker, whose code fits."""

    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(pack, start_to_close_timeout=SOON)


def kinds(history: WorkflowHistory) -> list[str]:
    return [EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in history.events]


ENDS = ["WORKFLOW_TASK_SCHEDULED", "WORKFLOW_TASK_STARTED", "WORKFLOW_TASK_COMPLETED", "WORKFLOW_EXECUTION_FAILED"]

Handle = WorkflowHandle[object, object]


class Changing:
    """A run that the old code has begun and the new code is to go on with."""

    def __init__(self, client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
        self.client, self.queue, self.wid = client, queue, wid
        self._make_worker = make_worker

    async def begin(self, wait_for: str, last: str) -> Handle:
        """Until this is the last event of the history."""
        Parcel.ready = False
        old = self._make_worker(self.client, task_queue=self.queue, workflows=[Before, Child], activities=[pack, send])
        async with old:
            handle = await self.client.start_workflow(
                "Changed", wait_for, id=self.wid, task_queue=self.queue, task_timeout=SHORT
            )

            async def waits() -> None:
                said = kinds(await handle.fetch_history())
                assert "ACTIVITY_TASK_COMPLETED" in said
                assert said[-1] == last

            await eventually(waits)
        Parcel.ready = True
        return handle

    def new_worker(self, by: str = "workflow type") -> Worker:
        return self._make_worker(
            self.client,
            task_queue=self.queue,
            workflows=[Strict if by == "workflow type" else After, Child, Sound],
            activities=[pack, send],
            workflow_failure_exception_types=[workflow.NondeterminismError] if by == "worker" else [],
        )

    async def still_waits(self, handle: Handle, history: list[str]) -> None:
        """The new worker is at work, and has done nothing to the run."""
        for number in range(2):
            sound = await self.client.execute_workflow(Sound.run, id=f"{self.wid}-{number}", task_queue=self.queue)
            assert sound == "packed"
        assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
        assert kinds(await handle.fetch_history()) == history


async def fails(handle: Handle) -> list[str]:
    """The history in the end."""
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert "[TMPRL1100] " in chain(failed.value)[1]
    assert chain(failed.value)[1].endswith(" type=None")
    assert (await handle.describe()).status is WorkflowExecutionStatus.FAILED
    history = await handle.fetch_history()
    closing = history.events[-1].workflow_execution_failed_event_attributes
    assert closing.workflow_task_completed_event_id == history.events[-2].event_id
    return kinds(history)


@pytest.fixture
def changing(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> Changing:
    return Changing(client, make_worker, queue, wid)


@pytest.mark.parametrize("by", ["worker", "workflow type"])
async def test_it_fails_with_the_next_message(changing: Changing, by: str) -> None:
    handle = await changing.begin("message", "WORKFLOW_TASK_COMPLETED")
    before = kinds(await handle.fetch_history())
    async with changing.new_worker(by):
        await changing.still_waits(handle, before)
        await handle.signal("proceed")
        assert await fails(handle) == [*before, "WORKFLOW_EXECUTION_SIGNALED", *ENDS]


async def test_it_fails_with_a_message_that_came_meanwhile(changing: Changing) -> None:
    handle = await changing.begin("message", "WORKFLOW_TASK_COMPLETED")
    await handle.signal("proceed")
    async with changing.new_worker():
        assert (await fails(handle))[-5:] == ["WORKFLOW_EXECUTION_SIGNALED", *ENDS]


async def test_it_fails_when_its_timer_rings(changing: Changing) -> None:
    handle = await changing.begin("timer", "TIMER_STARTED")
    async with changing.new_worker():
        assert (await fails(handle))[-6:] == ["TIMER_STARTED", "TIMER_FIRED", *ENDS]


async def test_its_activity_is_tried_again_and_it_fails_with_the_outcome(changing: Changing) -> None:
    handle = await changing.begin("activity", "ACTIVITY_TASK_SCHEDULED")
    async with changing.new_worker():
        said = await fails(handle)
    assert said[-7:] == ["ACTIVITY_TASK_SCHEDULED", "ACTIVITY_TASK_STARTED", "ACTIVITY_TASK_COMPLETED", *ENDS]


async def test_it_fails_with_the_end_of_its_child(changing: Changing, client: Client) -> None:
    handle = await changing.begin("child", "WORKFLOW_TASK_COMPLETED")
    before = kinds(await handle.fetch_history())
    async with changing.new_worker():
        await changing.still_waits(handle, before)
        await client.get_workflow_handle(f"{changing.wid}-child").signal("proceed")
        assert await fails(handle) == [*before, "CHILD_WORKFLOW_EXECUTION_COMPLETED", *ENDS]


async def test_its_end_meets_its_children(changing: Changing, client: Client) -> None:
    handle = await changing.begin("child", "WORKFLOW_TASK_COMPLETED")
    child = client.get_workflow_handle(f"{changing.wid}-child")
    async with changing.new_worker():
        await handle.signal("proceed")
        await fails(handle)

        async def ended() -> None:
            assert (await child.describe()).status is WorkflowExecutionStatus.TERMINATED

        await eventually(ended)


async def test_a_query_is_refused_and_leaves_it_as_it_is(changing: Changing) -> None:
    handle = await changing.begin("message", "WORKFLOW_TASK_COMPLETED")
    before = kinds(await handle.fetch_history())
    async with changing.new_worker():
        for _ in range(2):
            with pytest.raises(WorkflowQueryFailedError, match=r"^\[TMPRL1100\] "):
                await handle.query("ready")
        await changing.still_waits(handle, before)
        await handle.signal("proceed")
        await fails(handle)
        with pytest.raises(WorkflowQueryFailedError, match=r"^\[TMPRL1100\] "):
            await handle.query("ready")


async def test_an_update_fails_it_and_is_aborted(changing: Changing) -> None:
    handle = await changing.begin("message", "WORKFLOW_TASK_COMPLETED")
    before = kinds(await handle.fetch_history())
    async with changing.new_worker():
        with pytest.raises(RPCError, match="workflow update was aborted by closing workflow") as refused:
            await handle.execute_update("hurry")
        assert refused.value.status is RPCStatusCode.NOT_FOUND
        assert await fails(handle) == [*before, *ENDS]
