"""Select: which runs are looked at. Pure: it knows runs by their names and by how the server lists them.

* ``Selection`` says what is wanted; ``list_query`` writes it as Temporal's list filter, ``takes`` asks one run.
* ``Sample`` picks from what is wanted: by a keyed hash of the workflow id, so that the same seed picks the same workflows
  in any order and on any machine (a chain is in or out as a whole), and from every *stratum* at least a few, so that what is
  rare is looked at as well.
* ``shape_of`` and ``features_of`` say what kind of run a trace is; runs of one shape did the same kinds of things in the
  same order, however often a loop went round.
* ``Strata`` counts what was seen, chosen and judged, for the report: what was *not* looked at is part of a verdict.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b

from dbos_shadow.trace import Status, Trace

__all__ = [
    "Candidate",
    "Sample",
    "Selection",
    "Strata",
    "Stratum",
    "Window",
    "features_of",
    "length_class",
    "position",
    "shape_of",
]

FLOOR = 5
"""Runs that are taken from each stratum whatever the rate."""

STATUSES: Mapping[str, str] = {
    "running": "Running",
    "paused": "Paused",
    "completed": "Completed",
    "failed": "Failed",
    "canceled": "Canceled",
    "terminated": "Terminated",
    "timed_out": "TimedOut",
    "continued_as_new": "ContinuedAsNew",
}
"""Our names of statuses → Temporal's, in list filters."""
_OPEN = frozenset({"running", "paused"})


