"""A Temporal history → the tasks that it holds: what each was told, what it asked for. Pure.

Only a workflow task that was completed has shown anything to the workflow. What had happened before a task that failed or
timed out is shown by the next one that is completed, exactly as when it happened.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent, WorkflowExecutionStartedEventAttributes

__all__ = ["Past", "PastReader", "PastTask", "attributes", "kind", "past"]

_SUFFIX = "_event_attributes"
_RESET = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW


def kind(event: HistoryEvent) -> str:
    """``workflow_execution_signaled``, ``timer_fired`` …"""
    return (event.WhichOneof("attributes") or "").removesuffix(_SUFFIX)


def attributes(event: HistoryEvent) -> Any:
    return getattr(event, event.WhichOneof("attributes") or "")


@dataclass(slots=True)
class PastTask:
    """One workflow task that was completed."""

    started: HistoryEvent
    completed: HistoryEvent
    arrivals: list[HistoryEvent]
    """What the workflow was shown, in order. The first of a run is its start."""
    commands: list[HistoryEvent] = field(default_factory=list)
    """What it asked for, in order, the markers included."""
    updates: list[HistoryEvent] = field(default_factory=list)
    """Acceptances: each holds the request that the task was shown."""
    patches: list[str] = field(default_factory=list)
    locals: list[HistoryEvent] = field(default_factory=list)
    """Markers of local activities that have ended in this task."""
    reseeds: list[str] = field(default_factory=list)
    """Run ids of resets that happened before this task."""


@dataclass(slots=True)
class Past:
    """All that a history says."""

    first: HistoryEvent
    started: WorkflowExecutionStartedEventAttributes
    tasks: list[PastTask]
    begun: dict[int, HistoryEvent]
    """Started event of an activity, by its own id."""
    admitted: dict[str, Any]
    """Update id → request, for updates that a reset has brought."""
    ended: HistoryEvent | None = None
    """The closing event."""

    @property
    def ended_from_outside(self) -> bool:
        """Was the run terminated, or did its time run out? No code of the workflow has asked for that."""
        return self.ended is not None and kind(self.ended) in _FROM_OUTSIDE


_FROM_OUTSIDE = frozenset({"workflow_execution_terminated", "workflow_execution_timed_out"})
_ENDS = _FROM_OUTSIDE | {
    "workflow_execution_completed",
    "workflow_execution_failed",
    "workflow_execution_canceled",
    "workflow_execution_continued_as_new",
}

ARRIVALS = frozenset(
    {
        "workflow_execution_started",
        "workflow_execution_signaled",
        "workflow_execution_cancel_requested",
        "workflow_execution_update_admitted",
        "timer_fired",
        *(f"activity_task_{how}" for how in ("completed", "failed", "timed_out", "canceled")),
        "child_workflow_execution_started",
        "start_child_workflow_execution_failed",
        *(f"child_workflow_execution_{how}" for how in ("completed", "failed", "timed_out", "canceled", "terminated")),
        "external_workflow_execution_signaled",
        "signal_external_workflow_execution_failed",
        "external_workflow_execution_cancel_requested",
        "request_cancel_external_workflow_execution_failed",
    }
)

COMMANDS = frozenset(
    {
        "activity_task_scheduled",
        "activity_task_cancel_requested",
        "timer_started",
        "timer_canceled",
        "marker_recorded",
        "start_child_workflow_execution_initiated",
        "request_cancel_external_workflow_execution_initiated",
        "signal_external_workflow_execution_initiated",
        "upsert_workflow_search_attributes",
        "workflow_properties_modified",
        "workflow_execution_update_accepted",
        "workflow_execution_update_completed",
    }
)


class PastReader:
    """Reads a history as it comes."""

    def __init__(self, first: HistoryEvent) -> None:
        self.past = Past(first, first.workflow_execution_started_event_attributes, [], {}, {})
        self._arrivals: list[HistoryEvent] = []
        self._reseeds: list[str] = []
        self._began: HistoryEvent | None = None

    def add(self, events: Iterable[HistoryEvent]) -> None:
        """The next events. Those of one workflow task and what it asked for come together, as a server writes them."""
        made = self.past
        for event in events:
            name = kind(event)
            if name in ARRIVALS:
                self._arrivals.append(event)
                if name == "workflow_execution_update_admitted":
                    request = event.workflow_execution_update_admitted_event_attributes.request
                    made.admitted[request.meta.update_id] = request
            elif name == "workflow_task_started":
                self._began = event
            elif name == "workflow_task_completed":
                assert self._began is not None
                made.tasks.append(PastTask(self._began, event, self._arrivals, reseeds=self._reseeds))
                self._arrivals, self._reseeds = [], []
            elif name == "workflow_task_failed":
                failed = event.workflow_task_failed_event_attributes
                if failed.cause == _RESET and failed.new_run_id:
                    self._reseeds.append(failed.new_run_id)
            elif name in COMMANDS:
                if made.tasks:
                    _command(made.tasks[-1], name, event)
            elif name == "activity_task_started":
                made.begun[event.event_id] = event
            elif name in _ENDS:
                made.ended = event


def past(events: Sequence[HistoryEvent]) -> Past:
    """Read a history that is whole from its beginning on (``sources.history.trace`` says whether it is)."""
    reader = PastReader(events[0])
    reader.add(events)
    return reader.past


def _command(task: PastTask, name: str, event: HistoryEvent) -> None:
    task.commands.append(event)
    if name == "workflow_execution_update_accepted":
        task.updates.append(event)
    elif name == "marker_recorded":
        marker = event.marker_recorded_event_attributes
        if marker.marker_name == "core_patch":
            task.patches.append(json.loads(marker.details["patch-data"].payloads[0].data)["id"])
        elif marker.marker_name == "core_local_activity":
            task.locals.append(event)


def marker_data(event: HistoryEvent) -> dict[str, Any]:
    """What the marker of a local activity says of it."""
    found: dict[str, Any] = json.loads(event.marker_recorded_event_attributes.details["data"].payloads[0].data)
    return found
