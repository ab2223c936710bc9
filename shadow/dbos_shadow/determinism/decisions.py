"""Decisions: where a schedule's choices come from. Small integers; zero is always the boring one.

A list of them is all that is kept of a schedule. What lies past its end is zero, so that a list is as short as its last
choice that matters.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from typing import Protocol

from hypothesis import strategies as st


class Decisions(Protocol):
    """A source of choices."""

    made: list[int]
    """All choices so far, in order."""

    def choose(self, count: int, meaning: int | None = None) -> int:
        """One of ``count`` possibilities, counted from zero. With only one nothing is asked.

        ``meaning``: only so many mean something, all others are as boring as zero. Given where it is asked what happens
        next, and not how."""
        ...


class Listed:
    """Choices from a list."""

    def __init__(self, decisions: Sequence[int]) -> None:
        self._decisions = decisions
        self.made: list[int] = []

    def choose(self, count: int, meaning: int | None = None) -> int:
        if count < 2:
            return 0
        index = len(self.made)
        chosen = self._decisions[index] if index < len(self._decisions) else 0
        if not 0 <= chosen < count:
            chosen = 0  # the workflow has changed since the list was made: there is no such possibility any more
        self.made.append(chosen)
        return chosen


class Rolled:
    """Choices by dice that Hypothesis has thrown once: most schedules are made so, for no two are alike.

    Some are quiet and some are wild: how often a choice is the boring one is thrown as well.
    """

    def __init__(self, thrown: int, *, most: int) -> None:
        """``thrown``: what the dice begin with. ``most``: after so many choices everything is boring."""
        self.drawn = (thrown,)
        self._dice = random.Random(thrown)
        self._quiet = self._dice.choice((0.0, 0.3, 0.6, 0.8))
        self._most = most
        self.made: list[int] = []

    def choose(self, count: int, meaning: int | None = None) -> int:
        if count < 2:
            return 0
        boring = len(self.made) >= self._most or self._dice.random() < self._quiet
        self.made.append(0 if boring else self._dice.randrange(count))
        return self.made[-1]


def thrown(data: st.DataObject, count: int) -> range:
    """Of so many schedules what their dice begin with. It is one choice of Hypothesis, since several would be alike."""
    first = data.draw(st.integers(0, 2**48)) * count
    return range(first, first + count)


class Drawn:
    """Choices each of which Hypothesis makes, so that it can go from one schedule to one that is like it.

    They are drawn before the schedule begins, and each is taken modulo what is possible then: what is drawn must not
    depend on the workflow, which may well behave differently when it is run again.
    """

    def __init__(self, data: st.DataObject, *, most: int) -> None:
        """``most``: after so many choices everything is boring."""
        length = data.draw(st.integers(0, most))
        self.drawn = tuple(data.draw(_bytes(length)))  # one choice of Hypothesis: a list of so many costs it a schedule
        self.made: list[int] = []

    def choose(self, count: int, meaning: int | None = None) -> int:
        if count < 2:
            return 0
        index = len(self.made)
        chosen = self.drawn[index] % count if index < len(self.drawn) else 0
        self.made.append(chosen)
        return chosen


@functools.cache
def _bytes(length: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=length, max_size=length)


def trimmed(decisions: Sequence[int]) -> list[int]:
    """Without the zeros at its end, which mean nothing."""
    kept = list(decisions)
    while kept and kept[-1] == 0:
        kept.pop()
    return kept
