"""Updates: validated, accepted, completed, and remembered by their id."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.api.enums.v1 import UpdateWorkflowExecutionLifecycleStage as UpdateStage
from temporalio.api.workflowservice.v1 import UpdateWorkflowExecutionRequest
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
    WorkflowUpdateStage,
)
from temporalio.common import RawValue, WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from .support import MakeWorker, chain, eventually


@workflow.defn
class Cart:
    def __init__(self) -> None:
        self.goods: list[str] = []
        self.go = False
        self.closed = False
        self.calls = 0

    @workflow.run
    async def run(self) -> list[str]:
        self.goods.append("run")
        await workflow.wait_condition(lambda: self.closed)
        return self.goods

    @workflow.signal
    def proceed(self) -> None:
        self.go = True

    @workflow.signal
    def close(self) -> None:
        self.closed = True

    @workflow.query
    def contents(self) -> list[str]:
        return self.goods

    @workflow.query
    def validated(self) -> int:
        return self.calls

    @workflow.update
    def add(self, what: str) -> int:
        self.goods.append(what)
        return len(self.goods)

    @add.validator
    def may_add(self, what: str) -> None:
        if what == "bomb":
            raise ApplicationError("forbidden", "really", type="Forbidden")
        if what == "odd":
            raise ValueError("what is that")

    @workflow.update
    async def add_when_told(self, what: str) -> str:
        self.goods.append(f"{what}?")
        await workflow.wait_condition(lambda: self.go)
        self.goods.append(f"{what}!")
        return what

    @workflow.update
    async def refuse(self, where: str) -> None:
        if where == "later":
            await workflow.wait_condition(lambda: self.go)
        raise ApplicationError("refused", {"why": where}, type="Refused")

    @workflow.update
    async def add_and_close(self, what: str) -> str:
        self.goods.append(what)
        self.closed = True
        return "closing"

    @workflow.update(name="named-otherwise")
    async def two(self, left: str, right: int = 0) -> str:
        info = workflow.current_update_info()
        assert info is not None
        return f"{left}{right} {info.id} {info.name}"


async def cart(client: Client, queue: str, wid: str) -> WorkflowHandle[Cart, list[str]]:
    """A cart that has begun to run: an update sent earlier would be handled before `run`."""
    handle = await client.start_workflow(Cart.run, id=wid, task_queue=queue)

    async def begun() -> None:
        assert await handle.query(Cart.contents) == ["run"]

    await eventually(begun)
    return handle


async def test_execute_update_gives_the_result(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Cart]):
        handle = await cart(client, queue, wid)
        assert await handle.execute_update(Cart.add, "tea") == 2
        assert await handle.execute_update(Cart.add, "cake") == 3
        await handle.signal(Cart.close)
        assert await handle.result() == ["run", "tea", "cake"]


async def admitted(handle: WorkflowHandle[Any, Any], update_id: str) -> None:
    """Polling an update that the server does not have is an error; one that waits makes the poller wait."""
    try:
        await handle.get_update_handle(update_id).result(rpc_timeout=timedelta(milliseconds=200))
    except WorkflowUpdateRPCTimeoutOrCancelledError:
        return
    except RPCError as error:
        raise AssertionError(error.message) from None


async def test_an_update_before_the_first_task_is_handled_before_run_begins(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    handle = await client.start_workflow(Cart.run, id=wid, task_queue=queue)
    updating = asyncio.create_task(handle.execute_update(Cart.add, "tea", id="first"))
    await eventually(lambda: admitted(handle, "first"))
    async with make_worker(client, task_queue=queue, workflows=[Cart]):
        assert await updating == 1
        assert await handle.query(Cart.contents) == ["tea", "run"]


async def test_names_ids_and_several_arguments(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Cart]):
        handle = await cart(client, queue, wid)
        assert await handle.execute_update("named-otherwise", args=["x", 1], id="u1") == "x1 u1 named-otherwise"
        assert await handle.execute_update("named-otherwise", "y", id="u2") == "y0 u2 named-otherwise"


async def test_stage_accepted_returns_while_the_handler_runs(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Cart]):
        handle = await cart(client, queue, wid)
        update = await handle.start_update(
            Cart.add_when_told, "tea", id="u", wait_for_stage=WorkflowUpdateStage.ACCEPTED
        )
        assert update.id == "u"
        assert update.workflow_id == wid
        assert update.workflow_run_id == handle.result_run_id
        with pytest.raises(WorkflowUpdateRPCTimeoutOrCancelledError):
            await update.result(rpc_timeout=timedelta(milliseconds=300))
        await handle.signal(Cart.proceed)
        assert await update.result() == "tea"
        assert await handle.get_update_handle("u").result() == "tea"
        assert await handle.get_update_handle("u", workflow_run_id=handle.result_run_id).result() == "tea"


async def test_ten_may_be_under_way_at_least(
    client: Client, engine: str, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    """On Temporal's server that is all; here there is no limit (see the differences)."""
    async with make_worker(client, task_queue=queue, workflows=[Cart]):
        handle = await cart(client, queue, wid)
        updates = [
            await handle.start_update(Cart.add_when_told, f"tea {number}", wait_for_stage=WorkflowUpdateStage.ACCEPTED)
            for number in range(10)
        ]
        request = UpdateWorkflowExecutionRequest(namespace=client.namespace)
        request.workflow_execution.workflow_id = wid
        request.request.meta.update_id = "one more"
        request.request.input.name = "add_when_told"
        request.request.input.args.payloads.extend(await client.data_converter.encode(["coffee"]))
        request.wait_policy.lifecycle_stage = UpdateStage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ACCEPTED
        one_more = client.workflow_service.update_workflow_execution(request, retry=False)
        if engine == "temporal":
            with pytest.raises(RPCError) as refused:
                await one_more
            assert refused.value.status == RPCStatusCode.RESOURCE_EXHAUSTED
            assert refused.value.message == "limit on number of concurrent in-flight updates has been reached (10)"
        else:
            await one_more
            updates.append(handle.get_update_handle("one more"))
        await handle.signal(Cart.proceed)
        done = [await update.result() for update in updates]
        assert done == [f"tea {number}" for number in range(10)] + (["coffee"] if engine != "temporal" else [])


