"""Queries: answered live and after the end, and they change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from temporalio.common import QueryRejectCondition, RawValue
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from .support import MakeWorker


@workflow.defn
class Account:
    def __init__(self) -> None:
        self.balance = 10
        self.closed = ""

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: bool(self.closed))
        if self.closed == "fail":
            raise ApplicationError("broke")
        return self.balance

    @workflow.signal
    def add(self, amount: int) -> None:
        self.balance += amount

    @workflow.signal
    def close(self, how: str) -> None:
        self.closed = how

    @workflow.query
    def current(self) -> int:
        return self.balance

    @workflow.query(name="in-other-money")
    def converted(self, rate: float, unit: str = "EUR") -> str:
        return f"{self.balance * rate:.2f} {unit}"

    @workflow.query
    def broken(self) -> int:
        raise ApplicationError("cannot count", type="Counting")

    @workflow.query
    def badly_broken(self) -> int:
        raise ValueError("not at all")

    @workflow.query
    def starts_work(self) -> int:
        workflow.uuid4()
        workflow.upsert_memo({"x": 1})
        return 1

    @workflow.query
    def changes(self) -> int:
        self.balance += 1000
        return self.balance


async def test_a_query_sees_the_state_after_all_earlier_signals(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Account]):
        handle = await client.start_workflow(Account.run, id=wid, task_queue=queue)
        assert await handle.query(Account.current) == 10
        for amount in range(1, 6):
            await handle.signal(Account.add, amount)
            assert await handle.query(Account.current) == 10 + sum(range(1, amount + 1))
        await handle.signal(Account.close, "well")
        assert await handle.result() == 25


async def test_query_arguments_names_and_defaults(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Account]):
        handle = await client.start_workflow(Account.run, id=wid, task_queue=queue)
        assert await handle.query("in-other-money", args=[1.5, "USD"]) == "15.00 USD"
        assert await handle.query("in-other-money", 2.0) == "20.00 EUR"


async def test_a_query_leaves_no_event(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Account]):
        handle = await client.start_workflow(Account.run, id=wid, task_queue=queue)
        await handle.query(Account.current)
        before = (await handle.describe()).history_length
        for _ in range(3):
            await handle.query(Account.current)
        assert (await handle.describe()).history_length == before


@pytest.mark.parametrize("how", ["well", "fail", "terminate"])
async def test_a_closed_workflow_still_answers(
    client: Client, make_worker: MakeWorker, queue: str, wid: str, how: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Account]):
        handle = await client.start_workflow(Account.run, id=wid, task_queue=queue)
        await handle.signal(Account.add, 5)
        assert await handle.query(Account.current) == 15
        if how == "terminate":
            await handle.terminate()
        else:
            await handle.signal(Account.close, how)
        if how == "well":
            await handle.result()
        else:
            with pytest.raises(WorkflowFailureError):
                await handle.result()
        assert await handle.query(Account.current) == 15
        bound = client.get_workflow_handle(wid, run_id=handle.result_run_id)
        assert await bound.query(Account.current) == 15


async def test_a_new_worker_answers_for_a_run_it_has_never_seen(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Account]):
        handle = await client.start_workflow(Account.run, id=wid, task_queue=queue)
        await handle.signal(Account.add, 5)
        assert await handle.query(Account.current) == 15
    async with make_worker(client, task_queue=queue, workflows=[Account]):
        assert await handle.query(Account.current) == 15
        await handle.signal(Account.close, "well")
        assert await handle.result() == 15


async def test_an_unknown_query_names_the_known_ones(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Account]):
        handle = await client.start_workflow(Account.run, id=wid, task_queue=queue)
        with pytest.raises(WorkflowQueryFailedError) as failed:
            await handle.query("what")
        assert str(failed.value) == (
            "Query handler for 'what' expected but not found, known queries: "
            "[__enhanced_stack_trace __stack_trace __temporal_workflow_metadata badly_broken broken changes current "
            "in-other-money starts_work]"
        )


async def test_a_query_that_raises_fails_the_query_alone(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Account]):
        handle = await client.start_workflow(Account.run, id=wid, task_queue=queue)
        with pytest.raises(WorkflowQueryFailedError) as failed:
            await handle.query(Account.broken)
        assert str(failed.value) == "cannot count"
        with pytest.raises(WorkflowQueryFailedError) as failed:
            await handle.query(Account.badly_broken)
        assert str(failed.value) == "not at all"
        assert await handle.query(Account.current) == 10


async def test_the_rpc_behind_a_failed_query_is_an_invalid_argument(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Account]):
        handle = await client.start_workflow(Account.run, id=wid, task_queue=queue)
        with pytest.raises(WorkflowQueryFailedError) as failed:
            await handle.query(Account.broken)
        answer = failed.value.__context__
        assert isinstance(answer, RPCError)
        assert answer.status == RPCStatusCode.INVALID_ARGUMENT


async def test_a_query_may_not_give_commands(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Account]):
        handle = await client.start_workflow(Account.run, id=wid, task_queue=queue)
        with pytest.raises(WorkflowQueryFailedError) as failed:
            await handle.query(Account.starts_work)
        assert "While in read-only function, action attempted" in str(failed.value)


async def test_wrong_arguments_fail_the_query(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Account]):
        handle = await client.start_workflow(Account.run, id=wid, task_queue=queue)
        with pytest.raises(WorkflowQueryFailedError) as failed:
            await handle.query("in-other-money", "not a number")
        assert str(failed.value)


async def test_reject_conditions(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    not_open = QueryRejectCondition.NOT_OPEN
    unclean = QueryRejectCondition.NOT_COMPLETED_CLEANLY
    async with make_worker(client, task_queue=queue, workflows=[Account]):
        done = await client.start_workflow(Account.run, id=f"{wid}-done", task_queue=queue)
        assert await done.query(Account.current, reject_condition=not_open) == 10
        assert await done.query(Account.current, reject_condition=unclean) == 10
        await done.signal(Account.close, "well")
        await done.result()
        with pytest.raises(WorkflowQueryRejectedError) as rejected:
            await done.query(Account.current, reject_condition=not_open)
        assert rejected.value.status == WorkflowExecutionStatus.COMPLETED
        assert str(rejected.value) == "Query rejected, status: 2"
        assert await done.query(Account.current, reject_condition=unclean) == 10

        failed = await client.start_workflow(Account.run, id=f"{wid}-failed", task_queue=queue)
        await failed.signal(Account.close, "fail")
        with pytest.raises(WorkflowFailureError):
            await failed.result()
        for condition in (not_open, unclean):
            with pytest.raises(WorkflowQueryRejectedError) as rejected:
                await failed.query(Account.current, reject_condition=condition)
            assert rejected.value.status == WorkflowExecutionStatus.FAILED
        assert await failed.query(Account.current, reject_condition=QueryRejectCondition.NONE) == 10


async def test_without_a_worker_the_caller_waits_until_its_timeout(
    client: Client, engine: str, queue: str, wid: str
) -> None:
    handle = await client.start_workflow(Account.run, id=wid, task_queue=queue)
    with pytest.raises(RPCError) as expired:
        await handle.query(Account.current, rpc_timeout=timedelta(milliseconds=500))
    answers = [(RPCStatusCode.CANCELLED, "Timeout expired")]
    if engine == "temporal":  # its server knows the caller's deadline too, and sometimes is the first to say so
        answers.append((RPCStatusCode.DEADLINE_EXCEEDED, "query timed out before a worker could process it"))
    assert (expired.value.status, expired.value.message) in answers


async def test_a_query_to_nobody_is_not_found(client: Client, wid: str) -> None:
    with pytest.raises(RPCError) as refused:
        await client.get_workflow_handle(wid).query("current")
    assert refused.value.status == RPCStatusCode.NOT_FOUND
    assert refused.value.message == f"workflow not found for ID: {wid}"


@workflow.defn
class AnyQuery:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.query(dynamic=True)
    def anything(self, name: str, args: Sequence[RawValue]) -> list[Any]:
        return [name, [workflow.payload_converter().from_payload(arg.payload) for arg in args]]


async def test_a_dynamic_handler_answers_any_name(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[AnyQuery]):
        handle = await client.start_workflow(AnyQuery.run, id=wid, task_queue=queue)
        assert await handle.query("colour", args=[1, "red"]) == ["colour", [1, "red"]]


async def test_the_stack_trace_query_names_the_tasks_of_the_run(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Account]):
        handle = await client.start_workflow(Account.run, id=wid, task_queue=queue)
        trace = await handle.query("__stack_trace")
        assert f"run (workflow: Account, id: {wid}, run: {handle.result_run_id})" in trace
