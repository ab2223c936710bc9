"""Continue-as-new: what the next run inherits, what the closing event says, and who hears of it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from temporalio import workflow
from temporalio.api.enums.v1 import ContinueAsNewInitiator
from temporalio.client import (
    Client,
    WorkflowContinuedAsNewError,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateStage,
)
from temporalio.common import Priority, RetryPolicy, SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from .chains import began, ended, runs
from .support import KEYWORD, TEXT, Connect, MakeWorker, chain, eventually

ONCE_MORE = RetryPolicy(maximum_attempts=7)


@workflow.defn(name="relay")
class Relay:
    """Continues as new until it has run `legs` times; `how` says with which options."""

    @workflow.run
    async def run(self, legs: int, how: str) -> dict[str, Any]:
        info = workflow.info()
        if legs > 1:
            workflow.upsert_memo({"upserted": legs})
            workflow.upsert_search_attributes([KEYWORD.value_set(f"leg {legs}")])
            if how == "plain":
                workflow.continue_as_new(args=[legs - 1, how])
            workflow.continue_as_new(
                args=[legs - 1, how],
                memo={"given": legs},
                search_attributes=TypedSearchAttributes([SearchAttributePair(TEXT, "given")]),
                retry_policy=ONCE_MORE,
                run_timeout=timedelta(seconds=44),
                task_timeout=timedelta(seconds=3),
            )
        return {
            "attempt": info.attempt,
            "continued": info.continued_run_id,
            "first": info.first_execution_run_id,
            "run": info.run_id,
            "memo": dict(workflow.memo()),
            "keyword": info.typed_search_attributes.get(KEYWORD),
            "text": info.typed_search_attributes.get(TEXT),
            "attempts": info.retry_policy.maximum_attempts if info.retry_policy else None,
            "execution_timeout": str(info.execution_timeout),
            "run_timeout": str(info.run_timeout),
            "task_timeout": str(info.task_timeout),
            "type": info.workflow_type,
            "priority": info.priority.priority_key,
        }


@workflow.defn(name="baton")
class Baton:
    """Continues as another type when told to, and hears what is said to it."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.go = False

    @workflow.run
    async def run(self, heard: list[str], last: bool) -> list[str]:
        self.heard = heard + self.heard
        await workflow.wait_condition(lambda: self.go or last)
        if not last:
            workflow.continue_as_new(args=[self.heard, True])
        await workflow.wait_condition(lambda: "end" in self.heard)
        return self.heard

    @workflow.signal
    def say(self, what: str) -> None:
        self.heard.append(what)

    @workflow.signal
    def pass_on(self) -> None:
        self.go = True

    @workflow.update
    async def wait_for(self, what: str) -> str:
        await workflow.wait_condition(lambda: what in self.heard)
        return what

    @workflow.query
    def all_heard(self) -> list[str]:
        return self.heard


@workflow.defn(name="elsewhere")
class Elsewhere:
    @workflow.run
    async def run(self, queue: str) -> str:
        if queue:
            workflow.continue_as_new("", workflow=Elsewhere.run, task_queue=queue)
        return workflow.info().task_queue


@workflow.defn(name="first-of-two")
class FirstOfTwo:
    @workflow.run
    async def run(self) -> str:
        workflow.continue_as_new("from the first", workflow=SecondOfTwo.run)


@workflow.defn(name="second-of-two")
class SecondOfTwo:
    @workflow.run
    async def run(self, said: str) -> str:
        return f"{workflow.info().workflow_type}: {said}"


@workflow.defn(name="delayed-relay")
class DelayedRelay:
    @workflow.run
    async def run(self, left: int) -> float:
        if left:
            workflow.continue_as_new(left - 1, backoff_start_interval=timedelta(seconds=1.2))
        return (workflow.now() - workflow.info().workflow_start_time).total_seconds()


