"""Numbers → where the marks of a small chart stand. Pure: the template draws them."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from dbos_shadow.report.figures import percent, short_ms
from dbos_shadow.report.histogram import bucket
from dbos_shadow.report.model import Counts, Distribution, TrendPoint

__all__ = ["Bar", "Chart", "Line", "Mark", "Part", "histogram", "parts", "trend_lines"]

BARS_MAX = 28


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a bar in one line: runs of one verdict."""

    name: str
    label: str
    count: int
    share: float
    """Of 100."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar; numbers are of 100, from the upper left corner."""

    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that stands at one place of the axis; ``x`` is of 100."""

    x: float
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars and marks in a box of width 100 and height 100, y downwards."""

    bars: tuple[Bar, ...]
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """How one number went, report by report."""

    name: str
    points: tuple[tuple[float, float, str], ...]
    """x, y and what stands there."""
    last: str


def parts(counts: Counts) -> tuple[Part, ...]:
    """The verdicts of many runs as stretches; one that is too small to see is given a sliver."""
    named = (
        ("mismatch", "differ", counts.mismatch),
        ("inconclusive", "inconclusive", counts.inconclusive),
        ("not_run", "not run", counts.not_run),
        ("accepted", "accepted", counts.accepted),
        ("match", "the same", counts.match),
    )
    least = 0.8
    shares = {name: max(least, 100 * count / counts.total) if count else 0.0 for name, _, count in named}
    total = sum(shares.values()) or 1.0
    return tuple(Part(name, label, count, 100 * shares[name] / total) for name, label, count in named)


def histogram(of: Distribution) -> Chart:
    """Bars of one or more neighbouring buckets, so that no bar is empty for the sake of its edges only."""
    edges = _edges(of.lowest, of.highest)
    each = -(-(len(edges) - 1) // BARS_MAX)
    edges = [*edges[:-1:each], edges[-1]]
    counts = [0] * (len(edges) - 1)
    for one in of.buckets:
        counts[bisect_right(edges, one.low) - 1] += one.count
    most = max(counts)
    width = 100 / len(counts)
    bars = []
    for index, count in enumerate(counts):
        height = max(1.5, 100 * count / most) if count else 0.0
        low, high = (_unit(number, of.unit) for number in (edges[index], edges[index + 1] - 1))
        shown = low if low == high else f"{low} to {high}"
        bars.append(Bar(index * width, 100 - height, width, height, f"{shown}: {count:,} runs"))
    marks = (
        Mark(_x(of.median, edges), f"median {_unit(of.median, of.unit)}"),
        Mark(_x(of.p99, edges), f"99 % {_unit(of.p99, of.unit)}"),
    )
    return Chart(tuple(bars), marks)


def _edges(lowest: int, highest: int) -> list[int]:
    """Where buckets begin, from the one of the lowest number to the end of that of the highest."""
    edges = [bucket(lowest)[0]]
    while edges[-1] <= highest:
        edges.append(bucket(edges[-1])[1])
    return edges


def trend_lines(points: tuple[TrendPoint, ...]) -> tuple[Line, ...]:
    """Shares of runs that differ, and that have no answer, report by report."""
    lines: list[tuple[str, list[float]]] = [
        ("mismatch", [_share(point.counts.mismatch, point.counts.total) for point in points]),
        ("inconclusive", [_share(point.counts.without_answer, point.counts.total) for point in points]),
    ]
    most = max((share for _, shares in lines for share in shares), default=0.0) or 1.0
    step = 100 / max(1, len(points) - 1)
    return tuple(
        Line(
            name,
            tuple(
                (
                    index * step if len(points) > 1 else 50.0,
                    100 - 100 * share / most,
                    f"{points[index].label} {percent(share)}".strip(),
                )
                for index, share in enumerate(shares)
            ),
            percent(shares[-1]) if shares else "",
        )
        for name, shares in lines
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _unit(number: int, unit: str) -> str:
    return short_ms(number) if unit == "ms" else f"{number:,}"


def _x(number: int, edges: list[int]) -> float:
    """Where a number stands between the edges of bars of one width."""
    index = min(bisect_right(edges, number), len(edges) - 1) - 1
    inside = (number + 0.5 - edges[index]) / (edges[index + 1] - edges[index])
    return (index + min(max(inside, 0.0), 1.0)) * 100 / (len(edges) - 1)
