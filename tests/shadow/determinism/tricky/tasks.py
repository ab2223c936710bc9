"""Many things at once: task groups, bounded fan-out, scopes, races, clean-up that is not to be interrupted."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception
from temporalio.exceptions import TimeoutError as TimedOut
from temporalio.workflow import ActivityCancellationType

from dbos_shadow.determinism import Plan, may_fail, plan, sends

MINUTE = timedelta(minutes=1)
TWICE = RetryPolicy(maximum_attempts=2)


@activity.defn
async def fetch(number: int) -> int:
    return number


@activity.defn
async def release(what: str) -> None: ...


@activity.defn
async def export(begin: int) -> int:
    return begin


async def fetched(number: int) -> int:
    """A cancelled activity is reported as an ``ActivityError``; a task group understands ``CancelledError``."""
    try:
        return await workflow.execute_activity(fetch, number, start_to_close_timeout=MINUTE, retry_policy=TWICE)
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise asyncio.CancelledError from error
        raise


@workflow.defn
class BoundedFanOut:
    """At most two at a time, in a task group; answers in the order of the questions."""

    @workflow.run
    async def run(self, count: int) -> list[int]:
        gate = asyncio.Semaphore(2)

        async def one(number: int) -> int:
            async with gate:
                return await fetched(number)

        failed: list[BaseException] = []
        tasks: list[asyncio.Task[int]] = []
        try:
            async with asyncio.TaskGroup() as group:
                tasks += [group.create_task(one(number)) for number in range(count)]
        except* ActivityError as errors:
            failed += errors.exceptions
        if failed:
            raise ApplicationError(f"{len(failed)} of {count} failed", type="Incomplete")
        return [task.result() for task in tasks]


@workflow.defn
class NestedScopes:
    """A scope within a scope; what was taken is given back, whatever ends it, and cannot be interrupted at that."""

    def __init__(self) -> None:
        self.left: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        try:
            await self._inner()
            await workflow.sleep(MINUTE)
        finally:
            await self._give_back("outer")
        return self.left

    async def _inner(self) -> None:
        try:
            async with asyncio.timeout(30):
                await asyncio.gather(fetched(1), fetched(2))
        except TimeoutError:
            self.left.append("late")
        except ActivityError:
            self.left.append("failed")
        finally:
            await self._give_back("inner")

    async def _give_back(self, what: str) -> None:
        work = asyncio.ensure_future(
            workflow.execute_activity(release, what, start_to_close_timeout=MINUTE, retry_policy=TWICE)
        )
        cancelled = False
        while not work.done():
            try:
                await asyncio.shield(work)
            except asyncio.CancelledError:
                cancelled = True
            except ActivityError:
                break
        self.left.append(what)
        if cancelled:
            raise asyncio.CancelledError


@workflow.defn
class FirstOfThree:
    """A signal, a timer and an activity race. Who lost is cancelled and waited for."""

    def __init__(self) -> None:
        self.said: str | None = None

    @workflow.signal
    def say(self, word: str) -> None:
        self.said = self.said or word

    @workflow.run
    async def run(self) -> str:
        racers = {
            "signal": asyncio.create_task(workflow.wait_condition(lambda: self.said is not None)),
            "timer": asyncio.create_task(workflow.sleep(45)),
            "activity": asyncio.create_task(self._ask()),
        }
        try:
            await workflow.wait(racers.values(), return_when=asyncio.FIRST_COMPLETED)
            first = next(name for name, task in racers.items() if task.done())
        finally:
            for task in racers.values():
                task.cancel()
            ends = await asyncio.gather(*racers.values(), return_exceptions=True)
        return f"{first} {[type(end).__name__ for end in ends]} {self.said}"

    async def _ask(self) -> int:
        return await workflow.execute_activity(
            fetch,
            7,
            start_to_close_timeout=MINUTE,
            heartbeat_timeout=timedelta(seconds=10),
            retry_policy=TWICE,
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )


@workflow.defn
class ResumingExport:
    """An export that beats: when it stops beating, the next one begins where the last beat was."""

    @workflow.run
    async def run(self) -> list[int]:
        begin, ends = 0, list[int]()
        for _ in range(3):
            try:
                begin = await workflow.execute_activity(
                    export,
                    begin,
                    start_to_close_timeout=timedelta(hours=1),
                    heartbeat_timeout=timedelta(seconds=20),
                    retry_policy=RetryPolicy(maximum_attempts=1),
                )
                ends.append(begin)
                break
            except ActivityError as error:
                if not isinstance(error.cause, TimedOut):
                    raise
                details = error.cause.last_heartbeat_details
                begin = int(details[0]) if details else begin
                ends.append(-1)
        return ends


@workflow.defn
class PatientLocals:
    """Local activities that back off for longer than a task may take, two beside each other, against a limit of time."""

    @workflow.run
    async def run(self) -> list[str]:
        async def one(number: int) -> int:
            return await workflow.execute_local_activity(
                fetch,
                number,
                schedule_to_close_timeout=timedelta(minutes=20),
                retry_policy=RetryPolicy(
                    initial_interval=timedelta(seconds=2), backoff_coefficient=30, maximum_attempts=4
                ),
                local_retry_threshold=timedelta(seconds=5),
            )

        tasks = [asyncio.create_task(one(number)) for number in (1, 2)]
        done, _ = await workflow.wait(tasks, timeout=300)
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        return [type(end).__name__ if isinstance(end, BaseException) else str(end) for end in ends] + [str(len(done))]


@workflow.defn
class Conveyor:
    """A queue that signals fill, two workers at it, and a join before the end."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[int] = asyncio.Queue()
        self.results: list[int] = []

    @workflow.signal
    async def put(self, number: int) -> None:
        await self.queue.put(number)

    @workflow.query
    def done(self) -> list[int]:
        return self.results

    @workflow.run
    async def run(self) -> list[int]:
        workers = [asyncio.create_task(self._work()) for _ in range(2)]
        for number in range(3):
            await self.queue.put(number)
        try:
            await workflow.sleep(MINUTE)
            await self.queue.join()
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return sorted(self.results)

    async def _work(self) -> None:
        while True:
            number = await self.queue.get()
            try:
                self.results.append(await fetched(number))
            except ActivityError:
                self.results.append(-1)
            finally:
                self.queue.task_done()


FETCH = {fetch: may_fail(value=1)}
PLANS: dict[str, Plan] = {
    "bounded fan-out": plan(BoundedFanOut.run, args=[4], activities=FETCH, must_end=True, sandboxed=False),
    "nested scopes": plan(
        NestedScopes.run, activities={**FETCH, release: may_fail()}, must_end=True, sandboxed=False
    ),
    "first of three": plan(
        FirstOfThree.run, activities=FETCH, signals=[sends(FirstOfThree.say, "now", expected=False)], must_end=True,
        sandboxed=False,
    ),
    "resuming export": plan(ResumingExport.run, activities={export: may_fail(value=9)}, must_end=True, sandboxed=False),
    "patient locals": plan(PatientLocals.run, activities=FETCH, must_end=True, sandboxed=False),
    "conveyor": plan(
        Conveyor.run, activities={fetch: may_fail(value=3)}, signals=[sends(Conveyor.put, 4)], queries=[Conveyor.done],
        must_end=True, sandboxed=False,
    ),
}  # fmt: skip
