"""What describe tells about a run and about its pending work."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from temporalio import activity, workflow
from temporalio.api.common.v1 import WorkflowType
from temporalio.api.enums.v1 import EventType, PendingActivityState, WorkflowIdConflictPolicy
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from .support import MakeWorker, eventually


@activity.defn
async def refuse(amount: int) -> None:
    activity.heartbeat("tried", amount)
    raise ApplicationError("not today", type="Refused")


@workflow.defn
class Wait:
    def __init__(self) -> None:
        self.go = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.go)
        return "done"

    @workflow.signal
    def proceed(self) -> None:
        self.go = True


@workflow.defn
class Insist:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(
            refuse,
            7,
            activity_id="insisting",
            start_to_close_timeout=timedelta(seconds=9),
            heartbeat_timeout=timedelta(seconds=5),
            retry_policy=RetryPolicy(initial_interval=timedelta(hours=1), maximum_attempts=3),
        )


async def test_a_running_workflow(client: Client, queue: str, wid: str) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    handle = await client.start_workflow(Wait.run, id=wid, task_queue=queue, memo={"a": 1})
    described = await handle.describe()
    assert described.id == wid
    assert described.run_id == handle.result_run_id
    assert described.namespace == "default"
    assert described.workflow_type == "Wait"
    assert described.task_queue == queue
    assert described.status == WorkflowExecutionStatus.RUNNING
    assert before < described.start_time < datetime.now(UTC)
    assert described.execution_time == described.start_time
    assert described.close_time is None
    assert described.parent_id is None
    assert described.parent_run_id is None
    assert described.root_id == wid
    assert described.root_run_id == handle.result_run_id
    assert described.history_length == 2
    assert await described.memo() == {"a": 1}


async def test_a_closed_workflow(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Wait]):
        handle = await client.start_workflow(Wait.run, id=wid, task_queue=queue)
        await handle.signal(Wait.proceed)
        await handle.result()
        described = await handle.describe()
    assert described.status == WorkflowExecutionStatus.COMPLETED
    assert described.close_time is not None
    assert described.start_time <= described.close_time < datetime.now(UTC) + timedelta(seconds=1)
    history = await handle.fetch_history()
    assert described.history_length == len(history.events)


async def test_by_run_id_an_older_run_is_described(client: Client, queue: str, wid: str) -> None:
    first = await client.start_workflow(Wait.run, id=wid, task_queue=queue)
    await first.terminate()
    second = await client.start_workflow(Wait.run, id=wid, task_queue=queue)
    assert (await client.get_workflow_handle(wid).describe()).run_id == second.result_run_id
    older = await client.get_workflow_handle(wid, run_id=first.result_run_id).describe()
    assert (older.run_id, older.status) == (first.result_run_id, WorkflowExecutionStatus.TERMINATED)


async def test_a_pending_activity_shows_its_attempts(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Insist], activities=[refuse]):
        handle = await client.start_workflow(Insist.run, id=wid, task_queue=queue)

        async def waits_for_its_second_attempt() -> None:
            pending = (await handle.describe()).raw_description.pending_activities
            assert len(pending) == 1
            assert pending[0].attempt == 2

        await eventually(waits_for_its_second_attempt)
        pending = (await handle.describe()).raw_description.pending_activities[0]
        await handle.terminate()
    assert pending.activity_id == "insisting"
    assert pending.activity_type.name == "refuse"
    assert pending.state == PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED
    assert pending.maximum_attempts == 3
    assert pending.last_failure.message == "not today"
    assert pending.last_failure.application_failure_info.type == "Refused"
    assert await client.data_converter.decode(pending.heartbeat_details.payloads) == ["tried", 7]
    assert pending.HasField("last_heartbeat_time")
    assert pending.last_heartbeat_time.ToDatetime() <= pending.last_attempt_complete_time.ToDatetime()


async def test_execution_config_holds_the_timeouts(client: Client, queue: str, wid: str) -> None:
    handle = await client.start_workflow(
        Wait.run,
        id=wid,
        task_queue=queue,
        execution_timeout=timedelta(seconds=60),
        run_timeout=timedelta(seconds=30),
        task_timeout=timedelta(seconds=5),
    )
    config = (await handle.describe()).raw_description.execution_config
    assert config.task_queue.name == queue
    assert config.workflow_execution_timeout.ToTimedelta() == timedelta(seconds=60)
    assert config.workflow_run_timeout.ToTimedelta() == timedelta(seconds=30)
    assert config.default_workflow_task_timeout.ToTimedelta() == timedelta(seconds=5)


async def test_the_request_that_began_a_run_is_told(client: Client, queue: str, wid: str) -> None:
    for conflict in ("UNSPECIFIED", "USE_EXISTING"):  # the second one finds the run, and leaves no trace
        await client.workflow_service.start_workflow_execution(
            StartWorkflowExecutionRequest(
                namespace="default",
                workflow_id=wid,
                workflow_type=WorkflowType(name="Wait"),
                task_queue=TaskQueue(name=queue),
                request_id=f"{wid} {conflict}",
                workflow_id_conflict_policy=WorkflowIdConflictPolicy.Value(f"WORKFLOW_ID_CONFLICT_POLICY_{conflict}"),
            )
        )
    described = await client.get_workflow_handle(wid).describe()
    assert described.raw_info.first_run_id == described.run_id
    infos = described.raw_description.workflow_extended_info.request_id_infos
    assert {(key, info.event_type, info.event_id, info.buffered) for key, info in infos.items()} == {
        (f"{wid} UNSPECIFIED", EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED, 1, False)
    }


async def test_describing_nobody_is_not_found(client: Client, wid: str) -> None:
    with pytest.raises(RPCError) as refused:
        await client.get_workflow_handle(wid).describe()
    assert (refused.value.status, refused.value.message) == (
        RPCStatusCode.NOT_FOUND,
        f"workflow not found for ID: {wid}",
    )
