"""Workflows that wait for time in every way there is."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

DAY = timedelta(days=1)


def worker(client: Client, **options: Any) -> Worker:
    """Unsandboxed, since these files cannot be imported by their bare names; the guide page runs in the sandbox."""
    return Worker(client, workflow_runner=UnsandboxedWorkflowRunner(), **options)


@workflow.defn
class Sleeps:
    """Sleeps for so many seconds; tells the time."""

    @workflow.run
    async def run(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "awake"

    @workflow.query
    def now(self) -> float:
        return workflow.now().timestamp()

    @workflow.signal
    async def poke(self) -> None: ...


@workflow.defn
class Waits:
    """Waits for a signal, an update or a day."""

    def __init__(self) -> None:
        self.said = ""

    @workflow.run
    async def run(self) -> str:
        try:
            await workflow.wait_condition(lambda: bool(self.said), timeout=DAY)
        except TimeoutError:
            return "nobody spoke"
        return self.said

    @workflow.signal
    def say(self, word: str) -> None:
        self.said = word

    @workflow.update
    async def slowly(self, word: str) -> str:
        await asyncio.sleep(60)
        self.said = word
        return "said"


@activity.defn
async def third_time_lucky() -> int:
    attempt = activity.info().attempt
    if attempt < 3:
        raise ApplicationError("not yet")
    return attempt


@workflow.defn
class Retries:
    """Three attempts, an hour and two hours apart; answers with the time that took, in seconds."""

    @workflow.run
    async def run(self, local: bool) -> float:
        begun = workflow.time()
        policy = RetryPolicy(initial_interval=timedelta(hours=1), maximum_interval=timedelta(hours=9))
        if local:
            await workflow.execute_local_activity(
                third_time_lucky, start_to_close_timeout=timedelta(minutes=1), retry_policy=policy
            )
        else:
            await workflow.execute_activity(
                third_time_lucky, start_to_close_timeout=timedelta(minutes=1), retry_policy=policy
            )
        return workflow.time() - begun


@activity.defn
async def real_work(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"


@workflow.defn
class Races:
    """A timer of an hour against an activity that takes a moment."""

    @workflow.run
    async def run(self) -> str:
        work = asyncio.ensure_future(
            workflow.execute_activity(real_work, 0.2, start_to_close_timeout=timedelta(minutes=1))
        )
        timer = asyncio.ensure_future(asyncio.sleep(3600))
        first, _ = await workflow.wait([work, timer], return_when=asyncio.FIRST_COMPLETED)
        return "work" if work in first else "timer"


@workflow.defn
class Parent:
    """Its child sleeps for a day, and is started a day late."""

    @workflow.run
    async def run(self) -> str:
        await asyncio.sleep(DAY.total_seconds())
        return await workflow.execute_child_workflow(Sleeps.run, DAY.total_seconds(), id="child")


@workflow.defn
class Asserts:
    @workflow.run
    async def run(self, wait: bool) -> None:
        if wait:
            await asyncio.Future()
        assert workflow.info().workflow_id == "another", "not this one"

    @workflow.signal
    def check(self) -> None:
        assert not workflow.info().workflow_id, "no id"


@workflow.defn
class Stumbles:
    """Its first run fails, and is tried again."""

    @workflow.run
    async def run(self) -> int:
        if workflow.info().attempt == 1:
            raise ApplicationError("not yet")
        return workflow.info().attempt


@workflow.defn
class FailsTasks:
    @workflow.run
    async def run(self) -> None:
        raise RuntimeError("a bug in workflow code")
