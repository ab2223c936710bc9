"""Queues whose runner has been made but does not serve yet.

A program makes a worker, and starts a workflow in the next line: by then the worker has not had a turn of the event loop.
Who asks for the first task to be run at once, in this process, is willing to wait that long.
"""

from __future__ import annotations

import asyncio

PATIENCE_S = 1.0
"""A worker that was made need not ever be run."""


class Announced:
    """The queues, and who waits for them."""

    def __init__(self) -> None:
        self._coming: dict[str, asyncio.Event] = {}

    def announce(self, task_queue: str) -> None:
        """A runner for the queue has been made."""
        self._coming.setdefault(task_queue, asyncio.Event())

    def here(self, task_queue: str) -> None:
        """The queue is served."""
        if (coming := self._coming.pop(task_queue, None)) is not None:
            coming.set()

    async def arrival(self, task_queue: str) -> None:
        """Wait for a runner that was announced; return at once if none was."""
        coming = self._coming.get(task_queue)
        if coming is None:
            return
        try:
            async with asyncio.timeout(PATIENCE_S):
                await coming.wait()
        except TimeoutError:
            self._coming.pop(task_queue, None)
