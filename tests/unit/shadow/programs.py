"""Workflows that together ask for everything that a trace can hold."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.common import RetryPolicy, SearchAttributeKey
from temporalio.exceptions import ActivityError, ApplicationError

SOON = timedelta(seconds=20)
KEYWORD = SearchAttributeKey.for_keyword("TraceKeyword")


@activity.defn
async def add(left: int, right: int) -> int:
    return left + right


@activity.defn
async def refuse(message: str) -> None:
    raise ApplicationError(message, {"reason": message}, type="Refused", non_retryable=True)


@activity.defn
async def second_time_lucky() -> bytes:
    if activity.info().attempt < 2:
        raise ApplicationError("not yet")
    return b"\x00\xff"


@activity.defn
async def waits_for_ever() -> None:
    try:
        while True:
            activity.heartbeat("here")
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        raise


ACTIVITIES: list[Callable[..., Any]] = [add, refuse, second_time_lucky, waits_for_ever]


@workflow.defn
class Steps:
    """Activities that succeed, fail and are tried again; a timer; a patch; memo and search attributes."""

    @workflow.run
    async def run(self, start: int) -> dict[str, list[int]]:
        sums = await asyncio.gather(
            *[workflow.execute_activity(add, args=[start, n], start_to_close_timeout=SOON) for n in range(3)]
        )
        raw = await workflow.execute_activity(
            second_time_lucky,
            schedule_to_close_timeout=SOON,
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=1), maximum_attempts=5),
        )
        try:
            await workflow.execute_activity(refuse, "no", start_to_close_timeout=SOON, activity_id="chosen")
        except ActivityError:
            workflow.logger.debug("as expected")
        if workflow.patched("newer"):
            await asyncio.sleep(0.001)
        workflow.upsert_memo({"sum": sum(sums)})
        workflow.upsert_search_attributes([KEYWORD.value_set("k")])
        return {"sums": sums, "raw": list(raw)}


@workflow.defn
class Listens:
    """Signals and updates, a timer that is taken back."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        try:
            await workflow.wait_condition(lambda: "stop" in self.heard, timeout=timedelta(hours=1))
        except TimeoutError:
            return []
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self.heard

    @workflow.signal
    def hear(self, word: str) -> None:
        self.heard.append(word)

    @workflow.update
    async def ask(self, word: str) -> int:
        await workflow.execute_activity(add, args=[1, 1], start_to_close_timeout=SOON)
        self.heard.append(word)
        if word == "bad":
            raise ApplicationError("a bad word", type="Bad")
        return len(self.heard)

    @ask.validator
    def not_empty(self, word: str) -> None:
        if not word:
            raise ValueError("say something")


@workflow.defn
class Parent:
    """A child that succeeds, one that fails, one that is signalled, and a stranger who is not there."""

    @workflow.run
    async def run(self) -> str:
        await workflow.execute_child_workflow(Steps.run, 1, id=f"{workflow.info().workflow_id}-steps")
        try:
            await workflow.execute_child_workflow(Fails.run, id=f"{workflow.info().workflow_id}-fails")
        except Exception as error:
            failed = type(error).__name__
        listens = await workflow.start_child_workflow(Listens.run, id=f"{workflow.info().workflow_id}-listens")
        await listens.signal(Listens.hear, "stop")
        await listens
        try:
            await workflow.get_external_workflow_handle("nobody").signal("hear", "hello")
        except Exception as error:
            return f"{failed} {type(error).__name__}"
        return failed


@workflow.defn
class Fails:
    @workflow.run
    async def run(self) -> None:
        raise ApplicationError("on purpose", 1, "two", type="OnPurpose")


@workflow.defn
class Again:
    """Continues as new, once."""

    @workflow.run
    async def run(self, left: int) -> str:
        await workflow.execute_activity(add, args=[left, 1], start_to_close_timeout=SOON)
        if left:
            workflow.continue_as_new(left - 1, task_timeout=timedelta(seconds=7))
        return "done"


@workflow.defn
class Cancelled:
    """Has an activity that is cancelled together with the workflow, and waits for it."""

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(
            waits_for_ever,
            start_to_close_timeout=SOON,
            heartbeat_timeout=timedelta(seconds=5),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )


@workflow.defn
class Locally:
    """Local activities: their inputs are in a journal and not in a history."""

    @workflow.run
    async def run(self) -> int:
        total = await workflow.execute_local_activity(add, args=[1, 2], start_to_close_timeout=SOON)
        try:
            await workflow.execute_local_activity(refuse, "no", start_to_close_timeout=SOON)
        except ApplicationError:
            total += 1
        return total


WORKFLOWS = [Steps, Listens, Parent, Fails, Again, Cancelled, Locally]
