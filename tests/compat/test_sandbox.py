"""The same programs inside temporalio's workflow sandbox, which is what users get by default."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowUpdateStage
from temporalio.worker import UnsandboxedWorkflowRunner, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

with workflow.unsafe.imports_passed_through():
    from .support import MakeWorker, keeps_failing

RUNS: list[str] = []
"""Module state: unsandboxed runs share it, each sandboxed run has its own copy."""


@activity.defn
async def price(what: str) -> int:
    return len(what)


@workflow.defn
class Buy:
    def __init__(self) -> None:
        self.approved = False
        self.extras: list[str] = []

    @workflow.run
    async def run(self, what: str) -> list[Any]:
        RUNS.append(what)
        total = await workflow.execute_activity(price, what, start_to_close_timeout=timedelta(seconds=30))
        await workflow.wait_condition(lambda: self.approved)
        await asyncio.sleep(0.01)
        return [what, total, self.extras, len(RUNS)]

    @workflow.signal
    def approve(self) -> None:
        self.approved = True

    @workflow.update
    async def add(self, extra: str) -> int:
        self.extras.append(extra)
        return len(self.extras)

    @workflow.query
    def current(self) -> list[str]:
        return self.extras


@pytest.mark.parametrize("sandboxed", [True, False], ids=["sandboxed", "unsandboxed"])
async def test_everything_together(
    client: Client, make_worker: MakeWorker, queue: str, wid: str, sandboxed: bool
) -> None:
    RUNS.clear()
    passing = SandboxRestrictions.default.with_passthrough_modules("pytest")
    runner: WorkflowRunner = SandboxedWorkflowRunner(restrictions=passing) if sandboxed else UnsandboxedWorkflowRunner()
    async with make_worker(client, task_queue=queue, workflows=[Buy], activities=[price], workflow_runner=runner):
        handle = await client.start_workflow(Buy.run, "tea", id=wid, task_queue=queue)
        update = await handle.start_update(Buy.add, "milk", wait_for_stage=WorkflowUpdateStage.COMPLETED)
        assert await update.result() == 1
        assert await handle.query(Buy.current) == ["milk"]
        await handle.signal(Buy.approve)
        what, total, extras, runs = await handle.result()
    assert (what, total, extras) == ("tea", 3, ["milk"])
    if sandboxed:
        assert runs == 1
        assert RUNS == []


@workflow.defn
class Forbidden:
    @workflow.run
    async def run(self) -> None:
        import datetime

        datetime.datetime.now()  # noqa: DTZ005


@pytest.mark.no_replay("the first task never completes")
async def test_the_sandbox_refuses_what_is_not_deterministic(
    client: Client, make_worker: MakeWorker, queue: str, wid: str, caplog: pytest.LogCaptureFixture
) -> None:
    passing = SandboxRestrictions.default.with_passthrough_modules("pytest")
    runner = SandboxedWorkflowRunner(restrictions=passing)
    async with make_worker(client, task_queue=queue, workflows=[Forbidden], workflow_runner=runner):
        handle = await client.start_workflow(Forbidden.run, id=wid, task_queue=queue, task_timeout=timedelta(seconds=1))
        await keeps_failing(handle)
        await handle.terminate()
    assert "Cannot access datetime.datetime.now" in caplog.text
