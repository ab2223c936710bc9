"""The budgets of the design as data, and their verdicts on a run."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.results import Summary

COMMITS_TOLERANCE = 0.1
"""A worker's own bookkeeping (its lease, a claim) falls into the window too; at one in flight it is this small."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """A figure of ours, alone or over a rival's at the same concurrency, and its bound."""

    what: str
    ours: str
    rival: str | None
    figure: Literal["per_second", "p50_ms", "commits"]
    inflight: int
    at_least: float | None = None
    at_most: float | None = None
    tolerance: float = 0.0

    @property
    def bound(self) -> str:
        unit = "×" if self.rival else ""
        return f"≥ {self.at_least:g}{unit}" if self.at_least is not None else f"≤ {self.at_most:g}{unit}"


BUDGETS: tuple[Budget, ...] = (
    Budget(
        what="throughput over DBOS, unsandboxed",
        ours="compat-unsandboxed",
        rival="dbos",
        figure="per_second",
        inflight=32,
        at_least=6,
    ),
    Budget(
        what="throughput over DBOS, sandboxed",
        ours="compat-sandboxed",
        rival="dbos",
        figure="per_second",
        inflight=32,
        at_least=3,
    ),
    Budget(
        what="p50 latency over DBOS",
        ours="compat-unsandboxed",
        rival="dbos",
        figure="p50_ms",
        inflight=1,
        at_most=0.35,
    ),
    Budget(
        what="throughput over the Temporal dev server (in memory)",
        ours="compat-unsandboxed",
        rival="temporal",
        figure="per_second",
        inflight=32,
        at_least=15,
    ),
    Budget(
        what="throughput over dbosify",
        ours="compat-unsandboxed",
        rival="dbosify",
        figure="per_second",
        inflight=32,
        at_least=50,
    ),
    Budget(
        what="commits per two-activity workflow",
        ours="compat-unsandboxed",
        rival=None,
        figure="commits",
        inflight=1,
        at_most=3,
        tolerance=COMMITS_TOLERANCE,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A budget, the measured value, and whether it is kept; None where the run did not measure it."""

    budget: Budget
    value: float | None
    kept: bool | None

    def to_json(self) -> dict[str, Any]:
        budget = self.budget
        return {
            "what": budget.what,
            "inflight": budget.inflight,
            "bound": budget.bound,
            "value": self.value,
            "kept": self.kept,
        }


def judge(summaries: Iterable[Summary], budgets: Iterable[Budget] = BUDGETS) -> list[Verdict]:
    """Each budget against the medians of this run."""
    found = {(summary.contender, summary.inflight): summary for summary in summaries}
    return [_judge(budget, found) for budget in budgets]


def _judge(budget: Budget, found: dict[tuple[str, int], Summary]) -> Verdict:
    ours = found.get((budget.ours, budget.inflight))
    value: float | None = None if ours is None else getattr(ours, budget.figure)
    if budget.rival is not None and value is not None:
        rival = found.get((budget.rival, budget.inflight))
        value = None if rival is None else value / getattr(rival, budget.figure)
    if value is None:
        return Verdict(budget=budget, value=None, kept=None)
    kept = (budget.at_least is None or value >= budget.at_least - budget.tolerance) and (
        budget.at_most is None or value <= budget.at_most + budget.tolerance
    )
    return Verdict(budget=budget, value=value, kept=kept)
