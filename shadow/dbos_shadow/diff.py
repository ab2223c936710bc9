"""(expected trace, actual trace, allowances) → differences. Pure: it knows no engine, no clock and no file.

Levels, kinds and paths are told in ``difference``, what order is free in ``branches``. What is compared:

* the outcome (L0), unless one side's record is not complete;
* steps, aligned by kind and name (L1), and each aligned pair by its inputs and other values (L2), options, headers and
  summaries (L3) and duration (L4). Ids count where workflow code chooses them (children, external workflows, activities with
  ids of their own); numbers that the SDK has counted do not, for they follow from the order;
* messages (signals, updates, cancel requests) in the order in which the workflow saw them (L1), and their values (L2);
* what resolved a step: how, and with which value (L2);
* patches by their ids (L1); that one has become deprecated is no difference, and its marker may be dropped then;
* where things arrived: after how many of the workflow's steps (L1). This is asked only while the steps are the same, since
  a step too few moves everything behind it, and would be told again and again.

Not compared: attempts and failures of attempts that were retried (chance), wall clock times (``at_ms``: distributions of
many runs say more), and how arrivals were batched, where no step stands between them.

What nobody can compare is listed as ``unchecked``: values that a source does not record or that only a codec can read, and
what one side cannot know since its record is cut.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable
from dataclasses import dataclass

from dbos_shadow.align import Alignment, Item, align
from dbos_shadow.allow import Accepted, Allowances
from dbos_shadow.branches import content, in_the_order_of
from dbos_shadow.difference import Difference, Kind, Level, Unchecked
from dbos_shadow.parts import READ, Alike, Parts, Place, nobody_can_tell, text
from dbos_shadow.trace import (
    Arrival,
    ArrivalKind,
    Incomplete,
    Named,
    Step,
    StepKind,
    Trace,
)

__all__ = ["Comparison", "diff"]

NOTHING = Allowances()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What the comparison of two traces has found, where it happened first at the front."""

    workflow_type: str
    differences: tuple[Difference, ...]
    """Those that nobody has accepted, or whose acceptance is over."""
    accepted: tuple[tuple[Difference, Accepted], ...] = ()
    expired: tuple[Accepted, ...] = ()
    """Entries whose day is over, and whose differences are therefore among ``differences``."""
    unchecked: tuple[Unchecked, ...] = ()
    incomplete: tuple[Incomplete, ...] = ()
    """Why a side's record is not the whole run."""
    rows: tuple[tuple[int | None, int | None], ...] = ()
    """Steps side by side, expected and actual, for a list in two columns."""

    @property
    def clean(self) -> bool:
        """No difference at all, accepted ones included. It says nothing of what was not checked."""
        return not self.differences and not self.accepted

    @property
    def first(self) -> Difference | None:
        """The first divergence."""
        return self.differences[0] if self.differences else None


def diff(
    expected: Trace, actual: Trace, allowances: Allowances = NOTHING, *, alike: Alike = nobody_can_tell
) -> Comparison:
    """Compare two traces of one workflow.

    Args:
        expected: what was recorded.
        actual: what the other engine made of it.
        allowances: differences that are accepted.
        alike: asked of two values of one encoding that is not JSON, when their bytes differ.
    """
    work = _Work(expected, actual, alike)
    if expected == actual and expected.incomplete is None and all(map(_is_whole, expected.steps)):
        work.rows = [(index, index) for index in range(len(expected.steps))]
    else:
        work.compare()
    differences: list[Difference] = []
    accepted: list[tuple[Difference, Accepted]] = []
    expired: dict[str, Accepted] = {}
    for difference in sorted(work.differences, key=lambda found: found.place):
        entry = allowances.get(difference.fingerprint)
        if entry is not None and entry.holds(allowances.today):
            accepted.append((difference, entry))
            continue
        differences.append(difference)
        if entry is not None:
            expired[entry.fingerprint] = entry
    return Comparison(
        workflow_type=expected.workflow_type,
        differences=tuple(differences),
        accepted=tuple(accepted),
        expired=tuple(expired.values()),
        unchecked=tuple(work.gaps),
        incomplete=tuple(side.incomplete for side in (expected, actual) if side.incomplete is not None),
        rows=tuple(work.rows),
    )


