"""The screen: headings, facts with the time at which they became true, tables. Plain text where there is no terminal."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from examples.checkout.demo.evidence import Promises, Step

PLAIN_WIDTH = 110
OUTPUT_WIDTH = 48
"""Characters of a checkpoint that are shown."""


class Screen:
    """Where the demo speaks."""

    def __init__(self) -> None:
        console = Console(highlight=False)
        self.console = console if console.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def title(self, text: str) -> None:
        self.console.print(Panel(text, border_style="cyan", padding=(0, 2), expand=False))

    def act(self, text: str) -> None:
        self.console.print()
        self.console.print(Rule(f"[bold]{text}", align="left", style="cyan"))

    def say(self, text: str) -> None:
        self.console.print(f"        {text}", soft_wrap=True)

    def fact(self, text: str, *, mark: str = "[green]✓[/]") -> None:
        """Something that has just become true."""
        self.console.print(f"[dim]{self.seconds:5.1f} s[/] {mark} {text}", soft_wrap=True)

    @contextlib.contextmanager
    def waiting(self, text: str, *, seconds: float | None = None) -> Iterator[None]:
        """Show that something is awaited, with a bar if it is known how long it takes at most."""
        if not self.console.is_terminal:
            self.console.print(f"        … {text}")
            yield
            return
        bar = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(24), console=self.console, transient=True
        )
        with bar:
            task = bar.add_task(text, total=seconds)
            if seconds is None:
                yield
                return
            with _moving(bar, task, seconds):
                yield

    def timeline(self, title: str, steps: Sequence[Step], first: int, second: int) -> None:
        """One workflow: what ran in which process, and what was not run again."""
        table = Table(title=title, title_justify="left", title_style="bold", border_style="dim")
        table.add_column("step")
        table.add_column(f"process {first}\n[red]killed[/]")
        table.add_column(f"process {second}\n[green]its successor[/]")
        table.add_column("in the journal")
        for step in steps:
            table.add_row(*_row(step, first, second))
        self.console.print()
        self.console.print(table)

    def workflows(self, command: str, rows: Sequence[dict[str, Any]]) -> None:
        table = _stock_table(command)
        for heading in ("workflow_id", "status", "name", "created_at", "updated_at"):
            table.add_column(heading)
        for row in rows:
            colour = "green" if row["status"] == "SUCCESS" else "red"
            table.add_row(
                row["workflow_id"],
                f"[{colour}]{row['status']}[/]",
                row["name"],
                _time(row["created_at"]),
                _time(row["updated_at"]),
            )
        self.console.print(table)

    def steps(self, command: str, rows: Sequence[dict[str, Any]]) -> None:
        table = _stock_table(command)
        for heading in ("function_id", "function_name", "completed", "output"):
            table.add_column(heading, no_wrap=True)
        for row in rows:
            output = json.dumps(row["output"], ensure_ascii=False)
            table.add_row(
                str(row["function_id"]),
                Text(row["function_name"]),
                _time(row["completed_at_epoch_ms"]),
                Text(output if len(output) <= OUTPUT_WIDTH else output[: OUTPUT_WIDTH - 1] + "…"),
            )
        self.console.print(table)

    def promises(self, promises: Promises) -> None:
        self.act("What was promised, and is so")
        for claim, holds, why in promises.kept:
            self.console.print(f"   {'[green]✓[/]' if holds else '[bold red]✗[/]'} {claim}")
            if why:
                self.console.print(f"     [red]{escape(why)}[/]")
        self.console.print()
        count = len(promises.kept)
        if promises.broken:
            self.console.print(f"[bold red]{promises.broken} of {count} promises were broken.[/]")
        else:
            self.console.print(f"[bold green]All {count} promises hold.[/] It took {self.seconds:.0f} s.")


def _row(step: Step, first: int, second: int) -> tuple[str, str, str, str]:
    if step.kind == "activity":
        left, right = _activity_cells(step, first, second)
        name = step.name
    else:
        cells = {first: "", second: ""}
        for pid in cells:
            said = ["set"] if _is(step.asked_by, pid) else []
            said += [f"[green]{step.ended}[/]"] if _is(step.by, pid) else []
            cells[pid] = ", ".join(said)
        left, right = cells[first], cells[second]
        name = f"{step.kind}: {escape(step.name)}"
    colour = "red" if step.ended in ("failed", "timed out", "open") else "green"
    return name, left, right, f"[{colour}]{step.ended}[/]"


def _activity_cells(step: Step, first: int, second: int) -> tuple[str, str]:
    before = [ran.attempt for ran in step.runs if ran.pid == first]
    after = [ran.attempt for ran in step.runs if ran.pid == second]
    done_before = step.ended == "completed" and _is(step.by, first)
    left = right = ""
    if before:
        left = "[green]ran[/]" if done_before else f"[red]attempt {before[-1]}, killed in it[/]"
    if after:
        right = f"[yellow]attempt {after[-1]}: ran again[/]" if before else "[green]ran[/]"
    elif done_before:
        right = "[cyan]replayed[/], not run"
    elif before:
        right = "[bold]not run again[/]"
    return left, right


def _is(identity: str, pid: int) -> bool:
    return identity.startswith(f"{pid}@")


def _stock_table(command: str) -> Table:
    return Table(title=f"$ {command}", title_justify="left", title_style="bold", border_style="dim")


def _time(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%H:%M:%S.%f}"[:-3]


@contextlib.contextmanager
def _moving(bar: Progress, task: Any, seconds: float) -> Iterator[None]:
    """Let the bar move by itself while somebody else does the waiting."""
    began = time.monotonic()
    done = threading.Event()

    def move() -> None:
        while not done.wait(0.1):
            bar.update(task, completed=min(time.monotonic() - began, seconds))

    mover = threading.Thread(target=move, daemon=True)
    mover.start()
    try:
        yield
    finally:
        done.set()
        mover.join()
