"""Two sequences → who belongs to whom. Pure, and symmetric: swapping the sequences swaps the answer.

Each item has a *key* (what it is) and a *content* (all that is compared of it). What is wholly equal is paired first, so
that one step left out of a loop is one missing step and not a shift of all that follow; then what has the same key, then,
of what is left over, what merely stands elsewhere, then what stands in the other's place. Where all keys agree and the
contents are not the same ones in another order, the items belong together as they stand: an input computed otherwise in
each round of a loop is a matter of inputs, though the second round now has what the first had.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from dbos_shadow.longest_common import longest_common

__all__ = ["Alignment", "Item", "align"]


@dataclass(frozen=True, slots=True)
class Item:
    """Something that has its place in a sequence."""

    family: str
    """Only items of one family can stand in each other's place."""
    key: Hashable
    content: Hashable


@dataclass(slots=True)
class Alignment:
    """Who belongs to whom: pairs of (index on the left, index on the right), and indices of those that are alone."""

    pairs: list[tuple[int, int]] = field(default_factory=list)
    """The same key, in the same order."""
    moved: list[tuple[int, int]] = field(default_factory=list)
    """The same key, at another place."""
    replaced: list[tuple[int, int]] = field(default_factory=list)
    """Of one family, with different keys, in each other's place."""
    missing: list[int] = field(default_factory=list)
    extra: list[int] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.moved or self.replaced or self.missing or self.extra)


def align(left: Sequence[Item], right: Sequence[Item]) -> Alignment:
    """The alignment of two sequences. Equal beginnings and ends are paired at once, whatever stands between."""
    start = 0
    while start < min(len(left), len(right)) and left[start] == right[start]:
        start += 1
    end = 0
    while end < min(len(left), len(right)) - start and left[-1 - end] == right[-1 - end]:
        end += 1
    middle_left, middle_right = left[start : len(left) - end], right[start : len(right) - end]
    found = _symmetric(middle_left, middle_right)
    shifted = Alignment(
        pairs=[(i, i) for i in range(start)] + [(i + start, j + start) for i, j in found.pairs],
        moved=[(i + start, j + start) for i, j in found.moved],
        replaced=[(i + start, j + start) for i, j in found.replaced],
        missing=[i + start for i in found.missing],
        extra=[j + start for j in found.extra],
    )
    shifted.pairs += [(len(left) - k, len(right) - k) for k in range(end, 0, -1)]
    return shifted


def _symmetric(left: Sequence[Item], right: Sequence[Item]) -> Alignment:
    """Ties are broken by what the sequences hold, not by which of them comes first."""
    if not left or not right or repr(left) <= repr(right):
        return _align(left, right)
    found = _align(right, left)
    return Alignment(
        pairs=[(i, j) for j, i in found.pairs],
        moved=sorted((i, j) for j, i in found.moved),
        replaced=sorted((i, j) for j, i in found.replaced),
        missing=found.extra,
        extra=found.missing,
    )


Block = tuple[list[int], list[int]]


def _align(left: Sequence[Item], right: Sequence[Item]) -> Alignment:
    found = Alignment()
    if _same_keys_other_contents(left, right):
        found.pairs = [(index, index) for index in range(len(left))]
        return found
    whole: Block = (list(range(len(left))), list(range(len(right))))
    gaps: list[Block] = []
    for gap in _matched([item.content for item in left], [item.content for item in right], whole, found.pairs):
        gaps += _matched([item.key for item in left], [item.key for item in right], gap, found.pairs)
    found.pairs.sort()
    _move(left, right, gaps, found)
    for lefts, rights in gaps:
        _replace(left, right, lefts, rights, found)
        found.missing += lefts
        found.extra += rights
    found.moved.sort()
    found.replaced.sort()
    return found


def _same_keys_other_contents(left: Sequence[Item], right: Sequence[Item]) -> bool:
    if [item.key for item in left] != [item.key for item in right]:
        return False
    return Counter(item.content for item in left) != Counter(item.content for item in right)


def _matched(
    left: Sequence[Hashable], right: Sequence[Hashable], block: Block, pairs: list[tuple[int, int]]
) -> list[Block]:
    """Pair what is equal inside of a block; what is left between the pairs."""
    lefts, rights = block
    gaps: list[Block] = []
    after_i = after_j = 0
    common = longest_common([left[i] for i in lefts], [right[j] for j in rights])
    for i, j in [*common, (len(lefts), len(rights))]:
        if i > after_i or j > after_j:
            gaps.append((lefts[after_i:i], rights[after_j:j]))
        if i < len(lefts):
            pairs.append((lefts[i], rights[j]))
        after_i, after_j = i + 1, j + 1
    return gaps


def _move(left: Sequence[Item], right: Sequence[Item], gaps: list[Block], found: Alignment) -> None:
    """What is over on both sides stands elsewhere: wholly equal items first, then those of one key."""
    for same in (_content, _key):
        over: dict[Hashable, list[tuple[int, list[int]]]] = {}
        for _, rights in gaps:
            for j in rights:
                over.setdefault(same(right[j]), []).append((j, rights))
        for lefts, _ in gaps:
            for i in list(lefts):
                if candidates := over.get(same(left[i])):
                    j, rights = candidates.pop(0)
                    found.moved.append((i, j))
                    lefts.remove(i)
                    rights.remove(j)


def _content(item: Item) -> Hashable:
    return item.content


def _key(item: Item) -> Hashable:
    return item.key


def _replace(
    left: Sequence[Item], right: Sequence[Item], lefts: list[int], rights: list[int], found: Alignment
) -> None:
    for i in list(lefts):
        j = next((j for j in rights if right[j].family == left[i].family), None)
        if j is not None:
            found.replaced.append((i, j))
            lefts.remove(i)
            rights.remove(j)
