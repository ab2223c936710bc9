"""What reaches a run in one activation although it happened apart."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

import dbos_compat
from dbos_compat.connect import connect_store
from dbos_compat.engine import Engine
from dbos_compat.private import EngineServiceClient
from dbos_compat.service.signal import signal_mail
from dbos_core.commit import Commit
from dbos_core.kernel import Kernel
from dbos_core.runner import Event, EventKind
from dbos_core.store.memory import MemoryStore
from dbos_core.testing.clock import VirtualClock, settle

HOUR_MS = 3_600_000


@workflow.defn
class Patient:
    def __init__(self) -> None:
        self.ready = False

    @workflow.run
    async def run(self) -> str:
        try:
            await workflow.wait_condition(lambda: self.ready, timeout=timedelta(hours=1))
        except TimeoutError:
            return "too late"
        return "in time"

    @workflow.signal
    def make_ready(self) -> None:
        self.ready = True


def kernel_of(client: Client) -> Kernel:
    service = client.service_client
    assert isinstance(service, EngineServiceClient)
    assert isinstance(service.engine, Engine)
    return service.engine.kernel


async def test_a_signal_and_the_timer_that_it_makes_needless() -> None:
    """The workflow takes back a timer that has rung: there is nothing to take back, and Temporal's core says nothing."""
    clock = VirtualClock()
    client = await connect_store(MemoryStore(clock), clock=clock)
    kernel = kernel_of(client)
    runner = UnsandboxedWorkflowRunner()
    async with Worker(client, task_queue="q", workflows=[Patient], workflow_runner=runner):
        handle = await client.start_workflow(Patient.run, id="patient", task_queue="q")
        await settle()
        mail = signal_mail(
            workflow_uuid="patient",
            run_id=handle.first_execution_run_id or "",
            name="make_ready",
            args=(),
            headers={},
            identity="",
            request_id="1",
        )
        await kernel.store.flush(
            kernel.process_id, [Commit(workflow_uuid="patient", fenced=False, mail=(mail,))], again=False
        )
        run = kernel.live("patient")
        assert run is not None
        clock.jump(HOUR_MS)
        run.deliver_mail(await kernel.store.mail(["patient"]))
        run.deliver(Event(EventKind.TIMER, timer=1))
        assert await handle.result() == "in time"
        history = await handle.fetch_history()
    await dbos_compat.disconnect(client)
    kinds = [EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in history.events]
    assert kinds[5:] == [
        "WORKFLOW_EXECUTION_SIGNALED",
        "TIMER_FIRED",
        "WORKFLOW_TASK_SCHEDULED",
        "WORKFLOW_TASK_STARTED",
        "WORKFLOW_TASK_COMPLETED",
        "WORKFLOW_EXECUTION_COMPLETED",
    ]
    await Replayer(workflows=[Patient], workflow_runner=runner).replay_workflow(history)
