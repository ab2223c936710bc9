"""Runs that follow each other, by a schedule, a retry policy, or as the workflow says; and what comes between two of them."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from dbos_shadow.determinism import Plan, may_fail, plan, sends

MINUTE = timedelta(minutes=1)
ONCE = RetryPolicy(maximum_attempts=1)


@activity.defn
async def count(text: str) -> str:
    return text


async def counted(text: str) -> str:
    return await workflow.execute_activity(count, text, start_to_close_timeout=MINUTE, retry_policy=ONCE)


async def all_handled() -> None:
    """Also if cancellation is requested meanwhile."""
    try:
        await workflow.wait_condition(workflow.all_handlers_finished)
    except asyncio.CancelledError:
        await workflow.wait_condition(workflow.all_handlers_finished)
        raise


@workflow.defn
class Meter:
    """Counts on from what the run before it has left."""

    def __init__(self) -> None:
        self.own = 1

    @workflow.signal
    def bump(self) -> None:
        self.own += 1

    @workflow.update
    async def change(self, by: int) -> int:
        try:
            await counted("change")
        except ActivityError as error:
            raise ApplicationError("not changed", type="NotChanged") from error
        self.own += by
        return self.own

    @workflow.run
    async def run(self) -> int:
        before = workflow.get_last_completion_result(int) if workflow.has_last_completion_result() else 0
        try:
            await counted(f"{before} {workflow.get_last_failure()}")
        except ActivityError as error:
            await all_handled()
            if is_cancelled_exception(error):
                raise
            raise ApplicationError("not this time", type="Counting") from error
        await all_handled()
        return (before or 0) + self.own


@workflow.defn
class AgainstTime:
    """Waits for more signals than come; its time runs out, and it is tried again until all of its time has run out."""

    def __init__(self) -> None:
        self.heard = 0

    @workflow.signal
    def hear(self) -> None:
        self.heard += 1

    @workflow.run
    async def run(self) -> int:
        while self.heard < 5:
            before = self.heard
            with contextlib.suppress(TimeoutError):
                await workflow.wait_condition(lambda before=before: self.heard > before, timeout=25)  # type: ignore[misc]
            await workflow.execute_activity(count, f"{self.heard}", schedule_to_close_timeout=timedelta(minutes=10))
        return self.heard


@workflow.defn(name="Versions")
class First:
    """Three runs, as they were."""

    @workflow.run
    async def run(self, number: int) -> int:
        await counted("a")
        if number < 2:
            workflow.continue_as_new(number + 1)
        return number


@workflow.defn(name="Versions")
class Second:
    """A rest, and a local activity beside, behind a patch."""

    @workflow.run
    async def run(self, number: int) -> int:
        if workflow.patched("rest"):
            await _rested()
        else:
            await counted("a")
        if number < 2:
            workflow.continue_as_new(number + 1)
        return number


@workflow.defn(name="Versions")
class Third:
    """No run is as it was."""

    @workflow.run
    async def run(self, number: int) -> int:
        workflow.deprecate_patch("rest")
        await _rested()
        if number < 2:
            workflow.continue_as_new(number + 1)
        return number


async def _rested() -> None:
    await workflow.sleep(3)
    beside = workflow.execute_local_activity(count, "b", start_to_close_timeout=MINUTE, retry_policy=ONCE)
    await asyncio.gather(counted("a"), beside)


@workflow.defn
class Relay:
    """A child that goes on as a new run with all that it was told."""

    def __init__(self) -> None:
        self.told: list[int] = []

    @workflow.signal
    def tell(self, number: int) -> None:
        self.told.append(number)

    @workflow.run
    async def run(self, run: int, told: list[int]) -> list[int]:
        self.told = told + self.told
        await workflow.sleep(1)
        if run < 3:
            workflow.continue_as_new(args=[run + 1, self.told])
        return self.told


@workflow.defn
class Teller:
    """Tells a chain of runs one number after the other: none is lost between two of them, and none comes before another."""

    @workflow.run
    async def run(self) -> int:
        child_id = f"{workflow.info().workflow_id} relay"
        relay = await workflow.start_child_workflow(Relay.run, args=[0, []], id=child_id)
        told = list[int]()
        for number in range(5):
            try:
                await workflow.get_external_workflow_handle(child_id).signal(Relay.tell, number)
            except ApplicationError:
                break  # it has ended
            told.append(number)
            await workflow.sleep(0.7)
        heard = await relay
        assert heard == told, (heard, told)
        return len(heard)


COUNT = {count: may_fail(value="ok")}
EVERY_MINUTE = "* * * * *"
PLANS: dict[str, Plan] = {
    "by a schedule": plan(
        Meter.run, activities=COUNT, signals=[Meter.bump], updates=[sends(Meter.change, 1)], sandboxed=False,
        start_options={"cron_schedule": EVERY_MINUTE},
    ),
    "delayed": plan(
        Meter.run, activities=COUNT, signals=[Meter.bump], updates=[sends(Meter.change, 1, expected=False)],
        must_end=True, sandboxed=False, start_options={"start_delay": timedelta(hours=1)},
    ),
    "against time": plan(
        AgainstTime.run, activities=COUNT, signals=[AgainstTime.hear], must_end=True, sandboxed=False,
        start_options={
            "run_timeout": MINUTE, "execution_timeout": 5 * MINUTE, "retry_policy": RetryPolicy(maximum_attempts=5),
        },
    ),
    "versions, patched": plan(First.run, args=[0], activities=COUNT, then=Second, must_end=True, sandboxed=False),
    "versions, deprecated": plan(Second.run, args=[0], activities=COUNT, then=Third, must_end=True, sandboxed=False),
    "teller": plan(Teller.run, children={Relay: None}, must_end=True, sandboxed=False),
}  # fmt: skip
