"""Workflows and activities that leave a line behind whenever something happens, for whoever looks afterwards.

The ledger (the file that ``CRASH_LEDGER`` names) is written with one ``write`` and an ``fsync`` per line, before
anything else is done: what is in it has happened, whatever killed the process then.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.exceptions import TimeoutError as ActivityTimeout

LEDGER_VARIABLE = "CRASH_LEDGER"
QUEUE = "crash"


def note(what: str, **fields: Any) -> None:
    """Append one line to the ledger, durably."""
    line = {"what": what, "pid": os.getpid(), "at": time.time(), **fields}
    ledger = os.open(os.environ[LEDGER_VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(ledger, (json.dumps(line) + "\n").encode())
        os.fsync(ledger)
    finally:
        os.close(ledger)


def _note_run(maximum: int | None = None) -> None:
    info = activity.info()
    note(
        "run",
        workflow_id=info.workflow_id,
        run_id=info.workflow_run_id,
        activity=info.activity_type,
        activity_id=info.activity_id,
        attempt=info.attempt,
        maximum=maximum,
    )


@activity.defn
async def step(number: int, seconds: float) -> int:
    """An ordinary activity: may run again after a crash, never after its completion is journalled."""
    _note_run()
    await asyncio.sleep(seconds)
    return number


@activity.defn
async def fragile(maximum: int, seconds: float) -> int:
    """An activity with bounded attempts; gives the number of the attempt that came through."""
    _note_run(maximum)
    await asyncio.sleep(seconds)
    return activity.info().attempt


@workflow.defn
class Pipeline:
    """Steps one after another, with a timer after each second one."""

    @workflow.run
    async def run(self, steps: int, seconds: float) -> list[int]:
        done = []
        for number in range(steps):
            done.append(
                await workflow.execute_activity(
                    step, args=[number, seconds], start_to_close_timeout=timedelta(seconds=30)
                )
            )
            if number % 2:
                await asyncio.sleep(0.05)
        return done


@workflow.defn
class Bounded:
    """One activity with that many attempts and no more. Says how it ended: ``done`` or ``gave up``."""

    @workflow.run
    async def run(self, maximum: int, seconds: float) -> str:
        try:
            await workflow.execute_activity(
                fragile,
                args=[maximum, seconds],
                start_to_close_timeout=timedelta(seconds=max(2, seconds + 1)),
                retry_policy=RetryPolicy(maximum_attempts=maximum, initial_interval=timedelta(milliseconds=50)),
            )
        except ActivityError as error:
            if not isinstance(error.cause, ActivityTimeout):
                raise
            return "gave up"
        return "done"


@workflow.defn
class Post:
    """Takes numbers by signal and by update, runs a step for each signal, and ends when it has ``expected`` of both."""

    @workflow.init
    def __init__(self, expected: int) -> None:
        self._signals: list[int] = []
        self._updates: list[int] = []
        self._handled = 0

    @workflow.run
    async def run(self, expected: int) -> dict[str, list[int]]:
        while self._handled < expected:
            await workflow.wait_condition(lambda: len(self._signals) > self._handled)
            await workflow.execute_activity(
                step, args=[self._signals[self._handled], 0], start_to_close_timeout=timedelta(seconds=30)
            )
            self._handled += 1
        await workflow.wait_condition(lambda: len(self._updates) >= expected)
        return {"signals": self._signals, "updates": self._updates}

    @workflow.signal
    def put(self, number: int) -> None:
        self._signals.append(number)

    @workflow.update
    def add(self, number: int) -> int:
        self._updates.append(number)
        return len(self._updates)


@activity.defn
async def grudging() -> str:
    """Fails until it has run often enough: the first time."""
    _note_run()
    ledger = Path(os.environ[LEDGER_VARIABLE]).read_text()
    own = f'"workflow_id": "{activity.info().workflow_id}"'
    if sum(own in line and '"activity": "grudging"' in line for line in ledger.splitlines()) == 1:
        raise ApplicationError("not the first time")
    return "done"


@workflow.defn
class Patient:
    """Would wait for an hour before the second attempt of its activity, unless an operator does something about it."""

    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(
            grudging,
            start_to_close_timeout=timedelta(seconds=30),
            retry_policy=RetryPolicy(initial_interval=timedelta(hours=1), maximum_interval=timedelta(hours=1)),
        )


@workflow.defn
class Sleeper:
    """Sleeps for longer than any test."""

    @workflow.run
    async def run(self) -> None:
        await asyncio.sleep(3600)


@workflow.defn
class Listener:
    """Keeps what it hears until it is told that this is all."""

    def __init__(self) -> None:
        self._heard: list[int] = []
        self._ended = False

    @workflow.run
    async def run(self) -> list[int]:
        await workflow.wait_condition(lambda: self._ended)
        return self._heard

    @workflow.signal
    def hear(self, number: int) -> None:
        self._heard.append(number)

    @workflow.signal
    def end(self) -> None:
        self._ended = True


@workflow.defn
class Household:
    """Awaits a child, leaves another one behind, signals somebody else in between. Ids begin with its own."""

    @workflow.run
    async def run(self) -> list[int]:
        own = workflow.info().workflow_id
        await workflow.start_child_workflow(Sleeper.run, id=f"{own}-sleeper")
        listener: workflow.ExternalWorkflowHandle[Listener] = workflow.get_external_workflow_handle_for(
            Listener.run, f"{own}-listener"
        )
        await listener.signal(Listener.hear, 1)
        done = await workflow.execute_child_workflow(Pipeline.run, args=[2, 0.01], id=f"{own}-pipeline")
        await listener.signal(Listener.hear, 2)
        return done


@workflow.defn
class Near:
    """Local activities one after another, with an ordinary one after each second one."""

    @workflow.run
    async def run(self, steps: int) -> list[int]:
        done = []
        for number in range(steps):
            local = workflow.execute_local_activity(
                step, args=[number, 0.01], start_to_close_timeout=timedelta(seconds=30)
            )
            done.append(await local)
            if number % 2:
                await workflow.execute_activity(step, args=[number, 0.01], start_to_close_timeout=timedelta(seconds=30))
        return done


@workflow.defn
class Relay:
    """Runs in so many legs, each a run of its own: continued as new, and tried again when it fails."""

    def __init__(self) -> None:
        self._heard: list[int] = []

    @workflow.run
    async def run(self, legs: int, heard: list[int]) -> list[int]:
        self._heard = heard + self._heard
        await workflow.execute_activity(step, args=[legs, 0], start_to_close_timeout=timedelta(seconds=30))
        if legs % 2 and workflow.info().attempt == 1:
            raise ApplicationError("each second leg needs a second attempt")
        if legs:
            workflow.continue_as_new(args=[legs - 1, self._heard])
        return self._heard

    @workflow.signal
    def hear(self, number: int) -> None:
        self._heard.append(number)


WORKFLOWS: list[type] = [Pipeline, Bounded, Post, Sleeper, Listener, Household, Near, Relay, Patient]
ACTIVITIES: list[Callable[..., Any]] = [step, fragile, grudging]