# -- what is wanted ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A span of time, both ends included; None: open."""

    after: datetime | None = None
    before: datetime | None = None

    def __post_init__(self) -> None:
        for end in (self.after, self.before):
            if end is not None and end.tzinfo is None:
                raise ValueError(f"{end.isoformat()} has no time zone. Write one: {end.isoformat()}Z")

    def holds(self, at_ms: int) -> bool:
        """Is this time in it? 0, an unknown time, is in a window that is open on both ends only."""
        if self.after is not None and (at_ms == 0 or at_ms < self.after.timestamp() * 1000):
            return False
        return self.before is None or (at_ms != 0 and at_ms <= self.before.timestamp() * 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A run as it is known before (live: from the list) or after (files) its history was read."""

    workflow_id: str
    run_id: str
    workflow_type: str
    status: str = Status.UNKNOWN.value
    start_ms: int = 0
    close_ms: int = 0
    events: int = 0
    """Length of its history, as far as it is known."""
    shape: str = ""
    """Known once the history was read."""
    digest: str = ""
    """Of its history, once that was read: in files the same run may be there with another one."""
    where: str = ""
    """For whoever reads it: a file, a place in it."""
    place: int = 0
    """In which order it is best read."""

    @property
    def is_open(self) -> bool:
        """May it go on? A status that nobody here knows is no end."""
        return self.status in _OPEN or (self.status not in STATUSES and not self.close_ms)

    @property
    def stratum(self) -> tuple[str, str]:
        """Runs that are alike as far as anybody knows yet."""
        return (self.workflow_type, self.shape or f"{self.status} {length_class(self.events)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which runs. Everything that is given must hold; what is empty asks nothing."""

    query: str = ""
    """A list filter of Temporal's, for live namespaces."""
    types: tuple[str, ...] = ()
    excluded_types: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    """running, paused, completed, failed, canceled, terminated, timed_out, continued_as_new"""
    started: Window = Window()
    closed: Window = Window()
    ids: tuple[str, ...] = ()
    """Workflow ids; all runs of them."""
    run_ids: tuple[str, ...] = ()
    rate: float = 1.0
    """Share of the workflows, 0 to 1."""
    maximum: int | None = None
    """Runs at most."""
    floor: int = FLOOR
    """Runs of each stratum at least, if there are as many, whatever the rate."""
    scouts: int = 0
    """Histories that are read beside the sample, to find rare shapes (``scouting``)."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ValueError(f"The rate is a share from 0 to 1, not {self.rate:g}.")
        if self.maximum is not None and self.maximum < 1:
            raise ValueError(f"The maximum must be 1 or more, not {self.maximum}.")
        if self.floor < 0:
            raise ValueError(f"The floor must be 0 or more, not {self.floor}.")
        if self.scouts < 0:
            raise ValueError(f"Histories to be read for rare shapes must be 0 or more, not {self.scouts}.")
        if unknown := sorted(set(self.statuses) - set(STATUSES)):
            raise ValueError(f"No such status: {', '.join(unknown)}. There are {', '.join(STATUSES)}.")
        if both := sorted(set(self.types) & set(self.excluded_types)):
            raise ValueError(f"{', '.join(both)}: selected and excluded at once. Drop one of the two.")

    @property
    def takes_all(self) -> bool:
        """Is there nothing to sample?"""
        return self.rate == 1 and self.maximum is None

    def list_query(self) -> str:
        """All of it but the sampling as Temporal's list filter.

        Some values no filter can name (those with a backslash or a double quote): for them it is wider, and ``takes``
        decides.
        """
        parts = [f"({self.query})"] if self.query.strip() else []
        if self.types:
            parts.append(_one_of("WorkflowType", self.types))
        parts += [f"WorkflowType != {_quoted(name)}" for name in self.excluded_types if _plain(name) == name]
        if self.statuses:
            parts.append(_one_of("ExecutionStatus", [STATUSES[status] for status in self.statuses]))
        for name, window in (("StartTime", self.started), ("CloseTime", self.closed)):
            if window.after is not None:
                parts.append(f"{name} >= {_quoted(_time(window.after))}")
            if window.before is not None:
                parts.append(f"{name} <= {_quoted(_time(window.before))}")
        if self.ids:
            parts.append(_one_of("WorkflowId", self.ids))
        if self.run_ids:
            parts.append(_one_of("RunId", self.run_ids))
        return " AND ".join(parts)

    def takes(self, run: Candidate) -> bool:
        """Is this run wanted, sampling aside? (A list filter cannot be asked here.)"""
        return (
            (not self.types or run.workflow_type in self.types)
            and run.workflow_type not in self.excluded_types
            and (not self.statuses or run.status in self.statuses)
            and (not self.ids or run.workflow_id in self.ids)
            and (not self.run_ids or run.run_id in self.run_ids)
            and self.started.holds(run.start_ms)
            and self.closed.holds(run.close_ms)
        )


def _one_of(name: str, values: Sequence[str]) -> str:
    if any(_plain(value) != value for value in values):
        # Strange ones are found by their beginning.
        return "(" + " OR ".join(f"{name} {_like(value)}" for value in values) + ")"
    texts = [_quoted(value) for value in values]
    return f"{name} = {texts[0]}" if len(texts) == 1 else f"{name} IN ({', '.join(texts)})"


def _like(value: str) -> str:
    plain = _plain(value)
    if plain == value:
        return f"= {_quoted(value)}"
    return f"STARTS_WITH {_quoted(plain)}" if plain else "IS NOT NULL"


def _plain(text: str) -> str:
    """A text up to what Temporal's filters cannot hold: it is compared there as it was escaped."""
    return re.split(r'[\\"\x00-\x1f]', text, maxsplit=1)[0]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# -- which of them -----------------------------------------------------------------------------------------------------


def position(workflow_id: str, seed: int) -> float:
    """Where a workflow id falls between 0 and 1: always at the same place for a seed, anywhere for another."""
    hashed = blake2b(workflow_id.encode(), digest_size=8, key=str(seed).encode()[:64])
    return int.from_bytes(hashed.digest()) / 2**64


def length_class(events: int) -> str:
    """Histories within a factor of four are of one length class."""
    if events <= 0:
        return "of unknown length"
    upper = 16
    while upper < events:
        upper *= 4
    return f"up to {upper} events"


_Ranked = tuple[float, str, str]


class Sample:
    """The runs that a selection picks from all that it is shown, in whatever order they come.

    Memory: what is picked, and not more than ``floor`` runs of every stratum besides.
    """

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._strata: dict[tuple[str, str], _OneStratum] = {}

    def offer(self, run: Candidate) -> None:
        """A run that is wanted. The same run twice counts once."""
        stratum = self._strata.get(run.stratum)
        if stratum is None:
            stratum = self._strata[run.stratum] = _OneStratum(self._selection)
        stratum.offer(run)

    def chosen(self) -> list[Candidate]:
        """What is picked: by rate, with the floor of each stratum. If that is more than the maximum, then the first of
        each stratum, the second of each, and so on to the floor, and the rest by position.

        Sorted by workflow id and run id.
        """
        picked = self.in_turn()[: self._selection.maximum]
        return sorted(picked, key=lambda run: (run.workflow_id, run.run_id))

    def in_turn(self) -> list[Candidate]:
        """All that may be picked: the first of each stratum, the second of each, and so on to the floor, then the rest."""
        picked: list[tuple[int, _Ranked]] = []
        runs: dict[_Ranked, Candidate] = {}
        for stratum in self._strata.values():
            picked += [(min(place, self._selection.floor), rank) for place, rank in enumerate(sorted(stratum.kept))]
            runs |= stratum.kept
        picked.sort()
        return [runs[rank] for _, rank in picked]

    def seen(self) -> dict[tuple[str, str], int]:
        """How many runs each stratum was shown."""
        return {name: stratum.seen for name, stratum in self._strata.items()}


class _OneStratum:
    """The runs below the rate, or the ``floor`` runs of the lowest positions if those are more; ``maximum`` at most."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self.seen = 0
        self.kept: dict[_Ranked, Candidate] = {}
        self._highest: list[_Reversed] = []
        """A heap of the ranks of ``kept``: its first is the one to go next."""

    def offer(self, run: Candidate) -> None:
        rank = (position(run.workflow_id, self._selection.seed), run.workflow_id, run.run_id)
        if rank in self.kept:
            return
        self.seen += 1
        self.kept[rank] = run
        heapq.heappush(self._highest, _Reversed(rank))
        maximum = self._selection.maximum
        while self._highest:
            highest = self._highest[0].rank
            needed = highest[0] < self._selection.rate or self._selection.rate == 1
            over = maximum is not None and len(self.kept) > maximum
            if not over and (needed or len(self.kept) <= self._selection.floor):
                return
            heapq.heappop(self._highest)
            del self.kept[highest]


@dataclass(frozen=True, slots=True)
class _Reversed:
    rank: _Ranked

    def __lt__(self, other: _Reversed) -> bool:
        return self.rank > other.rank


# -- what kind of run --------------------------------------------------------------------------------------------------


def shape_of(trace: Trace) -> str:
    """Sixteen characters that are equal for runs which did the same kinds of things in the same order.

    Kinds and names of steps and messages count, what was asked for in one go, what failed, and how the run ended; loops are
    collapsed, so that three rounds or four of the same are one shape. Values, ids, durations, and in which order the results
    of parallel steps came do not count.
    """
    text = "\n".join([trace.workflow_type, *_collapsed(_words(trace)), trace.outcome.status.value])
    return blake2b(text.encode(), digest_size=8).hexdigest()


def _words(trace: Trace) -> list[str]:
    """One word for each activation: what it was told besides plain results, and what was asked for then."""
    arrived: dict[int, list[str]] = {}
    for arrival in trace.arrivals:
        if arrival.is_message or arrival.how != "completed":
            arrived.setdefault(arrival.activation, []).append(f"<{arrival.label} {arrival.how}")
    asked: dict[int, list[str]] = {}
    for step in trace.steps:
        asked.setdefault(step.activation, []).append(f">{step.label}")
    return [
        " ".join([*_collapsed(sorted(arrived.get(number, ()))), *_collapsed(asked.get(number, []))])
        for number in sorted({*arrived, *asked})
    ]


PERIOD_MAX = 8
"""Activations of a loop's body that are looked for."""


def _collapsed(words: list[str]) -> list[str]:
    """Repetitions of a piece, directly behind it, are left out; the shortest pieces first."""
    for period in range(1, PERIOD_MAX + 1):
        if len(words) < 2 * period:
            break
        kept: list[str] = []
        for word in words:
            kept.append(word)
            if len(kept) >= 2 * period and kept[-period:] == kept[-2 * period : -period]:
                del kept[-period:]
        words = kept
    return words


def features_of(trace: Trace) -> frozenset[str]:
    """What of Temporal a run has used, by the names of steps and messages (``activity``, ``timer``, ``signal``, ``patch`` …),
    what went otherwise than well (``retry``, ``activity failed``, ``ended canceled``), and ``parallel``."""
    found = {step.kind.value for step in trace.steps}
    for arrival in trace.arrivals:
        if arrival.is_message:
            found.add(arrival.kind.value)
        elif arrival.how != "completed":
            found.add(f"{arrival.kind.value} {arrival.how}")
        if arrival.attempt > 1:
            found.add("retry")
    if len({step.activation for step in trace.steps}) < len(trace.steps):
        found.add("parallel")
    if trace.outcome.status not in (Status.COMPLETED, Status.RUNNING, Status.UNKNOWN):
        found.add(f"ended {trace.outcome.status.value}")
    return frozenset(found)


# -- what was looked at ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """One kind of runs, and how far it was looked at."""

    workflow_type: str
    name: str
    seen: int = 0
    """Runs that the selection wanted."""
    chosen: int = 0
    """Of them, those that were sampled."""
    judged: int = 0
    """Of them, those with a verdict: match, mismatch or accepted."""


@dataclass(slots=True)
class Strata:
    """Counts by stratum, in the making."""

    _seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    _chosen: Counter[tuple[str, str]] = field(default_factory=Counter)
    _judged: Counter[tuple[str, str]] = field(default_factory=Counter)

    def seen(self, stratum: tuple[str, str], runs: int = 1) -> None:
        self._seen[stratum] += runs

    def chosen(self, stratum: tuple[str, str], runs: int = 1) -> None:
        self._chosen[stratum] += runs

    def chosen_of(self, stratum: tuple[str, str]) -> int:
        return self._chosen[stratum]

    def judged(self, stratum: tuple[str, str]) -> None:
        self._judged[stratum] += 1

    def __iter__(self) -> Iterator[Stratum]:
        for key in sorted({*self._seen, *self._chosen, *self._judged}):
            counts = {"seen": self._seen[key], "chosen": self._chosen[key], "judged": self._judged[key]}
            yield Stratum(workflow_type=key[0], name=key[1], **counts)
