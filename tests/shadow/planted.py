"""A program with a secret wherever a payload, a message or a failure can be; its activities leave footprints."""

from __future__ import annotations

import functools
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio import activity, workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import WithStartWorkflowOperation, WorkflowUpdateFailedError
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDConflictPolicy
from temporalio.exceptions import ActivityError, ApplicationError

from tests.compat.support import KEYWORD
from tests.shadow.corpus.programs.context import CallerInterceptor, caller
from tests.shadow.corpus.stage import Stage
from tests.shadow.corpus.theme import Theme

SECRET = "canary-one"
FOOTPRINTS = "PLANTED_FOOTPRINTS"
"""Names the file to which every activity writes a line."""
SOON = timedelta(seconds=30)

theme = Theme("planted", interceptors=(CallerInterceptor(),))


def footprint(what: str) -> None:
    if path := os.environ.get(FOOTPRINTS):
        with Path(path).open("a") as file:
            file.write(f"{what}\n")


@theme.activity
@activity.defn
async def keep(value: Any) -> dict[str, Any]:
    footprint("keep")
    return {"kept": value, f"{SECRET} key": f"{SECRET} result"}


@theme.activity
@activity.defn
async def break_down(value: Any) -> None:
    footprint("break_down")
    try:
        raise ValueError(f"{SECRET} cause")
    except ValueError as error:
        raise ApplicationError(
            f"{SECRET} message", {f"{SECRET} key": value}, type=f"{SECRET} type", non_retryable=True
        ) from error


@theme.workflow
@workflow.defn
class Planted:
    def __init__(self) -> None:
        self.told: list[str] = []

    @workflow.run
    async def run(self, value: str, left: int) -> dict[str, str]:
        workflow.set_current_details(f"{SECRET} details")
        workflow.upsert_memo({"note": f"{SECRET} memo", f"{SECRET} key": 1})
        workflow.upsert_search_attributes([KEYWORD.value_set(f"{SECRET} attribute")])
        await workflow.execute_activity(
            keep,
            {"in": f"{SECRET} input", f"{SECRET} key": [SECRET], "looks_like_a_name": SECRET},
            start_to_close_timeout=SOON,
            summary=SECRET,
        )
        await workflow.execute_local_activity(keep, f"{SECRET} local", start_to_close_timeout=SOON)
        try:
            await workflow.execute_activity(break_down, SECRET, start_to_close_timeout=SOON)
        except ActivityError as error:
            workflow.logger.debug("as expected: %s", type(error).__name__)
        await workflow.execute_child_workflow(
            PlantedChild.run,
            f"{SECRET} child",
            id=f"{workflow.info().workflow_id}-child-{left}",
            memo={"note": f"{SECRET} child memo"},
        )
        try:
            stranger = workflow.get_external_workflow_handle(f"{workflow.info().workflow_id}-nobody")
            await stranger.signal("hear", f"{SECRET} to a stranger")
        except ApplicationError:
            await workflow.sleep(0.01, summary=f"{SECRET} nap")
        await workflow.wait_condition(lambda: bool(self.told))
        if left == 2:
            raise ApplicationError(
                f"{SECRET} failure", {f"{SECRET} key": self.told}, type=f"{SECRET} type", non_retryable=True
            )
        if left == 1:
            workflow.continue_as_new(args=[f"{SECRET} next", 3], memo={"note": f"{SECRET} next memo"})
        return {"result": f"{SECRET} result", "in": value}

    @workflow.signal
    def hear(self, word: str) -> None:
        self.told.append(f"{SECRET} {word}")

    @workflow.update
    async def ask(self, word: str) -> str:
        if word == "refuse":
            raise ApplicationError(f"{SECRET} refused", {f"{SECRET} key": word}, type="Unwilling")
        return f"{SECRET} {word}"


@theme.workflow
@workflow.defn
class PlantedChild:
    @workflow.run
    async def run(self, value: str) -> str:
        return f"{SECRET} {value}"


@theme.scene
async def planted(stage: Stage) -> None:
    """A run that completes, one that fails, one that goes on and is terminated, one that is cancelled."""
    caller.set("canary-one caller")
    for left in range(4):
        start = WithStartWorkflowOperation(
            Planted.run,
            args=["canary-one start", left],
            id=f"{stage.id}-{left}",
            task_queue=stage.queue,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
            memo={"note": "canary-one start memo"},
            search_attributes=TypedSearchAttributes([SearchAttributePair(KEYWORD, "canary-one start attribute")]),
            static_summary="canary-one summary",
            static_details="canary-one details",
        )
        await stage.client.execute_update_with_start_workflow(
            Planted.ask, "canary-one update", start_workflow_operation=start
        )
        handle = await start.workflow_handle()
        try:
            await handle.execute_update(Planted.ask, "refuse")
        except WorkflowUpdateFailedError:
            caller.set("canary-one caller")
        if left == 3:
            await stage.until_event(handle, EventType.EVENT_TYPE_TIMER_FIRED)  # in an activity, it would be swallowed
            await handle.cancel(reason="canary-one reason")
        else:
            await handle.signal(Planted.hear, "canary-one signal")
        await stage.until(functools.partial(_first_run_closed, stage, handle.id), "its first run has closed")
    await stage.client.get_workflow_handle(f"{stage.id}-1").terminate("canary-one detail", reason="canary-one reason")


async def _first_run_closed(stage: Stage, workflow_id: str) -> bool:
    query = f'WorkflowId = "{workflow_id}" AND CloseTime IS NOT NULL'
    return (await stage.client.count_workflows(query)).count > 0
