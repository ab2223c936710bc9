"""What the ledger tells of both engines, seen on both: local activities beside other things, children over a reset."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from temporalio import activity, workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError, FailureError
from temporalio.service import RPCError, RPCStatusCode

from .kin import Kid, attributes
from .support import MakeWorker, chain, eventually

NOT_FOUND = "ExternalWorkflowExecutionNotFound: Unable to signal external workflow because it was not found"


class Gate:
    """Local activities wait here until the test lets them go."""

    began = asyncio.Event()
    open = asyncio.Event()

    @classmethod
    def shut(cls) -> None:
        cls.began, cls.open = asyncio.Event(), asyncio.Event()


@activity.defn
async def wait_at_the_gate() -> str:
    Gate.began.set()
    await Gate.open.wait()
    return "through"


@workflow.defn
class Beside:
    """A timer and messages beside a local activity."""

    def __init__(self) -> None:
        self.heard = 0

    @workflow.run
    async def run(self) -> float:
        begun = workflow.time()
        local = workflow.start_local_activity(wait_at_the_gate, start_to_close_timeout=timedelta(seconds=30))
        await workflow.sleep(1)
        rung = workflow.time()
        await local
        return rung - begun

    @workflow.signal
    def hear(self) -> None:
        self.heard += 1

    @workflow.query
    def how_many(self) -> int:
        return self.heard


async def kinds(client: Client, wid: str) -> list[str]:
    history = await client.get_workflow_handle(wid).fetch_history()
    return [EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in history.events]


async def test_other_commands_and_messages_beside_a_local_activity(
    engine: str, client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async def rung() -> None:
        assert "TIMER_FIRED" in await kinds(client, wid)

    Gate.shut()
    async with make_worker(client, task_queue=queue, workflows=[Beside], activities=[wait_at_the_gate]):
        handle = await client.start_workflow(Beside.run, id=wid, task_queue=queue)
        try:
            await asyncio.wait_for(Gate.began.wait(), 10)
            await handle.signal(Beside.hear)
            if engine == "temporal":
                # Nobody answers before the task is nearly over. The client is the first to say so, or the server.
                with pytest.raises(RPCError) as unanswered:
                    await handle.query(Beside.how_many, rpc_timeout=timedelta(seconds=1.5))
                assert unanswered.value.status in (RPCStatusCode.CANCELLED, RPCStatusCode.DEADLINE_EXCEEDED)
                assert "TIMER_STARTED" not in await kinds(client, wid)
            else:
                assert await handle.query(Beside.how_many) == 1
                await eventually(rung)
        finally:
            Gate.open.set()  # else the worker does not end
        waited = await handle.result()
    assert waited >= (2.4 if engine == "temporal" else 1)  # a second, behind the local activity or beside it


@activity.defn
async def fail() -> None:
    raise ApplicationError("no")


@workflow.defn
class Patient:
    @workflow.run
    async def run(self) -> str:
        try:
            await workflow.execute_local_activity(
                fail,
                schedule_to_close_timeout=timedelta(seconds=1),
                retry_policy=RetryPolicy(
                    initial_interval=timedelta(milliseconds=700), backoff_coefficient=1, maximum_attempts=4
                ),
            )
        except FailureError as error:
            return chain(error)[-1]
        return "done"


async def test_schedule_to_close_between_two_attempts_of_a_local_activity(
    engine: str, client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Patient], activities=[fail]):
        begun = time.monotonic()
        why = await client.execute_workflow(Patient.run, id=wid, task_queue=queue)
        waited = time.monotonic() - begun
    if engine == "temporal":
        assert why == "ApplicationError 'no' type=None"
        assert waited >= 2.1  # all four attempts, although a second was the limit
    else:
        assert why == "TimeoutError 'Activity timed out' SCHEDULE_TO_CLOSE"


@workflow.defn
class Goes:
    """A child that continues as new until it is told to end, or cancelled."""

    def __init__(self) -> None:
        self.ends = False

    @workflow.run
    async def run(self, number: int) -> str:
        if number == 1:
            workflow.continue_as_new(number + 1)
        try:
            await workflow.wait_condition(lambda: self.ends)
        except asyncio.CancelledError:
            return "cancelled"
        return "told to end"

    @workflow.signal
    def end(self) -> None:
        self.ends = True


@workflow.defn
class CancelsLate:
    def __init__(self) -> None:
        self.go = False

    @workflow.run
    async def run(self) -> str:
        child = await workflow.start_child_workflow(Goes.run, 1, id=workflow.info().workflow_id + "-kid")
        await workflow.wait_condition(lambda: self.go)
        child.cancel()
        return await child

    @workflow.signal
    def proceed(self) -> None:
        self.go = True


async def test_a_cancel_request_to_a_child_that_has_continued_as_new(
    engine: str, client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[CancelsLate, Goes]):
        handle = await client.start_workflow(CancelsLate.run, id=wid, task_queue=queue)
        kid = client.get_workflow_handle(f"{wid}-kid")
        began = await attributes(handle, "CHILD_WORKFLOW_EXECUTION_STARTED")
        run_id = began.workflow_execution.run_id
        await attributes(client.get_workflow_handle(kid.id, run_id=run_id), "WORKFLOW_EXECUTION_CONTINUED_AS_NEW")
        await handle.signal(CancelsLate.proceed)
        if engine == "temporal":
            await asyncio.sleep(2)
            assert (await kid.describe()).status == WorkflowExecutionStatus.RUNNING
            await kid.signal(Goes.end)
            assert await handle.result() == "told to end"
        else:
            assert await handle.result() == "cancelled"
    assert UUID(run_id).version == (7 if engine == "temporal" else 5)


@workflow.defn
class Speaks:
    """Has a child, is reset, and then speaks to the child through its handle."""

    def __init__(self) -> None:
        self.go = False

    @workflow.run
    async def run(self) -> Any:
        child = await workflow.start_child_workflow(Kid.run, "wait", id=workflow.info().workflow_id + "-kid")
        await workflow.wait_condition(lambda: self.go)
        try:
            await child.signal(Kid.hear, "from the parent")
        except ApplicationError as error:
            return [str(error), await child]
        return await child

    @workflow.signal
    def proceed(self) -> None:
        self.go = True


async def test_a_child_over_a_reset_of_its_parent(
    engine: str, client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Speaks, Kid]):
        handle = await client.start_workflow(Speaks.run, id=wid, task_queue=queue)
        kid = client.get_workflow_handle(f"{wid}-kid")

        async def it_waits() -> None:
            assert (await kinds(client, wid)).count("WORKFLOW_TASK_COMPLETED") == 2

        await eventually(it_waits)
        done = 1 + max(n for n, kind in enumerate(await kinds(client, wid)) if kind == "WORKFLOW_TASK_COMPLETED")
        reset = await client.workflow_service.reset_workflow_execution(
            ResetWorkflowExecutionRequest(
                namespace=client.namespace,
                workflow_execution=WorkflowExecution(workflow_id=wid, run_id=handle.result_run_id or ""),
                workflow_task_finish_event_id=done,
                request_id=str(uuid4()),
            )
        )
        described = (await kid.describe()).raw_info.parent_execution.run_id
        assert described == (handle.result_run_id if engine == "temporal" else reset.run_id)
        again = client.get_workflow_handle(wid, run_id=reset.run_id)
        await again.signal(Speaks.proceed)
        if engine == "temporal":
            await attributes(again, "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED")
            await kid.signal(Kid.hear, "from the test")
            assert await again.result() == [NOT_FOUND, ["from the test"]]
        else:
            assert await again.result() == ["from the parent"]
