"""Masks: what may differ between two engines since neither code nor history decides it, and how often it did. Pure.

There are few, each is named, and a report counts what each one has hidden. A mask looks at one difference between two
values: it never hides a step, an order, an outcome's status, or something that is missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dbos_shadow.diff import Comparison
from dbos_shadow.difference import Difference, Kind, Level
from dbos_shadow.trace import Trace

__all__ = ["CLOCK", "FREE_RUN", "Mask", "RUN_IDS", "UUIDS", "masked"]


@dataclass(frozen=True, slots=True)
class Mask:
    """One kind of values that may differ."""

    name: str
    about: str
    """What it hides, for people."""
    hides: Callable[[str, str, Trace, Trace], bool]
    """(expected text, actual text, expected trace, actual trace) → is that all the difference?"""


_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?")


def _run_ids(mine: str, theirs: str, expected: Trace, actual: Trace) -> bool:
    if not expected.run_id or not actual.run_id:
        return False
    return mine.replace(expected.run_id, "*") == theirs.replace(actual.run_id, "*")


def _without(pattern: re.Pattern[str]) -> Callable[[str, str, Trace, Trace], bool]:
    def hides(mine: str, theirs: str, _: Trace, __: Trace) -> bool:
        return pattern.sub("*", mine) == pattern.sub("*", theirs)

    return hides


RUN_IDS = Mask("run_ids", "the id of the run itself, wherever it stands in a string", _run_ids)
UUIDS = Mask("uuids", "UUIDs in strings: each engine gives its own to children and requests", _without(_UUID))
CLOCK = Mask("clock", "dates with a time of day in strings: a run by itself has a clock of its own", _without(_TIME))

FREE_RUN = (RUN_IDS, UUIDS, CLOCK)
"""What a run that drives by itself needs. A replay needs none: ids, clock and chance are the recorded ones."""


def masked(
    comparison: Comparison, masks: Sequence[Mask], expected: Trace, actual: Trace
) -> tuple[Comparison, dict[str, int]]:
    """The comparison without what the masks hide, and how many differences each one has hidden."""
    hidden: dict[str, int] = {}
    if not masks or not comparison.differences:
        return comparison, hidden
    left: list[Difference] = []
    for difference in comparison.differences:
        mask = next((mask for mask in masks if _hides(mask, difference, expected, actual)), None)
        if mask is None:
            left.append(difference)
        else:
            hidden[mask.name] = hidden.get(mask.name, 0) + 1
    return replace(comparison, differences=tuple(left)), hidden


def _hides(mask: Mask, difference: Difference, expected: Trace, actual: Trace) -> bool:
    if difference.kind is not Kind.VALUE or difference.level not in (Level.OUTCOME, Level.INPUTS, Level.OPTIONS):
        return False
    if difference.expected is None or difference.actual is None:
        return False
    mine, theirs = json.loads(difference.expected), json.loads(difference.actual)
    if not isinstance(mine, str) or not isinstance(theirs, str):
        return False
    return mask.hides(mine, theirs, expected, actual)
