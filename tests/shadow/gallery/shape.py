"""Shape: one kind of bug, how the kit is asked about it, and what it has to answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from dbos_shadow.determinism import Plan, Rule

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Shape:
    """A bug."""

    title: str
    lesson: str
    """What to do instead, in a sentence."""
    broken: Plan
    mended: Plan
    rules: frozenset[Rule]
    """Any of these may be the one that it breaks."""
    steps_max: int = 8
    linted: frozenset[str] = frozenset()
    """Ruff rules that see it, with our configuration."""
