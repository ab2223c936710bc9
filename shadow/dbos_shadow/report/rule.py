"""Counts → go, no-go, or cannot tell; and the rule that decided. Pure.

The rules are asked in this order, and the first that speaks decides:

====================  ===========  ==============================================================================
Rule                  Decision     It speaks when
====================  ===========  ==============================================================================
mismatches            no-go        more runs differ than ``mismatches_max``
nothing_compared      cannot tell  no run was compared: all were left out, skipped or inconclusive
unmet                 cannot tell  a run uses what the core refuses, or an activity without a result and a stub
undecided_share       cannot tell  too many runs of those that should have been compared could not be
sample_floor          cannot tell  fewer runs were compared than ``sample_floor``
clean                 go           nothing else has spoken
====================  ===========  ==============================================================================
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from dbos_shadow.report.figures import counted, percent

__all__ = ["Decision", "Rule", "Ruling", "at_most", "exit_code", "overall"]


class Decision(enum.StrEnum):
    """What a reader is to do."""

    GO = "go"
    NO_GO = "no_go"
    CANNOT_TELL = "cannot_tell"

    @property
    def label(self) -> str:
        return {"go": "GO", "no_go": "NO-GO", "cannot_tell": "CANNOT TELL"}[self.value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When a workflow type is a go."""

    sample_floor: int = 10
    """At least so many runs must have been compared."""
    mismatches_max: int = 0
    """At most so many runs may differ."""
    undecided_share_max: float = 0.05
    """At most this share of the runs that should have been compared may be without an answer, from 0 to 1."""

    def __post_init__(self) -> None:
        if self.sample_floor < 1:
            raise ValueError(f"sample_floor is {self.sample_floor}; at least one run must be compared: give 1 or more.")
        if self.mismatches_max < 0:
            raise ValueError(f"mismatches_max is {self.mismatches_max}; give 0 or more.")
        if not 0 <= self.undecided_share_max <= 1:
            raise ValueError(f"undecided_share_max is {self.undecided_share_max}; it is a share: give 0 to 1.")

    def decide(self, *, same: int, different: int, undecided: int, left_out: int = 0, unmet: int = 0) -> Ruling:
        """Decide for one workflow type.

        Args:
            same: runs that match, or whose every difference is accepted.
            different: runs that differ.
            undecided: runs that should have been compared, and could not be.
            left_out: runs that nobody meant to compare.
            unmet: of the undecided, those that met something that the core refuses, or that has no stub.
        """
        compared = same + different
        wanted = compared + undecided
        if different > self.mismatches_max:
            return Ruling(
                Decision.NO_GO,
                "mismatches",
                f"{different:,} of {counted(compared, 'run')} {'differs' if different == 1 else 'differ'}",
            )
        if compared == 0:
            seen = undecided + left_out
            return Ruling(
                Decision.CANNOT_TELL,
                "nothing_compared",
                f"none of {counted(seen, 'run')} could be compared" if seen else "there was no run to compare",
            )
        if unmet:
            verb = "meets" if unmet == 1 else "meet"
            return Ruling(
                Decision.CANNOT_TELL,
                "unmet",
                f"{unmet:,} of {counted(wanted, 'run')} {verb} what is not supported, or has no stub",
            )
        if undecided > self.undecided_share_max * wanted:
            return Ruling(
                Decision.CANNOT_TELL,
                "undecided_share",
                f"{undecided:,} of {counted(wanted, 'run')} ({percent(undecided / wanted)}) are without an answer; "
                f"at most {percent(self.undecided_share_max)} may be",
            )
        if compared < self.sample_floor:
            return Ruling(
                Decision.CANNOT_TELL,
                "sample_floor",
                f"only {counted(compared, 'run')} compared; the rule asks for {self.sample_floor:,}",
            )
        why = f"all {counted(compared, 'run')} do the same" if compared > 1 else "its only run does the same"
        if different:
            why = (
                f"{same:,} of {counted(compared, 'run')} do the same, and the rule lets {self.mismatches_max:,} differ"
            )
        return Ruling(Decision.GO, "clean", why)


@dataclass(frozen=True, slots=True)
class Ruling:
    """A decision, the name of the rule that made it, and a sentence for people."""

    decision: Decision
    rule: str
    why: str


def overall(decisions: Iterable[Decision]) -> Decision:
    """One no-go is a no-go for all; nothing at all is never a go."""
    found = set(decisions)
    if Decision.NO_GO in found:
        return Decision.NO_GO
    return Decision.GO if found == {Decision.GO} else Decision.CANNOT_TELL


def exit_code(decision: Decision, own_failures: int) -> int:
    """What a command exits with: 0 clean, 1 mismatches, 3 inconclusive or under the sample floor, 4 our own failure."""
    if decision is Decision.NO_GO:
        return 1
    if own_failures:
        return 4
    return 0 if decision is Decision.GO else 3


def at_most(different: int, compared: int) -> float | None:
    """If no run of a random sample differs: the share of all runs that may, with 95 % confidence."""
    return None if different or not compared else 1 - 0.05 ** (1 / compared)
