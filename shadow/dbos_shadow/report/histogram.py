"""How a number is distributed over any number of runs, in constant memory. Pure, and the order of numbers is no matter.

Numbers up to 15 are counted exactly, larger ones in buckets of an eighth of their power of two: a quantile is at most one
eighth too high.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

__all__ = ["Histogram", "bucket", "quantile"]


def bucket(number: int) -> tuple[int, int]:
    """The bucket of a number: its lowest number, and the lowest of the next one."""
    shift = max(0, number.bit_length() - 4)
    low = number >> shift << shift
    return low, low + (1 << shift)


class Histogram:
    """Whole numbers from 0 on, counted."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[int, int]] = Counter()
        self.count = 0
        self.total = 0
        self.lowest = 0
        self.highest = 0

    def add(self, number: int) -> None:
        number = max(0, number)
        self.lowest = min(self.lowest, number) if self.count else number
        self.highest = max(self.highest, number)
        self.counts[bucket(number)] += 1
        self.count += 1
        self.total += number

    def merge(self, other: Histogram) -> None:
        """Count what another one has counted as well."""
        if not other.count:
            return
        self.lowest = min(self.lowest, other.lowest) if self.count else other.lowest
        self.highest = max(self.highest, other.highest)
        self.counts.update(other.counts)
        self.count += other.count
        self.total += other.total

    def buckets(self) -> list[tuple[int, int, int]]:
        """(lowest, lowest of the next, count), sorted."""
        return [(low, high, count) for (low, high), count in sorted(self.counts.items())]


def quantile(buckets: Iterable[tuple[int, int, int]], count: int, share: float, highest: int) -> int:
    """A number that at least this share of all are not above."""
    so_far = 0
    for _, high, here in buckets:
        so_far += here
        if so_far >= share * count:
            return min(high - 1, highest)
    return highest
