"""The workflows of ``programs``, one of them changed: it adds something else, and ends with something else."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

from tests.unit.shadow.programs import KEYWORD, SOON, Locally, add, refuse, second_time_lucky

__all__ = ["OTHER", "PLAIN", "WORKFLOWS", "Locally", "Raises", "Steps"]


@workflow.defn
class Steps:
    @workflow.run
    async def run(self, start: int) -> dict[str, object]:
        sums = await asyncio.gather(
            *[workflow.execute_activity(add, args=[start, n + 1], start_to_close_timeout=SOON) for n in range(3)]
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
        workflow.logger.warning("a canary that sings")
        workflow.upsert_memo({"sum": sum(sums)})
        workflow.upsert_search_attributes([KEYWORD.value_set("k")])
        return {"sums": sums, "raw": list(raw), "ada@example.com": {"ada@example.com": "canary"}}


@workflow.defn(name="Steps")
class Raises:
    @workflow.run
    async def run(self, start: int) -> None:
        raise KeyError(f"canary {start}")


WORKFLOWS = [Steps, Locally]

PLAIN: dict[str, Any] = {}
OTHER: dict[str, Any] = {}
"""Options of a worker, by two names."""
