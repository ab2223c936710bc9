"""A report that is made on a schedule: each run carries the total of the one before, no time is lost, none comes twice.

    python -m examples.nightly_report

makes five reports, one a second, on the database that ``DBOS_SYSTEM_DATABASE_URL`` names, or on an embedded one; with
``TEMPORAL_ADDRESS`` set on a Temporal server. Workflow and activity do not know which.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleHandle,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
)
from temporalio.worker import Worker

QUEUE = "reports"


@dataclass
class Report:
    """What one run leaves to the next."""

    number: int
    total_cents: int


@activity.defn
async def sales_since_last_time(number: int) -> int:
    return 1_000 * number


@workflow.defn
class NightlyReport:
    """Adds what was sold since the last report."""

    @workflow.run
    async def run(self) -> Report:
        before = workflow.get_last_completion_result(Report) or Report(0, 0)
        number = before.number + 1
        cents = await workflow.execute_activity(
            sales_since_last_time, number, start_to_close_timeout=timedelta(minutes=5)
        )
        return Report(number, before.total_cents + cents)


async def schedule(client: Client, schedule_id: str, *, every: timedelta, reports: int) -> ScheduleHandle:
    """So many reports; one that takes long holds the next one up, and a failure pauses them all."""
    return await client.create_schedule(
        schedule_id,
        Schedule(
            action=ScheduleActionStartWorkflow(NightlyReport.run, id=f"{schedule_id}-report", task_queue=QUEUE),
            spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)]),
            policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.BUFFER_ALL, pause_on_failure=True),
            state=ScheduleState(limited_actions=True, remaining_actions=reports, note="made by the example"),
        ),
    )


async def results(client: Client, handle: ScheduleHandle, reports: int) -> list[Report]:
    """The reports, once all are made."""
    while (described := await handle.describe()).info.num_actions < reports:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    found = []
    for made in described.info.recent_actions:
        assert isinstance(made.action, ScheduleActionExecutionStartWorkflow)
        run = client.get_workflow_handle(made.action.workflow_id, result_type=Report)
        found.append(await run.result())
    return found


async def main() -> None:
    if address := os.environ.get("TEMPORAL_ADDRESS"):
        client = await Client.connect(address)
    else:
        import dbos_compat

        client = await dbos_compat.connect()
    async with Worker(client, task_queue=QUEUE, workflows=[NightlyReport], activities=[sales_since_last_time]):
        handle = await schedule(client, "nightly", every=timedelta(seconds=1), reports=5)
        try:
            for report in await results(client, handle, 5):
                print(f"report {report.number}: {report.total_cents / 100:.2f} in all")
        finally:
            await handle.delete()
    if not address:
        await dbos_compat.disconnect(client)


if __name__ == "__main__":
    asyncio.run(main())
