"""What a report keeps of many runs: sums, and of each kind the one run that shows it best. Pure, in any order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from dbos_shadow.allow import Accepted
from dbos_shadow.difference import Difference
from dbos_shadow.report.histogram import Histogram, quantile
from dbos_shadow.report.model import AcceptedDifference, Bucket, Distribution, RunLine
from dbos_shadow.report.scrub import Scrubber
from dbos_shadow.trace import Status, Trace
from dbos_shadow.verdict import Judgement, Verdict

__all__ = ["AcceptedSum", "Few", "TypeSum", "UndecidedSum", "distribution", "duration_ms", "unmet"]


class TypeSum:
    """One workflow type so far."""

    def __init__(self) -> None:
        self.verdicts: Counter[Verdict] = Counter()
        self.reasons: Counter[str] = Counter()
        self.ways: Counter[str] = Counter()
        self.shapes: dict[str, list[int]] = {}
        self.features: dict[str, list[int]] = {}
        self.steps = Histogram()
        self.duration = Histogram()

    def add(self, judgement: Judgement, expected: Trace | None) -> None:
        verdict = judgement.verdict
        self.verdicts[verdict] += 1
        self.ways[judgement.way.value] += 1
        if judgement.reason is not None:
            self.reasons[judgement.reason.value] += 1
        mismatch = verdict is Verdict.MISMATCH
        compared = mismatch or verdict in (Verdict.MATCH, Verdict.ACCEPTED)
        for sums, names in ((self.shapes, [judgement.shape]), (self.features, judgement.features)):
            for name in names:
                if name:
                    sums_of = sums.setdefault(name, [0, 0, 0])
                    sums_of[0] += 1
                    sums_of[1] += compared
                    sums_of[2] += mismatch
        if judgement.steps or compared:
            self.steps.add(judgement.steps)
        if (took := duration_ms(expected)) is not None:
            self.duration.add(took)


@dataclass
class AcceptedSum:
    """Runs that showed one accepted difference."""

    difference: Difference
    entry: Accepted
    runs: int = 0
    expired: bool = False

    def report(self, fingerprint: str, scrub: Scrubber) -> AcceptedDifference:
        return AcceptedDifference(
            fingerprint=fingerprint,
            workflow_type=self.difference.workflow_type,
            pattern=scrub.path(self.difference.pattern),
            runs=self.runs,
            reason=self.entry.reason,
            owner=self.entry.owner,
            expires=self.entry.expires.isoformat(),
            expired=self.expired,
        )


def unmet(entry: Accepted) -> AcceptedDifference:
    """An expired entry whose difference no run has shown."""
    return AcceptedDifference(
        fingerprint=entry.fingerprint,
        workflow_type="",
        pattern="",
        runs=0,
        reason=entry.reason,
        owner=entry.owner,
        expires=entry.expires.isoformat(),
        expired=True,
    )


class UndecidedSum:
    """Runs without an answer for one reason; the shortest is the example."""

    def __init__(self) -> None:
        self.runs = 0
        self._best: tuple[int, str, str, str] | None = None

    def add(self, judgement: Judgement) -> None:
        self.runs += 1
        mine = (judgement.steps, judgement.workflow_id, judgement.run_id, judgement.note)
        self._best = mine if self._best is None else min(self._best, mine)

    @property
    def example(self) -> tuple[str, str, str]:
        assert self._best is not None
        return self._best[1:]


class Few:
    """The weightiest lines of any number, whatever their order."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lines: list[tuple[tuple[object, ...], RunLine]] = []
        self.seen = 0

    def add(self, weight: tuple[object, ...], line: RunLine) -> None:
        self.seen += 1
        self._lines.append((weight, line))
        if len(self._lines) > 2 * self._most + 100:
            self._cut()

    def sorted(self) -> tuple[RunLine, ...]:
        self._cut()
        return tuple(line for _, line in self._lines)

    def _cut(self) -> None:
        self._lines.sort(key=lambda item: item[0])
        del self._lines[self._most :]


def distribution(of: Histogram, unit: str) -> Distribution | None:
    """What a report says of a histogram (``unit``: ms, steps, events); None: nothing was counted."""
    if not of.count:
        return None
    buckets = of.buckets()

    def at(share: float) -> int:
        return quantile(buckets, of.count, share, of.highest)

    return Distribution(
        unit=unit,
        count=of.count,
        lowest=of.lowest,
        median=at(0.5),
        p90=at(0.9),
        p99=at(0.99),
        highest=of.highest,
        total=of.total,
        buckets=tuple(Bucket(low=low, high=high, count=count) for low, high, count in buckets),
    )


def duration_ms(trace: Trace | None) -> int | None:
    """From start to end, milliseconds; None: it is open, or the trace does not say."""
    if trace is None or trace.outcome.status in (Status.RUNNING, Status.UNKNOWN):
        return None
    return max(0, trace.outcome.at_ms - trace.at_ms) if trace.at_ms and trace.outcome.at_ms else None
