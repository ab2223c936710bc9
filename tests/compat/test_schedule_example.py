"""`examples/nightly_report.py` does the same on either engine."""

from __future__ import annotations

from datetime import timedelta

from temporalio.client import Client

from examples.nightly_report import QUEUE, NightlyReport, Report, results, sales_since_last_time, schedule

from .support import MakeWorker


async def test_each_report_carries_the_total_of_the_one_before(
    client: Client, unique: str, make_worker: MakeWorker
) -> None:
    async with make_worker(client, task_queue=QUEUE, workflows=[NightlyReport], activities=[sales_since_last_time]):
        handle = await schedule(client, f"nightly-{unique}", every=timedelta(seconds=1), reports=3)
        assert await results(client, handle, 3) == [Report(1, 1_000), Report(2, 3_000), Report(3, 6_000)]
        await handle.delete()
