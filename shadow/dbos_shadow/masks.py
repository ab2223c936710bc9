"""Masks: what may differ between two engines since neither code nor history decides it, and how often it did. Pure.

There are few, each is named, and a report counts what each one has hidden. A mask looks at one difference between two
values: it never hides a step, an order, or an outcome's status; and something that is missing only where it is a tracer's
header.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dbos_shadow.diff import Comparison
from dbos_shadow.difference import Difference, Kind, Level
from dbos_shadow.trace import Trace
from dbos_shadow.tracing import HEADERS, is_tracing

__all__ = ["CLOCK", "FREE_RUN", "LED", "Mask", "RUN_IDS", "TRACING", "UUIDS", "masked"]


@dataclass(frozen=True, slots=True)
class Mask:
    """One kind of values that may differ."""

    name: str
    about: str
    """What it hides, for people."""
    hides: Callable[[Difference, Trace, Trace], bool]
    """(difference, expected trace, actual trace) → is that all the difference?"""


_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?")


def _strings(alike: Callable[[str, str, Trace, Trace], bool]) -> Callable[[Difference, Trace, Trace], bool]:
    """Of two strings: are they alike?"""

    def hides(difference: Difference, expected: Trace, actual: Trace) -> bool:
        if difference.kind is not Kind.VALUE or difference.level not in (Level.OUTCOME, Level.INPUTS, Level.OPTIONS):
            return False
        if difference.expected is None or difference.actual is None:
            return False
        mine, theirs = json.loads(difference.expected), json.loads(difference.actual)
        return isinstance(mine, str) and isinstance(theirs, str) and alike(mine, theirs, expected, actual)

    return hides


def _run_ids(mine: str, theirs: str, expected: Trace, actual: Trace) -> bool:
    if not expected.run_id or not actual.run_id:
        return False
    return mine.replace(expected.run_id, "*") == theirs.replace(actual.run_id, "*")


def _without(pattern: re.Pattern[str]) -> Callable[[str, str, Trace, Trace], bool]:
    def alike(mine: str, theirs: str, _: Trace, __: Trace) -> bool:
        return pattern.sub("*", mine) == pattern.sub("*", theirs)

    return alike


def _is_tracing(difference: Difference, _: Trace, __: Trace) -> bool:
    return difference.level is Level.OPTIONS and is_tracing(difference.path.partition(": ")[2])


RUN_IDS = Mask("run_ids", "the id of the run itself, wherever it stands in a string", _strings(_run_ids))
UUIDS = Mask("uuids", "UUIDs in strings: each engine gives its own to children and requests", _strings(_without(_UUID)))
CLOCK = Mask(
    "clock", "dates with a time of day in strings: a run by itself has a clock of its own", _strings(_without(_TIME))
)
TRACING = Mask("tracing", f"headers of tracers ({', '.join(HEADERS)}): their ids are new in each process", _is_tracing)

LED = (TRACING,)
"""What a run needs that is told its past step by step, a replay or a mirror: its ids, clock and chance are the recorded
ones."""
FREE_RUN = (*LED, RUN_IDS, UUIDS, CLOCK)
"""What a run needs that drives by itself."""


def masked(
    comparison: Comparison, masks: Sequence[Mask], expected: Trace, actual: Trace
) -> tuple[Comparison, dict[str, int]]:
    """The comparison without what the masks hide, and how many differences each one has hidden."""
    hidden: dict[str, int] = {}
    if not masks or not comparison.differences:
        return comparison, hidden
    left: list[Difference] = []
    for difference in comparison.differences:
        mask = next((mask for mask in masks if mask.hides(difference, expected, actual)), None)
        if mask is None:
            left.append(difference)
        else:
            hidden[mask.name] = hidden.get(mask.name, 0) + 1
    return replace(comparison, differences=tuple(left)), hidden
