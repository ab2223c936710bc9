"""What a schedule does when a run is due and the one before is still there; when runs fail; when actions are limited."""

from __future__ import annotations

from datetime import timedelta

import pytest
from temporalio import workflow
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleDescription,
    ScheduleHandle,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
    WorkflowExecutionStatus,
)
from temporalio.exceptions import ApplicationError

from .support import MakeWorker, eventually

Overlap = ScheduleOverlapPolicy


@workflow.defn
class Held:
    """Runs until it is let go."""

    def __init__(self) -> None:
        self.released = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.released)
        return "done"

    @workflow.signal
    def release(self) -> None:
        self.released = True


@workflow.defn
class Fails:
    @workflow.run
    async def run(self) -> None:
        raise ApplicationError("no luck", non_retryable=True)


@workflow.defn
class GoesOn:
    """A chain of two runs: the second is held."""

    def __init__(self) -> None:
        self.released = False

    @workflow.run
    async def run(self, second: bool = False) -> str:
        if not second:
            workflow.continue_as_new(True)
        await workflow.wait_condition(lambda: self.released)
        return "end of the chain"

    @workflow.signal
    def release(self) -> None:
        self.released = True


async def seen(handle: ScheduleHandle, **facts: int) -> ScheduleDescription:
    """The description once it shows these facts."""

    async def shows() -> ScheduleDescription:
        described = await handle.describe()
        info = described.raw_description.info
        assert {name: value(info) for name, value in _FACTS.items() if name in facts} == facts
        return described

    return await eventually(shows)


_FACTS = {
    "actions": lambda info: info.action_count,
    "skipped": lambda info: info.overlap_skipped,
    "waiting": lambda info: info.buffer_size,
    "running": lambda info: len(info.running_workflows),
    "missed": lambda info: info.missed_catchup_window,
}


def schedule(
    workflow_type: str,
    unique: str,
    queue: str,
    *,
    every_s: float = 0,
    overlap: Overlap = Overlap.SKIP,
    **options: object,
) -> Schedule:
    return Schedule(
        action=ScheduleActionStartWorkflow(workflow_type, id=f"w-{unique}", task_queue=queue),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(seconds=every_s))] if every_s else []),
        policy=SchedulePolicy(overlap=overlap, pause_on_failure=bool(options.pop("pause_on_failure", False))),
        **options,  # type: ignore[arg-type]
    )


def runs(described: ScheduleDescription) -> list[ScheduleActionExecutionStartWorkflow]:
    return [result.action for result in described.info.recent_actions]  # type: ignore[misc]


async def status(client: Client, run: ScheduleActionExecutionStartWorkflow) -> WorkflowExecutionStatus | None:
    described = await client.get_workflow_handle(run.workflow_id, run_id=run.first_execution_run_id).describe()
    return described.status


async def release(client: Client, run: ScheduleActionExecutionStartWorkflow) -> None:
    await client.get_workflow_handle(run.workflow_id).signal("release")


async def test_each_time_comes_once_and_in_time(
    client: Client, unique: str, queue: str, make_worker: MakeWorker
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Held]):
        handle = await client.create_schedule(
            f"s-{unique}", schedule("Held", unique, queue, every_s=1, overlap=Overlap.ALLOW_ALL)
        )
        await eventually(lambda: _at_least(handle, 3))
        await handle.pause()
        described = await handle.describe()
        await handle.delete()
        due = [result.scheduled_at for result in described.info.recent_actions]
        assert due == [due[0] + timedelta(seconds=number) for number in range(len(due))]
        assert [run.workflow_id for run in runs(described)] == [f"w-{unique}-{at:%Y-%m-%dT%H:%M:%SZ}" for at in due]
        assert not described.info.running_actions, "runs that may overlap are not watched"
        late = [result.started_at - result.scheduled_at for result in described.info.recent_actions]
        assert timedelta() <= min(late)
        assert max(late) < timedelta(seconds=5)
        for run in runs(described):
            await client.get_workflow_handle(run.workflow_id).terminate()


async def _at_least(handle: ScheduleHandle, number: int) -> None:
    assert (await handle.describe()).info.num_actions >= number


async def test_skip(client: Client, unique: str, queue: str, make_worker: MakeWorker) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Held]):
        handle = await client.create_schedule(f"s-{unique}", schedule("Held", unique, queue))
        await handle.trigger()
        described = await seen(handle, actions=1, running=1)
        for skipped in (1, 2):  # a server that is busy takes two up as one
            await handle.trigger()
            described = await seen(handle, actions=1, skipped=skipped, running=1, waiting=0)
        await release(client, runs(described)[0])
        await seen(handle, running=0, actions=1)
        await handle.delete()


async def test_buffer_one(client: Client, unique: str, queue: str, make_worker: MakeWorker) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Held]):
        handle = await client.create_schedule(
            f"s-{unique}", schedule("Held", unique, queue, every_s=1, overlap=Overlap.BUFFER_ONE)
        )
        await eventually(lambda: _skipped(handle, 1))
        await handle.pause()
        described = await seen(handle, actions=1, running=1, waiting=1)
        await release(client, runs(described)[0])
        # A pause drops what waits: it is the schedule's own time, and not a triggered one.
        await seen(handle, actions=1, running=0, waiting=0)
        await handle.delete()


