"""Runs that follow one another: continue-as-new, workflow retries, cron, timeouts, delays."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

from tests.shadow.corpus.stage import Stage
from tests.shadow.corpus.theme import Theme

theme = Theme("chains")

SOON = timedelta(seconds=30)


@dataclass(frozen=True)
class State:
    left: int
    seen: tuple[int, ...] = ()


@theme.activity
@activity.defn
async def note(number: int) -> int:
    return number * number


@theme.workflow
@workflow.defn
class Again:
    @workflow.run
    async def run(self, state: State) -> list[int]:
        square = await workflow.execute_activity(note, state.left, start_to_close_timeout=SOON)
        state = replace(state, left=state.left - 1, seen=(*state.seen, square))
        if state.left > 0:
            workflow.continue_as_new(state, memo={"left": state.left}, task_timeout=timedelta(seconds=9))
        return list(state.seen)


@theme.workflow
@workflow.defn
class AsAnother:
    """Goes on as a workflow of another type."""

    @workflow.run
    async def run(self, left: int) -> list[int]:
        workflow.continue_as_new(State(left), workflow=Again.run, run_timeout=timedelta(seconds=40))


@theme.workflow
@workflow.defn
class ForEver:
    """Goes on until the server suggests a new run, then hands its signals on."""

    def __init__(self) -> None:
        self.inbox: list[int] = []
        self.ended = False

    @workflow.run
    async def run(self, total: int) -> int:
        while True:
            if workflow.info().is_continue_as_new_suggested():
                await workflow.wait_condition(workflow.all_handlers_finished)
                workflow.continue_as_new(total)
            await workflow.wait_condition(lambda: bool(self.inbox) or self.ended)
            while self.inbox:
                total += await workflow.execute_activity(note, self.inbox.pop(0), start_to_close_timeout=SOON)
            if self.ended:
                return total

    @workflow.signal
    def put(self, number: int) -> None:
        self.inbox.append(number)

    @workflow.signal
    def end(self) -> None:
        self.ended = True


@theme.workflow
@workflow.defn
class FailsAtFirst:
    """Fails until its third attempt."""

    @workflow.run
    async def run(self) -> int:
        attempt = workflow.info().attempt
        await workflow.execute_activity(note, attempt, start_to_close_timeout=SOON)
        if attempt < 3:
            raise ApplicationError(f"attempt {attempt}", {"attempt": attempt}, type="NotYet")
        return attempt


@theme.workflow
@workflow.defn
class EverySecond:
    """On a cron schedule: each run gets the result of the one before."""

    @workflow.run
    async def run(self) -> int:
        before = workflow.get_last_completion_result(int) or 0
        failed = workflow.get_last_failure() is not None
        if before == 1 and not failed:
            raise ApplicationError("every second one fails")
        return before + 1


@theme.workflow
@workflow.defn
class TooLong:
    @workflow.run
    async def run(self) -> None:
        await asyncio.sleep(3600)


theme.runs("again", Again.run, State(3))
theme.runs("as_another", AsAnother.run, 2)
theme.runs(
    "fails_at_first",
    FailsAtFirst.run,
    retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=100), backoff_coefficient=1, maximum_attempts=5),
)
theme.runs("run_timeout", TooLong.run, run_timeout=timedelta(seconds=1))
theme.runs("execution_timeout", TooLong.run, execution_timeout=timedelta(seconds=1))
theme.runs(
    "run_timeout_and_retry",
    TooLong.run,
    run_timeout=timedelta(seconds=1),
    retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10), maximum_attempts=2),
)
theme.runs("delayed", Again.run, State(1), start_delay=timedelta(seconds=1))


@theme.scene
async def for_ever(stage: Stage) -> None:
    """The development server of the tests suggests a new run after fifty events."""
    handle = await stage.start(ForEver.run, 0)
    for number in range(16):
        await stage.client.get_workflow_handle(handle.id).signal(ForEver.put, number)
    first = stage.client.get_workflow_handle(handle.id, run_id=handle.result_run_id)

    async def continued() -> bool:
        return (await stage.client.get_workflow_handle(handle.id).describe()).run_id != first.run_id

    await stage.until(continued, "it has continued as new")
    await stage.client.get_workflow_handle(handle.id).signal(ForEver.end)
    await stage.end(handle)


@theme.scene
async def every_second(stage: Stage) -> None:
    handle = await stage.start(EverySecond.run, cron_schedule="@every 1s")
    await stage.until(lambda: runs_at_least(stage.client, handle.id, 4), "four runs")
    await stage.client.get_workflow_handle(handle.id).terminate("enough")


async def runs_at_least(client: Client, workflow_id: str, count: int) -> bool:
    return (await client.count_workflows(f'WorkflowId = "{workflow_id}"')).count >= count
