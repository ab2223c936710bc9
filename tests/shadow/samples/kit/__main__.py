"""``python -m tests.shadow.samples.kit --samples CHECKOUT``: the public samples under the determinism kit; a table."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tests.fixtures.process import IMPORT_FOLDERS, REPOSITORY
from tests.shadow.samples.__main__ import revision_of
from tests.shadow.samples.kit import page
from tests.shadow.samples.kit.outcome import Outcome, outcomes_of
from tests.shadow.samples.kit.plans import files
from tests.shadow.samples.kit.told import LEFT_OUT

WITHIN_S = 7_200.0
"""For one file."""

console = Console(width=None if sys.stdout.isatty() else 150)


def main(
    samples: Annotated[Path, typer.Option(help="A checkout of temporalio/samples-python.")],
    schedules: Annotated[int, typer.Option(min=1, help="For each workflow.")] = 10_000,
    only: Annotated[list[str] | None, typer.Option(help="Files whose path has this text.")] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Keep answers in this folder, and take those that are there as they are.")
    ] = None,
    write_docs: Annotated[
        bool, typer.Option("--write-docs", help="Put the table into docs/determinism-samples.md.")
    ] = False,
) -> None:
    """Explore every workflow class of the samples, print the table; fail when one breaks that is not known to."""
    if not (samples / "hello" / "hello_activity.py").exists():
        raise typer.BadParameter(f"{samples} is no checkout of the samples: it has no hello/hello_activity.py")
    found: list[Outcome] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for file in files(samples):
            if file.partition("/")[0] in LEFT_OUT or (only and not any(text in file for text in only)):
                continue
            answers = folder / f"{file.replace('/', '+')}.jsonl"
            if not answers.exists():
                _explore(samples, file, schedules, answers)
            for outcome in outcomes_of(file, answers.read_text(encoding="utf-8")):
                found.append(outcome)
                console.print(f"{outcome.verdict}: {outcome.place}", highlight=False)
    console.print(table(found))
    if write_docs:
        page.write(found, revision_of(samples))
    raise typer.Exit(0 if all(outcome.well for outcome in found) else 1)


def _explore(samples: Path, file: str, schedules: int, answers: Path) -> None:
    """Answers come into being whole: who interrupts this begins with the file again."""
    words = [sys.executable, "-P", "-m", "tests.shadow.samples.kit.inside", "--samples", str(samples.resolve())]
    path = os.pathsep.join([*map(str, IMPORT_FOLDERS), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    done = subprocess.run(
        [*words, "--schedules", str(schedules), file],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=WITHIN_S,
        text=True,
        check=False,
    )
    part = answers.with_suffix(".part")
    part.write_text(done.stdout, encoding="utf-8")
    part.rename(answers)


def table(outcomes: list[Outcome]) -> Table:
    """What came of all of them."""
    shown = Table(title="Temporal's Python samples under the determinism kit", title_justify="left")
    for heading in ("workflow", "schedules", "tasks", "verdict", ""):
        shown.add_column(heading, justify="right" if heading in ("schedules", "tasks") else "left")
    for outcome in outcomes:
        shown.add_row(
            outcome.place, f"{outcome.schedules:,}", f"{outcome.tasks:,}", outcome.verdict, outcome.remark[:200]
        )
    return shown


if __name__ == "__main__":
    typer.run(main)
