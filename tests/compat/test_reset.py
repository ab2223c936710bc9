"""Reset: back to an earlier workflow task, as a new run, and what is heard once more."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio import activity, workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, ResetReapplyExcludeType, ResetReapplyType, WorkflowTaskFailedCause
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from .chains import began, retry_states, runs
from .support import KEYWORD, MakeWorker, chain, eventually

ran: list[str] = []


@activity.defn
async def work(what: str) -> str:
    ran.append(what)
    return f"{what} done"


@workflow.defn(name="steps")
class Steps:
    """Two steps, then messages until one says "end"."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.seeds: list[int] = []

    @workflow.run
    async def run(self, name: str) -> dict[str, Any]:
        self.seeds.append(workflow.random_seed())
        workflow.register_random_seed_callback(self.seeds.append)
        workflow.upsert_memo({"step": 1})
        workflow.upsert_search_attributes([KEYWORD.value_set("one")])
        for step in ("first", "second"):
            self.seen.append(
                await workflow.execute_activity(work, f"{name} {step}", start_to_close_timeout=timedelta(seconds=10))
            )
            workflow.upsert_memo({"step": step})
            workflow.upsert_search_attributes([KEYWORD.value_set(step)])
        await workflow.wait_condition(lambda: "end" in self.seen)
        info = workflow.info()
        return {
            "seen": self.seen,
            "seeds": self.seeds,
            "run": info.run_id,
            "first": info.first_execution_run_id,
            "began": info.workflow_start_time.isoformat(),
        }

    @workflow.signal
    def say(self, what: str) -> None:
        self.seen.append(what)

    @workflow.update
    def ask(self, what: str) -> str:
        self.seen.append(f"asked {what}")
        return f"answer to {what}"

    @workflow.query
    def so_far(self) -> list[str]:
        return self.seen


@workflow.defn(name="failing")
class Failing:
    fails = True

    @workflow.run
    async def run(self) -> str:
        await workflow.execute_activity(work, "x", start_to_close_timeout=timedelta(seconds=10))
        if Failing.fails:
            raise ApplicationError("not yet")
        return "mended"


async def reset(client: Client, workflow_id: str, finish_event_id: int, **fields: Any) -> WorkflowHandle[Any, Any]:
    request = ResetWorkflowExecutionRequest(
        namespace=client.namespace,
        workflow_execution=fields.pop("execution", WorkflowExecution(workflow_id=workflow_id)),
        reason="for a test",
        workflow_task_finish_event_id=finish_event_id,
        request_id=fields.pop("request_id", str(uuid4())),
        **fields,
    )
    response = await client.workflow_service.reset_workflow_execution(request)
    return client.get_workflow_handle(workflow_id, run_id=response.run_id)


async def finished_tasks(handle: WorkflowHandle[Any, Any]) -> list[int]:
    """Ids of the completed workflow tasks."""
    history = await handle.fetch_history()
    return [
        event.event_id for event in history.events if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    ]


async def kinds(handle: WorkflowHandle[Any, Any]) -> list[str]:
    history = await handle.fetch_history()
    return [EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in history.events]


async def after_two_steps(client: Client, queue: str, wid: str) -> WorkflowHandle[Any, Any]:
    """A run that has done its steps and heard: a signal, an update, a signal."""
    handle = await client.start_workflow(Steps.run, wid, id=wid, task_queue=queue, memo={"began": True})

    async def both_done() -> None:
        assert len(await handle.query(Steps.so_far)) == 2

    await eventually(both_done)
    await handle.signal(Steps.say, "one")
    assert await handle.execute_update(Steps.ask, "two", id="ask") == "answer to two"
    await handle.signal(Steps.say, "three")

    async def all_heard() -> None:
        assert len(await handle.query(Steps.so_far)) == 5

    await eventually(all_heard)
    return handle