async def test_stage_completed_returns_with_the_outcome(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Cart]):
        handle = await cart(client, queue, wid)
        update = await handle.start_update(Cart.add, "tea", wait_for_stage=WorkflowUpdateStage.COMPLETED)
        assert await update.result() == 2


async def test_stage_admitted_is_not_offered(client: Client, queue: str, wid: str) -> None:
    handle = await client.start_workflow(Cart.run, id=wid, task_queue=queue)
    with pytest.raises(ValueError, match="ADMITTED wait stage not supported"):
        await handle.start_update(Cart.add, "tea", wait_for_stage=WorkflowUpdateStage.ADMITTED)


async def test_a_validator_rejects_and_leaves_no_trace(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Cart]):
        handle = await cart(client, queue, wid)
        length = (await handle.describe()).history_length
        with pytest.raises(WorkflowUpdateFailedError) as rejected:
            await handle.execute_update(Cart.add, "bomb")
        assert chain(rejected.value) == [
            "WorkflowUpdateFailedError 'Workflow update failed'",
            "ApplicationError 'forbidden' type=Forbidden details=('really',)",
        ]
        with pytest.raises(WorkflowUpdateFailedError) as rejected:
            await handle.execute_update(Cart.add, "odd")
        assert chain(rejected.value) == [
            "WorkflowUpdateFailedError 'Workflow update failed'",
            "ApplicationError 'what is that' type=ValueError",
        ]
        assert (await handle.describe()).history_length == length
        assert await handle.query(Cart.contents) == ["run"]