async def passed_on(handle: WorkflowHandle[Any, Any]) -> None:
    """The baton is in the hands of the second run."""
    await handle.signal(Baton.pass_on)

    async def second_run_is_there() -> None:
        assert (await handle.describe()).run_id != handle.first_execution_run_id

    await eventually(second_run_is_there)


async def test_what_is_inherited(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Relay]):
        handle = await client.start_workflow(
            Relay.run,
            args=[2, "plain"],
            id=wid,
            task_queue=queue,
            memo={"began": 1},
            search_attributes=TypedSearchAttributes([SearchAttributePair(TEXT, "began")]),
            retry_policy=RetryPolicy(maximum_attempts=3),
            execution_timeout=timedelta(seconds=100),
            run_timeout=timedelta(seconds=50),
            task_timeout=timedelta(seconds=5),
            static_summary="a relay",
            priority=Priority(priority_key=2),
        )
        about = await handle.result()
    first, second = await runs(client, handle)
    assert about == {
        "attempt": 1,
        "continued": handle.first_execution_run_id,
        "first": handle.first_execution_run_id,
        "run": first[-1].workflow_execution_continued_as_new_event_attributes.new_execution_run_id,
        "memo": {"began": 1},
        "keyword": "leg 2",
        "text": "began",
        "attempts": 3,
        "execution_timeout": "0:01:40",
        "run_timeout": "0:00:50",
        "task_timeout": "0:00:05",
        "type": "relay",
        "priority": 2,
    }
    assert [ended(first), ended(second)] == ["CONTINUED_AS_NEW", "COMPLETED"]
    closing = first[-1].workflow_execution_continued_as_new_event_attributes
    assert closing.workflow_type.name == "relay"
    assert closing.task_queue.name == queue
    assert await client.data_converter.decode(closing.input.payloads) == [1, "plain"]
    assert set(closing.memo.fields) == {"began"}
    assert set(closing.search_attributes.indexed_fields) == {KEYWORD.name, TEXT.name}
    assert closing.workflow_run_timeout.ToTimedelta() == timedelta(seconds=50)
    assert closing.workflow_task_timeout.ToTimedelta() == timedelta(seconds=5)
    assert closing.workflow_task_completed_event_id == first[-1].event_id - 3 == 4
    assert not closing.HasField("backoff_start_interval")
    started = began(second)
    assert started.initiator == ContinueAsNewInitiator.CONTINUE_AS_NEW_INITIATOR_WORKFLOW
    assert started.continued_execution_run_id == handle.first_execution_run_id
    assert started.first_execution_run_id == handle.first_execution_run_id
    assert started.original_execution_run_id == closing.new_execution_run_id
    assert started.attempt == 1
    assert started.identity == ""
    assert started.workflow_execution_expiration_time == began(first).workflow_execution_expiration_time
    assert not second[0].HasField("user_metadata")

    described = await client.get_workflow_handle(wid, run_id=closing.new_execution_run_id).describe()
    info, extended = described.raw_info, described.raw_description.workflow_extended_info
    assert info.first_run_id == handle.first_execution_run_id
    assert info.root_execution.run_id == closing.new_execution_run_id
    assert extended.execution_expiration_time == started.workflow_execution_expiration_time
    assert extended.original_start_time == info.start_time
    assert described.task_queue == queue


async def test_what_is_given(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Relay]):
        handle = await client.start_workflow(
            Relay.run,
            args=[2, "everything"],
            id=wid,
            task_queue=queue,
            memo={"began": 1},
            search_attributes=TypedSearchAttributes([SearchAttributePair(KEYWORD, "began")]),
        )
        about = await handle.result()
    assert about["memo"] == {"given": 2}
    assert (about["keyword"], about["text"]) == (None, "given")
    assert about["attempts"] == 7
    assert (about["run_timeout"], about["task_timeout"]) == ("0:00:44", "0:00:03")
    _, second = await runs(client, handle)
    policy = began(second).retry_policy
    assert (policy.initial_interval.seconds, policy.maximum_interval.seconds) == (1, 100)


