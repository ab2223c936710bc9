"""What a journal says by itself is what a replay of the code that fits it says."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.api.failure.v1 import Failure
from temporalio.client import Client
from temporalio.common import Priority, RetryPolicy
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import dbos_compat
from dbos_compat.bridge.decisions import Builder
from dbos_compat.bridge.misfit import JournalMisfit
from dbos_compat.connect import connect_store
from dbos_compat.engine import Engine
from dbos_compat.private import EngineServiceClient
from dbos_core.kernel import Kernel
from dbos_core.live_run import LiveRun
from dbos_core.rebuild import Pending
from dbos_core.runner import Decision
from dbos_core.store.memory import MemoryStore
from dbos_core.testing.clock import VirtualClock, settle

HOUR = timedelta(hours=1)


@activity.defn
async def done() -> str:
    return "done"


@activity.defn
async def waits() -> None:
    while True:
        activity.heartbeat()
        await asyncio.sleep(0.01)


@workflow.defn
class Child:
    @workflow.run
    async def run(self, seconds: int) -> None:
        await workflow.sleep(seconds)


@workflow.defn
class Busy:
    """Asks for everything that a run can wait for, and takes some of it back."""

    def __init__(self) -> None:
        self.go = False
        self.stop = False

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(done, start_to_close_timeout=HOUR)
        await workflow.execute_local_activity(done, start_to_close_timeout=HOUR)
        open_ = [asyncio.create_task(workflow.sleep(seconds)) for seconds in (60, 3_600, 7_200)]
        for kind in workflow.ActivityCancellationType:
            open_.append(
                workflow.start_activity(
                    waits,
                    schedule_to_close_timeout=2 * HOUR,
                    start_to_close_timeout=HOUR,
                    heartbeat_timeout=timedelta(minutes=1),
                    retry_policy=RetryPolicy(maximum_attempts=3, non_retryable_error_types=["Never"]),
                    priority=Priority(priority_key=2),
                    cancellation_type=kind,
                )
            )
        await workflow.execute_child_workflow(Child.run, 0, id="first")
        for number, how in enumerate(workflow.ChildWorkflowCancellationType):
            open_.append(
                await workflow.start_child_workflow(Child.run, 9_999, id=f"child-{number}", cancellation_type=how)
            )
        await workflow.wait_condition(lambda: self.stop)
        for task in open_[1:]:
            task.cancel()
        open_.append(workflow.start_activity(waits, start_to_close_timeout=HOUR))
        open_.append(asyncio.create_task(workflow.sleep(1_000)))
        await workflow.wait_condition(lambda: self.go)

    @workflow.signal
    def halt(self) -> None:
        self.stop = True

    @workflow.update
    async def ask(self, how_long: int) -> str:
        await workflow.wait_condition(lambda: how_long == 0)
        return "answer"


def kernel_of(client: Client) -> Kernel:
    service = client.service_client
    assert isinstance(service, EngineServiceClient)
    assert isinstance(service.engine, Engine)
    return service.engine.kernel


def waited_for(pending: Pending, decision: Decision) -> dict[str, Any]:
    """All of it that another process must know, without what only spares work."""
    activities = {seq: asdict(spec) for seq, spec in pending.activities.items()}
    errands = {key: asdict(errand) for key, errand in pending.errands.items()}
    for asked in (*activities.values(), *errands.values()):
        asked["record"] = {
            key: value for key, value in json.loads(asked["record"]).items() if key not in ("id", "child")
        }
        asked["native"] = asked["prepared"] = None
    return {
        "timers": pending.timers,
        "activities": activities,
        "cancel requested": pending.cancel_requested & set(pending.activities),
        "errands": errands,
        "history length": decision.history_length,
        "at": decision.at_ms,
        "activities that are cancelled": decision.cancel_activities,
        "activities that are given up": decision.try_cancel_activities + decision.abandon_activities,
        "errands of this entry": [errand.key for errand in decision.errands],
        "under way": pending.unfinished or bool(pending.locals),
    }


async def compare(kernel: Kernel, run: LiveRun) -> int:
    """Entry by entry; how many there are."""
    loaded = await kernel.load(run.row.workflow_uuid)
    assert loaded is not None
    interpreter = run.runner.open(loaded.run, loaded.inputs)
    builder = Builder("worker", loaded.run, loaded.inputs, lambda: "next run")
    misfit = JournalMisfit(Failure(message="does not fit"), builder, loaded.run, identity="worker", build_id="")
    replayed, read = Pending(), Pending()
    for entry in loaded.entries:
        decision = interpreter.replay(entry)
        if not isinstance(decision, Decision):
            decision = await decision
        said = misfit.recorded(entry)
        replayed.fold(decision)
        read.fold(said)
        assert waited_for(read, said) == waited_for(replayed, decision)
    kernel.tear_down(interpreter)
    return len(loaded.entries)


async def test_every_entry_says_what_its_replay_says() -> None:
    clock = VirtualClock()
    client = await connect_store(MemoryStore(clock), clock=clock)
    kernel = kernel_of(client)
    worker = Worker(
        client,
        task_queue="q",
        workflows=[Busy, Child],
        activities=[done, waits],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_cached_workflows=0,  # of one run there is one instance at a time
        graceful_shutdown_timeout=timedelta(0),
    )
    async with worker:
        handle = await client.start_workflow(Busy.run, id="busy", task_queue="q")

        async def until(kind: str, count: int) -> None:
            async with asyncio.timeout(30):
                while True:
                    await settle()
                    said = "".join([e.record for e in await entries()])
                    if said.count(f'"k":"{kind}"') >= count:
                        return
                    await clock.advance(10)

        async def entries() -> list[Any]:
            loaded = await kernel.load("busy")
            return loaded.entries if loaded is not None else []

        await until("child", 1)
        await until("errand", 5)
        assert await handle.execute_update("ask", 0) == "answer"
        run = kernel.live_runs["busy"]
        before = await compare(kernel, run)
        await handle.signal("halt")
        await until("cancel_timer", 2)
        await until("cancel_child", 3)
        assert await compare(kernel, run) > before
        await handle.terminate()
    await dbos_compat.disconnect(client)
