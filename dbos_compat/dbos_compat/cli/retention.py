"""``dbos-compat retention``: delete runs that finished long ago, in batches."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from temporalio.client import Client

from dbos_compat.cli.grouped import grouped
from dbos_compat.cli.run import (
    Output,
    Target,
    duration,
    kernel_of,
    run,
)

BATCH_RUNS = 500
"""One batch is one transaction: small enough to leave room for the commits of running workflows."""


def add_to(app: typer.Typer) -> None:
    app.command(epilog="Example: dbos-compat retention --older-than 30d --batch 500 --dry-run")(retention)


@grouped
def retention(
    *,
    older_than: Annotated[
        timedelta,
        typer.Option("--older-than", parser=duration, metavar="DURATION", help="Since their end: 30d, 12h, 90m ..."),
    ],
    batch: Annotated[int, typer.Option("--batch", min=1, max=10_000, help="Runs in one transaction.")] = BATCH_RUNS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
    target: Target,
    output: Output,
) -> None:
    """Delete runs that finished longer ago than that, with their journals. Running workflows are never touched."""

    async def work() -> None:
        before = datetime.now(UTC) - older_than
        async with target.connected() as client:
            found = (await client.count_workflows(f"CloseTime < '{before.isoformat()}'")).count
            deleted = 0
            if not dry_run:
                deleted = await _delete(output, client, before, found, batch)
        when = f"finished before {before:%Y-%m-%d %H:%M:%S} UTC"
        if dry_run:
            output.say(f"{found} runs {when} would be deleted (dry run: none was)")
        else:
            output.say(f"deleted {deleted} runs {when}")
        output.document({"before": before.isoformat(), "found": found, "deleted": deleted, "dry_run": dry_run})

    run(output, work())


async def _delete(output: Output, client: Client, before: datetime, found: int, batch: int) -> int:
    columns = (TextColumn("deleting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    deleted = 0
    with Progress(*columns, console=output.console, transient=True, disable=output.as_json) as progress:
        bar = progress.add_task("deleting", total=found)
        async for number in delete_finished(client, before, batch):
            deleted += number
            progress.update(bar, completed=deleted, total=max(found, deleted))
    return deleted


async def delete_finished(client: Client, before: datetime, batch: int) -> AsyncIterator[int]:
    """Delete runs closed before that time, ``batch`` in a transaction; yields how many each one deleted."""
    store = kernel_of(client).store
    before_ms = int(before.timestamp() * 1000)
    while number := await store.delete_finished(before_ms, batch):
        yield number
