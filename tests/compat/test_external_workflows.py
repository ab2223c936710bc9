"""Signals and cancel requests from one workflow to another."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.exceptions import FailureError

from .kin import Kid, attributes, family, status_of, story
from .support import MakeWorker

NO_SIGNAL = [
    "ApplicationError 'Unable to signal external workflow because it was not found' "
    "type=ExternalWorkflowExecutionNotFound"
]
NO_CANCEL = [
    "ApplicationError 'Unable to cancel external workflow because not found' type=ExternalWorkflowExecutionNotFound"
]


@workflow.defn
class Sender:
    """Does something to another workflow, and tells how that went."""

    @workflow.run
    async def run(self, how: str, target: str, run_id: str | None = None) -> Any:
        other = workflow.get_external_workflow_handle(target, run_id=run_id)
        try:
            match how:
                case "signal":
                    await other.signal("hear", "hello")
                case "many":
                    await asyncio.gather(*[other.signal("hear", f"{n}") for n in range(20)])
                case "one by one":
                    for n in range(5):
                        await other.signal("hear", f"{n}")
                case "cancel":
                    await other.cancel(reason="not needed")
                case "taken back":
                    sending = asyncio.create_task(other.signal("hear", "never"))
                    await asyncio.sleep(0)
                    sending.cancel()
                    await sending
                case "last words":
                    self.sending = asyncio.create_task(other.signal("hear", "never"))
                    await asyncio.sleep(0)
        except FailureError as error:
            return family(error)
        return "done"


async def kid(client: Client, queue: str, wid: str, how: str) -> str:
    handle = await client.start_workflow(Kid.run, how, id=f"{wid}-kid", task_queue=queue)
    return handle.result_run_id or ""


async def test_a_signal_arrives_with_its_sender(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Sender, Kid]):
        await kid(client, queue, wid, "wait")
        sender = await client.start_workflow(Sender.run, args=["signal", f"{wid}-kid"], id=wid, task_queue=queue)
        assert await sender.result() == "done"
        target = client.get_workflow_handle(f"{wid}-kid")
        assert await target.result() == ["hello"]
        signaled = await attributes(target, "WORKFLOW_EXECUTION_SIGNALED")
        assert (signaled.identity, bool(signaled.request_id)) == ("history-service", True)
        assert signaled.external_workflow_execution.workflow_id == wid
        assert signaled.external_workflow_execution.run_id == sender.result_run_id
        assert await story(sender) == [
            "1 WORKFLOW_EXECUTION_STARTED",
            "5 SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED",
            "6 EXTERNAL_WORKFLOW_EXECUTION_SIGNALED",
            "10 WORKFLOW_EXECUTION_COMPLETED",
        ]


@workflow.defn
class Collector:
    @workflow.init
    def __init__(self, number: int) -> None:
        self.heard: list[str] = []

    @workflow.run
    async def run(self, number: int) -> list[str]:
        await workflow.wait_condition(lambda: len(self.heard) == number)
        return self.heard

    @workflow.signal
    def hear(self, what: str) -> None:
        self.heard.append(what)


@pytest.mark.parametrize(("how", "number"), [("many", 20), ("one by one", 5)])
async def test_every_signal_arrives_once(
    client: Client, make_worker: MakeWorker, queue: str, wid: str, how: str, number: int
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Sender, Collector]):
        target = await client.start_workflow(Collector.run, number, id=f"{wid}-kid", task_queue=queue)
        assert await client.execute_workflow(Sender.run, args=[how, target.id], id=wid, task_queue=queue) == "done"
        heard = await target.result()
        assert sorted(heard, key=int) == [f"{n}" for n in range(number)]
        if how == "one by one":
            assert heard == [f"{n}" for n in range(number)]


async def test_a_cancel_request_arrives_with_its_reason(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Sender, Kid]):
        await kid(client, queue, wid, "swallow")
        sender = await client.start_workflow(Sender.run, args=["cancel", f"{wid}-kid"], id=wid, task_queue=queue)
        assert await sender.result() == "done"
        reason = f"Cancel requested by workflow with run id {sender.result_run_id} with reason: not needed"
        assert await client.get_workflow_handle(f"{wid}-kid").result() == f"swallowed {reason!r}"
        asked = await attributes(client.get_workflow_handle(f"{wid}-kid"), "WORKFLOW_EXECUTION_CANCEL_REQUESTED")
        assert (asked.cause, asked.external_initiated_event_id) == (reason, 5)
        assert await story(sender) == [
            "1 WORKFLOW_EXECUTION_STARTED",
            "5 REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED",
            "6 EXTERNAL_WORKFLOW_EXECUTION_CANCEL_REQUESTED",
            "10 WORKFLOW_EXECUTION_COMPLETED",
        ]


@pytest.mark.parametrize(
    ("how", "event", "result"),
    [
        ("signal", "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED", NO_SIGNAL),
        ("cancel", "REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED", NO_CANCEL),
    ],
)
@pytest.mark.parametrize("target", ["nobody", "itself", "unknown run"])
async def test_there_is_nobody_to_hear_it(
    client: Client,
    make_worker: MakeWorker,
    queue: str,
    wid: str,
    how: str,
    event: str,
    result: list[str],
    target: str,
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Sender, Kid]):
        if target == "unknown run":
            await kid(client, queue, wid, "wait")
        arguments: list[Any] = [how, {"nobody": f"{wid}-x", "itself": wid}.get(target, f"{wid}-kid")]
        if target == "unknown run":
            arguments.append(str(uuid.uuid4()))
        handle = await client.start_workflow(Sender.run, args=arguments, id=wid, task_queue=queue)
        assert await handle.result() == result
        failed = await attributes(handle, event)
        assert (failed.cause, failed.initiated_event_id) == (1, 5)
        if target == "unknown run":
            await client.get_workflow_handle(f"{wid}-kid").terminate()


@pytest.mark.parametrize(("how", "result"), [("signal", NO_SIGNAL), ("cancel", "done")])
async def test_a_closed_workflow_hears_no_signal_and_may_be_cancelled(
    client: Client, make_worker: MakeWorker, queue: str, wid: str, how: str, result: Any
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Sender, Kid]):
        await kid(client, queue, wid, "at once")
        await client.get_workflow_handle(f"{wid}-kid").result()
        handle = await client.start_workflow(Sender.run, args=[how, f"{wid}-kid"], id=wid, task_queue=queue)
        assert await handle.result() == result


async def test_one_run_may_be_meant(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Sender, Kid]):
        run_id = await kid(client, queue, wid, "wait")
        arguments = ["signal", f"{wid}-kid", run_id]
        assert await client.execute_workflow(Sender.run, args=arguments, id=wid, task_queue=queue) == "done"
        assert await client.get_workflow_handle(f"{wid}-kid").result() == ["hello"]


async def test_a_signal_may_be_taken_back_in_the_task_that_sends_it(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Sender, Kid]):
        handle = await client.start_workflow(Sender.run, args=["taken back", "nobody"], id=wid, task_queue=queue)
        assert await handle.result() == ["CancelledError 'Signal was cancelled before being sent'"]
        assert await story(handle) == ["1 WORKFLOW_EXECUTION_STARTED", "5 WORKFLOW_EXECUTION_COMPLETED"]


async def test_the_last_task_sends_nothing(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Sender, Kid]):
        await kid(client, queue, wid, "wait")
        handle = await client.start_workflow(Sender.run, args=["last words", f"{wid}-kid"], id=wid, task_queue=queue)
        assert await handle.result() == "done"
        # Whatever is sent later has overtaken nothing.
        await client.execute_workflow(Sender.run, args=["signal", f"{wid}-kid"], id=f"{wid}-2", task_queue=queue)
        assert await client.get_workflow_handle(f"{wid}-kid").result() == ["hello"]
        assert await status_of(client, wid) is not None


@workflow.defn
class TooLate:
    """Signals a child that has ended."""

    @workflow.run
    async def run(self, kid: str) -> Any:
        child = await workflow.start_child_workflow(Kid.run, "at once", id=kid)
        await child
        try:
            await child.signal(Kid.hear, "too late")
        except FailureError as error:
            return family(error)


async def test_a_child_that_has_ended_hears_nothing(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[TooLate, Kid]):
        result = await client.execute_workflow(TooLate.run, f"{wid}-kid", id=wid, task_queue=queue)
        assert result == NO_SIGNAL