async def test_back_to_the_second_task(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    ran.clear()
    async with make_worker(client, task_queue=queue, workflows=[Steps], activities=[work]):
        base = await after_two_steps(client, queue, wid)
        tasks = await finished_tasks(base)
        again = await reset(client, wid, tasks[1])

        async def came_as_far() -> None:
            assert len(await again.query(Steps.so_far)) == 5

        await eventually(came_as_far)
        await again.signal(Steps.say, "end")
        result = await again.result()
        assert result["seen"][:3] == ["one", "asked two", "three"]
        assert result["seen"][3:] == [f"{wid} first done", f"{wid} second done", "end"]
        assert ran == [f"{wid} first", f"{wid} second", f"{wid} second"]
        assert (result["run"], result["first"]) == (again.run_id, base.first_execution_run_id)
        assert len(set(result["seeds"])) == 2

        first = client.get_workflow_handle(wid, run_id=base.first_execution_run_id)
        history, base_history = (await again.fetch_history()).events, (await first.fetch_history()).events
        assert history[0].event_time == base_history[0].event_time
        started = history[0].workflow_execution_started_event_attributes
        assert started.original_execution_run_id == base.first_execution_run_id
        assert [event.event_type for event in history[: tasks[1] - 1]] == [
            event.event_type for event in base_history[: tasks[1] - 1]
        ]
        failed = history[tasks[1] - 1].workflow_task_failed_event_attributes
        assert failed.cause == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW
        assert (failed.base_run_id, failed.new_run_id) == (base.first_execution_run_id, again.run_id)
        assert failed.failure.message == "for a test"
        assert failed.failure.HasField("reset_workflow_failure_info")
        assert (await kinds(again))[tasks[1] : tasks[1] + 4] == [
            "WORKFLOW_EXECUTION_SIGNALED",
            "WORKFLOW_EXECUTION_UPDATE_ADMITTED",
            "WORKFLOW_EXECUTION_SIGNALED",
            "WORKFLOW_TASK_SCHEDULED",
        ]
        assert [event.event_id for event in history] == list(range(1, len(history) + 1))

        described = await first.describe()
        assert described.status == WorkflowExecutionStatus.TERMINATED
        assert described.raw_description.workflow_extended_info.reset_run_id == again.run_id
        ending = base_history[-1].workflow_execution_terminated_event_attributes
        assert (ending.reason, ending.identity) == ("for a test", "history-resetter")
        described = await again.describe()
        extended = described.raw_description.workflow_extended_info
        assert extended.original_start_time == base_history[0].event_time
        assert extended.last_reset_time == described.raw_info.start_time
        assert extended.last_reset_time != extended.original_start_time
        assert result["began"] == base_history[0].event_time.ToDatetime().isoformat() + "+00:00"
        update = again.get_update_handle("ask")
        assert await update.result() == "answer to two"
        with pytest.raises(WorkflowFailureError) as ended:
            await base.result()
        assert chain(ended.value.cause) == ["TerminatedError 'for a test'"]


async def test_memo_and_attributes_are_those_of_the_point(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Steps], activities=[work]):
        base = await after_two_steps(client, queue, wid)
        tasks = await finished_tasks(base)
    again = await reset(client, wid, tasks[1])  # no worker: it stays at the point
    described = await again.describe()
    assert await described.memo() == {"began": True, "step": 1}
    assert described.typed_search_attributes.get(KEYWORD) == "one"
    assert described.status == WorkflowExecutionStatus.RUNNING
    async with make_worker(client, task_queue=queue, workflows=[Steps], activities=[work]):
        await again.signal(Steps.say, "end")
        await again.result()
    assert await (await again.describe()).memo() == {"began": True, "step": "second"}


@pytest.mark.parametrize(
    ("fields", "heard"),
    [
        ({"reset_reapply_type": ResetReapplyType.RESET_REAPPLY_TYPE_NONE}, []),
        ({"reset_reapply_type": ResetReapplyType.RESET_REAPPLY_TYPE_SIGNAL}, ["one", "three"]),
        (
            {
                "reset_reapply_exclude_types": [
                    ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL,
                ]
            },
            ["asked two"],
        ),
        (
            {
                "reset_reapply_exclude_types": [
                    ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_UPDATE,
                ]
            },
            ["one", "three"],
        ),
    ],
    ids=["none", "signals", "without signals", "without updates"],
)
async def test_what_is_heard_once_more(
    client: Client, make_worker: MakeWorker, queue: str, wid: str, fields: dict[str, Any], heard: list[str]
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Steps], activities=[work]):
        base = await after_two_steps(client, queue, wid)
        again = await reset(client, wid, (await finished_tasks(base))[0], **fields)
        await again.signal(Steps.say, "end")
        seen = (await again.result())["seen"]
        assert [word for word in seen if "done" not in word and word != "end"] == heard


