"""``dbos-compat workflow ...``: look at workflows and talk to them; thin over temporalio's own client."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import (
    WorkflowExecution,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.exceptions import FailureError

from dbos_compat.cli.grouped import grouped
from dbos_compat.cli.run import (
    CommandFailed,
    Exit,
    Output,
    Target,
    run,
)

app = typer.Typer(help="List, inspect and control workflows.", no_args_is_help=True)

WorkflowId = Annotated[str, typer.Argument(help="The workflow id.")]
RunId = Annotated[str | None, typer.Option("--run-id", help="This run; without, the current one.")]

WIDE = 140
"""Columns from which on a listing has room for run ids."""

COLOURS = {
    WorkflowExecutionStatus.RUNNING: "yellow",
    WorkflowExecutionStatus.COMPLETED: "green",
    WorkflowExecutionStatus.FAILED: "red",
    WorkflowExecutionStatus.TIMED_OUT: "red",
}


@app.command("list", epilog="Example: dbos-compat workflow list --query \"ExecutionStatus = 'Running'\" --limit 20")
@grouped
def list_workflows(
    *,
    query: Annotated[str | None, typer.Option("--query", "-q", help="Temporal list filter.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-l", min=1, help="At most that many.")] = 20,
    target: Target,
    output: Output,
) -> None:
    """List workflow runs, the newest first."""

    async def work() -> None:
        async with target.connected() as client:
            found = [found async for found in client.list_workflows(query, limit=limit)]
        if found:
            output.table(_listing_table(found, with_run_ids=output.console.width >= WIDE))
        else:
            output.say("no workflow matches")
        output.document(
            [
                {
                    "workflow_id": one.id,
                    "run_id": one.run_id,
                    "type": one.workflow_type,
                    "status": one.status.name if one.status else None,
                    "task_queue": one.task_queue,
                    "start_time": one.start_time.isoformat(),
                    "close_time": one.close_time.isoformat() if one.close_time else None,
                }
                for one in found
            ]
        )

    run(output, work())


@app.command(epilog="Example: dbos-compat workflow show order-42 --history")
@grouped
def show(
    workflow_id: WorkflowId,
    *,
    run_id: RunId = None,
    history: Annotated[bool, typer.Option("--history", help="With the events of its history.")] = False,
    target: Target,
    output: Output,
) -> None:
    """Show one run: where it stands, what is pending, and on request its history."""

    async def work() -> None:
        async with target.connected() as client:
            handle = client.get_workflow_handle(workflow_id, run_id=run_id)
            description = await handle.describe()
            events = (await handle.fetch_history()).to_json_dict()["events"] if history else []
        output.table(_description_table(description))
        if history:
            output.table(_history_table(events))
        document = _description_document(description)
        output.document({**document, "history": events} if history else document)

    run(output, work())


@app.command(epilog="Example: dbos-compat workflow result order-42 --json")
@grouped
def result(
    workflow_id: WorkflowId,
    *,
    run_id: RunId = None,
    target: Target,
    output: Output,
) -> None:
    """Wait for the end of a workflow and print its result. Exit 1 if it did not complete."""

    async def work() -> None:
        async with target.connected() as client:
            handle: WorkflowHandle[Any, Any] = client.get_workflow_handle(workflow_id, run_id=run_id)
            try:
                value = await handle.result()
            except WorkflowFailureError as failure:
                output.document({"workflow_id": workflow_id, "failure": _chain(failure.cause)})
                said = "\n  caused by: ".join(_chain(failure.cause))
                raise CommandFailed(f"workflow {workflow_id!r} did not complete: {said}", Exit.NOT_COMPLETED) from None
        output.say(escape(json.dumps(value, indent=2, ensure_ascii=False, default=str)))
        output.document({"workflow_id": workflow_id, "result": value})

    run(output, work())


@app.command(epilog="Example: dbos-compat workflow signal order-42 approve --input '\"Ada\"'")
@grouped
def signal(
    workflow_id: WorkflowId,
    name: Annotated[str, typer.Argument(help="The signal's name.")],
    *,
    inputs: Annotated[
        list[str] | None, typer.Option("--input", "-i", help="One argument as JSON; repeat it for more.")
    ] = None,
    run_id: RunId = None,
    target: Target,
    output: Output,
) -> None:
    """Send a signal. When this command has returned, the signal is in the database."""
    arguments = [_json_argument(text) for text in inputs or []]

    async def work() -> None:
        async with target.connected() as client:
            await client.get_workflow_handle(workflow_id, run_id=run_id).signal(name, args=arguments)
        output.say(f"signal [cyan]{escape(name)}[/] is delivered to workflow [cyan]{escape(workflow_id)}[/]")
        output.document({"workflow_id": workflow_id, "signal": name})

    run(output, work())


@app.command(epilog="Example: dbos-compat workflow cancel order-42")
@grouped
def cancel(
    workflow_id: WorkflowId,
    *,
    run_id: RunId = None,
    target: Target,
    output: Output,
) -> None:
    """Ask a workflow to cancel itself; it may clean up, and may refuse."""

    async def work() -> None:
        async with target.connected() as client:
            await client.get_workflow_handle(workflow_id, run_id=run_id).cancel()
        output.say(f"workflow [cyan]{escape(workflow_id)}[/] is asked to cancel")
        output.document({"workflow_id": workflow_id, "cancel_requested": True})

    run(output, work())


@app.command(epilog="Example: dbos-compat workflow terminate order-42 --reason 'sent twice'")
@grouped
def terminate(
    workflow_id: WorkflowId,
    *,
    reason: Annotated[str | None, typer.Option("--reason", help="Kept with the run.")] = None,
    run_id: RunId = None,
    target: Target,
    output: Output,
) -> None:
    """End a workflow at once, without a chance to clean up."""

    async def work() -> None:
        async with target.connected() as client:
            await client.get_workflow_handle(workflow_id, run_id=run_id).terminate(reason=reason)
        output.say(f"workflow [cyan]{escape(workflow_id)}[/] is terminated")
        output.document({"workflow_id": workflow_id, "terminated": True})

    run(output, work())


def _listing_table(found: Sequence[WorkflowExecution], *, with_run_ids: bool) -> Table:
    table = Table()
    table.add_column("workflow id", overflow="fold", ratio=2)
    table.add_column("type", overflow="fold", ratio=1)
    for heading in ("status", "started (UTC)", "took", *(["run id"] if with_run_ids else [])):
        table.add_column(heading, no_wrap=True)
    for one in found:
        took = str(one.close_time - one.start_time)[:-3] if one.close_time else "-"
        row = [escape(one.id), escape(one.workflow_type), _status(one.status), _time(one.start_time), took]
        table.add_row(*row, *([one.run_id] if with_run_ids else []))
    return table


def _json_argument(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise typer.BadParameter(
            f"--input {text!r} is not JSON. A text needs its own quotes: --input '\"{text}\"'"
        ) from None


def _chain(error: BaseException | None) -> list[str]:
    """A failure and its causes, outermost first."""
    lines: list[str] = []
    while error is not None:
        kind = getattr(error, "type", None) or type(error).__name__
        lines.append(f"{kind}: {error.message if isinstance(error, FailureError) else error}")
        error = error.__cause__
    return lines


def _status(status: WorkflowExecutionStatus | None) -> str:
    if status is None:
        return "-"
    return f"[{COLOURS.get(status, 'magenta')}]{status.name.lower().replace('_', ' ')}[/]"


def _time(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if moment else "-"


def _description_table(description: WorkflowExecutionDescription) -> Table:
    table = Table(show_header=False, box=None)
    table.add_column(style="dim")
    table.add_column()
    table.add_row("workflow id", escape(description.id))
    table.add_row("run id", description.run_id)
    table.add_row("type", escape(description.workflow_type))
    table.add_row("task queue", escape(description.task_queue))
    table.add_row("status", _status(description.status))
    table.add_row("started", f"{_time(description.start_time)} UTC")
    if description.close_time:
        table.add_row(
            "closed", f"{_time(description.close_time)} UTC, after {description.close_time - description.start_time}"
        )
    table.add_row("history", f"{description.history_length} events")
    for pending in description.raw_description.pending_activities:
        table.add_row(
            "pending activity",
            f"{escape(pending.activity_type.name)} (id {escape(pending.activity_id)}), attempt {pending.attempt}, "
            + _activity_state(pending).lower().replace("_", " ")
            + (f", last worker: {escape(pending.last_worker_identity)}" if pending.last_worker_identity else "")
            + (f", last failure: {escape(pending.last_failure.message)}" if pending.HasField("last_failure") else ""),
        )
    return table


def _activity_state(pending: PendingActivityInfo) -> str:
    return PendingActivityState.Name(pending.state).removeprefix("PENDING_ACTIVITY_STATE_")


def _description_document(description: WorkflowExecutionDescription) -> dict[str, Any]:
    return {
        "workflow_id": description.id,
        "run_id": description.run_id,
        "type": description.workflow_type,
        "task_queue": description.task_queue,
        "status": description.status.name if description.status else None,
        "start_time": description.start_time.isoformat(),
        "close_time": description.close_time.isoformat() if description.close_time else None,
        "history_length": description.history_length,
        "pending_activities": [
            {
                "activity_id": pending.activity_id,
                "type": pending.activity_type.name,
                "attempt": pending.attempt,
                "state": _activity_state(pending),
                "last_worker": pending.last_worker_identity or None,
                "last_failure": pending.last_failure.message or None,
            }
            for pending in description.raw_description.pending_activities
        ],
    }


def _history_table(events: list[dict[str, Any]]) -> Table:
    table = Table(title="history", title_justify="left")
    for heading in ("event", "time", "what"):
        table.add_column(heading, justify="right" if heading == "event" else "left")
    for event in events:
        kind = event["eventType"].removeprefix("EVENT_TYPE_").replace("_", " ").lower()
        table.add_row(str(event["eventId"]), event["eventTime"], kind)
    return table
