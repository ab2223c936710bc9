"""Workflows for real worker processes: long sleeps and time-outs, chains of runs, messages to others; and some that only a
real kill breaks."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from typing import NoReturn

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, ChildWorkflowError

from tests.unit.shadow.determinism.family import Child

MINUTE = timedelta(minutes=1)


@activity.defn
async def charge(item: str) -> str:
    raise NotImplementedError("the kit runs no activity")


@activity.defn
async def refuse() -> NoReturn:
    raise NotImplementedError("the kit runs no activity")


@workflow.defn
class Patient:
    """A month goes by, and then somebody may take too long, twice."""

    @workflow.run
    async def run(self, item: str) -> str:
        began = workflow.now()
        await asyncio.sleep(timedelta(days=30).total_seconds())
        try:
            charged = await workflow.execute_activity(
                charge,
                item,
                start_to_close_timeout=timedelta(hours=1),
                retry_policy=RetryPolicy(maximum_attempts=2),
            )
        except ActivityError as error:
            charged = f"{type(error.cause).__name__} {getattr(error.cause, 'type', None)}"
        return f"{charged} after {workflow.now() - began}"


@workflow.defn
class Refused:
    """Two attempts, and it ends as they do."""

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(
            refuse, start_to_close_timeout=MINUTE, retry_policy=RetryPolicy(maximum_attempts=2)
        )


@workflow.defn
class Reminded:
    """Waits for a word, but not longer than a week."""

    def __init__(self) -> None:
        self.words: list[str] = []

    @workflow.signal
    def say(self, word: str) -> None:
        self.words.append(word)

    @workflow.run
    async def run(self) -> list[str]:
        try:
            await workflow.wait_condition(lambda: bool(self.words), timeout=timedelta(days=7))
        except TimeoutError:
            return ["nobody spoke"]
        await workflow.execute_activity(charge, "", start_to_close_timeout=MINUTE)
        return self.words


@workflow.defn
class Chain:
    """Three runs, each of which hands on what it has gathered."""

    @workflow.run
    async def run(self, gathered: list[str] | None = None) -> list[str]:
        gathered = gathered or []
        gathered.append(await workflow.execute_activity(charge, str(len(gathered)), start_to_close_timeout=MINUTE))
        await asyncio.sleep(3600)
        if len(gathered) < 3:
            workflow.continue_as_new(gathered)
        return gathered


@workflow.defn
class Neighbours:
    """Talks to a workflow that is not there, and to one that is."""

    @workflow.run
    async def run(self) -> list[str]:
        told: list[str] = []
        stranger = workflow.get_external_workflow_handle("somebody-else")
        for ask in (lambda: stranger.signal("hello"), stranger.cancel):
            try:
                await ask()
                told.append("done")
            except ApplicationError as error:
                told.append(f"{error.type}")
        child = await workflow.start_child_workflow(Child.run, 1)
        await child.signal("hello")
        await workflow.get_external_workflow_handle(child.id).cancel()
        try:
            told.append(str(await child))
        except ChildWorkflowError as error:
            told.append(type(error.cause).__name__)
        return told


@workflow.defn
class Parent:
    """Ends as its only child does."""

    @workflow.run
    async def run(self) -> int:
        return await workflow.execute_child_workflow(Child.run, 1)


_ran: list[str] = []


@workflow.defn
class Remembers:
    """The second run counts on what its process remembers of the first."""

    @workflow.run
    async def run(self, second: bool = False) -> str:
        if not second:
            _ran.append("the first")
            workflow.continue_as_new(True)
        await workflow.execute_activity(charge, "", start_to_close_timeout=MINUTE)
        return "well remembered" if _ran else "forgotten"


@workflow.defn
class Relies:
    """The same, and it waits for what it has forgotten."""

    @workflow.run
    async def run(self, second: bool = False) -> None:
        if not second:
            _ran.append("the first")
            workflow.continue_as_new(True)
        await workflow.wait_condition(lambda: bool(_ran))


here = ["elsewhere"]
"""A test says otherwise in its own process."""


@workflow.defn
class Looks:
    """Its end is another one in another process."""

    @workflow.run
    async def run(self) -> str:
        return here[0]


@workflow.defn
class Ends:
    """Elsewhere it takes its process along."""

    @workflow.run
    async def run(self) -> None:
        if here[0] == "elsewhere":
            os._exit(3)
