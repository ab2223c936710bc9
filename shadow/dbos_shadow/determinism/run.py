"""Run one schedule, and look at what came of it. The other front doors (story, CLI, pytest) stand on this."""

from __future__ import annotations

from collections.abc import Sequence
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
    happenings: tuple[Happening, ...]
    traces: tuple[Trace, ...]
    """Of the runs of the workflow that have ended."""
    commands: tuple[str, ...]
    """What every task of every run asked for, in order: the same in every process. Empty if nobody wants to compare."""
    histories: tuple[str, ...]
    """Temporal histories as JSON, oldest run first."""
    error: DeterminismError | None = field(default=None)
    """What was broken, if anything."""
    depth: int = 0
    """Rows of all journals."""
    width: int = 0
    """The most attempts that were under way at once."""


def live(
    crew: Crew,
    decisions: Decisions,
    *,
    limits: Limits | None = None,
    whole: bool = True,
    compared: bool = True,
) -> Lived:
    """Live one schedule.

    Args:
        crew: of the plan.
        decisions: where choices come from.
        limits: how long it may be.
        whole: False spares what only readers want: traces and histories.
        compared: False spares what is there to be compared with other lives: the commands.
    """
    schedule = Schedule(crew, decisions, limits)
    error: DeterminismError | None = None
    try:
        schedule.run()
    except DeterminismError as broken:
        error = broken
    journals = schedule.journals.values()
    records = [record for journal in journals for record in journal.records]
    return Lived(
        decisions=tuple(trimmed(decisions.made)),
        happenings=tuple(schedule.happenings),
        traces=tuple(schedule.watch.traces()) if whole else (),
        commands=tuple(commands(crew.decoded(record)) for record in records) if compared else (),
        histories=tuple(h.to_json() for h in schedule.watch.histories()) if whole else (),
        error=error,
        depth=len(records),
        width=schedule.attempts.width,
    )


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