async def test_a_chain_is_followed_to_its_end(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Relay]):
        handle = await client.start_workflow(Relay.run, args=[4, "plain"], id=wid, task_queue=queue)
        about = await handle.result()
        histories = await runs(client, handle)
        assert [ended(events) for events in histories] == ["CONTINUED_AS_NEW"] * 3 + ["COMPLETED"]
        assert about["first"] == handle.first_execution_run_id
        assert {began(events).first_execution_run_id for events in histories} == {handle.first_execution_run_id}
        with pytest.raises(WorkflowContinuedAsNewError) as continued:
            await handle.result(follow_runs=False)
        assert continued.value.new_execution_run_id == began(histories[1]).original_execution_run_id
        first = client.get_workflow_handle(wid, run_id=handle.first_execution_run_id)
        described = await first.describe()
        assert described.status == WorkflowExecutionStatus.CONTINUED_AS_NEW
        assert (await client.get_workflow_handle(wid).describe()).run_id == about["run"]


async def test_another_type_and_another_queue(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with (
        make_worker(client, task_queue=queue, workflows=[FirstOfTwo, SecondOfTwo, Elsewhere]),
        make_worker(client, task_queue=f"{queue}-2", workflows=[Elsewhere]),
    ):
        result = await client.execute_workflow(FirstOfTwo.run, id=wid, task_queue=queue)
        assert result == "second-of-two: from the first"
        result = await client.execute_workflow(Elsewhere.run, f"{queue}-2", id=f"{wid}-q", task_queue=queue)
        assert result == f"{queue}-2"


async def test_a_delay_before_the_next_run(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[DelayedRelay]):
        handle = await client.start_workflow(DelayedRelay.run, 1, id=wid, task_queue=queue)
        assert 1.2 <= await handle.result() < 5
    first, second = await runs(client, handle)
    closing = first[-1].workflow_execution_continued_as_new_event_attributes
    assert closing.backoff_start_interval.ToTimedelta() == timedelta(seconds=1.2)
    assert began(second).first_workflow_task_backoff.ToTimedelta() >= timedelta(seconds=1.2)


async def test_signals_go_to_the_run_that_is_current(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Baton]):
        handle = await client.start_workflow(Baton.run, args=[[], False], id=wid, task_queue=queue)
        await handle.signal(Baton.say, "one")
        await passed_on(handle)
        await handle.signal(Baton.say, "two")
        first = client.get_workflow_handle(wid, run_id=handle.first_execution_run_id)
        with pytest.raises(RPCError) as refused:
            await first.signal(Baton.say, "too late")
        assert refused.value.status == RPCStatusCode.NOT_FOUND
        assert refused.value.message == "workflow execution already completed"
        await handle.signal(Baton.say, "end")
        assert await handle.result() == ["one", "two", "end"]
        assert await first.query(Baton.all_heard) == ["one"]


async def test_no_signal_is_lost_while_runs_change(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Baton]):
        handle = await client.start_workflow(Baton.run, args=[[], False], id=wid, task_queue=queue)
        said = [str(number) for number in range(30)]
        sending = [asyncio.create_task(handle.signal(Baton.say, word)) for word in said[:15]]
        await handle.signal(Baton.pass_on)
        sending += [asyncio.create_task(handle.signal(Baton.say, word)) for word in said[15:]]
        await asyncio.gather(*sending)
        await handle.signal(Baton.say, "end")
        heard = await handle.result()
        assert sorted(heard) == sorted([*said, "end"])


