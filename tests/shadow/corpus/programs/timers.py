"""Timers: that ring, that are taken back, that nobody lives to hear; conditions, timeouts, long loops."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import activity, workflow

from tests.shadow.corpus.stage import Stage
from tests.shadow.corpus.theme import Theme

theme = Theme("timers", sandboxed=True)

SOON = timedelta(seconds=30)


@theme.activity
@activity.defn
async def remind(number: int) -> str:
    return f"reminder {number}"


@theme.workflow
@workflow.defn
class Sleeps:
    @workflow.run
    async def run(self, seconds: float) -> float:
        before = workflow.now()
        await workflow.sleep(seconds, summary="a nap")
        await workflow.execute_activity(remind, 1, start_to_close_timeout=SOON)
        return float((workflow.now() - before).total_seconds() >= seconds)


@theme.workflow
@workflow.defn
class SleepsForDays:
    """Reminds somebody each month until it is told to stop."""

    def __init__(self) -> None:
        self.stopped = False

    @workflow.run
    async def run(self) -> int:
        number = 0
        while not self.stopped:
            number += 1
            await workflow.execute_activity(remind, number, start_to_close_timeout=SOON)
            month = asyncio.create_task(workflow.sleep(timedelta(days=30)))
            told = asyncio.create_task(workflow.wait_condition(lambda: self.stopped))
            await workflow.wait([month, told], return_when=asyncio.FIRST_COMPLETED)
        return number

    @workflow.signal
    def stop(self) -> None:
        self.stopped = True


@theme.workflow
@workflow.defn
class TakesBackATimer:
    @workflow.run
    async def run(self) -> str:
        timer = asyncio.create_task(asyncio.sleep(3600))
        await asyncio.sleep(0.01)
        timer.cancel()
        (end,) = await asyncio.gather(timer, return_exceptions=True)
        return type(end).__name__


@theme.workflow
@workflow.defn
class SeveralTimers:
    @workflow.run
    async def run(self) -> list[str]:
        async def named(seconds: float, name: str) -> str:
            await asyncio.sleep(seconds)
            return name

        tasks = [asyncio.create_task(named(2.2, "late")), asyncio.create_task(named(0.1, "early"))]
        return [await task for task in workflow.as_completed(tasks)]


@theme.workflow
@workflow.defn
class RunsOutOfTime:
    """A block that is given less time than it takes."""

    @workflow.run
    async def run(self, seconds: float) -> str:
        try:
            async with asyncio.timeout(seconds):
                await asyncio.sleep(3600)
        except TimeoutError:
            return await workflow.execute_activity(remind, 2, start_to_close_timeout=SOON)
        return "in time"


@theme.workflow
@workflow.defn
class Waits:
    """A condition with a timeout: met, or not."""

    def __init__(self) -> None:
        self.ready = False

    @workflow.run
    async def run(self, seconds: float) -> str:
        try:
            await workflow.wait_condition(lambda: self.ready, timeout=seconds, timeout_summary="until it is ready")
        except TimeoutError:
            return "not ready"
        return await workflow.execute_activity(remind, 3, start_to_close_timeout=SOON)

    @workflow.signal
    def make_ready(self) -> None:
        self.ready = True


@theme.workflow
@workflow.defn
class LongLoop:
    @workflow.run
    async def run(self, rounds: int) -> int:
        total = 0
        for number in range(rounds):
            total += len(await workflow.execute_activity(remind, number, start_to_close_timeout=SOON))
            if number % 20 == 10:
                await asyncio.sleep(0.001)
        return total


@theme.workflow
@workflow.defn
class NoTimeAtAll:
    @workflow.run
    async def run(self) -> str:
        await asyncio.sleep(0)
        await workflow.wait_condition(lambda: True)
        return "at once"


theme.runs("sleeps", Sleeps.run, 0.2)
theme.runs("takes_back_a_timer", TakesBackATimer.run)
theme.runs("several_timers", SeveralTimers.run)
theme.runs("runs_out_of_time", RunsOutOfTime.run, 0.5)
theme.runs("long_loop", LongLoop.run, 45)
theme.runs("no_time_at_all", NoTimeAtAll.run)
theme.runs("waits_in_vain", Waits.run, 0.4)


@theme.scene
async def waits_and_is_told(stage: Stage) -> None:
    handle = await stage.start(Waits.run, 3600.0)
    await stage.until_stands(handle)
    await handle.signal(Waits.make_ready)
    await stage.end(handle)


@theme.scene
async def sleeps_for_days(stage: Stage) -> None:
    """One that is told to stop, one that sleeps on."""
    for stops in (True, False):
        handle = await stage.start(SleepsForDays.run, also=f"-{stops}")
        await stage.until_stands(handle)
        if stops:
            await handle.signal(SleepsForDays.stop)
            await stage.end(handle)


@theme.scene
async def slept_too_long(stage: Stage) -> None:
    """The run's own timeout ends it."""
    handle = await stage.start(Sleeps.run, 3600.0, run_timeout=timedelta(seconds=1))
    await stage.end(handle)
