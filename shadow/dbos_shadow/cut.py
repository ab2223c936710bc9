"""Cut: a record that may have lost its end. Pure.

A server writes the end of a workflow task and all that the task has asked for at once, so a history that was read whole ends
with both. A file of an open run may have been cut, between them or among them, and nothing in it says so. If all that the core
has more is what this last task may still have asked for, nobody can tell a cut from changed code.
"""

from __future__ import annotations

from collections.abc import Sequence

from temporalio.api.history.v1 import HistoryEvent

from dbos_shadow.diff import Comparison
from dbos_shadow.difference import Kind, Level
from dbos_shadow.past import COMMANDS, kind
from dbos_shadow.trace import Status, Trace

__all__ = ["CODE", "NOTE", "may_be_cut"]

CODE = "cut_in_task"
NOTE = (
    "The history ends with what its last workflow task has asked for, and the core asks for more. Either it was cut there or "
    "the code has changed: export it again, whole, or read it from the namespace."
)


def may_be_cut(events: Sequence[HistoryEvent], comparison: Comparison, expected: Trace, actual: Trace) -> bool:
    """Is all that differs what a cut behind the last event would explain?

    Args:
        events: of a run of which nobody has said whether it is closed.
    """
    if expected.outcome.status is not Status.RUNNING or not _ends_in_task(events):
        return False
    last_task = sum(kind(event) == "workflow_task_completed" for event in events)
    known = max((j for i, j in comparison.rows if i is not None and j is not None), default=-1)
    for found in comparison.differences:
        if found.level is Level.OUTCOME:
            continue  # the run may have been ended by that task
        j = found.actual_step
        if found.kind is not Kind.EXTRA or found.step is not None or j is None:
            return False
        if j <= known or actual.steps[j].activation != last_task:
            return False
    return bool(comparison.differences)


def _ends_in_task(events: Sequence[HistoryEvent]) -> bool:
    return kind(events[-1]) == "workflow_task_completed" or kind(events[-1]) in COMMANDS
