"""Signals: order, buffering, and what becomes of one that nobody can take."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from temporalio import workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import SignalWorkflowExecutionRequest
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import RawValue, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from .support import MakeWorker, chain, eventually


@workflow.defn
class Collect:
    """Collects what it is sent until it is told to stop."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.started = False
        self.stopped = False

    @workflow.run
    async def run(self) -> list[str]:
        self.seen.append("run")
        await workflow.wait_condition(lambda: self.stopped)
        return self.seen

    @workflow.signal
    def add(self, text: str) -> None:
        self.seen.append(text)

    @workflow.signal
    async def add_slowly(self, text: str) -> None:
        self.seen.append(f"{text}...")
        await workflow.sleep(0.01)
        self.seen.append(f"...{text}")

    @workflow.signal
    def add_both(self, left: str, right: int = 0) -> None:
        self.seen.append(f"{left}{right}")

    @workflow.signal
    def stop(self) -> None:
        self.stopped = True

    @workflow.signal
    def fail(self) -> None:
        raise ApplicationError("the handler failed", type="Handler")

    @workflow.query
    def so_far(self) -> list[str]:
        return self.seen


async def test_signals_arrive_in_the_order_in_which_they_were_sent(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Collect]):
        handle = await client.start_workflow(Collect.run, id=wid, task_queue=queue)

        async def has_started() -> None:
            assert await handle.query(Collect.so_far) == ["run"]

        await eventually(has_started)
        for number in range(20):
            await handle.signal(Collect.add, str(number))
        await handle.signal(Collect.stop)
        assert await handle.result() == ["run", *map(str, range(20))]


async def test_signals_before_the_first_task_are_handled_before_run_begins(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    handle = await client.start_workflow(Collect.run, id=wid, task_queue=queue)
    await handle.signal(Collect.add, "early")
    await handle.signal(Collect.add, "too")
    await handle.signal(Collect.stop)
    async with make_worker(client, task_queue=queue, workflows=[Collect]):
        assert await handle.result() == ["early", "too", "run"]


async def test_async_handlers_run_side_by_side(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    handle = await client.start_workflow(Collect.run, id=wid, task_queue=queue)
    await handle.signal(Collect.add_slowly, "a")
    await handle.signal(Collect.add_slowly, "b")
    async with make_worker(client, task_queue=queue, workflows=[Collect]):

        async def both_ended() -> None:
            assert await handle.query(Collect.so_far) == ["a...", "b...", "run", "...a", "...b"]

        await eventually(both_ended)
        await handle.signal(Collect.stop)
        await handle.result()


async def test_several_arguments_and_defaults(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Collect]):
        handle = await client.start_workflow(Collect.run, id=wid, task_queue=queue)
        await handle.signal("add_both", args=["x", 1])
        await handle.signal("add_both", "y")
        await handle.signal(Collect.stop)
        assert [text for text in await handle.result() if text != "run"] == ["x1", "y0"]


async def test_a_failing_handler_fails_the_workflow(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Collect]):
        handle = await client.start_workflow(Collect.run, id=wid, task_queue=queue)
        await handle.signal(Collect.fail)
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
    assert chain(failed.value) == [
        "WorkflowFailureError 'Workflow execution failed'",
        "ApplicationError 'the handler failed' type=Handler",
    ]


async def test_a_signal_with_arguments_that_do_not_decode_is_dropped(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Collect]):
        handle = await client.start_workflow(Collect.run, id=wid, task_queue=queue)
        await handle.signal("add", {"not": "a text"})
        await handle.signal(Collect.stop)
        assert await handle.result() == ["run"]


async def test_a_signal_to_a_closed_workflow_is_not_found(client: Client, queue: str, wid: str) -> None:
    handle = await client.start_workflow(Collect.run, id=wid, task_queue=queue)
    await handle.terminate()
    with pytest.raises(RPCError) as refused:
        await handle.signal(Collect.stop)
    assert refused.value.status == RPCStatusCode.NOT_FOUND
    assert refused.value.message == "workflow execution already completed"


async def test_a_signal_to_nobody_is_not_found(client: Client, wid: str) -> None:
    with pytest.raises(RPCError) as refused:
        await client.get_workflow_handle(wid).signal("stop")
    assert refused.value.status == RPCStatusCode.NOT_FOUND
    assert refused.value.message == f"workflow not found for ID: {wid}"
    run = str(uuid.uuid4())
    with pytest.raises(RPCError) as refused:
        await client.get_workflow_handle(wid, run_id=run).signal("stop")
    assert refused.value.status == RPCStatusCode.NOT_FOUND
    assert refused.value.message == f'workflow execution not found for workflow ID "{wid}" and run ID "{run}"'


async def test_an_unknown_signal_waits_for_a_handler_and_harms_nobody(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Collect]):
        handle = await client.start_workflow(Collect.run, id=wid, task_queue=queue)
        await handle.signal("nobody listens", "x")
        await handle.signal(Collect.stop)
        assert await handle.result() == ["run"]


