"""Notes: which calls of a client are mirrored, and what is remembered of one. Pure.

A note is small on purpose: whose history to follow. The request itself is not kept, since Temporal's own record of it is
what the shadow is fed with, in the order in which Temporal took it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["MIRRORED", "Note", "note_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A run to be mirrored."""

    workflow_id: str
    run_id: str = ""
    """Empty: the answer to the call did not say; it is the current run of the id."""
    workflow_type: str = ""
    """Empty: the call did not say."""


def _started(request: Any, answer: Any) -> Note:
    return Note(workflow_id=request.workflow_id, run_id=answer.run_id, workflow_type=request.workflow_type.name)


def _several(request: Any, answer: Any) -> Note | None:
    """Update-with-start: one of the operations is a start."""
    for operation, answered in zip(request.operations, answer.responses, strict=False):
        if operation.HasField("start_workflow"):
            return _started(operation.start_workflow, answered.start_workflow)
    return None


def _message(request: Any, _: Any) -> Note:
    target = request.workflow_execution
    return Note(workflow_id=target.workflow_id, run_id=target.run_id)


def _update(request: Any, answer: Any) -> Note:
    target = answer.update_ref.workflow_execution
    return Note(workflow_id=target.workflow_id, run_id=target.run_id) if target.run_id else _message(request, answer)


def _reset(request: Any, answer: Any) -> Note:
    return Note(workflow_id=request.workflow_execution.workflow_id, run_id=answer.run_id)


_READERS = {
    "start_workflow_execution": _started,
    "signal_with_start_workflow_execution": _started,
    "execute_multi_operation": _several,
    "signal_workflow_execution": _message,
    "request_cancel_workflow_execution": _message,
    "terminate_workflow_execution": _message,
    "update_workflow_execution": _update,
    "reset_workflow_execution": _reset,
}

MIRRORED = frozenset(_READERS)
"""The calls by which a client changes what a workflow does. Everything else is Temporal's alone."""


def note_of(rpc: str, request: Any, answer: Any) -> Note | None:
    """What to remember of a call that went well; None: nothing."""
    note = _READERS[rpc](request, answer)
    return note if note is not None and note.workflow_id else None
