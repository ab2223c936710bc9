"""Chance, time and names: different in each run, and the same whenever it is replayed."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow

from tests.shadow.corpus.theme import Theme

theme = Theme("determinism", sandboxed=True)

SOON = timedelta(seconds=30)


@theme.activity
@activity.defn
async def keep(value: Any) -> Any:
    return value


@theme.workflow
@workflow.defn
class Chance:
    """What chance and the clock say goes into the inputs of activities."""

    @workflow.run
    async def run(self) -> list[Any]:
        random = workflow.random()
        values: list[Any] = [
            str(workflow.uuid4()),
            random.randint(1, 1_000_000),
            random.sample(range(100), 5),
            workflow.now().isoformat(),
            workflow.time_ns(),
            workflow.info().run_id,
            workflow.info().get_current_history_length(),
        ]
        return [await workflow.execute_activity(keep, value, start_to_close_timeout=SOON) for value in values]


@theme.workflow
@workflow.defn
class ChanceDecides:
    """Chance decides which steps there are, and how many."""

    @workflow.run
    async def run(self) -> int:
        random = workflow.random()
        steps = random.randint(1, 4)
        for _ in range(steps):
            if random.random() < 0.5:
                await workflow.execute_activity(keep, random.random(), start_to_close_timeout=SOON)
            else:
                await asyncio.sleep(random.randint(1, 20) / 1000)
        return steps


@theme.workflow
@workflow.defn
class TimeDecides:
    @workflow.run
    async def run(self) -> str:
        begun = workflow.now()
        await asyncio.sleep(0.01)
        slept = workflow.now() - begun
        if slept > timedelta(milliseconds=5):
            await workflow.execute_activity(keep, f"{slept.total_seconds():.6f}", start_to_close_timeout=SOON)
        workflow.logger.info("slept")
        if not workflow.unsafe.is_replaying():
            workflow.logger.info("for the first time")
        return begun.isoformat()


@theme.workflow
@workflow.defn
class FactsAboutItself:
    @workflow.run
    async def run(self) -> dict[str, Any]:
        info = workflow.info()
        facts: dict[str, Any] = {
            "id": info.workflow_id,
            "run": info.run_id,
            "first": info.first_execution_run_id,
            "attempt": info.attempt,
            "type": info.workflow_type,
            "queue": info.task_queue,
            "namespace": info.namespace,
            "start": info.start_time.isoformat(),
            "timeout": str(info.task_timeout),
            "parent": info.parent is not None,
            "root": info.root is not None,
        }
        return dict(await workflow.execute_activity(keep, facts, start_to_close_timeout=SOON))


theme.runs("chance", Chance.run)
for number in range(4):
    theme.runs(f"chance_decides_{number}", ChanceDecides.run)
theme.runs("time_decides", TimeDecides.run)
theme.runs("facts_about_itself", FactsAboutItself.run)
