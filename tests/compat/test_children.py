"""Child workflows: starting them, what they know of their family, how they end for their parents, ids used twice."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import FailureError
from temporalio.worker import Worker

from .kin import Kid, attributes, ended, family, story
from .support import MakeWorker, eventually

QUICK = timedelta(seconds=1)


@workflow.defn
class Parent:
    """Has children in the way that it is told to, and returns what it saw of them."""

    def __init__(self) -> None:
        self.done = False

    @workflow.run
    async def run(self, how: str) -> Any:
        kid = workflow.info().workflow_id + "-kid"
        try:
            return await getattr(self, how)(kid)
        except FailureError as error:
            return family(error)

    @workflow.signal
    def finish(self) -> None:
        self.done = True

    async def execute(self, kid: str) -> Any:
        return await workflow.execute_child_workflow(Kid.run, "well done", id=kid)

    async def info(self, kid: str) -> Any:
        return await workflow.execute_child_workflow(
            Kid.run,
            "info",
            id=kid,
            memo={"note": ["a", 1]},
            execution_timeout=timedelta(seconds=50),
            run_timeout=timedelta(seconds=60),
            task_timeout=timedelta(seconds=7),
        )

    async def grandchild(self, kid: str) -> Any:
        return await workflow.execute_child_workflow(Kid.run, "grandchild", id=kid)

    async def start_and_await(self, kid: str) -> Any:
        handle = await workflow.start_child_workflow(Kid.run, "wait", id=kid)
        await handle.signal(Kid.hear, "from its parent")
        return [handle.id == kid, bool(handle.first_execution_run_id), await handle]

    async def fail(self, kid: str) -> Any:
        return await workflow.execute_child_workflow(Kid.run, "fail", id=kid)

    async def time_out(self, kid: str) -> Any:
        return await workflow.execute_child_workflow(Kid.run, "wait", id=kid, run_timeout=QUICK)

    async def wait(self, kid: str) -> Any:
        return await workflow.execute_child_workflow(Kid.run, "wait", id=kid)

    async def twice_at_once(self, kid: str) -> Any:
        await workflow.start_child_workflow(Kid.run, "wait", id=kid)
        await workflow.start_child_workflow(Kid.run, "wait", id=kid)

    async def one_after_the_other(self, kid: str) -> Any:
        first = await workflow.execute_child_workflow(Kid.run, "first", id=kid)
        second = await workflow.execute_child_workflow(Kid.run, "second", id=kid)
        try:
            await workflow.execute_child_workflow(
                Kid.run, "third", id=kid, id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE
            )
        except FailureError as error:
            return [first, second, family(error)]

    async def replace(self, kid: str) -> Any:
        old = await workflow.start_child_workflow(Kid.run, "wait", id=kid)
        new = await workflow.start_child_workflow(
            Kid.run, "new", id=kid, id_reuse_policy=WorkflowIDReusePolicy.TERMINATE_IF_RUNNING
        )
        result = await new
        try:
            await old
        except FailureError as error:
            return [result, family(error)]

    async def many(self, kid: str) -> Any:
        return await asyncio.gather(
            *[workflow.execute_child_workflow(Kid.run, f"{n}", id=f"{kid}-{n}") for n in range(12)]
        )

    async def elsewhere(self, kid: str) -> Any:
        return await workflow.execute_child_workflow(
            Kid.run, "from there", id=kid, task_queue=workflow.info().task_queue + "-elsewhere"
        )

    async def own_id(self, kid: str) -> Any:
        return await workflow.execute_child_workflow(Kid.run, "x", id=workflow.info().workflow_id)


def serve(make_worker: MakeWorker, client: Client, queue: str) -> Worker:
    return make_worker(client, task_queue=queue, workflows=[Parent, Kid])


@pytest.mark.parametrize(
    ("how", "result"),
    [
        ("execute", "well done"),
        ("start_and_await", [True, True, ["from its parent"]]),
        ("many", [f"{n}" for n in range(12)]),
        (
            "fail",
            [
                "ChildWorkflowError 'Child Workflow execution failed' Kid RETRY_POLICY_NOT_SET 5/6 default with run",
                "ApplicationError 'no' type=Refused",
            ],
        ),
        (
            "time_out",
            [
                "ChildWorkflowError 'Child Workflow execution timed out' Kid RETRY_POLICY_NOT_SET 5/6 default with run",
                "TimeoutError 'Timed out' START_TO_CLOSE",
            ],
        ),
        (
            "twice_at_once",
            ["WorkflowAlreadyStartedError 'Workflow execution already started' Kid no run"],
        ),
        (
            "one_after_the_other",
            [
                "first",
                "second",
                ["WorkflowAlreadyStartedError 'Workflow execution already started' Kid no run"],
            ],
        ),
        (
            "replace",
            [
                "new",
                [
                    "ChildWorkflowError 'Child Workflow execution terminated' Kid NON_RETRYABLE_FAILURE 5/6 default "
                    "with run",
                    "TerminatedError 'Terminated'",
                ],
            ],
        ),
        ("own_id", ["WorkflowAlreadyStartedError 'Workflow execution already started' Kid no run"]),
    ],
)
async def test_what_a_parent_sees(
    client: Client, make_worker: MakeWorker, queue: str, wid: str, how: str, result: Any
) -> None:
    async with serve(make_worker, client, queue):
        assert await client.execute_workflow(Parent.run, how, id=wid, task_queue=queue) == result


async def test_a_child_knows_its_parent_its_root_and_its_options(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with serve(make_worker, client, queue):
        handle = await client.start_workflow(Parent.run, "info", id=wid, task_queue=queue)
        run_id = handle.result_run_id
        assert await handle.result() == [
            [wid, run_id, "default"],
            [wid, run_id],
            [50.0, 50.0, 7.0],
            {"note": ["a", 1]},
            True,
        ]


async def test_the_root_is_the_topmost_ancestor(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with serve(make_worker, client, queue):
        handle = await client.start_workflow(Parent.run, "grandchild", id=wid, task_queue=queue)
        parent, root, *_ = await handle.result()
        assert parent[0] == f"{wid}-kid"
        assert root == [wid, handle.result_run_id]
        described = await client.get_workflow_handle(f"{wid}-kid-kid").describe()
        assert (described.parent_id, described.parent_run_id) == (parent[0], parent[1])
        assert (described.root_id, described.root_run_id) == (wid, handle.result_run_id)


async def test_the_history_of_a_parent(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with serve(make_worker, client, queue):
        handle = await client.start_workflow(Parent.run, "execute", id=wid, task_queue=queue)
        await handle.result()
        told = await story(handle)
        assert told[:3] == [
            "1 WORKFLOW_EXECUTION_STARTED",
            "5 START_CHILD_WORKFLOW_EXECUTION_INITIATED",
            "6 CHILD_WORKFLOW_EXECUTION_STARTED",
        ]
        assert [line.split()[1] for line in told[3:]] == [  # a child that is quick begins and ends in one task
            "CHILD_WORKFLOW_EXECUTION_COMPLETED",
            "WORKFLOW_EXECUTION_COMPLETED",
        ]
        completed = await attributes(handle, "CHILD_WORKFLOW_EXECUTION_COMPLETED")
        assert (completed.initiated_event_id, completed.started_event_id) == (5, 6)
        began = await attributes(client.get_workflow_handle(f"{wid}-kid"), "WORKFLOW_EXECUTION_STARTED")
        assert began.parent_workflow_execution.workflow_id == wid
        assert began.parent_initiated_event_id == 5


async def test_a_child_that_is_terminated_from_outside(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with serve(make_worker, client, queue):
        handle = await client.start_workflow(Parent.run, "wait", id=wid, task_queue=queue)
        await ended(client, f"{wid}-kid", WorkflowExecutionStatus.RUNNING)
        await client.get_workflow_handle(f"{wid}-kid").terminate("detail", reason="maintenance")
        assert await handle.result() == [
            "ChildWorkflowError 'Child Workflow execution terminated' Kid NON_RETRYABLE_FAILURE 5/6 default with run",
            "TerminatedError 'Terminated'",
        ]


async def test_a_child_that_is_cancelled_from_outside(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with serve(make_worker, client, queue):
        handle = await client.start_workflow(Parent.run, "wait", id=wid, task_queue=queue)
        await ended(client, f"{wid}-kid", WorkflowExecutionStatus.RUNNING)
        await client.get_workflow_handle(f"{wid}-kid").cancel()
        assert await handle.result() == [
            "ChildWorkflowError 'Child Workflow execution cancelled' Kid NON_RETRYABLE_FAILURE 5/6 default with run",
            "CancelledError 'Cancelled'",
        ]


async def test_open_children_are_described(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with serve(make_worker, client, queue):
        handle = await client.start_workflow(Parent.run, "wait", id=wid, task_queue=queue)

        async def fact() -> None:
            described = await handle.describe()
            children = described.raw_description.pending_children
            assert [child.workflow_id for child in children] == [f"{wid}-kid"]
            child = children[0]
            assert child.run_id
            assert (child.workflow_type_name, child.initiated_id, child.parent_close_policy) == ("Kid", 5, 1)

        await eventually(fact)
        await client.get_workflow_handle(f"{wid}-kid").signal(Kid.hear, "enough")
        assert await handle.result() == ["enough"]


async def test_a_child_on_a_queue_that_others_serve(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Parent]):
        handle = await client.start_workflow(Parent.run, "elsewhere", id=wid, task_queue=queue)
        await ended(client, f"{wid}-kid", WorkflowExecutionStatus.RUNNING)
        async with make_worker(client, task_queue=f"{queue}-elsewhere", workflows=[Kid]):
            assert await handle.result() == "from there"


async def test_a_child_ends_while_nobody_serves_its_parent(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=f"{queue}-elsewhere", workflows=[Kid]):
        async with make_worker(client, task_queue=queue, workflows=[Parent]):
            handle = await client.start_workflow(Parent.run, "elsewhere", id=wid, task_queue=queue)
            await attributes(handle, "CHILD_WORKFLOW_EXECUTION_STARTED")
        await ended(client, f"{wid}-kid", WorkflowExecutionStatus.COMPLETED)
        await attributes(handle, "CHILD_WORKFLOW_EXECUTION_COMPLETED")
    async with make_worker(client, task_queue=queue, workflows=[Parent]):
        assert await handle.result() == "from there"


@workflow.defn
class Fails:
    @workflow.run
    async def run(self, kid: str) -> None:
        await workflow.execute_child_workflow(Kid.run, "fail", id=kid)


async def test_a_childs_failure_that_nobody_catches_is_its_parents(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Fails, Kid]):
        with pytest.raises(WorkflowFailureError) as failed:
            await client.execute_workflow(Fails.run, f"{wid}-kid", id=wid, task_queue=queue)
        assert family(failed.value)[1:] == [
            "ChildWorkflowError 'Child Workflow execution failed' Kid RETRY_POLICY_NOT_SET 5/6 default with run",
            "ApplicationError 'no' type=Refused",
        ]


async def test_families_are_listed(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with serve(make_worker, client, queue):
        handle = await client.start_workflow(Parent.run, "grandchild", id=wid, task_queue=queue)
        await handle.result()

        async def found(query: str) -> list[tuple[str, str | None, str | None]]:
            return sorted([(run.id, run.parent_id, run.root_id) async for run in client.list_workflows(query)])

        async def fact() -> None:
            kid, grandkid = (f"{wid}-kid", wid, wid), (f"{wid}-kid-kid", f"{wid}-kid", wid)
            assert await found(f"ParentWorkflowId = '{wid}'") == [kid]
            assert await found(f"ParentWorkflowId = '{wid}-kid'") == [grandkid]
            assert await found(f"ParentRunId = '{handle.result_run_id}'") == [kid]
            assert await found(f"RootWorkflowId = '{wid}'") == [(wid, None, wid), kid, grandkid]
            assert await found(f"RootWorkflowId = '{wid}' and ParentWorkflowId is null") == [(wid, None, wid)]

        await eventually(fact)