async def test_a_signal_counts_once_per_request_id(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    handle = await client.start_workflow(Collect.run, id=wid, task_queue=queue)
    request = SignalWorkflowExecutionRequest(
        namespace=client.namespace,
        workflow_execution=WorkflowExecution(workflow_id=wid),
        signal_name="add",
        request_id=str(uuid.uuid4()),
    )
    request.input.payloads.extend(await client.data_converter.encode(["once"]))
    await client.workflow_service.signal_workflow_execution(request)
    await client.workflow_service.signal_workflow_execution(request)
    await handle.signal(Collect.stop)
    async with make_worker(client, task_queue=queue, workflows=[Collect]):
        assert await handle.result() == ["once", "run"]


@workflow.defn
class LateHandler:
    """Takes its handlers on only when it runs."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        self.seen.append("run")

        async def late(text: str) -> None:
            self.seen.append(text)

        workflow.set_signal_handler("late", late)
        self.seen.append("listening")
        await workflow.wait_condition(lambda: len(self.seen) >= 4)
        return self.seen


async def test_signals_wait_in_order_for_a_handler_that_comes_later(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    handle = await client.start_workflow(LateHandler.run, id=wid, task_queue=queue)
    await handle.signal("late", "first")
    await handle.signal("late", "second")
    async with make_worker(client, task_queue=queue, workflows=[LateHandler]):
        assert await handle.result() == ["run", "listening", "first", "second"]


@workflow.defn
class AnySignal:
    """Takes signals by any name."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    @workflow.run
    async def run(self) -> list[Any]:
        await workflow.wait_condition(lambda: len(self.seen) >= 2)
        return self.seen

    @workflow.signal(dynamic=True)
    async def anything(self, name: str, args: Sequence[RawValue]) -> None:
        values = [workflow.payload_converter().from_payload(arg.payload) for arg in args]
        self.seen.append([name, values])


async def test_a_dynamic_handler_takes_any_name(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[AnySignal]):
        handle = await client.start_workflow(AnySignal.run, id=wid, task_queue=queue)
        await handle.signal("approve", args=["by", 7])
        await handle.signal("refuse")
        assert await handle.result() == [["approve", ["by", 7]], ["refuse", []]]


async def test_signal_with_start_starts_and_signals(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    handle = await client.start_workflow(
        Collect.run, id=wid, task_queue=queue, start_signal="add", start_signal_args=["with start"]
    )
    await handle.signal(Collect.stop)
    async with make_worker(client, task_queue=queue, workflows=[Collect]):
        assert await handle.result() == ["with start", "run"]


async def test_signal_with_start_signals_the_run_that_is_there(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    first = await client.start_workflow(Collect.run, id=wid, task_queue=queue)
    second = await client.start_workflow(
        Collect.run, id=wid, task_queue=queue, start_signal="add", start_signal_args=["again"]
    )
    assert second.result_run_id == first.result_run_id
    await first.signal(Collect.stop)
    async with make_worker(client, task_queue=queue, workflows=[Collect]):
        assert await first.result() == ["again", "run"]


async def test_signal_with_start_after_close_obeys_the_reuse_policy(client: Client, queue: str, wid: str) -> None:
    first = await client.start_workflow(Collect.run, id=wid, task_queue=queue)
    await first.terminate()
    with pytest.raises(WorkflowAlreadyStartedError) as refused:
        await client.start_workflow(
            Collect.run,
            id=wid,
            task_queue=queue,
            start_signal="stop",
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        )
    assert refused.value.run_id == first.result_run_id
    second = await client.start_workflow(Collect.run, id=wid, task_queue=queue, start_signal="stop")
    assert second.result_run_id != first.result_run_id


async def test_signal_with_start_can_replace_the_run_but_never_fails_on_it(
    client: Client, queue: str, wid: str
) -> None:
    first = await client.start_workflow(Collect.run, id=wid, task_queue=queue)
    with pytest.raises(RPCError) as refused:
        await client.start_workflow(
            Collect.run,
            id=wid,
            task_queue=queue,
            start_signal="stop",
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        )
    assert refused.value.status == RPCStatusCode.INVALID_ARGUMENT
    assert refused.value.message == (
        "Invalid WorkflowIDConflictPolicy: WORKFLOW_ID_CONFLICT_POLICY_FAIL is not supported for this operation."
    )
    second = await client.start_workflow(
        Collect.run,
        id=wid,
        task_queue=queue,
        start_signal="stop",
        id_conflict_policy=WorkflowIDConflictPolicy.TERMINATE_EXISTING,
    )
    assert second.result_run_id != first.result_run_id


async def test_a_handle_bound_to_an_older_run_does_not_reach_the_newer(client: Client, queue: str, wid: str) -> None:
    first = await client.start_workflow(Collect.run, id=wid, task_queue=queue)
    await first.terminate()
    await client.start_workflow(Collect.run, id=wid, task_queue=queue)
    with pytest.raises(RPCError) as refused:
        await client.get_workflow_handle(wid, run_id=first.result_run_id).signal("stop")
    assert (refused.value.status, refused.value.message) == (
        RPCStatusCode.NOT_FOUND,
        "workflow execution already completed",
    )


@workflow.defn
class StopAtFirst:
    """Ends as soon as anything has come."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: bool(self.seen))
        return self.seen

    @workflow.signal
    def add(self, text: str) -> None:
        self.seen.append(text)


async def test_signals_of_one_batch_are_all_seen_by_the_code_they_wake(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    handle = await client.start_workflow(StopAtFirst.run, id=wid, task_queue=queue)
    for text in ("a", "b", "c"):
        await handle.signal(StopAtFirst.add, text)
    async with make_worker(client, task_queue=queue, workflows=[StopAtFirst]):
        assert await handle.result() == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("", "SignalName is not set on request."), ("x" * 1001, "SignalName length exceeds limit.")],
)
async def test_a_signal_needs_a_name_of_a_sane_length(
    client: Client, queue: str, wid: str, name: str, message: str
) -> None:
    handle = await client.start_workflow(Collect.run, id=wid, task_queue=queue)
    with pytest.raises(RPCError) as refused:
        await handle.signal(name)
    assert (refused.value.status, refused.value.message) == (RPCStatusCode.INVALID_ARGUMENT, message)
