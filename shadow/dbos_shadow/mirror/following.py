"""Following: a run's Temporal history as it grows, read so that a busy namespace hardly notices.

However many runs are open, so many requests at most are under way. While there are slots for all, each run has a long
poll of its own and hears of news at once; when there are more runs than slots they take turns, in shorter slices.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import HistoryEventFilterType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from dbos_shadow.past import kind

__all__ = ["Follower", "HistoryGone", "Tail", "join"]

logger = logging.getLogger("dbos_shadow")

SLICE_MAX_S = 20.0
"""As long as Temporal's own long polls."""
SLICE_MIN_S = 0.3
TURN_S = 5.0
"""When runs take turns, every run should have its turn about so often."""
AGAIN_FIRST_S = 0.2
AGAIN_MAX_S = 30.0
REFUSED_MAX = 4
PAGE_EVENTS = 256
"""More than that a server takes with a warning."""

_NO_NEWS = frozenset({RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED})
_GONE = frozenset({RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT})


class HistoryGone(Exception):
    """Temporal does not have this run, or not any more."""


@dataclass(slots=True, kw_only=True)
class Tail:
    """A history as far as it is known."""

    workflow_id: str
    run_id: str
    events: list[HistoryEvent] = field(default_factory=list)
    closed: bool = False
    token: bytes = b""
    stored: int = 0
    """The last event that was read and will not be taken back."""
    refused: int = 0
    """How often in a row the server said that it does not have this."""


def join(events: list[HistoryEvent], more: Iterable[HistoryEvent]) -> None:
    """Add the next answer's events to those of the answers before.

    A server also sends the beginnings of workflow tasks that it has not stored yet. What comes next has their ids again:
    it is these tasks, stored, or something else if they came to nothing.

    Raises:
        ValueError: something else than that would be taken back.
    """
    for event in more:
        while events and events[-1].event_id >= event.event_id:
            taken_back = events.pop()
            if kind(taken_back) not in _NOT_STORED_YET:
                raise ValueError(f"event {taken_back.event_id} ({kind(taken_back)}) came twice")
        events.append(event)


_NOT_STORED_YET = frozenset({"workflow_task_scheduled", "workflow_task_started"})

_CLOSING = frozenset(
    f"workflow_execution_{how}"
    for how in ("completed", "failed", "timed_out", "canceled", "terminated", "continued_as_new")
)


class Follower:
    """Reads the histories of one namespace."""

    def __init__(self, temporal: Client, *, at_once: int) -> None:
        """
        Args:
            at_once: requests that may be under way at a time.
        """
        self._temporal = temporal
        self._at_once = at_once
        self._slots = asyncio.Semaphore(at_once)
        self._following = 0
        self.requests = 0
        """How many were made."""

    async def more(self, tail: Tail) -> bool:
        """Wait for the next events of a run, and for its turn. False: nothing new yet.

        Raises:
            HistoryGone: Temporal does not have it (any more).
        """
        self._following += 1
        again_s = AGAIN_FIRST_S
        try:
            while True:
                async with self._slots:
                    try:
                        return await self._read(tail)
                    except RPCError as error:
                        if error.status in _NO_NEWS:
                            return False
                        if error.status in _GONE:
                            self._refused(tail, error)
                        logger.warning("a history cannot be read (%s); it is tried again", error.status.name)
                    # With the slot in hand: while a server has trouble, fewer ask it.
                    await asyncio.sleep(random.uniform(again_s / 2, again_s))
                again_s = min(again_s * 2, AGAIN_MAX_S)
        finally:
            self._following -= 1

    def _refused(self, tail: Tail, error: RPCError) -> None:
        """Once may be a server that is just starting, or a token that it does not take any more."""
        tail.refused += 1
        if tail.refused >= REFUSED_MAX:
            raise HistoryGone(error.message) from error
        tail.token = b""

    async def _read(self, tail: Tail) -> bool:
        request = GetWorkflowExecutionHistoryRequest(
            namespace=self._temporal.namespace,
            execution=WorkflowExecution(workflow_id=tail.workflow_id, run_id=tail.run_id),
            wait_new_event=True,
            skip_archival=True,
            maximum_page_size=PAGE_EVENTS,
            next_page_token=tail.token,
            history_event_filter_type=HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT,
        )
        self.requests += 1
        slice_s = max(SLICE_MIN_S, min(SLICE_MAX_S, TURN_S * self._at_once / self._following))
        if self._following <= self._at_once:
            slice_s = SLICE_MAX_S
        answer = await self._temporal.workflow_service.get_workflow_execution_history(
            request, retry=False, timeout=timedelta(seconds=slice_s)
        )
        fresh = [event for event in answer.history.events if event.event_id > tail.stored]
        tail.events.extend(fresh)
        tail.token = answer.next_page_token
        if tail.token:
            tail.refused = 0
        elif any(kind(event) in _CLOSING for event in fresh):
            tail.closed = True
        else:  # neither more to come nor an end: once more from the beginning, and then it is a history that was cut
            tail.refused += 1
            tail.closed = tail.refused >= REFUSED_MAX
        tail.stored = max([e.event_id for e in fresh if kind(e) not in _NOT_STORED_YET], default=tail.stored)
        return bool(fresh) or tail.closed