class _Work(Parts):
    def __init__(self, expected: Trace, actual: Trace, alike: Alike) -> None:
        super().__init__(expected.workflow_type, alike)
        self.expected = expected
        self.actual, self._order = in_the_order_of(expected, actual)
        self.rows: list[tuple[int | None, int | None]] = []
        self._partner: dict[int, int] = {}
        """Actual step (as reordered) → expected step."""
        self._same_steps = True
        self._said_anything = any(name in READ for step in expected.steps for name, _ in step.named)
        self._cut = expected.incomplete is not None or actual.incomplete is not None

    def compare(self) -> None:
        start = Place("start")
        for part, mine, theirs, level in (
            ("workflow_type", self.expected.workflow_type, self.actual.workflow_type, Level.SEQUENCE),
            ("queue", self.expected.task_queue, self.actual.task_queue, Level.OPTIONS),
        ):
            self.scalar(start, level, part, mine, theirs)
        self.values(start, Level.INPUTS, "inputs", self.expected.inputs, self.actual.inputs)
        self._steps()
        self._messages()
        self._resolutions()
        self._outcome()

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _steps(self) -> None:
        found = align(_items(self.expected), _items(self.actual))
        self._same_steps = found.clean
        self._spare_deprecated(found)
        self._spare_what_was_cut(found)
        for i, j in found.pairs + found.moved:
            self._partner[j] = i
        for i, j in found.pairs:
            self._pair(i, j)
        for i, j in found.moved:
            self._sequence(Kind.ORDER, "step", i, j)
            self._pair(i, j)
        for i, j in found.replaced:
            self._sequence(Kind.TYPE, "step", i, j)
        for i in found.missing:
            self._sequence(Kind.MISSING, "step", i, None)
        for j in found.extra:
            self._sequence(Kind.EXTRA, "step", None, j)
        self.rows = self._side_by_side(found)

    def _spare_deprecated(self, found: Alignment) -> None:
        """The marker of a patch that was deprecated is there to be dropped: Temporal replays such a history, too."""
        for i in [i for i in found.missing if _deprecated(self.expected.steps[i])]:
            found.missing.remove(i)
            self.unchecked("deprecated", Place(self.expected.steps[i].label, i), "step")

    def _spare_what_was_cut(self, found: Alignment) -> None:
        """Behind the end of a record that was cut nobody knows what came."""
        last_mine = max((i for i, _ in found.pairs), default=-1)
        last_theirs = max((j for _, j in found.pairs), default=-1)
        if self.expected.incomplete and not any(i > last_mine for i in found.missing):
            for j in [j for j in found.extra if j > last_theirs]:
                found.extra.remove(j)
                self.unchecked("incomplete", Place(self.actual.steps[j].label, None, self._order[j]), "step")
        if self.actual.incomplete and not any(j > last_theirs for j in found.extra):
            for i in [i for i in found.missing if i > last_mine]:
                found.missing.remove(i)
                self.unchecked("incomplete", Place(self.expected.steps[i].label, i), "step")

    def _sequence(self, kind: Kind, part: str, i: int | None, j: int | None) -> None:
        before = self.expected.steps[i].label if i is not None else None
        after = self.actual.steps[j].label if j is not None else None
        place = Place(before or after or "", i, None if j is None else self._order[j])
        self.add(place, Level.SEQUENCE, kind, part, text(before), text(after))

    def _pair(self, i: int, j: int) -> None:
        mine, theirs = self.expected.steps[i], self.actual.steps[j]
        place = Place(mine.label, i, self._order[j])
        if mine.inputs is None or theirs.inputs is None:
            self.unchecked("not_recorded", place, "inputs")
        else:
            self.values(place, Level.INPUTS, "inputs", mine.inputs, theirs.inputs)
        self.named(place, *self._said(place, mine.named, theirs.named))
        if _chosen(mine) or _chosen(theirs):
            self.scalar(place, Level.INPUTS, "id", mine.id, theirs.id)
            self.scalar(place, Level.INPUTS, "run_id", mine.run_id or None, theirs.run_id or None)
        self.failure(place, Level.INPUTS, "failure", mine.failure, theirs.failure)
        if mine.options is None or theirs.options is None:
            self.unchecked("not_recorded", place, "options")
        else:
            self.options(place, mine.options, theirs.options, but=_MAY_CHANGE.get(mine.kind, ()))
        if mine.kind is StepKind.CONTINUE_AS_NEW:
            self.unchecked("not_recorded", place, "options.retry_policy")
        self.scalar(place, Level.TIMING, "duration_ms", mine.duration_ms, theirs.duration_ms)
        if theirs.target is not None and mine.target is not None:
            target = self._partner.get(theirs.target)
            if target is not None and target != mine.target:
                self.add(place, Level.SEQUENCE, Kind.VALUE, "target", str(mine.target), str(target))

    def _said(self, place: Place, mine: Named, theirs: Named) -> tuple[Named, Named]:
        """What is said about a step, unless the record is of a server that keeps none of it."""
        if self._said_anything or not any(name in READ for name, _ in theirs):
            return mine, theirs
        for name in [name for name, _ in theirs if name in READ]:
            self.unchecked("not_recorded", place, name)
        return mine, tuple([pair for pair in theirs if pair[0] not in READ])

    def _side_by_side(self, found: Alignment) -> list[tuple[int | None, int | None]]:
        partner = dict(found.pairs + found.moved + found.replaced)
        alone = [j for j in range(len(self.actual.steps)) if j not in set(partner.values())]
        rows: list[tuple[int | None, int | None]] = []
        for i in range(len(self.expected.steps)):
            j = partner.get(i)
            while alone and j is not None and alone[0] < j:
                rows.append((None, self._order[alone.pop(0)]))
            rows.append((i, None if j is None else self._order[j]))
        return rows + [(None, self._order[j]) for j in alone]

    # -- arrivals ------------------------------------------------------------------------------------------------------

    def _messages(self) -> None:
        mine = [arrival for arrival in self.expected.arrivals if arrival.is_message]
        theirs = [arrival for arrival in self.actual.arrivals if arrival.is_message]
        found = align([_message(a) for a in mine], [_message(a) for a in theirs])
        for kind, pairs in ((None, found.pairs), (Kind.ORDER, found.moved), (Kind.TYPE, found.replaced)):
            for i, j in pairs:
                place = self._at(mine[i], theirs[j])
                if kind is not None:
                    self.add(place, Level.SEQUENCE, kind, "arrival", text(mine[i].label), text(theirs[j].label))
                if kind is not Kind.TYPE:
                    self.values(place, Level.INPUTS, "values", mine[i].values, theirs[j].values)
                if kind is None:
                    self._where(place, mine[i], theirs[j])
        for i in found.missing:
            self._lone(Kind.MISSING, mine[i])
        for j in found.extra:
            self._lone(Kind.EXTRA, theirs[j])

    def _resolutions(self) -> None:
        mine: dict[tuple[ArrivalKind, int | None], Arrival]
        mine = {(a.kind, a.step): a for a in self.expected.arrivals if a.step is not None}
        theirs = {(a.kind, self._partner.get(a.step)): a for a in self.actual.arrivals if a.step is not None}
        known = set(self._partner.values())
        for key, arrival in mine.items():
            other = theirs.get(key)
            if other is None:
                if key[1] in known and self._same_steps:
                    self._lone(Kind.MISSING, arrival)
                continue
            place = self._at(arrival, other)
            self.scalar(place, Level.INPUTS, "how", arrival.how, other.how, Kind.TYPE)
            self.scalar(place, Level.INPUTS, "retry_state", arrival.retry_state, other.retry_state)
            if arrival.how == other.how:
                self.values(place, Level.INPUTS, "values", arrival.values, other.values)
                self.failure(place, Level.INPUTS, "failure", arrival.failure, other.failure)
            self._where(place, arrival, other)
        for key, arrival in theirs.items():
            if key not in mine and key[1] is not None and self._same_steps:
                self._lone(Kind.EXTRA, arrival)

    def _at(self, mine: Arrival, theirs: Arrival) -> Place:
        actual = None if theirs.step is None else self._order[theirs.step]
        return Place(f"arrival {mine.label}", mine.step, actual)

    def _lone(self, kind: Kind, arrival: Arrival) -> None:
        """An arrival that only one side has."""
        side, order = (self.expected, None) if kind is Kind.MISSING else (self.actual, self._order)
        step = arrival.step if arrival.step is None or order is None else order[arrival.step]
        place = Place(
            f"arrival {arrival.label}", step if kind is Kind.MISSING else None, step if kind is Kind.EXTRA else None
        )
        if self._cut:
            self.unchecked("incomplete", place, "arrival")
        elif not arrival.is_message and _given_up(side, arrival):
            self.unchecked("given_up", place, "arrival")
        else:
            texts = (text(arrival.label), None) if kind is Kind.MISSING else (None, text(arrival.label))
            self.add(place, Level.SEQUENCE, kind, "arrival", *texts)

    def _where(self, place: Place, mine: Arrival, theirs: Arrival) -> None:
        if not self._same_steps:
            return
        if mine.kind is ArrivalKind.LOCAL_ACTIVITY:
            return  # Temporal runs several of them in one task
        before, after = _steps_before(self.expected, mine), _steps_before(self.actual, theirs)
        if before != after:
            self.add(place, Level.SEQUENCE, Kind.ORDER, "where", str(before), str(after))

    # -- outcome -------------------------------------------------------------------------------------------------------

    def _outcome(self) -> None:
        mine, theirs = self.expected.outcome, self.actual.outcome
        place = Place("outcome")
        if self._cut:
            self.unchecked("incomplete", place, "status")
        elif mine.status is not theirs.status:
            self.scalar(place, Level.OUTCOME, "status", mine.status.value, theirs.status.value, Kind.TYPE)
        else:
            self.values(place, Level.OUTCOME, "values", mine.values, theirs.values)
            self.failure(place, Level.OUTCOME, "failure", mine.failure, theirs.failure)


