"""Stage: what a scene can do. Each scene has ids of its own, so that all of them can be played at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from tests.shadow.corpus.theme import Theme

DEADLINE_S = 180.0
"""Generous: the machine may be busy with other tests."""
LOOK_EVERY_S = 0.05


class Stage:
    """A client, a queue whose worker runs, and words for what scenes do."""

    def __init__(self, theme: Theme, scene: str, client: Client, prefix: str) -> None:
        self.theme = theme
        self.client = client
        self.id = f"{prefix}-{theme.name}-{scene}"
        self.queue = f"{prefix}-{theme.name}"

    async def start(self, run: Callable[..., Any], *arguments: Any, also: str = "", **options: Any) -> Handle:
        """Start a workflow. ``also`` tells a scene's second workflow from its first."""
        options = {"task_queue": self.queue, **options}
        return await self.client.start_workflow(run, args=arguments, id=self.id + also, **options)

    async def end(self, handle: Handle) -> Any:
        """Wait for the end of a chain; the result, or None if it has none."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await handle.result()
        except WorkflowFailureError:
            return None
        except TimeoutError:
            events = (await self.client.get_workflow_handle(handle.id).fetch_history()).events
            seen = ", ".join(EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in events[-12:])
            raise AssertionError(
                f"{handle.id} has not ended within {DEADLINE_S:g} s; its last events: {seen}"
            ) from None

    async def until(self, fact: Callable[[], Awaitable[Any]], what: str) -> None:
        """Wait until ``fact`` says yes."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not await fact():
                    await asyncio.sleep(LOOK_EVERY_S)
        except TimeoutError:
            raise AssertionError(f"{self.id}: not within {DEADLINE_S:g} s: {what}") from None

    async def until_event(self, handle: Handle, kind: EventType.ValueType, times: int = 1) -> None:
        """Wait until a run's history has so many events of a kind."""

        async def there() -> bool:
            events = (await handle.fetch_history()).events
            return sum(event.event_type == kind for event in events) >= times

        await self.until(there, f"{times} × {EventType.Name(kind)}")

    async def until_stands(self, handle: Handle) -> None:
        """Wait until a run's first workflow task is done."""
        await self.until_event(handle, EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED)

    async def until_activity_runs(self, handle: Handle, count: int = 1) -> None:
        """Wait until so many of a run's activities are being executed."""

        async def there() -> bool:
            pending = (await handle.describe()).raw_description.pending_activities
            return sum(activity.HasField("last_started_time") for activity in pending) >= count

        await self.until(there, f"{count} activities run")

    def worker(self, *workflows: type[Any], queue: str = "", **options: Any) -> Worker:
        """A worker beside that of the theme, on another queue."""
        assert queue, "the theme's own worker has the theme's queue"
        return Worker(
            self.client,
            task_queue=queue,
            workflows=workflows,
            activities=self.theme.activities,
            workflow_runner=UnsandboxedWorkflowRunner(),
            **options,
        )


Handle = WorkflowHandle[Any, Any]
