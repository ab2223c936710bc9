"""A workflow that ends while its handlers still run: who is warned, and what becomes of the updates."""

from __future__ import annotations

import asyncio
import warnings

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowUpdateStage
from temporalio.workflow import (
    HandlerUnfinishedPolicy,
    UnfinishedSignalHandlersWarning,
    UnfinishedUpdateHandlersWarning,
)

from .support import MakeWorker, failed_with


@workflow.defn
class Leaves:
    """Ends as soon as a handler runs; waits for it or not."""

    def __init__(self) -> None:
        self.handling = 0
        self.release = False

    @workflow.run
    async def run(self, wait_for_all: bool) -> str:
        await workflow.wait_condition(lambda: self.handling > 0)
        if wait_for_all:
            self.release = True
            await workflow.wait_condition(workflow.all_handlers_finished)
        return "left"

    @workflow.update
    async def update(self) -> str:
        return await self.handle()

    @workflow.update(unfinished_policy=HandlerUnfinishedPolicy.ABANDON)
    async def quiet_update(self) -> str:
        return await self.handle()

    @workflow.signal
    async def signal(self) -> None:
        await self.handle()

    @workflow.signal(unfinished_policy=HandlerUnfinishedPolicy.ABANDON)
    async def quiet_signal(self) -> None:
        await self.handle()

    async def handle(self) -> str:
        self.handling += 1
        await workflow.wait_condition(lambda: self.release)
        await asyncio.sleep(0.01)
        return "finished"


pytestmark = pytest.mark.filterwarnings("ignore:.*TMPRL1102")  # the replays afterwards warn once more

ABORTED = (
    "ApplicationError 'Workflow Update failed because the Workflow completed before the Update completed.' "
    "type=AcceptedUpdateCompletedWorkflow non_retryable"
)


@pytest.mark.parametrize(
    ("handler", "warned"),
    [
        ("update", UnfinishedUpdateHandlersWarning),
        ("quiet_update", None),
        ("signal", UnfinishedSignalHandlersWarning),
        ("quiet_signal", None),
    ],
)
async def test_who_leaves_a_handler_behind_is_warned(
    client: Client, make_worker: MakeWorker, queue: str, wid: str, handler: str, warned: type[Warning] | None
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async with make_worker(client, task_queue=queue, workflows=[Leaves]):
            handle = await client.start_workflow(Leaves.run, False, id=wid, task_queue=queue)
            if "update" in handler:
                update = await handle.start_update(handler, wait_for_stage=WorkflowUpdateStage.ACCEPTED)
                with failed_with(ABORTED):
                    await update.result()
            else:
                await handle.signal(handler)
            assert await handle.result() == "left"
    unfinished = [
        one.category
        for one in caught
        if one.category in (UnfinishedUpdateHandlersWarning, UnfinishedSignalHandlersWarning)
    ]
    assert set(unfinished) == ({warned} if warned else set())


async def test_who_waits_for_all_handlers_is_not(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnfinishedUpdateHandlersWarning)
        async with make_worker(client, task_queue=queue, workflows=[Leaves]):
            handle = await client.start_workflow(Leaves.run, True, id=wid, task_queue=queue)
            assert await handle.execute_update(Leaves.update) == "finished"
            assert await handle.result() == "left"
