"""Who is who in changed code: the same inputs are the same step, in whatever order they are asked for."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.worker import UnsandboxedWorkflowRunner

from dbos_compat.workbench import Workbench
from dbos_shadow.recorded import Recorded
from dbos_shadow.replay import replay_recorded
from dbos_shadow.verdict import Verdict
from tests.unit.shadow.engine import engine, recorded

SOON = timedelta(seconds=20)


@activity.defn
async def double(number: int) -> int:
    return 2 * number


async def doubled(number: int) -> int:
    return await workflow.execute_activity(double, number, start_to_close_timeout=SOON)


@workflow.defn(name="Doubles")
class Doubles:
    """One after the other."""

    @workflow.run
    async def run(self) -> list[int]:
        return [await doubled(number) for number in (1, 2, 3)]

    @workflow.update
    def say(self, word: str) -> str:
        return word

    @say.validator
    def check(self, word: str) -> None:
        if not word:
            raise ValueError("say something")


@workflow.defn(name="Doubles")
class AllAtOnceFromTheEnd(Doubles):
    """The same steps, and they end with the same results."""

    @workflow.run
    async def run(self) -> list[int]:
        return list(reversed(await asyncio.gather(*[doubled(number) for number in (3, 2, 1)])))


@workflow.defn(name="Doubles")
class WithoutTheFirst(Doubles):
    @workflow.run
    async def run(self) -> list[int]:
        return [2, await doubled(2), await doubled(3)]


@workflow.defn(name="Doubles")
class Refuses:
    @workflow.run
    async def run(self) -> list[int]:
        return [await doubled(number) for number in (1, 2, 3)]

    @workflow.update
    def say(self, word: str) -> str:
        return word

    @say.validator
    def check(self, word: str) -> None:
        raise ValueError("nothing is good enough")


async def doubles(*, update: bool = False) -> Recorded:
    async with engine([Doubles], [double]) as client:
        handle = await client.start_workflow(Doubles.run, id="w", task_queue="q")
        if update:
            await handle.execute_update(Doubles.say, "hello")
        await handle.result()
        return await recorded(handle)


async def found(record: Recorded, workflow_class: type) -> list[str]:
    async with Workbench([workflow_class], workflow_runner=UnsandboxedWorkflowRunner()) as bench:
        judgement = await replay_recorded(record, bench)
    assert judgement.comparison is not None, judgement.note
    assert (judgement.verdict is Verdict.MATCH) is not bool(judgement.comparison.differences)
    return [f"{one.level} {one.kind} {one.path} {one.step}" for one in judgement.comparison.differences]


async def test_each_step_keeps_its_result_in_another_order() -> None:
    differences = await found(await doubles(), AllAtOnceFromTheEnd)
    assert differences
    assert all(one.startswith("L1 order") for one in differences), differences


async def test_of_a_step_that_is_gone_the_others_know_nothing() -> None:
    assert await found(await doubles(), WithoutTheFirst) == ["L1 missing activity double: step 0"]


async def test_a_validator_that_refuses_now_is_found() -> None:
    record = await doubles(update=True)
    assert await found(record, Doubles) == []
    assert "update_accepted say: step" in (await found(record, Refuses))[0]
