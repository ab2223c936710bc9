"""A difference: one thing that two traces do not have in common, how serious it is, and what makes it the same as another.

========  =========================================================================  ============================
Level     What differs                                                               Example of a path
========  =========================================================================  ============================
L0        the outcome: status, result, failure                                       ``outcome: values[0].total``
L1        the sequence: which steps, which messages, in which order, and where;      ``activity charge: step``
          that the code raised an error in a workflow task
L2        inputs and other values, JSON path by JSON path, never bytes               ``activity charge: inputs[0].id``
L3        options: retry policy, timeouts, queue, policies, headers                  ``activity charge: options.queue``
L4        timing: durations that were asked for                                      ``timer: duration_ms``
========  =========================================================================  ============================

A path is the step's label, a colon, and what in it differs. Steps have no number in their paths, so that the same
difference in a loop, or in another run, is the same difference.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

__all__ = ["Difference", "Kind", "Level", "Unchecked", "pattern"]


class Level(enum.IntEnum):
    """How serious: the lower, the more."""

    OUTCOME = 0
    SEQUENCE = 1
    INPUTS = 2
    OPTIONS = 3
    TIMING = 4

    def __str__(self) -> str:
        return f"L{self.value}"


class Kind(enum.StrEnum):
    """In which way. Seen from the expected trace: ``extra`` is what only the actual one has."""

    MISSING = "missing"
    EXTRA = "extra"
    ORDER = "order"
    """The same, at another place."""
    TYPE = "type"
    """Something of another type: a string for a number, another activity of the same inputs, failed for completed."""
    VALUE = "value"


_INDEX = re.compile(r"\[\d+\]")
_ARGUMENT = re.compile(r"(?:: inputs|: values|details)$")
_NAMES_A_THING = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|\d{4,}")


def pattern(path: str) -> str:
    """A path without what is different in every run: places in lists, UUIDs, long numbers. Which argument it is stays."""
    label, colon, inside = path.partition(": ")
    inside = colon + inside

    def place(match: re.Match[str]) -> str:
        return match.group() if _ARGUMENT.search(inside, 0, match.start()) else "[*]"

    return label + _NAMES_A_THING.sub("*", _INDEX.sub(place, inside))


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One difference. ``expected`` and ``actual`` are JSON text of what stands there; None: nothing does."""

    workflow_type: str
    level: Level
    kind: Kind
    path: str
    step: int | None = None
    """Index in the expected trace of the step it is about; None where only the other has it, or none is concerned."""
    actual_step: int | None = None
    """The same in the actual trace."""
    expected: str | None = None
    actual: str | None = None

    @cached_property
    def pattern(self) -> str:
        return pattern(self.path)

    @cached_property
    def fingerprint(self) -> str:
        """Over workflow type, level, path and kind: equal for all that one review can accept. No values are in it."""
        text = "\n".join((self.workflow_type, str(self.level), self.pattern, self.kind.value))
        return sha256(text.encode()).hexdigest()[:16]

    @property
    def place(self) -> tuple[int, int, str, str]:
        """By which differences are sorted: where it happened first, then how serious it is."""
        steps = [step for step in (self.step, self.actual_step) if step is not None]
        if steps:
            where = min(steps) if self.kind is Kind.ORDER else steps[0]
        else:
            where = -1 if self.path.startswith("start:") else 1 << 30
        return (where, self.level.value, self.path, self.kind.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchecked:
    """Something that could not be compared. It is not a difference, and not a match either."""

    path: str
    reason: str
    """not_recorded, sealed, incomplete, given_up, deprecated"""
    step: int | None = None
    actual_step: int | None = None
