"""Singles: every schedule in which one thing is out of the ordinary, before chance has its turn.

Most bugs need one fault at the right moment. There are some hundreds of such schedules of a small workflow: all of them can
be tried, in the order of their size, and what one of them breaks needs no shrinking.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from dbos_shadow.determinism.decisions import Listed

SUB_MAX = 12
"""Of a choice within a choice (which value, how many turns later) so many are tried."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One question of a schedule."""

    count: int
    """How many answers mean something."""
    turn: bool
    """Is it what happens next? Else it is how."""


class Noting(Listed):
    """Choices from a list, and what was asked."""

    def __init__(self, decisions: Sequence[int]) -> None:
        super().__init__(decisions)
        self.asked: list[Asked] = []

    def choose(self, count: int, meaning: int | None = None) -> int:
        chosen = super().choose(count, meaning)
        if count > 1:
            self.asked.append(Asked(count if meaning is None else meaning, meaning is not None))
        return chosen


def singles(live: Callable[[Noting], object], most: int) -> Iterator[list[int]]:
    """Live all schedules with one thing out of the ordinary, and yield each after it was lived.

    Args:
        live: lives a schedule, and raises what it breaks.
        most: choices after so many are left alone.
    """
    plain = _lived(live, [])
    firsts: list[list[int]] = []
    for index, asked in enumerate(plain[:most]):
        firsts += [[0] * index + [value] for value in range(1, asked.count)]
    seconds: list[list[int]] = []
    for first in firsts:
        found = _lived(live, first)
        yield first
        after = found[len(first)] if len(first) < len(found) else None
        if plain[len(first) - 1].turn and after is not None and not after.turn:
            step = max(1, (after.count - 1) // SUB_MAX)
            seconds += [[*first, value] for value in range(1, after.count, step)]
    for second in seconds:
        _lived(live, second)
        yield second


def _lived(live: Callable[[Noting], object], decisions: list[int]) -> list[Asked]:
    noting = Noting(decisions)
    live(noting)
    return noting.asked
