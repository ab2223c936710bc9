"""The workbench: the workflows of a worker, and nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio import workflow
from temporalio.api.common.v1 import Payload, WorkflowType
from temporalio.api.history.v1 import WorkflowExecutionStartedEventAttributes
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import (
    ExecuteWorkflowInput,
    Interceptor,
    UnsandboxedWorkflowRunner,
    Worker,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

from dbos_compat.connect import connect_store, disconnect
from dbos_compat.convert.records import start_text
from dbos_compat.workbench import Workbench
from dbos_core.activities.spec import FinalOutcome, OutcomeKind, RetryState
from dbos_core.clock import SystemClock
from dbos_core.commit import RunRow, RunStatus
from dbos_core.runner import Activation, Decision, Event, EventKind, Interpreter
from dbos_core.store.memory import MemoryStore
from tests.unit.compat.bench_workflows import RAN, Order, charge


def opened(bench: Workbench, queue: str, run_id: str = "run") -> Interpreter:
    started = WorkflowExecutionStartedEventAttributes(
        workflow_type=WorkflowType(name="Order"),
        task_queue=TaskQueue(name=queue),
        original_execution_run_id=run_id,
        attempt=1,
    )
    started.input.payloads.append(Payload(metadata={"encoding": b"json/plain"}, data=b"7"))
    row = RunRow(
        workflow_uuid="order",
        workflow_id="order",
        run_id=run_id,
        first_run_id=run_id,
        workflow_type="Order",
        task_queue=queue,
        status=RunStatus.RUNNING,
        start_ms=1_000,
        execution_ms=1_000,
    )
    return bench.runner.open(row, start_text(started))


async def activated(interpreter: Interpreter, position: int, *events: Event) -> Decision:
    decision = interpreter.activate(Activation(position, 2_000, list(events)))
    return decision if isinstance(decision, Decision) else await decision


async def to_the_end(interpreter: Interpreter) -> Decision:
    first = await activated(interpreter, 1, Event(EventKind.START))
    assert [spec.activity_type for spec in first.schedule] == ["charge"]
    outcome = FinalOutcome(
        seq=1,
        kind=OutcomeKind.COMPLETED,
        record='{"j":"charged"}',
        retry_state=RetryState.UNSPECIFIED,
        timeout=None,
        attempt=1,
        started_ms=1_500,
        identity="x",
        last_failure=None,
        heartbeat=None,
    )
    return await activated(interpreter, 2, Event(EventKind.ACTIVITY, outcome=outcome))


@pytest.mark.parametrize("options", [{}, {"workflow_runner": UnsandboxedWorkflowRunner()}], ids=["sandboxed", "plain"])
async def test_runs_of_any_queue_and_no_activity(options: dict[str, Any]) -> None:
    outputs = []
    async with Workbench([Order], activities=[charge], **options) as bench:
        assert bench.knows("Order")
        assert not bench.knows("Invoice")
        for queue in ("one", "two", "one"):
            interpreter = opened(bench, queue)
            ended = await to_the_end(interpreter)
            assert ended.close is not None
            assert ended.close.status is RunStatus.COMPLETED
            outputs.append(str(ended.close.output))
            leaving = interpreter.evict()
            if leaving is not None:
                await leaving
    assert outputs[0] == outputs[2]
    assert "one charged" in outputs[0]
    assert outputs[1] == outputs[0].replace("one", "two")
    assert RAN == []
    with pytest.raises(RuntimeError, match="not open"):
        bench.knows("Order")


class Shouts(Interceptor):
    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002  # the SDK's name
    ) -> type[WorkflowInboundInterceptor] | None:
        return _Shouts


class _Shouts(WorkflowInboundInterceptor):
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002
        return str(await self.next.execute_workflow(input)).upper()


async def test_interceptors_have_their_say() -> None:
    async with Workbench([Order], interceptors=[Shouts()], workflow_runner=UnsandboxedWorkflowRunner()) as bench:
        ended = await to_the_end(opened(bench, "q"))
    assert ended.close is not None
    assert "Q CHARGED" in str(ended.close.output)


async def test_nobody_answers() -> None:
    bench = Workbench([Order])
    client: Client = bench._client
    with pytest.raises(RPCError, match="start_workflow_execution was called on a workbench") as caught:
        await client.start_workflow("Order", 1, id="x", task_queue="q")
    assert caught.value.status is RPCStatusCode.UNIMPLEMENTED


async def test_what_a_worker_refuses_is_refused() -> None:
    with pytest.raises(ValueError, match="Order"):
        async with Workbench([Order, Order]):
            pass
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "dbos_compat workbench"]


@workflow.defn(name="TalkedTo")
class Blurts:
    """Fails its task, with a secret in the message."""

    @workflow.run
    async def run(self) -> None:
        raise KeyError("a secret")


@workflow.defn(name="TalkedTo")
class Silent:
    @workflow.run
    async def run(self) -> None:
        await asyncio.sleep(1)


async def test_temporals_replayer_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """Its core logs to standard output, where reports go."""
    client = await connect_store(MemoryStore(SystemClock()))
    async with Worker(client, task_queue="q", workflows=[Silent], workflow_runner=UnsandboxedWorkflowRunner()):
        handle = await client.start_workflow(Silent.run, id="w", task_queue="q")
        await handle.result()
        history = await handle.fetch_history()
    await disconnect(client)
    capfd.readouterr()
    async with Workbench([Blurts], workflow_runner=UnsandboxedWorkflowRunner()) as bench:
        result = await bench.replayer().replay_workflow(history, raise_on_replay_failure=False)
    assert result.replay_failure is not None
    assert "secret" not in capfd.readouterr().out
