"""The one workflow that runs every made-up program, and the activities that programs call.

A program is data: a list of steps, each a list that begins with its name. What a step saw goes into a log, and the log
is what the workflow returns, so that one result shows all that the program could observe.

At ``["meet", n]`` the workflow waits until its driver (``driver.py``) has done its n-th deed. Nothing else happens
meanwhile, so what a program does has one order, on every engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from temporalio import activity, exceptions, workflow
from temporalio.common import RetryPolicy, SearchAttributeKey
from temporalio.workflow import ActivityCancellationType

from tests.compat.support import chain

Step = list[Any]

ONCE = RetryPolicy(maximum_attempts=1)
QUICKLY = RetryPolicy(initial_interval=timedelta(milliseconds=10), backoff_coefficient=1.0, maximum_attempts=3)
SOON = timedelta(seconds=20)
INT = SearchAttributeKey.for_int("CompatInt")
KEYWORD = SearchAttributeKey.for_keyword("CompatKeyword")
CANCELLATIONS = {
    "try": ActivityCancellationType.TRY_CANCEL,
    "wait": ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    "abandon": ActivityCancellationType.ABANDON,
}


@activity.defn
async def echo(value: Any) -> Any:
    return value


@activity.defn
async def fail(message: str, non_retryable: bool) -> None:
    raise exceptions.ApplicationError(message, {"why": message}, type="Made", non_retryable=non_retryable)


@activity.defn
async def third_time(value: Any) -> list[Any]:
    if activity.info().attempt < 3:
        raise exceptions.ApplicationError(f"attempt {activity.info().attempt}")
    return [value, activity.info().attempt]


@activity.defn
async def slow() -> None:
    """Longer than its timeout."""
    await asyncio.sleep(60)


@activity.defn
async def beat_until_cancelled(how: str) -> str:
    try:
        while True:
            activity.heartbeat("beat")
            await asyncio.sleep(0.05)
    except asyncio.CancelledError:
        if how == "return":
            return "returned"
        if how == "fail":
            raise exceptions.ApplicationError("failed when cancelled", non_retryable=True) from None
        raise


ACTIVITIES: list[Callable[..., Any]] = [echo, fail, third_time, slow, beat_until_cancelled]


@workflow.defn
class Script:
    """Runs a program."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.reached = 0
        self.deeds = 0

    @workflow.run
    async def run(self, steps: list[Step], log: list[Any] | None = None) -> list[Any]:
        self.log = log or []
        await self.block(steps)
        return self.log

    async def block(self, steps: list[Step]) -> None:
        for at, (name, *arguments) in enumerate(steps):
            if name == "continue_as_new":
                workflow.continue_as_new(args=[steps[at + 1 :], [*self.log, "continued"]])
            await getattr(self, f"do_{name}")(*arguments)

    # -- steps -----------------------------------------------------------------------------------------------------

    async def do_say(self, value: Any) -> None:
        self.log.append(value)

    async def do_meet(self, number: int) -> None:
        self.reached = number
        await workflow.wait_condition(lambda: self.deeds >= number)

    async def do_echo(self, value: Any) -> None:
        self.log.append(await workflow.execute_activity(echo, value, start_to_close_timeout=SOON))

    async def do_third_time(self, value: Any) -> None:
        self.log.append(
            await workflow.execute_activity(third_time, value, start_to_close_timeout=SOON, retry_policy=QUICKLY)
        )

    async def do_fail(self, message: str, non_retryable: bool) -> None:
        await workflow.execute_activity(
            fail,
            args=[message, non_retryable],
            start_to_close_timeout=SOON,
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10), maximum_attempts=2),
        )

    async def do_slow(self) -> None:
        await workflow.execute_activity(
            slow, start_to_close_timeout=timedelta(milliseconds=100), retry_policy=ONCE, summary="too slow"
        )

    async def do_sleep(self, ms: int) -> None:
        await asyncio.sleep(ms / 1000)
        self.log.append(f"slept {ms}")

    async def do_cancel_timer(self) -> None:
        timer = asyncio.create_task(asyncio.sleep(3600))
        await asyncio.sleep(0.001)
        timer.cancel()
        self.log.append((await asyncio.gather(timer, return_exceptions=True))[0].__class__.__name__)

    async def do_cancel_activity(self, kind: str, how: str) -> None:
        """An activity that has started is cancelled by the workflow."""
        task = workflow.start_activity(
            beat_until_cancelled,
            how,
            start_to_close_timeout=SOON,
            heartbeat_timeout=timedelta(seconds=10),
            retry_policy=ONCE,
            cancellation_type=CANCELLATIONS[kind],
        )
        await asyncio.sleep(0.3)
        task.cancel()
        try:
            self.log.append(await task)
        except BaseException as error:
            self.log.append(chain(error))

    async def do_caught(self, steps: list[Step]) -> None:
        """A block whose failure is logged."""
        try:
            await self.block(steps)
        except (exceptions.FailureError, asyncio.CancelledError) as error:
            self.log.append(["caught", chain(error)])

    async def do_finally(self, steps: list[Step], at_last: list[Step]) -> None:
        try:
            await self.block(steps)
        finally:
            await self.block(at_last)

    async def do_within(self, ms: int, steps: list[Step]) -> None:
        """A block with a timeout."""
        try:
            async with asyncio.timeout(ms / 1000):
                await self.block(steps)
        except TimeoutError:
            self.log.append("timed out")

    async def do_upsert_memo(self, key: str, value: Any) -> None:
        workflow.upsert_memo({key: value})

    async def do_upsert_attributes(self, number: int | None, word: str | None) -> None:
        changes: list[Any] = [INT.value_unset() if number is None else INT.value_set(number)]
        if word is not None:
            changes.append(KEYWORD.value_set(word))
        workflow.upsert_search_attributes(changes)

    async def do_details(self, text: str) -> None:
        workflow.set_current_details(text)

    async def do_patched(self, patch_id: str) -> None:
        self.log.append(workflow.patched(patch_id))

    async def do_local(self, value: Any) -> None:
        self.log.append(await workflow.execute_local_activity(echo, value, start_to_close_timeout=SOON))

    async def do_child(self, steps: list[Step], number: int) -> None:
        self.log.append(
            await workflow.execute_child_workflow(
                Script.run,
                args=[steps, None],
                id=f"{workflow.info().workflow_id}_child{number}",
                memo={"child": number},
            )
        )

    async def do_leave_child(self, policy: str, number: int) -> None:
        """A child that waits, and what becomes of it when this run closes."""
        await workflow.start_child_workflow(
            Script.run,
            args=[[["sleep", 3_600_000]], None],
            id=f"{workflow.info().workflow_id}_child{number}",
            parent_close_policy=workflow.ParentClosePolicy[policy],
        )
        await asyncio.sleep(0.5)  # it shall wait when this run goes on

    async def do_tell_child(self, number: int, value: Any) -> None:
        """A child that waits for a signal gets one."""
        child = await workflow.start_child_workflow(
            Script.run, args=[[["meet", 1]], None], id=f"{workflow.info().workflow_id}_child{number}"
        )
        await asyncio.sleep(0.3)  # its first task is done
        await child.signal(Script.tell, value)
        self.log.append(await child)

    async def do_tell_nobody(self) -> None:
        stranger = workflow.get_external_workflow_handle(f"{workflow.info().workflow_id}_nobody")
        try:
            await stranger.signal("tell", "anybody there?")
        except exceptions.ApplicationError as error:
            self.log.append(["nobody", chain(error)])

    async def do_raise(self, message: str, non_retryable: bool) -> None:
        raise exceptions.ApplicationError(message, "detail", {"n": 1}, type="Raised", non_retryable=non_retryable)

    async def do_facts(self) -> None:
        info = workflow.info()
        self.log.append(
            {
                "attempt": info.attempt,
                "type": info.workflow_type,
                "timeout": str(info.run_timeout),
                "memo": sorted(workflow.memo()),
                "continued": info.continued_run_id is not None,
                "parent": info.parent is not None,
                "history": workflow.info().get_current_history_length(),
                "cancel_reason": workflow.cancellation_reason(),
            }
        )

    # -- what the driver may do ------------------------------------------------------------------------------------

    @workflow.signal
    async def tell(self, value: Any) -> None:
        self.log.append(["told", value])
        self.deeds += 1

    @workflow.signal
    async def tell_slowly(self, value: Any) -> None:
        self.log.append(["heard", value])
        result = await workflow.execute_activity(echo, value, start_to_close_timeout=SOON)
        self.log.append(["worked on", result])
        self.deeds += 1

    @workflow.update
    async def change(self, value: Any, how: str) -> Any:
        self.log.append(["changing", value])
        if how == "work":
            value = await workflow.execute_activity(echo, value, start_to_close_timeout=SOON)
        if how == "sleep":
            await asyncio.sleep(0.01)
        self.deeds += 1
        if how == "fail":
            raise exceptions.ApplicationError("the update fails", type="Unwilling", non_retryable=True)
        return ["changed", value]

    @change.validator
    def check_change(self, value: Any, how: str) -> None:
        if how == "refuse":
            raise exceptions.ApplicationError("the update is refused", type="Refused")

    @workflow.query
    def where(self) -> int:
        return self.reached

    @workflow.query
    def story(self) -> list[Any]:
        return self.log
