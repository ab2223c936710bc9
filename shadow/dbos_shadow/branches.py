"""Order between independent branches: what is no difference, although the two traces are not written alike.

An activation may wake several branches of a workflow at once, two activities' results, say. Which of them stands first in
the record is chance, and each branch goes on where it was: their steps come in either order. That is so only where the two
traces show *the same resolutions in another order* to the code. Where it saw the same in the same order, it had no reason
to ask in another one, and the order of its steps counts. Messages (signals, updates, a cancel request) are always seen in
order.

Neighbouring requests to cancel, of one kind, may stand in any order: Temporal does not tell them apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from dbos_shadow.parts import READ
from dbos_shadow.trace import Arrival, ArrivalKind, Step, StepKind, Trace
from dbos_shadow.tracing import is_tracing

__all__ = ["content", "in_the_order_of"]


def content(step: Step) -> Hashable:
    """All of a step that is its own: not its place, nor numbers that count steps, nor what a tracer has added, nor what
    only people read, which some servers do not record."""
    named = tuple([pair for pair in step.named if not (is_tracing(pair[0]) or pair[0] in READ)])
    return (step.key, step.inputs, named, step.options, step.duration_ms, step.failure)


@dataclass(slots=True)
class _Stretch:
    """What arrived since the stretch before, and the steps that it led to, all of one activation."""

    arrivals: list[Arrival] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)


def _stretches(trace: Trace) -> list[_Stretch]:
    found: list[_Stretch] = []
    arrivals, next_arrival = trace.arrivals, 0
    for index, step in enumerate(trace.steps):
        if not found or trace.steps[found[-1].steps[-1]].activation != step.activation:
            found.append(_Stretch())
            while next_arrival < len(arrivals) and arrivals[next_arrival].activation <= step.activation:
                found[-1].arrivals.append(arrivals[next_arrival])
                next_arrival += 1
        found[-1].steps.append(index)
    return found


def in_the_order_of(expected: Trace, actual: Trace) -> tuple[Trace, list[int]]:
    """The actual trace with its free steps in the expected order; and which step each of them was."""
    order: list[int] = []
    known: dict[int, int] = {}
    for mine, theirs in zip(_stretches(expected), _stretches(actual), strict=False):
        if len(mine.steps) != len(theirs.steps):
            break
        before, after = _woken(mine.arrivals, {}), _woken(theirs.arrivals, known)
        found: Sequence[int] = theirs.steps
        if before != after and Counter(before) == Counter(after):
            found = _matched(expected.steps, mine.steps, actual.steps, theirs.steps)
        known.update(zip(found, mine.steps, strict=True))
        found = _cancels_matched(expected.steps, mine.steps, actual.steps, found, known)
        known.update(zip(found, mine.steps, strict=True))
        order += found
    order += range(len(order), len(actual.steps))
    if all(index == place for place, index in enumerate(order)):
        return actual, order
    return _reordered(actual, order), order


def _woken(arrivals: Sequence[Arrival], known: dict[int, int]) -> list[Hashable]:
    """The resolutions, told apart by the step that they resolve."""
    found: list[Hashable] = []
    for arrival in arrivals:
        if arrival.is_message:
            continue
        step = None if arrival.step is None else known.get(arrival.step, arrival.step)
        if arrival.kind is ArrivalKind.LOCAL_ACTIVITY:  # it stands beside its step, not after it
            found.append((arrival.kind, arrival.name, arrival.how, arrival.values))
        else:
            found.append((arrival.kind, step))
    return found


def _matched(
    expected: Sequence[Step], wanted: Sequence[int], actual: Sequence[Step], free: Sequence[int]
) -> Sequence[int]:
    """The free steps in the wanted order, if it is only their order that differs."""
    left = list(free)
    found: list[int] = []
    for index in wanted:
        same = next((j for j in left if content(actual[j]) == content(expected[index])), None)
        if same is None:
            same = next((j for j in left if actual[j].key == expected[index].key), None)
        if same is None:
            return free
        found.append(same)
        left.remove(same)
    return found


_CANCELS = frozenset({StepKind.CANCEL_ACTIVITY, StepKind.CANCEL_TIMER, StepKind.CANCEL_CHILD})


def _cancels_matched(
    expected: Sequence[Step], wanted: Sequence[int], actual: Sequence[Step], free: Sequence[int], known: dict[int, int]
) -> Sequence[int]:
    """With requests to cancel that are of one kind, and neighbours on both sides, in the wanted order, if they cancel the same.

    Temporal does not compare what each of them is for: a task group cancels its tasks in the order of a set.
    """
    if sum(actual[index].kind in _CANCELS for index in free) < 2:
        return free
    found = list(free)
    both = [(expected[i].kind, actual[j].kind) for i, j in zip(wanted, free, strict=True)]
    for (kind, other), group in groupby(range(len(free)), lambda place: both[place]):
        if kind is not other or kind not in _CANCELS:
            continue
        places = list(group)
        by_target = {known.get(target): free[p] for p in places if (target := actual[free[p]].target) is not None}
        targets = [expected[wanted[p]].target for p in places]
        if set(targets) == set(by_target) and len(by_target) == len(places):
            for place, target in zip(places, targets, strict=True):
                found[place] = by_target[target]
    return found


def _reordered(trace: Trace, order: list[int]) -> Trace:
    place = {index: position for position, index in enumerate(order)}
    steps = [trace.steps[index] for index in order]
    return replace(
        trace,
        steps=tuple([s if s.target is None else replace(s, target=place.get(s.target, s.target)) for s in steps]),
        arrivals=tuple([a if a.step is None else replace(a, step=place.get(a.step, a.step)) for a in trace.arrivals]),
    )
