"""Verdict: what is said of one run, and why. It knows no engine.

A run is *match* only if everything that could be compared was compared and is the same. What nobody could look at makes it
*inconclusive*, never green; what was not tried at all is *not run*.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from dbos_shadow.diff import Comparison
from dbos_shadow.trace import Trace

__all__ = ["Judgement", "Noise", "Reason", "Verdict", "Way", "judge"]


class Verdict(enum.StrEnum):
    """What is said of one run."""

    MATCH = "match"
    MISMATCH = "mismatch"
    ACCEPTED = "accepted"
    """It differs, and a person has accepted every difference, until a day that has not come."""
    INCONCLUSIVE = "inconclusive"
    NOT_RUN = "not_run"


class Way(enum.StrEnum):
    """How the core's trace was made."""

    REPLAY = "replay"
    FREE_RUN = "free_run"
    MIRROR = "mirror"


class Reason(enum.StrEnum):
    """Why a run is inconclusive, or was not run. A mismatch is told by its differences."""

    TRUNCATED = "truncated"
    """The record is cut, has gaps, or holds events that nobody here knows."""
    SEALED = "sealed"
    """Some values can be read by a codec only, and none was given."""
    NO_STUB = "no_stub"
    """An activity has neither a recorded result nor a stub; it was not executed."""
    NONDETERMINISTIC = "nondeterministic"
    """Equal runs of the same engine differ: it is the workflow's own doing."""
    BASELINE = "baseline"
    """Temporal's own replayer refuses this history with this code: the code has changed, not the engine."""
    UNKNOWN_TYPE = "unknown_type"
    """No workflow of this type was given."""
    UNSUPPORTED = "unsupported"
    """The run uses what dbos-compat refuses by name."""
    RESET = "reset"
    """The history was reset in a way that a replay cannot repeat."""
    NOT_MIRRORED = "not_mirrored"
    """The shadow side of a mirror failed or was down; the caller never noticed."""
    STILL_RUNNING = "still_running"
    """There is nothing to compare yet."""
    NO_TASK = "no_task"
    """No workflow task was ever completed: no code of the workflow has had a say in it."""
    FAILED = "failed"
    """The shadow itself failed. It is our fault; the note says where."""
    EXCLUDED = "excluded"
    """The selection left it out after it was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """A run that was replayed twice on the core and twice on Temporal's own replayer (``baseline``)."""

    refused: tuple[str | None, ...] = ()
    """Of each replay on Temporal's replayer, the type of the error; None: it was accepted."""
    unsteady: frozenset[str] = frozenset()
    """Patterns of the paths in which two runs of the core differ."""
    missing: bool = False
    """Temporal's replayer did not answer: of this side there is nothing to go by."""

    @property
    def wavers(self) -> bool:
        """Did Temporal's replayer change its mind?"""
        return len({refusal is None for refusal in self.refused}) > 1

    @property
    def is_refused(self) -> bool:
        return bool(self.refused) and all(refusal is not None for refusal in self.refused)

    @property
    def is_unsteady(self) -> bool:
        """Does the run differ from itself, on either engine?"""
        return bool(self.unsteady) or self.wavers


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One run, judged."""

    workflow_type: str
    workflow_id: str
    run_id: str
    verdict: Verdict
    way: Way = Way.REPLAY
    reason: Reason | None = None
    note: str = ""
    """For people: what happened and what to do. A report shows it only where it is told to, since a note may quote."""
    subject: str = ""
    """The one thing that a reason is about, by its name: the activity without a stub, the feature that is not supported,
    the code of an incomplete trace. An identifier, never a value: reports show it."""
    comparison: Comparison | None = None
    expected: Trace | None = field(default=None, repr=False)
    """The trace that was recorded: for step lists and distributions. Not kept with a stored result."""
    actual: Trace | None = field(default=None, repr=False)
    """The core's."""
    masked: Mapping[str, int] = field(default_factory=dict)
    """How many places each mask has hidden in this run."""
    shape: str = ""
    """Equal for runs that did the same kinds of things in the same order (``select.shape_of``)."""
    features: frozenset[str] = frozenset()
    """What of Temporal the run has used: ``activity``, ``timer``, ``child``, ``signal``, ``patch`` …"""
    steps: int = 0
    events: int = 0
    noise: Noise | None = None
    """What comparing the run with itself has shown; None: it was not."""
    took_ms: float = 0.0
    """Wall clock of judging it. Never part of a report that must be equal twice."""


def judge(comparison: Comparison) -> tuple[Verdict, Reason | None]:
    """What a comparison says of a run. Differences weigh more than what was not checked."""
    if comparison.differences:
        return Verdict.MISMATCH, None
    if comparison.incomplete:
        return Verdict.INCONCLUSIVE, Reason.TRUNCATED
    if any(gap.reason == "sealed" for gap in comparison.unchecked):
        return Verdict.INCONCLUSIVE, Reason.SEALED
    if comparison.accepted:
        return Verdict.ACCEPTED, None
    return Verdict.MATCH, None
