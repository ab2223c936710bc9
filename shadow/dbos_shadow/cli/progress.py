"""Progress: how far a session is, on standard error. A bar on a terminal; a line now and then anywhere else."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn

from dbos_shadow.campaign import Counts
from dbos_shadow.verdict import Judgement

__all__ = ["Doing", "Shower", "doing", "showing"]

LINE_EVERY_S = 15.0
LOOK_EVERY_S = 0.1


class Shower:
    """Shows counts when it is told of a judgement."""

    def __init__(self, progress: Progress | None, console: Console) -> None:
        self._progress = progress
        self._console = console
        self._bar = progress.add_task("", total=None) if progress is not None else None
        self._said_at = time.monotonic()
        self.counts: Counts | None = None

    def __call__(self, _: Judgement) -> None:
        counts = self.counts
        if counts is None:
            return
        if self._progress is not None and self._bar is not None:
            done = counts.judged + counts.known
            total = None if counts.listing else max(counts.chosen, done)
            self._progress.update(self._bar, completed=done, total=total, description=said(counts))
        elif time.monotonic() - self._said_at >= LINE_EVERY_S:
            self._said_at = time.monotonic()
            self._console.print(f"shadow: {counts.judged + counts.known} judged, {said(counts)}")


class Doing:
    """Shows what is being done, and how much of how much is done (0: nobody knows)."""

    def __init__(self, progress: Progress | None, console: Console) -> None:
        self._progress = progress
        self._console = console
        self._bar = progress.add_task("", total=None) if progress is not None else None
        self._every_s = LINE_EVERY_S if progress is None else LOOK_EVERY_S
        self._said_at = time.monotonic()

    def __call__(self, what: str, done: int, of: int) -> None:
        now = time.monotonic()
        if now - self._said_at < self._every_s:
            return
        self._said_at = now
        if self._progress is not None and self._bar is not None:
            self._progress.update(self._bar, completed=done, total=of or None, description=what)
        else:
            self._console.print(f"{done:,}{f' of {of:,}' if of else ''} {what}")


def said(counts: Counts) -> str:
    """Verdicts in a few words."""
    words = [f"{name.replace('_', ' ')} {number}" for name, number in sorted(counts.verdicts.items())]
    return " · ".join(words) or "nothing yet"


@contextlib.contextmanager
def showing(*, quiet: bool) -> Iterator[Shower]:
    """A place to show progress, as long as the block runs."""
    console = Console(stderr=True, highlight=False)
    if quiet or not console.is_terminal:
        yield Shower(None, Console(stderr=True, highlight=False, quiet=quiet))
        return
    with Progress(*_columns(), console=console, transient=True) as progress:
        yield Shower(progress, console)


@contextlib.contextmanager
def doing() -> Iterator[Doing]:
    """A place to show what is being done, as long as the block runs."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield Doing(None, console)
        return
    with Progress(*_columns(), console=console, transient=True) as progress:
        yield Doing(progress, console)


def _columns() -> tuple[ProgressColumn, ...]:
    return BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}")