async def test_a_rejected_id_may_be_used_again(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Cart]):
        handle = await cart(client, queue, wid)
        with pytest.raises(WorkflowUpdateFailedError):
            await handle.execute_update(Cart.add, "bomb", id="u")
        assert await handle.execute_update(Cart.add, "tea", id="u") == 2


async def test_a_rejection_is_already_known_at_stage_accepted(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Cart]):
        handle = await cart(client, queue, wid)
        update = await handle.start_update(Cart.add, "bomb", wait_for_stage=WorkflowUpdateStage.ACCEPTED)
        with pytest.raises(WorkflowUpdateFailedError):
            await update.result()


async def test_an_update_is_done_once_per_id(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Cart]):
        handle = await cart(client, queue, wid)
        assert await handle.execute_update(Cart.add, "tea", id="u") == 2
        assert await handle.execute_update(Cart.add, "cake", id="u") == 2
        assert await handle.execute_update("named-otherwise", "x", id="u") == 2
        assert await handle.query(Cart.contents) == ["run", "tea"]


async def test_callers_with_one_id_share_one_update(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Cart]):
        handle = await cart(client, queue, wid)
        accepted = WorkflowUpdateStage.ACCEPTED
        first = await handle.start_update(Cart.add_when_told, "tea", id="u", wait_for_stage=accepted)
        second = await handle.start_update(Cart.add_when_told, "cake", id="u", wait_for_stage=accepted)
        await handle.signal(Cart.proceed)
        assert (await first.result(), await second.result()) == ("tea", "tea")


@pytest.mark.parametrize("where", ["at once", "later"])
async def test_a_handler_that_fails_fails_the_update_alone(
    client: Client, make_worker: MakeWorker, queue: str, wid: str, where: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Cart]):
        handle = await cart(client, queue, wid)
        update = await handle.start_update(Cart.refuse, where, wait_for_stage=WorkflowUpdateStage.ACCEPTED)
        await handle.signal(Cart.proceed)
        with pytest.raises(WorkflowUpdateFailedError) as failed:
            await update.result()
        assert chain(failed.value) == [
            "WorkflowUpdateFailedError 'Workflow update failed'",
            f"ApplicationError 'refused' type=Refused details=({{'why': '{where}'}},)",
        ]
        await handle.signal(Cart.close)
        assert await handle.result() == ["run"]


async def test_an_unknown_update_is_rejected_with_the_known_names(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Cart]):
        handle = await cart(client, queue, wid)
        with pytest.raises(WorkflowUpdateFailedError) as rejected:
            await handle.execute_update("what")
        assert chain(rejected.value) == [
            "WorkflowUpdateFailedError 'Workflow update failed'",
            "ApplicationError \"Update handler for 'what' expected but not found, and there is no dynamic handler. "
            'known updates: [add add_and_close add_when_told named-otherwise refuse]" type=RuntimeError',
        ]


async def test_wrong_arguments_are_a_rejection(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Cart]):
        handle = await cart(client, queue, wid)
        with pytest.raises(WorkflowUpdateFailedError) as rejected:
            await handle.execute_update("add", {"a": 1})
        assert chain(rejected.value)[1:] == [
            "ApplicationError 'Failed decoding arguments' type=RuntimeError",
            "ApplicationError \"Expected value to be str, was <class 'dict'>\" type=TypeError",
        ]
        assert await handle.query(Cart.contents) == ["run"]


async def test_an_update_of_a_closed_workflow_is_not_found(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Cart]):
        handle = await cart(client, queue, wid)
        assert await handle.execute_update(Cart.add, "tea", id="u") == 2
        await handle.signal(Cart.close)
        await handle.result()
        with pytest.raises(RPCError) as refused:
            await handle.execute_update(Cart.add, "cake")
        assert (refused.value.status, refused.value.message) == (
            RPCStatusCode.NOT_FOUND,
            "workflow execution already completed",
        )
        assert await handle.get_update_handle("u").result() == 2


