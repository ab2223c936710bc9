"""Workers of one queue that do not have the same code, as in a rolling deployment: what one cannot do another one does."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import dbos_compat

RUNS = 6
WITHIN_S = 60


@activity.defn(name="new-activity")
async def new_activity() -> str:
    return "done"


@workflow.defn(name="NewWorkflow")
class NewWorkflow:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(new_activity, schedule_to_close_timeout=timedelta(minutes=5))


@workflow.defn(name="OldWorkflow")
class OldWorkflow:
    @workflow.run
    async def run(self) -> None: ...


@workflow.defn(name="Edited")
class Before:
    """Waits between two activities."""

    @workflow.run
    async def run(self) -> str:
        await workflow.execute_activity(new_activity, schedule_to_close_timeout=timedelta(minutes=5))
        self.waits = True
        await workflow.wait_condition(lambda: self.go)
        return await workflow.execute_activity(new_activity, schedule_to_close_timeout=timedelta(minutes=5))

    def __init__(self) -> None:
        self.go = self.waits = False

    @workflow.update
    async def until_it_waits(self) -> None:
        await workflow.wait_condition(lambda: self.waits)

    @workflow.signal
    def goes_on(self) -> None:
        self.go = True


@workflow.defn(name="Edited")
class After(Before):
    """An edit that does not fit, as a canary may bring it."""

    @workflow.run
    async def run(self) -> str:
        await workflow.sleep(3600)
        return "edited"

    @workflow.signal
    def goes_on(self) -> None:
        self.go = True


@pytest.fixture
async def old(postgres_url: str) -> Client:
    return await dbos_compat.connect(postgres_url, identity="old")


@pytest.fixture
async def new(postgres_url: str) -> Client:
    return await dbos_compat.connect(postgres_url, identity="new")


def worker(client: Client, *workflows: type, activities: bool) -> Worker:
    return Worker(
        client,
        task_queue="mixed",
        workflows=workflows,
        activities=[new_activity] if activities else [],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )


async def test_a_workflow_that_one_worker_does_not_know(old: Client, new: Client) -> None:
    async with worker(old, OldWorkflow, activities=False), worker(new, NewWorkflow, activities=True):
        handles = [await old.start_workflow("NewWorkflow", id=f"n{n}", task_queue="mixed") for n in range(RUNS)]
        results = await asyncio.wait_for(asyncio.gather(*[handle.result() for handle in handles]), WITHIN_S)
    assert results == ["done"] * RUNS


async def test_an_activity_that_one_worker_does_not_know(old: Client, new: Client) -> None:
    async with worker(old, NewWorkflow, activities=False), worker(new, NewWorkflow, activities=True):
        handles = [await old.start_workflow("NewWorkflow", id=f"a{n}", task_queue="mixed") for n in range(RUNS)]
        results = await asyncio.wait_for(asyncio.gather(*[handle.result() for handle in handles]), WITHIN_S)
    assert results == ["done"] * RUNS


async def test_code_that_does_not_fit_in_one_worker(old: Client, new: Client) -> None:
    """The run begins where it fits, is taken up where it does not, and comes back with all that was sent to it."""
    async with worker(old, Before, activities=True):
        handles = [await old.start_workflow("Edited", id=f"e{n}", task_queue="mixed") for n in range(RUNS)]
        for handle in handles:
            await handle.execute_update(Before.until_it_waits)
    async with worker(new, After, activities=False):
        for handle in handles:
            await new.get_workflow_handle(handle.id).signal("goes_on")
        async with worker(old, Before, activities=True):
            results = await asyncio.wait_for(asyncio.gather(*[handle.result() for handle in handles]), WITHIN_S)
    assert results == ["done"] * RUNS