def _items(trace: Trace) -> list[Item]:
    """The steps to be aligned. How each ended belongs to it: of equal steps in a loop, it tells which one is which."""
    ends: dict[int, list[Hashable]] = {}
    for arrival in trace.arrivals:
        if arrival.step is not None:
            ends.setdefault(arrival.step, []).append((arrival.kind, arrival.how, arrival.values, arrival.failure))
    return [
        Item(step.kind.value, step.key, (content(step), *ends.get(index, ()))) for index, step in enumerate(trace.steps)
    ]


def _message(arrival: Arrival) -> Item:
    key = (arrival.kind.value, arrival.name)
    return Item(arrival.kind.value, key, (key, arrival.values))


def _steps_before(trace: Trace, arrival: Arrival) -> int:
    """How many steps the workflow had asked for when it saw this."""
    return bisect_left(trace.steps, arrival.activation, key=lambda step: step.activation)


def _is_whole(step: Step) -> bool:
    """Is all of it recorded?"""
    return step.inputs is not None and step.kind is not StepKind.CONTINUE_AS_NEW


_MAY_CHANGE = {StepKind.PATCH: ("deprecated",)}
"""Options that code may change while old runs are open: a patch becomes deprecated, and its marker stays the same."""


def _deprecated(step: Step) -> bool:
    return step.kind is StepKind.PATCH and dict(step.options or ()).get("deprecated") is True


_CHOSEN_IDS = frozenset({StepKind.CHILD, StepKind.SIGNAL_EXTERNAL, StepKind.CANCEL_EXTERNAL})


def _chosen(step: Step) -> bool:
    """Did workflow code choose the id? One that is a number was counted by the SDK."""
    return step.kind in _CHOSEN_IDS or (step.kind is StepKind.ACTIVITY and not step.id.isdecimal())


_CANCELLED = frozenset({ArrivalKind.ACTIVITY, ArrivalKind.TIMER, ArrivalKind.CHILD, ArrivalKind.CHILD_STARTED})


def _given_up(trace: Trace, arrival: Arrival) -> bool:
    """May the workflow have stopped waiting for it? Then one engine may have recorded what the other had no reason to."""
    if arrival.kind not in _CANCELLED:
        return False
    if any(a.kind is ArrivalKind.CANCEL for a in trace.arrivals):
        return True
    return any(step.target == arrival.step and step.kind.value.startswith("cancel_") for step in trace.steps)
