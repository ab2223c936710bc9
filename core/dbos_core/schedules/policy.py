"""Overlap: which of the starts that are due may begin, which wait, which are dropped. Pure."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar


class Overlap(enum.IntEnum):
    """What to do when a run is due and the one before still runs. Numbers are Temporal's ``ScheduleOverlapPolicy``."""

    UNSPECIFIED = 0
    SKIP = 1
    BUFFER_ONE = 2
    BUFFER_ALL = 3
    CANCEL_OTHER = 4
    TERMINATE_OTHER = 5
    ALLOW_ALL = 6


class Overlappable(Protocol):
    overlap: Overlap


S = TypeVar("S", bound=Overlappable)


@dataclass(slots=True, kw_only=True)
class Choice(Generic[S]):
    """What is to be done with the starts that wait."""

    begin: list[S] = field(default_factory=list)
    waiting: list[S] = field(default_factory=list)
    skipped: int = 0
    cancel: bool = False
    """Ask what runs to end."""
    terminate: bool = False
    """End what runs. Stronger than ``cancel``."""


def choose(starts: Sequence[S], *, running: bool, resolve: Callable[[Overlap], Overlap]) -> Choice[S]:
    """Go through the waiting starts in order.

    Policies are resolved here and not earlier, so that a changed policy holds for what waits. Runs that may overlap
    stand beside all this: they neither block others nor are blocked.
    """
    choice: Choice[S] = Choice()
    alone: S | None = None
    for start in starts:
        policy = resolve(start.overlap)
        if policy is Overlap.ALLOW_ALL:
            choice.begin.append(start)
        elif not running and alone is None:
            alone = start
        elif policy is Overlap.BUFFER_ALL or (policy is Overlap.BUFFER_ONE and not choice.waiting):
            choice.waiting.append(start)
        elif policy in (Overlap.CANCEL_OTHER, Overlap.TERMINATE_OTHER):
            if running:
                choice.cancel |= policy is Overlap.CANCEL_OTHER
                choice.terminate |= policy is Overlap.TERMINATE_OTHER
                choice.waiting.append(start)
            else:
                alone = start  # in place of one that has not begun
        else:
            choice.skipped += 1
    if choice.cancel or choice.terminate:
        choice.begin.clear()  # would end at once
    if alone is not None:
        choice.begin.append(alone)
    return choice
