"""The workflows of the part ``operations``. A file of their own that imports temporalio alone: the sandbox imports it,
and the packages that it is in, again for each run."""

import asyncio
from datetime import timedelta

from temporalio import activity, workflow


@activity.defn
async def add_one(number: int) -> int:
    return number + 1


@workflow.defn
class Inbox:
    """Hears signals and updates; with ``expected`` it returns what it heard, in the order in which it heard it."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, int]] = []

    @workflow.run
    async def run(self, expected: int) -> list[tuple[int, int]]:
        await workflow.wait_condition(lambda: len(self.heard) >= expected)
        return self.heard

    @workflow.signal
    def put(self, sender: int, number: int) -> None:
        self.heard.append((sender, number))

    @workflow.update
    def put_and_count(self, number: int) -> int:
        self.heard.append((0, number))
        return len(self.heard)

    @workflow.query
    def count(self) -> int:
        return len(self.heard)


@workflow.defn
class Child:
    @workflow.run
    async def run(self, number: int) -> int:
        return number + 1


@workflow.defn
class Parent:
    @workflow.run
    async def run(self, number: int) -> int:
        return await workflow.execute_child_workflow(Child.run, number) + 1


@workflow.defn
class Timer:
    @workflow.run
    async def run(self, number: int) -> int:
        await workflow.sleep(0)
        return number + 2


async def add_to_each(numbers: range) -> int:
    """One activity per number, all at once; the sum of their results."""
    results = await asyncio.gather(
        *(
            workflow.execute_activity(add_one, number, start_to_close_timeout=timedelta(seconds=60))
            for number in numbers
        )
    )
    return sum(results)


@workflow.defn
class FanOut:
    @workflow.run
    async def run(self, width: int) -> int:
        return await add_to_each(range(width))


@workflow.defn
class Long:
    """Many activities, some at a time; then it waits until it is told to finish."""

    def __init__(self) -> None:
        self.done = 0
        self.told = False

    @workflow.run
    async def run(self, activities: int, at_once: int) -> int:
        total = 0
        for first in range(0, activities, at_once):
            numbers = range(first, min(first + at_once, activities))
            total += await add_to_each(numbers)
            self.done += len(numbers)
        await workflow.wait_condition(lambda: self.told)
        return total

    @workflow.signal
    def finish(self) -> None:
        self.told = True

    @workflow.query
    def progress(self) -> int:
        return self.done


WORKFLOWS = [Inbox, Child, Parent, Timer, FanOut, Long]
ACTIVITIES = [add_one]
