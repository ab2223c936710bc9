"""What the examples of run chains share: a chain's runs in order, and their first and last events."""

from __future__ import annotations

from typing import Any

from temporalio.api.enums.v1 import EventType, RetryState
from temporalio.api.history.v1 import HistoryEvent, WorkflowExecutionStartedEventAttributes
from temporalio.client import Client, WorkflowHandle

from .support import eventually


async def runs(client: Client, handle: WorkflowHandle[Any, Any]) -> list[list[HistoryEvent]]:
    """The histories of a workflow id, from the first run of the handle on, each followed by the one it names."""
    histories: list[list[HistoryEvent]] = []
    run_id: str | None = handle.first_execution_run_id
    while run_id:
        one = client.get_workflow_handle(handle.id, run_id=run_id)
        events = list((await one.fetch_history()).events)
        histories.append(events)
        run_id = following(events)
    return histories


def following(events: list[HistoryEvent]) -> str | None:
    """The run id that the last event names."""
    closing = events[-1]
    name = closing.WhichOneof("attributes")
    assert name is not None
    return getattr(getattr(closing, name), "new_execution_run_id", "") or None


def began(events: list[HistoryEvent]) -> WorkflowExecutionStartedEventAttributes:
    return events[0].workflow_execution_started_event_attributes


def ended(events: list[HistoryEvent]) -> str:
    return EventType.Name(events[-1].event_type).removeprefix("EVENT_TYPE_WORKFLOW_EXECUTION_")


def retry_states(histories: list[list[HistoryEvent]]) -> list[str]:
    """Of the closing events of runs that failed or timed out."""
    states = []
    for events in histories:
        closing = events[-1]
        attributes = getattr(closing, closing.WhichOneof("attributes") or "")
        states.append(RetryState.Name(attributes.retry_state).removeprefix("RETRY_STATE_"))
    return states


async def has_runs(client: Client, handle: WorkflowHandle[Any, Any], count: int) -> list[list[HistoryEvent]]:
    """The runs of a workflow once there are so many."""

    async def enough() -> list[list[HistoryEvent]]:
        found = await runs(client, handle)
        assert len(found) >= count
        return found

    return await eventually(enough)
