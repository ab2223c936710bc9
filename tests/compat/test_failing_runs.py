"""A run whose workflow task fails, seen from outside: what its history tells, who is told, what is done only once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import (
    Client,
    WorkflowHistory,
    WorkflowQueryFailedError,
)
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from .support import Connect, MakeWorker, keeps_failing, recorded_failure

SHORT = timedelta(seconds=1)
SOON = timedelta(seconds=30)


class Ran:
    times = 0


@activity.defn
async def once() -> str:
    Ran.times += 1
    return "done"


@workflow.defn(name="Mended")
class Mistaken:
    def __init__(self) -> None:
        self.seen: list[str] = []

    @workflow.run
    async def run(self) -> str:
        done = await workflow.execute_activity(once, start_to_close_timeout=SOON)
        raise ValueError(f"{done}, and then a mistake")

    @workflow.signal
    def see(self, what: str) -> None:
        self.seen.append(what)


@workflow.defn(name="Mended")
class Mended:
    def __init__(self) -> None:
        self.seen: list[str] = []

    @workflow.run
    async def run(self) -> str:
        done = await workflow.execute_activity(once, start_to_close_timeout=SOON)
        await workflow.wait_condition(lambda: bool(self.seen))
        return f"{done} {self.seen}"

    @workflow.signal
    def see(self, what: str) -> None:
        self.seen.append(what)


def kinds(history: WorkflowHistory) -> list[str]:
    return [EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in history.events]


FAILED_TASK = ["WORKFLOW_TASK_SCHEDULED", "WORKFLOW_TASK_STARTED", "WORKFLOW_TASK_FAILED"]
BEFORE_IT = [
    "WORKFLOW_EXECUTION_STARTED",
    "WORKFLOW_TASK_SCHEDULED",
    "WORKFLOW_TASK_STARTED",
    "WORKFLOW_TASK_COMPLETED",
    "ACTIVITY_TASK_SCHEDULED",
    "ACTIVITY_TASK_STARTED",
    "ACTIVITY_TASK_COMPLETED",
]


async def test_what_a_mended_worker_finds_is_not_done_again(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    Ran.times = 0
    async with make_worker(client, task_queue=queue, workflows=[Mistaken], activities=[once]):
        handle = await client.start_workflow("Mended", id=wid, task_queue=queue, task_timeout=SHORT)
        await keeps_failing(handle)
    async with make_worker(client, task_queue=queue, workflows=[Mended], activities=[once]):
        await handle.signal("see", "it")
        assert await handle.result() == "done ['it']"
    assert Ran.times == 1


async def test_the_failure_stands_after_what_happened_before_it(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    """And a history that ends so replays with code that is right."""
    async with make_worker(client, task_queue=queue, workflows=[Mistaken], activities=[once]):
        handle = await client.start_workflow("Mended", id=wid, task_queue=queue, task_timeout=SHORT)
        await keeps_failing(handle)
        history = await handle.fetch_history()
        assert kinds(history)[:10] == BEFORE_IT + FAILED_TASK
        failed = history.events[9]
        attributes = failed.workflow_task_failed_event_attributes
        assert (failed.event_id, attributes.scheduled_event_id, attributes.started_event_id) == (10, 8, 9)
        assert attributes.failure.message == "done, and then a mistake"
        assert "raise ValueError" in attributes.failure.stack_trace
        assert attributes.identity == history.events[8].workflow_task_started_event_attributes.identity
        await handle.signal("see", "more")
    replayer = Replayer(workflows=[Mended], workflow_runner=UnsandboxedWorkflowRunner())
    assert (await replayer.replay_workflow(history, raise_on_replay_failure=False)).replay_failure is None
    later = await handle.fetch_history()
    assert (await replayer.replay_workflow(later, raise_on_replay_failure=False)).replay_failure is None
    await handle.terminate()
    ended = kinds(await handle.fetch_history())
    assert ended[:10] == BEFORE_IT + FAILED_TASK
    assert ended[-1] == "WORKFLOW_EXECUTION_TERMINATED"
    assert "WORKFLOW_EXECUTION_SIGNALED" in ended[10:]
    make_worker(client, task_queue=queue, workflows=[Mended], activities=[once])  # whose code the replay shall use


async def test_it_is_seen_through_any_connection(
    client: Client, connect: Connect, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    other = await connect()
    async with make_worker(client, task_queue=queue, workflows=[Mistaken], activities=[once]):
        await client.start_workflow("Mended", id=wid, task_queue=queue, task_timeout=SHORT)
        elsewhere = other.get_workflow_handle(wid)
        await keeps_failing(elsewhere)
        cause, failure = await recorded_failure(elsewhere)
        assert cause == "WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE"
        assert failure.application_failure_info.type == "ValueError"
        await elsewhere.terminate()
    make_worker(client, task_queue=queue, workflows=[Mended], activities=[once])


async def test_another_run_of_the_worker_does_not_suffer(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Mistaken, Sound], activities=[once]):
        handle = await client.start_workflow("Mended", id=wid, task_queue=queue, task_timeout=SHORT)
        await keeps_failing(handle)
        assert await client.execute_workflow(Sound.run, id=f"{wid}-sound", task_queue=queue) == "done done"
        await handle.terminate()


@workflow.defn
class Sound:
    """One id for two activities, one after the other: that is allowed."""

    @workflow.run
    async def run(self) -> str:
        said = [
            await workflow.execute_activity(once, activity_id="mine", start_to_close_timeout=SOON) for _ in range(2)
        ]
        return " ".join(said)


@workflow.defn(name="Changed")
class Before:
    def __init__(self) -> None:
        self.go = False

    @workflow.run
    async def run(self) -> str:
        await workflow.execute_activity(once, start_to_close_timeout=SOON)
        await workflow.wait_condition(lambda: self.go)
        return "before"

    @workflow.signal
    def proceed(self) -> None:
        self.go = True

    @workflow.query
    def ready(self) -> bool:
        return True


@workflow.defn(name="Changed")
class After:
    @workflow.run
    async def run(self) -> str:
        await workflow.sleep(1)
        return "after"

    @workflow.signal
    def proceed(self) -> None:
        pass

    @workflow.query
    def ready(self) -> bool:
        return True


@pytest.mark.no_replay("two versions of the code are meant to disagree")
async def test_a_query_of_a_closed_run_whose_code_no_longer_fits_says_so(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Before], activities=[once]):
        handle = await client.start_workflow("Changed", id=wid, task_queue=queue)
        await handle.signal("proceed")
        assert await handle.result() == "before"
    async with make_worker(client, task_queue=queue, workflows=[After], activities=[once]):
        with pytest.raises(WorkflowQueryFailedError, match=r"^\[TMPRL1100\] "):
            await handle.query("ready")
