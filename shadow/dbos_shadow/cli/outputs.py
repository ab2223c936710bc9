"""Outputs: a report on the terminal, as JSON, and in files whose suffix says which kind."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import typer
from rich.console import Console

from dbos_shadow.cli.ending import Exit, Stopped
from dbos_shadow.report import (
    Report,
    RunLine,
    render_html,
    render_jsonl,
    render_junit,
    render_markdown,
    render_sarif,
    render_text,
    to_json,
)

__all__ = ["check_suffixes", "show", "write"]

PIPE_WIDTH = 120


RENDERERS: dict[str, Callable[[Report, Sequence[RunLine]], str]] = {
    ".html": lambda report, _: render_html(report),
    ".md": lambda report, _: render_markdown(report),
    ".xml": lambda report, _: render_junit(report),
    ".sarif": lambda report, _: render_sarif(report),
    ".json": lambda report, _: to_json(report),
    ".jsonl": render_jsonl,
}


def check_suffixes(paths: Sequence[Path]) -> None:
    """Better said before an hour of work than after.

    Raises:
        Stopped: a suffix is not known.
    """
    for path in paths:
        if path.suffix not in RENDERERS:
            raise Stopped(
                f"{path}: the suffix says which report it shall be, and {path.suffix or 'none'} is none of "
                f"{', '.join(RENDERERS)}.",
                Exit.USAGE,
            )


def write(report: Report, lines: Sequence[RunLine], paths: Sequence[Path]) -> None:
    """Write reports; each file is there as a whole or as it was.

    Raises:
        OSError: a file cannot be written.
    """
    for path in paths:
        text = RENDERERS[path.suffix](report, lines)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)


def show(report: Report, *, as_json: bool, said: str = "", written: Sequence[Path] = ()) -> None:
    """Print it: for people, or as one JSON document."""
    if as_json:
        typer.echo(to_json(report), nl=False)
        if said:
            Console(stderr=True, highlight=False).print(said, markup=False, soft_wrap=True)
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_WIDTH)
    render_text(report, console)
    for path in written:
        console.print(f"written: {path}", markup=False, soft_wrap=True)
    if said:
        console.print(said, markup=False, soft_wrap=True)
