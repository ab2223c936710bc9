"""Shape: one kind of bug, how the kit is asked about it, and what it has to answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from dbos_shadow.determinism import Plan, Rule
from dbos_shadow.determinism.elsewhere import Reference, reference_to

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
    steady: bool = True
    """The story is the same every time. It is not where the bug is chance itself."""

    @property
    def shown(self) -> type:
        """The class that the page shows: the code in which the bug is."""
        return (self.broken.then or self.broken.definition).cls

    @property
    def reference(self) -> Reference | None:
        """Where another process finds it: the name ``BROKEN`` of its module."""
        return reference_to(self.broken, self.broken.definition.cls.__module__)
