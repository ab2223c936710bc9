"""What follows from a mirrored run on Temporal: its children and its successors, which are mirrored too. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from temporalio.api.history.v1 import HistoryEvent

from dbos_shadow.mirror.notes import Note
from dbos_shadow.past import attributes, kind

__all__ = ["follow_ups"]

_HAND_ON = frozenset({f"workflow_execution_{how}" for how in ("completed", "failed", "timed_out", "continued_as_new")})


def follow_ups(events: Iterable[HistoryEvent], workflow_id: str, namespace: str) -> Iterator[Note]:
    """Runs that began because of these events.

    Args:
        workflow_id: whose events they are.
        namespace: children in another one are not followed.
    """
    for event in events:
        name = kind(event)
        if name == "child_workflow_execution_started":
            child = attributes(event)
            if child.namespace in ("", namespace):
                execution = child.workflow_execution
                yield Note(
                    workflow_id=execution.workflow_id,
                    run_id=execution.run_id,
                    workflow_type=child.workflow_type.name,
                )
        elif name in _HAND_ON and attributes(event).new_execution_run_id:
            yield Note(workflow_id=workflow_id, run_id=attributes(event).new_execution_run_id)