async def test_an_accepted_update_does_not_move_to_the_next_run(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Baton]):
        handle = await client.start_workflow(Baton.run, args=[[], False], id=wid, task_queue=queue)
        update = await handle.start_update(Baton.wait_for, "never", wait_for_stage=WorkflowUpdateStage.ACCEPTED)
        await handle.signal(Baton.pass_on)
        with pytest.raises(WorkflowUpdateFailedError) as failed:
            await update.result()
        assert chain(failed.value.cause) == [
            "ApplicationError 'Workflow Update failed because the Workflow completed before the Update completed.' "
            "type=AcceptedUpdateCompletedWorkflow non_retryable"
        ]
        assert isinstance(failed.value.cause, ApplicationError)
        await handle.signal(Baton.say, "end")
        assert await handle.result() == ["end"]


async def test_cancel_and_terminate_mean_the_chain(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Baton]):
        handle = await client.start_workflow(Baton.run, args=[[], False], id=wid, task_queue=queue)
        await passed_on(handle)
        await handle.terminate("enough")
        described = await handle.describe()
        assert described.status == WorkflowExecutionStatus.TERMINATED
        assert described.run_id != handle.first_execution_run_id


async def test_the_id_is_in_use_while_the_chain_goes_on(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Baton]):
        handle = await client.start_workflow(Baton.run, args=[[], False], id=wid, task_queue=queue)
        await passed_on(handle)
        with pytest.raises(WorkflowAlreadyStartedError):
            await client.start_workflow(Baton.run, args=[[], False], id=wid, task_queue=queue)
        await handle.signal(Baton.say, "end")
        await handle.result()
        again = await client.start_workflow(Baton.run, args=[["end"], True], id=wid, task_queue=queue)
        assert await again.result() == ["end"]


async def test_runs_of_a_chain_are_listed(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Relay]):
        await client.execute_workflow(Relay.run, args=[3, "plain"], id=wid, task_queue=queue)

    async def all_listed() -> None:
        found = [run.status async for run in client.list_workflows(f"WorkflowId = '{wid}'")]
        assert sorted(status.name for status in found if status) == ["COMPLETED"] + ["CONTINUED_AS_NEW"] * 2
        counted = await client.count_workflows(f"WorkflowId = '{wid}' AND ExecutionStatus = 'ContinuedAsNew'")
        assert counted.count == 2

    await eventually(all_listed)


@workflow.defn(name="long-history")
class LongHistory:
    def __init__(self) -> None:
        self.heard = False
        self.timers: list[asyncio.Task[None]] = []

    @workflow.run
    async def run(self) -> list[tuple[bool, int, int]]:
        seen = []
        for _ in range(3):
            info = workflow.info()
            seen.append(
                (
                    info.is_continue_as_new_suggested(),
                    info.get_current_history_length(),
                    info.get_current_history_size(),
                )
            )
            self.timers += [asyncio.create_task(workflow.sleep(3600)) for _ in range(25)]
            self.heard = False
            await workflow.wait_condition(lambda: self.heard)
        return seen

    @workflow.signal
    def go_on(self) -> None:
        self.heard = True


async def test_a_long_history_suggests_it(connect: Connect, make_worker: MakeWorker, queue: str, wid: str) -> None:
    """Both servers of this suite suggest it from 50 events on."""
    client = await connect()
    async with make_worker(client, task_queue=queue, workflows=[LongHistory]):
        handle = await client.start_workflow(LongHistory.run, id=wid, task_queue=queue)

        async def has_timers(count: int) -> None:
            events = (await handle.fetch_history()).events
            assert sum(event.HasField("timer_started_event_attributes") for event in events) == count

        for rounds in (1, 2, 3):
            await eventually(partial(has_timers, 25 * rounds))
            await handle.signal(LongHistory.go_on)
        seen = await handle.result()
    assert [suggested for suggested, _, _ in seen] == [False, False, True]
    assert [length for _, length, _ in seen] == [3, 32, 61]
    sizes = [size for _, _, size in seen]
    assert 100 < sizes[0] < sizes[1] < sizes[2]
    told = [
        (event.workflow_task_started_event_attributes.suggest_continue_as_new)
        for event in (await handle.fetch_history()).events
        if event.HasField("workflow_task_started_event_attributes")
    ]
    assert told == [False, False, True, True]
