"""Children and parents whose runs follow each other: continue-as-new and retries on either side."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio import workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError, FailureError
from temporalio.workflow import ParentClosePolicy

from .kin import Kid, attributes, ended, family, status_of, story
from .support import MakeWorker, eventually

AT_ONCE = RetryPolicy(initial_interval=timedelta(milliseconds=10), maximum_attempts=3)


@workflow.defn
class Chain:
    """A child of several runs."""

    def __init__(self) -> None:
        self.heard: str | None = None

    @workflow.run
    async def run(self, how: str, run: int = 1) -> Any:
        info = workflow.info()
        parent = info.parent.workflow_id if info.parent else None
        match how:
            case "continue":
                if run < 3:
                    workflow.continue_as_new(args=[how, run + 1])
            case "continue and wait":
                if run < 2:
                    workflow.continue_as_new(args=[how, run + 1])
                await workflow.wait_condition(lambda: self.heard is not None)
                return [run, parent, self.heard]
            case "fail twice":
                if info.attempt < 3:
                    raise ApplicationError("again")
                return [info.attempt, parent]
            case "fail":
                raise ApplicationError(f"attempt {info.attempt}", type="Again")
        return [run, parent]

    @workflow.signal
    def hear(self, what: str) -> None:
        self.heard = what


@workflow.defn
class Above:
    @workflow.run
    async def run(self, how: str) -> Any:
        child = await workflow.start_child_workflow(
            Chain.run,
            args=[how],
            id=workflow.info().workflow_id + "-kid",
            retry_policy=AT_ONCE if how.startswith("fail") else None,
        )
        if how == "continue and wait":
            await workflow.wait_condition(lambda: self.go)
            await child.signal(Chain.hear, "the second run hears it")
        try:
            return await child
        except FailureError as error:
            return family(error)

    def __init__(self) -> None:
        self.go = False

    @workflow.signal
    def proceed(self) -> None:
        self.go = True


@pytest.mark.parametrize(
    ("how", "result"),
    [
        ("continue", [3, "{wid}"]),
        ("fail twice", [3, "{wid}"]),
        (
            "fail",
            [
                "ChildWorkflowError 'Child Workflow execution failed' Chain MAXIMUM_ATTEMPTS_REACHED 5/6 default with run",
                "ApplicationError 'attempt 3' type=Again",
            ],
        ),
    ],
)
async def test_a_parent_sees_the_end_of_the_chain(
    client: Client, make_worker: MakeWorker, queue: str, wid: str, how: str, result: list[Any]
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Above, Chain]):
        handle = await client.start_workflow(Above.run, how, id=wid, task_queue=queue)
        assert await handle.result() == [wid if value == "{wid}" else value for value in result]
        assert [line.split()[1] for line in await story(handle)] == [
            "WORKFLOW_EXECUTION_STARTED",
            "START_CHILD_WORKFLOW_EXECUTION_INITIATED",
            "CHILD_WORKFLOW_EXECUTION_STARTED",
            f"CHILD_WORKFLOW_EXECUTION_{'FAILED' if how == 'fail' else 'COMPLETED'}",
            "WORKFLOW_EXECUTION_COMPLETED",
        ]


async def test_a_signal_to_a_child_reaches_the_run_that_is_open(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Above, Chain]):
        handle = await client.start_workflow(Above.run, "continue and wait", id=wid, task_queue=queue)
        kid = client.get_workflow_handle(f"{wid}-kid")
        began = await attributes(handle, "CHILD_WORKFLOW_EXECUTION_STARTED")
        first = client.get_workflow_handle(kid.id, run_id=began.workflow_execution.run_id)
        await attributes(first, "WORKFLOW_EXECUTION_CONTINUED_AS_NEW")
        await handle.signal(Above.proceed)
        assert await handle.result() == [2, wid, "the second run hears it"]


@workflow.defn
class Moving:
    """Has a child for each policy, and goes over to another run."""

    @workflow.run
    async def run(self, how: str, run: int = 1) -> str:
        if run > 1 or workflow.info().attempt > 1:
            return "the next run"
        wid = workflow.info().workflow_id
        for policy in (ParentClosePolicy.TERMINATE, ParentClosePolicy.ABANDON, ParentClosePolicy.REQUEST_CANCEL):
            await workflow.start_child_workflow(
                Kid.run, "swallow", id=f"{wid}-{policy.name}", parent_close_policy=policy
            )
        if how == "continue":
            workflow.continue_as_new(args=[how, run + 1])
        raise ApplicationError("once more")


@pytest.mark.parametrize("how", ["continue", "retry"])
async def test_children_belong_to_a_run(
    client: Client, make_worker: MakeWorker, queue: str, wid: str, how: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Moving, Kid]):
        policy = AT_ONCE if how == "retry" else None
        handle = await client.start_workflow(Moving.run, how, id=wid, task_queue=queue, retry_policy=policy)
        assert await handle.result() == "the next run"
        await ended(client, f"{wid}-TERMINATE", WorkflowExecutionStatus.TERMINATED)
        await ended(client, f"{wid}-REQUEST_CANCEL", WorkflowExecutionStatus.COMPLETED)
        assert await status_of(client, f"{wid}-ABANDON") == WorkflowExecutionStatus.RUNNING


@workflow.defn
class Waits:
    """Starts a child, waits for a signal, and returns what the child has heard."""

    def __init__(self) -> None:
        self.said: list[str] = []

    @workflow.run
    async def run(self) -> Any:
        child = await workflow.start_child_workflow(Kid.run, "wait", id=workflow.info().workflow_id + "-kid")
        await workflow.wait_condition(lambda: bool(self.said))
        heard = await child
        await workflow.wait_condition(lambda: "end" in self.said)
        return heard

    @workflow.signal
    def say(self, what: str) -> None:
        self.said.append(what)


@pytest.mark.parametrize("when", ["open", "closed"])
async def test_a_parent_that_is_reset_keeps_its_children(
    client: Client, make_worker: MakeWorker, queue: str, wid: str, when: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Waits, Kid]):
        handle = await client.start_workflow(Waits.run, id=wid, task_queue=queue)
        kid = client.get_workflow_handle(f"{wid}-kid")

        async def it_waits() -> None:
            assert len((await handle.fetch_history()).events) >= 9

        await eventually(it_waits)
        await handle.signal(Waits.say, "go on")
        await attributes(handle, "WORKFLOW_EXECUTION_SIGNALED")
        if when == "closed":
            await kid.signal(Kid.hear, "before")
            await attributes(handle, "CHILD_WORKFLOW_EXECUTION_COMPLETED")
        reset = await client.workflow_service.reset_workflow_execution(
            ResetWorkflowExecutionRequest(
                namespace=client.namespace,
                workflow_execution=WorkflowExecution(workflow_id=wid, run_id=handle.result_run_id or ""),
                workflow_task_finish_event_id=9,
                request_id=str(uuid4()),
            )
        )
        again = client.get_workflow_handle(wid, run_id=reset.run_id)
        if when == "open":
            await kid.signal(Kid.hear, "after")
        await again.signal(Waits.say, "end")
        assert await again.result() == ["after" if when == "open" else "before"]