async def test_an_update_to_nobody_is_not_found(client: Client, wid: str) -> None:
    with pytest.raises(RPCError) as refused:
        await client.get_workflow_handle(wid).execute_update("add", "x")
    assert (refused.value.status, refused.value.message) == (
        RPCStatusCode.NOT_FOUND,
        f"workflow not found for ID: {wid}",
    )


async def test_polling_an_unknown_update_is_not_found(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    handle = await client.start_workflow(Cart.run, id=wid, task_queue=queue)
    with pytest.raises(RPCError) as refused:
        await handle.get_update_handle("nothing").result()
    assert (refused.value.status, refused.value.message) == (RPCStatusCode.NOT_FOUND, 'update "nothing" not found')


async def test_an_update_that_completes_with_the_workflow_is_answered(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Cart]):
        handle = await cart(client, queue, wid)
        assert await handle.execute_update(Cart.add_and_close, "tea") == "closing"
        assert await handle.result() == ["run", "tea"]


async def test_an_update_unfinished_at_the_end_fails(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Cart]):
        handle = await cart(client, queue, wid)
        update = await handle.start_update(
            Cart.add_when_told, "tea", id="u", wait_for_stage=WorkflowUpdateStage.ACCEPTED
        )
        waiting = asyncio.create_task(update.result())
        await handle.signal(Cart.close)
        assert await handle.result() == ["run", "tea?"]
        for answer in (waiting, handle.get_update_handle("u").result()):
            with pytest.raises(WorkflowUpdateFailedError) as failed:
                await answer
            assert chain(failed.value) == [
                "WorkflowUpdateFailedError 'Workflow update failed'",
                "ApplicationError 'Workflow Update failed because the Workflow completed before the Update completed.' "
                "type=AcceptedUpdateCompletedWorkflow non_retryable",
            ]


async def test_an_update_unfinished_at_termination_fails(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Cart]):
        handle = await cart(client, queue, wid)
        update = await handle.start_update(
            Cart.add_when_told, "tea", id="u", wait_for_stage=WorkflowUpdateStage.ACCEPTED
        )
        await handle.terminate()
        with pytest.raises(WorkflowUpdateFailedError) as failed:
            await update.result()
        assert chain(failed.value)[1].endswith("type=AcceptedUpdateCompletedWorkflow non_retryable")


async def test_an_update_that_no_worker_saw_is_aborted_at_termination(client: Client, queue: str, wid: str) -> None:
    handle = await client.start_workflow(Cart.run, id=wid, task_queue=queue)
    updating = asyncio.create_task(handle.execute_update(Cart.add, "tea", id="u"))
    await eventually(lambda: admitted(handle, "u"))
    await handle.terminate()
    with pytest.raises(RPCError) as aborted:
        await updating
    assert (aborted.value.status, aborted.value.message) == (
        RPCStatusCode.NOT_FOUND,
        "workflow update was aborted by closing workflow",
    )


async def test_without_a_worker_the_caller_waits_until_its_timeout(client: Client, queue: str, wid: str) -> None:
    handle = await client.start_workflow(Cart.run, id=wid, task_queue=queue)
    with pytest.raises(WorkflowUpdateRPCTimeoutOrCancelledError) as expired:
        await handle.execute_update(Cart.add, "tea", rpc_timeout=timedelta(milliseconds=300))
    assert str(expired.value) == "Timeout or cancellation waiting for update"


@workflow.defn
class AnyUpdate:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.update(dynamic=True)
    def anything(self, name: str, args: Sequence[RawValue]) -> list[Any]:
        return [name, [workflow.payload_converter().from_payload(arg.payload) for arg in args]]


async def test_a_dynamic_handler_takes_any_name(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[AnyUpdate]):
        handle = await client.start_workflow(AnyUpdate.run, id=wid, task_queue=queue)
        assert await handle.execute_update("colour", args=[1, "red"]) == ["colour", [1, "red"]]


