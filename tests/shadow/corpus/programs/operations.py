"""What operators do: schedules, resets; and runs that are half-way whenever somebody looks."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from temporalio import activity, workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import (
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleBackfill,
    ScheduleOverlapPolicy,
    ScheduleSpec,
    ScheduleState,
)
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

from tests.shadow.corpus.stage import Handle, Stage
from tests.shadow.corpus.theme import Theme

theme = Theme("operations")

SOON = timedelta(seconds=30)


@theme.activity
@activity.defn
async def step(name: str) -> str:
    return name.upper()


@theme.activity
@activity.defn
async def never_well() -> None:
    raise ApplicationError("again and again")


@theme.activity
@activity.defn
async def endless() -> None:
    try:
        while True:
            activity.heartbeat()
            await asyncio.sleep(0.05)
    except asyncio.CancelledError:
        activity.raise_complete_async()  # the worker goes away, the activity does not end


@theme.workflow
@workflow.defn
class Report:
    @workflow.run
    async def run(self, title: str) -> str:
        return await workflow.execute_activity(step, title, start_to_close_timeout=SOON)


@theme.workflow
@workflow.defn
class Steps:
    """Two activities with a signal between them."""

    def __init__(self) -> None:
        self.words: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        said = [await workflow.execute_activity(step, "first", start_to_close_timeout=SOON)]
        await workflow.wait_condition(lambda: bool(self.words))
        said.append(await workflow.execute_activity(step, "second", start_to_close_timeout=SOON))
        return said + self.words

    @workflow.signal
    def say(self, word: str) -> None:
        self.words.append(word)


@theme.scene
async def scheduled(stage: Stage) -> None:
    """A schedule that is triggered once and filled backwards twice."""
    handle = await stage.client.create_schedule(
        stage.id,
        Schedule(
            action=ScheduleActionStartWorkflow(
                Report.run, "of the night", id=f"{stage.id}-report", task_queue=stage.queue, memo={"by": "schedule"}
            ),
            spec=ScheduleSpec(cron_expressions=["0 0 1 1 *"]),
            state=ScheduleState(paused=True),
        ),
        trigger_immediately=True,
    )
    await handle.backfill(
        ScheduleBackfill(
            start_at=datetime(2023, 12, 31, tzinfo=UTC),
            end_at=datetime(2025, 1, 2, tzinfo=UTC),
            overlap=ScheduleOverlapPolicy.ALLOW_ALL,
        )
    )

    async def all_done() -> bool:
        query = f'WorkflowId STARTS_WITH "{stage.id}-report" AND ExecutionStatus = "Completed"'
        return (await stage.client.count_workflows(query)).count >= 3

    await stage.until(all_done, "three reports")
    await handle.delete()


async def reset(stage: Stage, handle: Handle, task: int) -> None:
    """Go back to behind the ``task``-th workflow task."""
    events = (await handle.fetch_history()).events
    tasks = [e.event_id for e in events if e.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED]
    answer = await stage.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=stage.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=handle.id, run_id=handle.result_run_id or ""),
            workflow_task_finish_event_id=tasks[task],
            request_id=f"{handle.id}-{task}",
            reason="once more",
        )
    )
    await stage.end(stage.client.get_workflow_handle(handle.id, run_id=answer.run_id))


@theme.scene
async def reset_to_the_beginning(stage: Stage) -> None:
    handle = await stage.start(Steps.run)
    await handle.signal(Steps.say, "hello")
    await stage.end(handle)
    await reset(stage, handle, 0)


@theme.scene
async def reset_to_the_middle(stage: Stage) -> None:
    handle = await stage.start(Steps.run)
    await stage.until_event(handle, EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED)
    await stage.until_event(handle, EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, 2)
    await handle.signal(Steps.say, "hello")
    await stage.end(handle)
    await reset(stage, handle, 1)


# -- half-way ----------------------------------------------------------------------------------------------------------


@theme.workflow
@workflow.defn
class HalfWay:
    @workflow.run
    async def run(self, where: str) -> None:
        await workflow.execute_activity(step, where, start_to_close_timeout=SOON)
        if where == "timer":
            await asyncio.sleep(86_400)
        if where == "retrying":
            await workflow.execute_activity(
                never_well,
                start_to_close_timeout=SOON,
                retry_policy=RetryPolicy(initial_interval=timedelta(hours=1)),
            )
        if where == "running":
            await workflow.execute_activity(endless, start_to_close_timeout=timedelta(hours=1))
        if where == "child":
            await workflow.execute_child_workflow(HalfWay.run, "timer", id=f"{workflow.info().workflow_id}-child")
        if where == "waiting":
            await workflow.wait_condition(lambda: False)


@theme.scene
async def on_a_timer(stage: Stage) -> None:
    await stage.until_event(await stage.start(HalfWay.run, "timer"), EventType.EVENT_TYPE_TIMER_STARTED)


@theme.scene
async def in_an_activity(stage: Stage) -> None:
    handle = await stage.start(HalfWay.run, "retrying")
    await stage.until_event(handle, EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED, 2)


@theme.scene
async def in_a_running_activity(stage: Stage) -> None:
    handle = await stage.start(HalfWay.run, "running")
    await stage.until_event(handle, EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED, 2)


@theme.scene
async def with_a_child(stage: Stage) -> None:
    handle = await stage.start(HalfWay.run, "child")
    await stage.until_event(handle, EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED)


@theme.scene
async def on_a_condition(stage: Stage) -> None:
    handle = await stage.start(HalfWay.run, "waiting")
    await stage.until_event(handle, EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, 2)


@theme.scene
async def not_begun(stage: Stage) -> None:
    """Nobody serves the queue."""
    handle = await stage.start(Report.run, "never", task_queue=f"{stage.queue}-nobody")
    await handle.signal("unheard")
