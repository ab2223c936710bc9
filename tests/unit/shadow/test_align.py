"""Who belongs to whom: the longest common subsequence, and what is made of the rest."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbos_shadow import longest_common as module
from dbos_shadow.align import Item, align
from dbos_shadow.diff import diff
from dbos_shadow.difference import Kind, Level
from dbos_shadow.longest_common import longest_common
from dbos_shadow.trace import Trace
from tests.unit.shadow.traces import activity, trace

words = st.text("abc", max_size=8)


def longest(one: str, other: str) -> int:
    """By the book."""

    @cache
    def of(i: int, j: int) -> int:
        if not i or not j:
            return 0
        if one[i - 1] == other[j - 1]:
            return of(i - 1, j - 1) + 1
        return max(of(i - 1, j), of(i, j - 1))

    return of(len(one), len(other))


def rises(pairs: list[tuple[int, int]]) -> bool:
    return all(i < k and j < m for (i, j), (k, m) in pairwise(pairs))


@given(words, words)
def test_what_is_common_is_equal_rises_and_is_the_longest(one: str, other: str) -> None:
    pairs = longest_common(one, other)
    assert all(one[i] == other[j] for i, j in pairs)
    assert rises(pairs)
    assert len(pairs) == longest(one, other)


def test_where_too_much_differs_it_is_rough_and_still_true(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EDITS_MAX", 2)
    pairs = longest_common("abcabba", "cbabac")
    assert pairs
    assert rises(pairs)
    assert all("abcabba"[i] == "cbabac"[j] for i, j in pairs)


def test_what_is_over_stands_side_by_side() -> None:
    assert longest_common("456", "466") == [(0, 0), (2, 2)]
    assert longest_common("466", "456") == [(0, 0), (2, 2)]
    assert longest_common("xaaa", "aaaa") == [(1, 1), (2, 2), (3, 3)]


def items(text: str) -> list[Item]:
    """Upper and lower case are one key with two contents; all are of one family."""
    return [Item("letter", letter.lower(), letter) for letter in text]


@given(st.text("aAbBc", max_size=7), st.text("aAbBc", max_size=7))
def test_everybody_is_somewhere_once_and_the_other_way_round_is_the_same(one: str, other: str) -> None:
    there, back = align(items(one), items(other)), align(items(other), items(one))
    both = there.pairs + there.moved + there.replaced
    assert sorted([i for i, _ in both] + there.missing) == list(range(len(one)))
    assert sorted([j for _, j in both] + there.extra) == list(range(len(other)))
    assert all(one[i].lower() == other[j].lower() for i, j in there.pairs + there.moved)
    assert rises(there.pairs)
    assert (there.missing, there.extra) == (back.extra, back.missing)
    assert sorted((j, i) for i, j in back.pairs) == sorted(there.pairs)


def test_an_input_computed_otherwise_in_each_round_is_a_matter_of_inputs() -> None:
    def polls(first: int) -> Trace:
        return trace([activity("poll", n, activation=n) for n in range(first, first + 5)])

    found = [(d.level, d.kind, d.step, d.actual_step) for d in diff(polls(0), polls(1)).differences]
    assert found == [(Level.INPUTS, Kind.VALUE, n, n) for n in range(5)]
    both = [activity("pay", 1), activity("pay", 2)]
    swapped = diff(trace(both), trace(both[::-1])).differences
    assert [(d.level, d.kind) for d in swapped] == [(Level.SEQUENCE, Kind.ORDER)]


def test_a_long_loop_with_one_round_less_and_some_changed() -> None:
    rounds = range(2_000)
    one = trace([activity("poll", n % 50, activation=n) for n in rounds])
    other = trace([activity("poll", n % 50 + (n % 997 == 5), activation=n) for n in rounds if n != 1_100])
    found = [(difference.kind, difference.step) for difference in diff(one, other).differences]
    assert found == [(Kind.VALUE, 5), (Kind.VALUE, 1_002), (Kind.MISSING, 1_100), (Kind.VALUE, 1_999)]
