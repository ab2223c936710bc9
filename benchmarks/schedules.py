"""The part ``determinism``: schedules of a five-step workflow per second of processor time.

Each row is a process of its own that explores as a team's test does: every step is replayed, every eighth schedule is run
twice, and what breaks a rule would end it. The figure is processor time, since a machine that does other things at the
same time makes wall clocks lie. Run as a module, it is one such process: ``python -m benchmarks.schedules ROW SCHEDULES``.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from statistics import median
from typing import Any

from temporalio import activity, workflow

AT_LEAST = 200.0
"""Schedules a second on one core, unsandboxed."""
ROWS = {
    "plain": "nothing out of the ordinary happens, unsandboxed",
    "faults": "whatever the kit chooses, unsandboxed",
    "sandboxed": "whatever the kit chooses, sandboxed",
}
JUDGED = "faults"
WARM_UP = 50


@activity.defn
async def add(number: int) -> int:
    return number + 1


@workflow.defn
class FiveSteps:
    @workflow.run
    async def run(self, number: int) -> int:
        for _ in range(5):
            number = await workflow.execute_activity(add, number, start_to_close_timeout=timedelta(seconds=10))
        return number


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One process that has explored."""

    row: str
    schedules: int
    steps: int
    """Workflow tasks in all schedules, replays not counted."""
    cpu_seconds: float


@dataclass(frozen=True, kw_only=True)
class Schedules:
    """Medians over the rounds, by row."""

    per_second: dict[str, float]
    """Schedules per second of processor time."""
    steps: dict[str, float]
    """Workflow tasks per schedule."""

    @property
    def kept(self) -> bool:
        return self.per_second[JUDGED] >= AT_LEAST

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"kept": self.kept}


def summary(visits: Sequence[Visit]) -> Schedules:
    def of(figure: Callable[[Visit], float]) -> dict[str, float]:
        return {row: median(figure(visit) for visit in visits if visit.row == row) for row in ROWS}

    return Schedules(
        per_second=of(lambda visit: visit.schedules / visit.cpu_seconds),
        steps=of(lambda visit: visit.steps / visit.schedules),
    )


async def measure_schedules(schedules: int, rounds: int, *, told: Callable[[Visit], None]) -> Schedules:
    """Run the visits, each row once in each round. Raises RuntimeError when one fails."""
    visits = []
    for _ in range(rounds):
        for row in ROWS:
            visits.append(await _visit(row, schedules))
            told(visits[-1])
    return summary(visits)


async def _visit(row: str, schedules: int) -> Visit:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.schedules", row, str(schedules),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{ROWS[row]}: {err.decode(errors='replace')[-2000:]}")
    return Visit(**json.loads(out))


def explore(row: str, schedules: int) -> Visit:
    """Explore in this process."""
    from benchmarks.schedules import FiveSteps as Tested  # by the name that the sandbox can import
    from benchmarks.schedules import add as step
    from dbos_shadow.determinism import Profile, check_workflow, returns
    from dbos_shadow.determinism.plan import plan

    tested = plan(Tested.run, args=1, activities={step: returns(1)}, sandboxed=row == "sandboxed")

    def one(count: int) -> tuple[int, int]:
        decisions = 0 if row == "plain" else 60
        found = check_workflow(
            tested,
            profile=Profile(name=row, schedules=count, seconds=3_600, decisions=decisions, hash_seeds=0),
        )
        return found.schedules, found.steps

    one(WARM_UP)
    begun = time.process_time()
    done, steps = one(schedules)
    return Visit(row=row, schedules=done, steps=steps, cpu_seconds=time.process_time() - begun)


if __name__ == "__main__":
    print(json.dumps(asdict(explore(sys.argv[1], int(sys.argv[2])))))