def with_start(wid: str, queue: str, policy: WorkflowIDConflictPolicy) -> WithStartWorkflowOperation[Cart, list[str]]:
    return WithStartWorkflowOperation(Cart.run, id=wid, task_queue=queue, id_conflict_policy=policy)


async def test_update_with_start_starts_and_updates(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Cart]):
        start = with_start(wid, queue, WorkflowIDConflictPolicy.FAIL)
        assert await client.execute_update_with_start_workflow(Cart.add, "tea", start_workflow_operation=start) == 1
        handle = await start.workflow_handle()
        assert await handle.query(Cart.contents) == ["tea", "run"]


async def test_update_with_start_updates_the_run_that_is_there(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Cart]):
        first = await client.start_workflow(Cart.run, id=wid, task_queue=queue)
        await first.query(Cart.contents)
        start = with_start(wid, queue, WorkflowIDConflictPolicy.USE_EXISTING)
        assert await client.execute_update_with_start_workflow(Cart.add, "tea", start_workflow_operation=start) == 2
        handle = await start.workflow_handle()
        assert handle.result_run_id == first.result_run_id


async def test_update_with_start_obeys_the_conflict_policy(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Cart]):
        await client.start_workflow(Cart.run, id=wid, task_queue=queue)
        start = with_start(wid, queue, WorkflowIDConflictPolicy.FAIL)
        with pytest.raises(WorkflowAlreadyStartedError):
            await client.execute_update_with_start_workflow(Cart.add, "tea", start_workflow_operation=start)
        with pytest.raises(WorkflowAlreadyStartedError):
            await start.workflow_handle()


async def test_update_with_start_may_be_rejected_and_the_workflow_runs(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Cart]):
        start = with_start(wid, queue, WorkflowIDConflictPolicy.FAIL)
        with pytest.raises(WorkflowUpdateFailedError):
            await client.execute_update_with_start_workflow(Cart.add, "bomb", start_workflow_operation=start)
        handle = await start.workflow_handle()
        await handle.signal(Cart.close)
        assert await handle.result() == ["run"]


@workflow.defn
class Drain:
    """Waits for its handlers before it ends."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.closed = False

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: self.closed)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self.done

    @workflow.signal
    def close(self) -> None:
        self.closed = True

    @workflow.update
    async def work(self, name: str) -> str:
        await workflow.sleep(0.01)
        self.done.append(name)
        return name


async def test_a_workflow_can_wait_for_its_handlers(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Drain]):
        handle = await client.start_workflow(Drain.run, id=wid, task_queue=queue)
        update = await handle.start_update(Drain.work, "a", wait_for_stage=WorkflowUpdateStage.ACCEPTED)
        await handle.signal(Drain.close)
        assert await handle.result() == ["a"]
        assert await update.result() == "a"


async def test_a_failed_workflow_fails_its_open_updates(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Cart]):
        handle = await cart(client, queue, wid)
        update = await handle.start_update(Cart.add_when_told, "tea", wait_for_stage=WorkflowUpdateStage.ACCEPTED)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        with pytest.raises(WorkflowUpdateFailedError) as failed:
            await update.result()
        assert chain(failed.value)[1].endswith("type=AcceptedUpdateCompletedWorkflow non_retryable")


async def test_an_update_that_no_worker_has_seen_can_be_polled(client: Client, queue: str, wid: str) -> None:
    handle = await client.start_workflow(Cart.run, id=wid, task_queue=queue)
    updating = asyncio.create_task(handle.execute_update(Cart.add, "tea", id="u"))
    await eventually(lambda: admitted(handle, "u"))
    updating.cancel()
    with pytest.raises((asyncio.CancelledError, WorkflowUpdateRPCTimeoutOrCancelledError)):
        await updating