async def _skipped(handle: ScheduleHandle, number: int) -> None:
    assert (await handle.describe()).info.num_actions_skipped_overlap >= number


async def test_buffer_all(client: Client, unique: str, queue: str, make_worker: MakeWorker) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Held]):
        handle = await client.create_schedule(
            f"s-{unique}", schedule("Held", unique, queue, every_s=1, overlap=Overlap.BUFFER_ALL)
        )

        async def two_wait() -> None:
            assert (await handle.describe()).raw_description.info.buffer_size >= 2

        await eventually(two_wait)
        first = runs(await handle.describe())[0]
        await release(client, first)
        described = await seen(handle, actions=2, running=1)
        assert runs(described)[0] == first
        await handle.pause()
        await handle.delete()
        await client.get_workflow_handle(runs(described)[1].workflow_id).terminate()


@pytest.mark.parametrize(
    ("overlap", "ended"),
    [
        (Overlap.CANCEL_OTHER, WorkflowExecutionStatus.CANCELED),
        (Overlap.TERMINATE_OTHER, WorkflowExecutionStatus.TERMINATED),
    ],
)
async def test_the_one_before_is_ended(
    overlap: Overlap,
    ended: WorkflowExecutionStatus,
    client: Client,
    unique: str,
    queue: str,
    make_worker: MakeWorker,
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Held]):
        handle = await client.create_schedule(
            f"s-{unique}", schedule("Held", unique, queue, every_s=2, overlap=overlap)
        )
        await eventually(lambda: _at_least(handle, 2))
        described = await handle.describe()
        await handle.delete()
        first = runs(described)[0]
        assert await status(client, first) == ended
        if overlap is Overlap.TERMINATE_OTHER:
            history = await client.get_workflow_handle(first.workflow_id).fetch_history()
            reason = history.events[-1].workflow_execution_terminated_event_attributes.reason
            assert reason == "terminated by schedule overlap policy"
        for run in runs(described)[1:]:
            if await status(client, run) == WorkflowExecutionStatus.RUNNING:
                await client.get_workflow_handle(run.workflow_id).terminate()


async def test_a_chain_is_one_run(client: Client, unique: str, queue: str, make_worker: MakeWorker) -> None:
    """Continue-as-new does not end what a schedule waits for."""
    async with make_worker(client, task_queue=queue, workflows=[GoesOn]):
        handle = await client.create_schedule(f"s-{unique}", schedule("GoesOn", unique, queue))
        await handle.trigger()
        described = await seen(handle, actions=1, running=1)
        [run] = runs(described)

        async def second() -> None:
            assert await status(client, run) == WorkflowExecutionStatus.CONTINUED_AS_NEW

        await eventually(second)
        await handle.trigger()
        await seen(handle, actions=1, skipped=1, running=1)
        await release(client, run)
        await seen(handle, actions=1, running=0)
        await handle.delete()


async def test_pause_on_failure(client: Client, unique: str, queue: str, make_worker: MakeWorker) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Fails]):
        handle = await client.create_schedule(
            f"s-{unique}", schedule("Fails", unique, queue, every_s=1, pause_on_failure=True)
        )

        async def paused() -> ScheduleDescription:
            described = await handle.describe()
            assert described.schedule.state.paused
            return described

        described = await eventually(paused)
        [run] = runs(described)
        assert described.schedule.state.note == f"paused due to workflow failure: {run.workflow_id}: no luck"
        await handle.delete()


async def test_limited_actions(client: Client, unique: str, queue: str, make_worker: MakeWorker) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Fails]):
        handle = await client.create_schedule(
            f"s-{unique}",
            schedule(
                "Fails",
                unique,
                queue,
                every_s=1,
                overlap=Overlap.ALLOW_ALL,
                state=ScheduleState(limited_actions=True, remaining_actions=2),
            ),
        )
        described = await seen(handle, actions=2)
        state = described.schedule.state
        assert (state.limited_actions, state.remaining_actions) == (True, 0)
        assert not described.info.next_action_times
        for run in runs(described):  # a trigger in the same second means the same workflow id

            async def ended(run: ScheduleActionExecutionStartWorkflow = run) -> None:
                assert await status(client, run) == WorkflowExecutionStatus.FAILED

            await eventually(ended)
        await handle.trigger()
        described = await seen(handle, actions=3)
        assert described.schedule.state.remaining_actions == 0
        await handle.delete()


async def test_deleting_a_schedule_leaves_its_runs_alone(
    client: Client, unique: str, queue: str, make_worker: MakeWorker
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Held]):
        handle = await client.create_schedule(f"s-{unique}", schedule("Held", unique, queue), trigger_immediately=True)
        [run] = runs(await seen(handle, actions=1))
        await handle.delete()
        await release(client, run)
        assert await client.get_workflow_handle(run.workflow_id).result() == "done"
