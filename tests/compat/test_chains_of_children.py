"""Children that have more than one run: the parent waits for the chain, and hears of its end alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

from .chains import began, ended, runs
from .support import MakeWorker, chain, eventually

QUICK = RetryPolicy(initial_interval=timedelta(milliseconds=50), maximum_attempts=3)


@workflow.defn(name="counts-down")
class CountsDown:
    @workflow.run
    async def run(self, left: int) -> list[Any]:
        if left:
            workflow.continue_as_new(left - 1)
        info = workflow.info()
        assert info.parent is not None
        return [info.run_id != info.first_execution_run_id, info.parent.workflow_id]


@workflow.defn(name="comes-round")
class ComesRound:
    @workflow.run
    async def run(self, until: int) -> int:
        attempt = workflow.info().attempt
        if attempt < until:
            raise ApplicationError(f"attempt {attempt}")
        return attempt


@workflow.defn(name="lasts")
class Lasts:
    @workflow.run
    async def run(self, go_on: bool) -> None:
        if go_on:
            workflow.continue_as_new(False)
        await workflow.sleep(60)


@workflow.defn(name="parent-of-chains")
class ParentOfChains:
    @workflow.run
    async def run(self, kind: str) -> Any:
        own = workflow.info().workflow_id
        if kind == "continued":
            return await workflow.execute_child_workflow(CountsDown.run, 3, id=f"{own}-child")
        if kind == "retried":
            return await workflow.execute_child_workflow(ComesRound.run, 3, id=f"{own}-child", retry_policy=QUICK)
        if kind == "given up":
            return await workflow.execute_child_workflow(ComesRound.run, 9, id=f"{own}-child", retry_policy=QUICK)
        if kind == "timed out":
            return await workflow.execute_child_workflow(
                Lasts.run, False, id=f"{own}-child", run_timeout=timedelta(seconds=1)
            )
        return await workflow.execute_child_workflow(Lasts.run, True, id=f"{own}-child")


ALL = [ParentOfChains, CountsDown, ComesRound, Lasts]


async def test_a_child_that_continues_as_new(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=ALL):
        handle = await client.start_workflow(ParentOfChains.run, "continued", id=wid, task_queue=queue)
        assert await handle.result() == [True, wid]
        kinds = [event.WhichOneof("attributes") for event in (await handle.fetch_history()).events]
        assert kinds.count("child_workflow_execution_completed_event_attributes") == 1
        started = next(
            event.child_workflow_execution_started_event_attributes
            for event in (await handle.fetch_history()).events
            if event.HasField("child_workflow_execution_started_event_attributes")
        )
        first = client.get_workflow_handle(
            f"{wid}-child",
            run_id=started.workflow_execution.run_id,
            first_execution_run_id=started.workflow_execution.run_id,
        )
        histories = await runs(client, first)
        assert [ended(events) for events in histories] == ["CONTINUED_AS_NEW"] * 3 + ["COMPLETED"]
        for events in histories:
            assert began(events).parent_workflow_execution.workflow_id == wid
            assert began(events).root_workflow_execution.workflow_id == wid


async def test_a_child_that_is_tried_again(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=ALL):
        result = await client.execute_workflow(ParentOfChains.run, "retried", id=wid, task_queue=queue)
        assert result == 3


async def test_a_child_that_is_given_up(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=ALL):
        with pytest.raises(WorkflowFailureError) as failed:
            await client.execute_workflow(ParentOfChains.run, "given up", id=wid, task_queue=queue)
        lines = chain(failed.value.cause)
        assert lines[0].startswith("ChildWorkflowError 'Child Workflow execution failed'")
        assert lines[1] == "ApplicationError 'attempt 3' type=None"
        assert failed.value.cause.retry_state.name == "MAXIMUM_ATTEMPTS_REACHED"  # type: ignore[attr-defined]


async def test_a_child_that_times_out(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=ALL):
        with pytest.raises(WorkflowFailureError) as failed:
            await client.execute_workflow(ParentOfChains.run, "timed out", id=wid, task_queue=queue)
        lines = chain(failed.value.cause)
        assert lines[0].startswith("ChildWorkflowError 'Child Workflow execution timed out'")
        assert lines[1].startswith("TimeoutError")


async def test_the_parents_end_is_that_of_the_current_run(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=ALL):
        handle = await client.start_workflow(ParentOfChains.run, "lasts", id=wid, task_queue=queue)
        child = client.get_workflow_handle(f"{wid}-child")

        async def second_run() -> None:
            histories = [run async for run in client.list_workflows(f"WorkflowId = '{wid}-child'")]
            assert len(histories) == 2

        await eventually(second_run)
        await handle.terminate()

        async def terminated() -> None:
            assert (await child.describe()).status == WorkflowExecutionStatus.TERMINATED

        await eventually(terminated)
