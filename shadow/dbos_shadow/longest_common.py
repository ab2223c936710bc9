"""The longest common subsequence of two sequences. Pure.

Myers' greedy algorithm ("An O(ND) difference algorithm and its variations", 1986): its time grows with the length and with
how much differs, and two traces are mostly alike. Loops are why it is not the standard library's ``SequenceMatcher``: that
one looks for the longest unbroken block, and in a loop of a thousand equal steps it finds it one round too far.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from difflib import SequenceMatcher

__all__ = ["longest_common"]

EDITS_MAX = 1_000
"""Beyond this many edits a short answer matters no more: a rough one in bounded time and memory does."""


def longest_common(left: Sequence[Hashable], right: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Pairs of indices of equal items, rising on both sides, as many as there can be."""
    numbers: dict[Hashable, int] = {}
    a = [numbers.setdefault(item, len(numbers)) for item in left]
    b = [numbers.setdefault(item, len(numbers)) for item in right]
    reached = _reached(a, b)
    pairs = _rough(a, b) if reached is None else _walk_back(reached, len(a), len(b), a, b)
    return _drawn_together(pairs, a, b)


def _reached(a: Sequence[int], b: Sequence[int]) -> list[dict[int, int]] | None:
    """For each number of edits, how far into ``a`` each diagonal gets with it; up to the number that is enough."""
    furthest = {1: 0}
    history: list[dict[int, int]] = []
    for edits in range(min(len(a) + len(b), EDITS_MAX) + 1):
        history.append(furthest)
        now: dict[int, int] = {}
        for diagonal in range(-edits, edits + 1, 2):
            x = _step(furthest, diagonal, edits)
            y = x - diagonal
            while x < len(a) and y < len(b) and a[x] == b[y]:
                x += 1
                y += 1
            now[diagonal] = x
            if x >= len(a) and y >= len(b):
                return history
        furthest = now
    return None


def _step(before: dict[int, int], diagonal: int, edits: int) -> int:
    """Where a diagonal begins with one more edit: from above (an item of ``b``), or from the left (one of ``a``)."""
    above, beside = before.get(diagonal + 1, -1), before.get(diagonal - 1, -1)
    return above if diagonal == -edits or (diagonal != edits and beside < above) else beside + 1


def _walk_back(
    history: list[dict[int, int]], x: int, y: int, a: Sequence[int], b: Sequence[int]
) -> list[tuple[int, int]]:
    pairs: list[tuple[int, int]] = []
    for edits in range(len(history) - 1, -1, -1):
        diagonal = x - y
        start = _step(history[edits], diagonal, edits)
        while x > max(start, 0) and y > 0 and a[x - 1] == b[y - 1]:
            x -= 1
            y -= 1
            pairs.append((x, y))
        if edits:
            came_from_above = start == history[edits].get(diagonal + 1, -1) and (
                diagonal == -edits or (diagonal != edits and history[edits].get(diagonal - 1, -1) < start)
            )
            x, y = (x, y - 1) if came_from_above else (x - 1, y)
    return pairs[::-1]


def _rough(a: Sequence[int], b: Sequence[int]) -> list[tuple[int, int]]:
    matcher = SequenceMatcher(None, a, b, autojunk=False)
    return [(i + n, j + n) for i, j, size in matcher.get_matching_blocks() for n in range(size)]


def _drawn_together(pairs: list[tuple[int, int]], a: Sequence[int], b: Sequence[int]) -> list[tuple[int, int]]:
    """Of several longest answers, one where what is over stands side by side: ``4 5 6`` and ``4 6 6`` differ in the middle,
    not in a 5 that is gone and a 6 that came behind. A run of pairs is shifted to the end of the gap behind it, where the
    gaps before and behind are on different sides."""
    shifted: list[tuple[int, int]] = []
    before = (0, 0)
    """How much is over between the run and what comes before it, on each side."""
    for number, (run, behind) in enumerate(_runs(pairs, len(a), len(b))):
        over_i, over_j = behind
        moves = number > 0 and bool(run) and bool(over_i) != bool(over_j) and before[bool(over_i)] > 0
        if moves and all(a[i + over_i] == b[j + over_j] for i, j in run):
            shifted += [(i + over_i, j + over_j) for i, j in run]
            before = (0, 0)
        else:
            shifted += run
            before = behind
    return shifted


def _runs(
    pairs: list[tuple[int, int]], length_a: int, length_b: int
) -> list[tuple[list[tuple[int, int]], tuple[int, int]]]:
    """Unbroken runs of pairs, each with how much is over behind it. The first run may be empty."""
    found: list[tuple[list[tuple[int, int]], tuple[int, int]]] = []
    run: list[tuple[int, int]] = []
    at_i = at_j = 0
    for i, j in [*pairs, (length_a, length_b)]:
        if (i, j) != (at_i, at_j) or (i, j) == (length_a, length_b):
            found.append((run, (i - at_i, j - at_j)))
            run = []
        run.append((i, j))
        at_i, at_j = i + 1, j + 1
    return found
