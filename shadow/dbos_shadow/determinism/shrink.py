"""Shrink: from a list of decisions that breaks a rule to a short one that still does. Pure.

A decision weighs what it says: zero is nothing. A list is tried without some of its decisions, with some of them boring, and
with smaller ones, for as long as that helps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from dbos_shadow.determinism.decisions import trimmed

Breaks = Callable[[tuple[int, ...]], Sequence[int] | None]
"""Lives a list. If it breaks the rule still, the answer are the decisions that it really took."""


def weight(decisions: Sequence[int]) -> tuple[int, int, int]:
    """What is to become small: choices that are not boring, then length, then their sum."""
    return (sum(1 for d in decisions if d), len(decisions), sum(decisions))


def shrink(decisions: Sequence[int], breaks: Breaks, more: Callable[[], bool]) -> tuple[int, ...]:
    """The smallest list that was found.

    Args:
        decisions: one that breaks the rule.
        breaks: tries a list.
        more: False when there is no time for another try.
    """
    best = tuple(trimmed(decisions))
    tried: set[tuple[int, ...]] = {best}
    improved = True
    while improved and more():
        improved = False
        for candidate in _smaller(best):
            if not more():
                break
            short = tuple(trimmed(candidate))
            if short in tried or weight(short) >= weight(best):
                continue
            tried.add(short)
            took = breaks(short)
            if took is None:
                continue
            taken = tuple(trimmed(took))
            best = taken if weight(taken) < weight(short) else short
            improved = True
            break
    return best


def _smaller(best: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    length = len(best)
    size = length
    while size:
        for start in range(0, length - size + 1, max(1, size // 2)):
            yield best[:start] + best[start + size :]
            yield best[:start] + (0,) * size + best[start + size :]
        size //= 2
    for index, value in enumerate(best):
        for lower in dict.fromkeys((1, value // 2, value - 2, value - 1)):
            if 0 < lower < value:
                yield (*best[:index], lower, *best[index + 1 :])
    for index, value in enumerate(best):  # one that is later, and says more, may make up for one that goes
        if value and index + 1 < length:
            yield (*best[:index], *best[index + 1 : -1], best[-1])
