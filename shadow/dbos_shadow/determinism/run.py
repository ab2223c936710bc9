"""Run one schedule, and look at what came of it. The other front doors (story, CLI, pytest) stand on this."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dbos_shadow.determinism.crew import Crew
from dbos_shadow.determinism.decisions import Decisions, Listed, trimmed
from dbos_shadow.determinism.failure import DeterminismError
from dbos_shadow.determinism.happenings import Happening
from dbos_shadow.determinism.plan import Plan
from dbos_shadow.determinism.schedule import Limits, Schedule
from dbos_shadow.determinism.silence import quiet
from dbos_shadow.determinism.straight import commands
from dbos_shadow.trace import Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Lived:
    """One schedule, lived to its end."""

    decisions: tuple[int, ...]
    """Without the zeros at the end."""
    traces: tuple[Trace, ...]
    """Of the runs of the workflow that have ended."""
    rows: tuple[str, ...]
    """Of the journals of all runs, as they are in the store."""
    histories: tuple[str, ...]
    """Temporal histories as JSON, oldest run first."""
    error: DeterminismError | None = field(default=None)
    """What was broken, if anything."""
    depth: int = 0
    """Rows of all journals."""
    width: int = 0
    """The most attempts that were under way at once."""
    happened: Callable[[], Sequence[Happening]] = field(default=tuple)
    asked: Callable[[], Sequence[str]] = field(default=tuple)

    @property
    def happenings(self) -> tuple[Happening, ...]:
        """What happened, in order; told when somebody wants to know it."""
        return tuple(self.happened())

    @property
    def commands(self) -> tuple[str, ...]:
        """What every task of every run asked for, in order: the same in every process."""
        return tuple(self.asked())


def live(
    crew: Crew,
    decisions: Decisions,
    *,
    limits: Limits | None = None,
    whole: bool = True,
    followed: bool = True,
) -> Lived:
    """Live one schedule.

    Args:
        crew: of the plan.
        decisions: where choices come from.
        limits: how long it may be.
        whole: False spares what only readers want: traces and histories.
        followed: False spares the replay of each step, where that has been done for these decisions.
    """
    schedule = Schedule(crew, decisions, limits, followed=followed)
    error: DeterminismError | None = None
    try:
        schedule.run()
    except DeterminismError as broken:
        error = broken
    records = [record for journal in schedule.journals.values() for record in journal.records]
    runs = schedule.world.tables.runs.values()
    lived = Lived(
        decisions=tuple(trimmed(decisions.made)),
        traces=tuple(schedule.watch.traces()) if whole else (),
        rows=tuple(row.record for run in runs for _, row in sorted(run.journal.items())),
        histories=tuple(h.to_json() for h in schedule.watch.histories()) if whole else (),
        error=error,
        depth=len(records),
        width=schedule.attempts.width,
        happened=schedule.tells(),
        asked=lambda: [commands(crew.decoded(record)) for record in records],
    )
    schedule.forget()
    return lived


def run_schedule(plan: Plan, decisions: Sequence[int], *, limits: Limits | None = None) -> Lived:
    """Live the schedule that a list of decisions stands for. What is broken is in the answer, not raised.

    Args:
        plan: what is tested (``determinism_test(...).plan``).
        decisions: as an error named them.
    """
    crew = Crew(plan)
    try:
        with quiet():
            return live(crew, Listed(decisions), limits=limits)
    finally:
        crew.close()
