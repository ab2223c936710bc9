"""Cut: a record that may have lost its end. Pure.

A server writes the end of a workflow task and all that the task has asked for at once, so a history that was read whole ends
with both. A file of an open run may have been cut, between them or among them, and nothing in it says so. If all that the core
has more is what this last task may still have asked for, nobody can tell a cut from changed code.
"""

from __future__ import annotations

from dataclasses import replace

from dbos_shadow.difference import Kind, Level
from dbos_shadow.past import COMMANDS, kind
from dbos_shadow.recorded import Recorded
from dbos_shadow.trace import Status
from dbos_shadow.verdict import Judgement, Reason, Verdict, Way

__all__ = ["CODE", "unless_cut"]

CODE = "cut_in_task"
NOTE = (
    "The history ends with what its last workflow task has asked for, and the core asks for more. Either it was cut there or "
    "the code has changed: export it again, whole, or read it from the namespace."
)


def unless_cut(judgement: Judgement, recorded: Recorded) -> Judgement:
    """The judgement, or that nobody can tell: if a cut behind the last event would explain all that differs."""
    if judgement.verdict is not Verdict.MISMATCH or recorded.closed is not None or not _explains(judgement, recorded):
        return judgement
    return replace(judgement, verdict=Verdict.INCONCLUSIVE, reason=Reason.TRUNCATED, subject=CODE, note=NOTE)


def _explains(judgement: Judgement, recorded: Recorded) -> bool:
    comparison, expected, actual = judgement.comparison, judgement.expected, judgement.actual
    if comparison is None or expected is None or actual is None:
        return False
    last = kind(recorded.events[-1])
    if expected.outcome.status is not Status.RUNNING or not (last == "workflow_task_completed" or last in COMMANDS):
        return False
    tasks = sum(kind(event) == "workflow_task_completed" for event in recorded.events)
    known = max((j for i, j in comparison.rows if i is not None and j is not None), default=-1)
    for found in comparison.differences:
        if found.level is Level.OUTCOME:
            continue  # the run may have been ended by that task
        j = found.actual_step
        if found.kind is not Kind.EXTRA or found.step is not None or j is None or j <= known:
            return False
        if judgement.way is Way.REPLAY and actual.steps[j].activation != tasks:
            return False  # a free run goes on behind that task
    return True
