"""``dbos-compat runs ...``: which open runs no worker goes on with, and how to move them to one that does."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table
from temporalio.client import Client

from dbos_compat.cli.grouped import grouped
from dbos_compat.cli.run import (
    CommandFailed,
    Exit,
    Output,
    Target,
    kernel_of,
    run,
)
from dbos_core.store.postgres.store import PostgresStore
from dbos_core.store.postgres.versions import OpenRuns, Stranded, Versions, Which

app = typer.Typer(
    help="Open runs by application version: find those that are stranded, and move them.", no_args_is_help=True
)

BATCH_RUNS = 500
"""Moved in one transaction."""


@app.command(epilog="Example: dbos-compat runs report --check")
@grouped
def report(
    *,
    limit: Annotated[int, typer.Option("--limit", "-l", min=1, help="Name at most that many stranded runs.")] = 50,
    check: Annotated[bool, typer.Option("--check", help="End with status 1 if a run is stranded.")] = False,
    target: Target,
    output: Output,
) -> None:
    """Open runs by version, and by name those that no worker goes on with: nobody serves their queue, or their task
    fails again and again."""

    async def work() -> None:
        async with target.connected() as client:
            versions = _versions(client)
            open_runs = await versions.open_runs()
            stranded = await versions.stranded(limit)
        output.table(_open_table(open_runs))
        if stranded:
            output.table(_stranded_table(stranded))
            output.say("Move them with [bold]dbos-compat runs move[/], or run a worker that knows their code.")
        else:
            output.say("no run is stranded")
        output.document(
            {
                "open": [asdict(group) for group in open_runs],
                "stranded": [asdict(one) | {"reason": _reason(one)} for one in stranded],
            }
        )
        if check and stranded:
            raise typer.Exit(int(Exit.NOT_COMPLETED))

    run(output, work())


@app.command(epilog="Example: dbos-compat runs move orders-v1 --from-queue orders --version 1 --stranded --dry-run")
@grouped
def move(
    to_queue: Annotated[str, typer.Argument(help="The task queue of the worker that shall go on with them.")],
    *,
    from_queue: Annotated[str | None, typer.Option("--from-queue", help="Only runs on this task queue.")] = None,
    version: Annotated[
        str | None, typer.Option("--version", help="Only runs that ran last under this application version.")
    ] = None,
    workflow_type: Annotated[str | None, typer.Option("--type", help="Only runs of this workflow type.")] = None,
    workflow_id: Annotated[list[str] | None, typer.Option("--workflow-id", help="Only these; may be repeated.")] = None,
    stranded: Annotated[
        bool, typer.Option("--stranded", help="Only runs that no worker goes on with, as in the report.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
    target: Target,
    output: Output,
) -> None:
    """Put open runs on another task queue, as they stand. Whoever serves that queue replays them and goes on."""
    which = Which(
        task_queue=from_queue,
        version=version,
        workflow_type=workflow_type,
        workflow_ids=tuple(workflow_id) if workflow_id else None,
        stranded=stranded,
    )

    async def work() -> None:
        if which == Which():
            raise CommandFailed(
                "say which runs: with --from-queue, --version, --type, --workflow-id or --stranded", Exit.USAGE
            )
        async with target.connected() as client:
            versions = _versions(client)
            if dry_run:
                found = await versions.count(to_queue, which)
                output.say(f"{found} runs would be moved to task queue {escape(to_queue)!r} (dry run: none was)")
                output.document({"to_queue": to_queue, "found": found, "moved": [], "dry_run": True})
                return
            moved: list[str] = []
            while batch := await versions.move(to_queue, which, BATCH_RUNS):
                moved += batch
        output.say(f"moved {len(moved)} runs to task queue {escape(to_queue)!r}")
        output.document({"to_queue": to_queue, "found": len(moved), "moved": moved, "dry_run": False})

    run(output, work())


def _versions(client: Client) -> Versions:
    store = kernel_of(client).store
    assert isinstance(store, PostgresStore)
    return store.versions


def _reason(one: Stranded) -> str:
    return "task fails" if one.served else "no worker serves its queue"


def _open_table(groups: list[OpenRuns]) -> Table:
    table = Table(title=f"open runs ({sum(group.runs for group in groups)})", title_justify="left", title_style="bold")
    for heading in ("version", "task queue", "type"):
        table.add_column(heading)
    for heading in ("open", "failing"):
        table.add_column(heading, justify="right")
    table.add_column("oldest (UTC)")
    table.add_column("served by version")
    for group in groups:
        table.add_row(
            escape(group.version) or "-",
            escape(group.task_queue),
            escape(group.workflow_type),
            str(group.runs),
            f"[red]{group.failing}[/]" if group.failing else "0",
            _time(group.oldest_ms),
            escape(", ".join(group.served_by)) or "[red]nobody[/]",
        )
    return table


def _stranded_table(stranded: list[Stranded]) -> Table:
    table = Table(title=f"stranded runs ({len(stranded)})", title_justify="left", title_style="bold red")
    table.add_column("workflow id", overflow="fold")
    table.add_column("version")
    table.add_column("task queue")
    table.add_column("started (UTC)")
    table.add_column("why", overflow="fold")
    for one in stranded:
        why = _reason(one)
        if one.cause:
            why += f", attempt {one.attempt}: {escape(one.cause)} {escape((one.message or '')[:200])}"
        table.add_row(
            escape(one.workflow_id), escape(one.version) or "-", escape(one.task_queue), _time(one.start_ms), why
        )
    return table


def _time(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"
