"""Correct workflows that together need everything of the kernel that a mutant breaks."""

from __future__ import annotations

import asyncio
import contextlib
import random
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

from dbos_shadow.determinism import Plan, may_fail, plan, returns, sends

SOON = timedelta(seconds=20)


@activity.defn
async def one(number: int) -> int:
    return number


@activity.defn
async def two(number: int) -> int:
    return number


@workflow.defn
class Steps:
    """Two activities and a timer; of the second only one attempt may be."""

    @workflow.run
    async def run(self) -> int:
        found = await workflow.execute_activity(one, 1, start_to_close_timeout=SOON)
        await workflow.sleep(60)
        return found + await workflow.execute_activity(
            two, 2, start_to_close_timeout=SOON, retry_policy=RetryPolicy(maximum_attempts=1)
        )


@workflow.defn
class Listens:
    """Hears three words, and answers questions on the way."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.asked = 0

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: len(self.words) >= 3)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self.words

    @workflow.signal
    def hear(self, word: str) -> None:
        self.words.append(word)

    @workflow.signal
    def listen(self, word: str) -> None:
        self.words.append(word)

    @workflow.query
    def heard(self) -> list[str]:
        return self.words

    @workflow.update
    async def ask(self, number: int) -> int:
        self.asked += 1
        return await workflow.execute_activity(one, number, start_to_close_timeout=SOON)


@workflow.defn
class Waits:
    """Waits for a very long time, or for a word."""

    def __init__(self) -> None:
        self.heard = False

    @workflow.run
    async def run(self) -> bool:
        try:
            await workflow.wait_condition(lambda: self.heard, timeout=timedelta(days=1))
        except TimeoutError:
            return False
        return await workflow.execute_activity(one, 1, start_to_close_timeout=SOON) > 0

    @workflow.signal
    def hear(self) -> None:
        self.heard = True


@workflow.defn
class Parallel:
    """Three activities at once."""

    @workflow.run
    async def run(self) -> list[int]:
        return list(
            await asyncio.gather(
                *[workflow.execute_activity(one, n, start_to_close_timeout=SOON) for n in range(3)],
            )
        )


@workflow.defn
class Locally:
    """Two local activities."""

    @workflow.run
    async def run(self) -> int:
        found: int = await workflow.execute_local_activity("local", 1, start_to_close_timeout=SOON, result_type=int)
        again: int = await workflow.execute_local_activity("local", 2, start_to_close_timeout=SOON, result_type=int)
        return found + again


@workflow.defn
class Child:
    """One activity, and once more."""

    @workflow.run
    async def run(self, more: int) -> int:
        found = await workflow.execute_activity(one, more, start_to_close_timeout=SOON)
        if more:
            workflow.continue_as_new(more - 1)
        return found


@workflow.defn
class Family:
    """A child that continues as new, and a signal to somebody who is not there."""

    @workflow.run
    async def run(self) -> int:
        found = await workflow.execute_child_workflow(Child.run, 1, id="child")
        with contextlib.suppress(ApplicationError):
            await workflow.get_external_workflow_handle("nobody").signal("hear")
        return found


@workflow.defn
class Gambles:
    """Not deterministic: for a kernel that does not look."""

    @workflow.run
    async def run(self) -> int:
        if random.random() < 0.5:
            await workflow.sleep(1)
        return await workflow.execute_activity(one, 1, start_to_close_timeout=SOON)


FAILS = {one: returns(1), two: may_fail(value=2)}

PLANS: dict[str, Plan] = {
    "steps": plan(Steps.run, activities=FAILS, sandboxed=False),
    "listens": plan(
        Listens.run,
        activities=FAILS,
        signals=[sends(Listens.hear, "a", at_most=3), sends(Listens.listen, "b", at_most=3)],
        updates=[sends(Listens.ask, 1)],
        queries=[Listens.heard],
        sandboxed=False,
    ),
    "waits": plan(Waits.run, activities=FAILS, signals=[Waits.hear], sandboxed=False),
    "parallel": plan(Parallel.run, activities=FAILS, sandboxed=False),
    "locally": plan(Locally.run, activities={"local": returns(1)}, sandboxed=False),
    "family": plan(Family.run, activities=FAILS, children={Child: None}, sandboxed=False),
    "gambles": plan(Gambles.run, activities=FAILS, sandboxed=False),
}