async def test_back_to_the_first_task_of_a_closed_run(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Steps], activities=[work]):
        base = await after_two_steps(client, queue, wid)
        await base.signal(Steps.say, "end")
        before = await base.result()
        again = await reset(client, wid, (await finished_tasks(base))[0])
        after = await again.result()
        assert sorted(after["seen"]) == sorted(before["seen"])
        assert after["seeds"] != before["seeds"]
        first = await client.get_workflow_handle(wid, run_id=base.first_execution_run_id).describe()
        assert first.status == WorkflowExecutionStatus.COMPLETED
        assert (await client.get_workflow_handle(wid).describe()).run_id == again.run_id


@pytest.mark.no_replay("the code is mended in between")
async def test_a_failed_run_is_mended(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    Failing.fails = True
    ran.clear()
    async with make_worker(client, task_queue=queue, workflows=[Failing], activities=[work]):
        handle = await client.start_workflow(Failing.run, id=wid, task_queue=queue)
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        Failing.fails = False
        again = await reset(client, wid, (await finished_tasks(handle))[-1])
        assert await again.result() == "mended"
        assert ran == ["x"]


async def test_a_reset_run_may_be_reset(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Steps], activities=[work]):
        base = await after_two_steps(client, queue, wid)
        once = await reset(client, wid, (await finished_tasks(base))[1])

        async def all_heard() -> None:
            assert len(await once.query(Steps.so_far)) == 5

        await eventually(all_heard)
        twice = await reset(client, wid, (await finished_tasks(once))[0])
        await twice.signal(Steps.say, "end")
        seen = (await twice.result())["seen"]
        assert sorted(word for word in seen if "done" not in word) == ["asked two", "end", "one", "three"]


async def test_refusals(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    with pytest.raises(RPCError) as refused:
        await reset(client, f"{wid}-unknown", 4)
    assert refused.value.status == RPCStatusCode.NOT_FOUND
    async with make_worker(client, task_queue=queue, workflows=[Steps], activities=[work]):
        await after_two_steps(client, queue, wid)
        for wrong in (0, 1, 999):
            with pytest.raises(RPCError) as refused:
                await reset(client, wid, wrong)
            assert refused.value.status == RPCStatusCode.INVALID_ARGUMENT
            assert refused.value.message == "Workflow task finish ID must be > 1 && <= workflow last event ID."
        with pytest.raises(RPCError) as refused:
            await reset(client, wid, 5)
        assert refused.value.status == RPCStatusCode.INVALID_ARGUMENT
        assert refused.value.message == (
            "StateRebuilder unable to Rebuild mutable state to event ID: 4, version: 0, "
            "this event must be at the boundary"
        )
        assert (await client.get_workflow_handle(wid).describe()).status == WorkflowExecutionStatus.RUNNING


@pytest.mark.parametrize("workflow_id", ["nobody", ""])
async def test_a_request_needs_an_id(client: Client, workflow_id: str) -> None:
    with pytest.raises(RPCError) as refused:
        await reset(client, workflow_id, 4, request_id="")
    assert refused.value.status == RPCStatusCode.INVALID_ARGUMENT
    assert refused.value.message == "RequestId is not set on request."


@workflow.defn(name="idles")
class Idles:
    @workflow.run
    async def run(self) -> None:
        await workflow.sleep(60)


async def test_the_time_of_the_chain_begins_anew(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    """So that a run that was reset after all that time may be tried again."""
    async with make_worker(client, task_queue=queue, workflows=[Idles]):
        handle = await client.start_workflow(
            Idles.run,
            id=wid,
            task_queue=queue,
            run_timeout=timedelta(seconds=1),
            execution_timeout=timedelta(seconds=3),
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=100)),
        )
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        (first, *_) = await runs(client, handle)
        base = WorkflowExecution(workflow_id=wid, run_id=began(first).original_execution_run_id)
        new = await reset(client, wid, 4, execution=base)
        with pytest.raises(WorkflowFailureError):
            await new.result()
    histories = await runs(client, client.get_workflow_handle(wid, first_execution_run_id=new.run_id))
    states = retry_states(histories)
    assert (states[0], states[-1]) == ("IN_PROGRESS", "TIMEOUT")
    expires = began(histories[1]).workflow_execution_expiration_time.ToMilliseconds()
    assert expires > began(first).workflow_execution_expiration_time.ToMilliseconds()
