"""Jobs: durable work of this engine about many runs (batch operations), carried on by one process at a time.

A job is a row with a lease of its own, renewed with every note of progress. Who orders a job begins it; when that
process ends, or its lease lapses, the pulse of any process that serves a queue finds the job and carries it on from the
last note. What was done since that note is done again, so the work itself must be idempotent. The kernel knows neither
orders nor positions: they are the worker's texts.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dbos_core.errors import StoreUnavailable

if TYPE_CHECKING:
    from dbos_core.kernel import Kernel

logger = logging.getLogger(__name__)

RENEWALS = 3
"""In the time of one lease."""
TAKEN_MAX = 4
"""Jobs taken over in one look."""
AWAY_S = 1.0
"""The pause before a job is tried again while the database is away."""


class JobState(enum.IntEnum):
    """Numbers are Temporal's ``BatchOperationState``."""

    RUNNING = 1
    COMPLETED = 2
    FAILED = 3


@dataclass(slots=True, kw_only=True)
class JobRow:
    job_id: str
    kind: int
    """The worker's number for what it is."""
    order: str
    """JSON text, of the worker."""
    state: JobState = JobState.RUNNING
    start_ms: int
    close_ms: int | None = None
    total: int = 0
    done: int = 0
    failed: int = 0
    position: str | None = None
    """How far it got: the worker's text. None: nothing yet."""


class JobGone(Exception):
    """The job was stopped, or another process carries it on: leave it alone."""


Work = Callable[[JobRow, Callable[[JobRow], Awaitable[None]]], Awaitable[None]]
"""Carries a job on to its end. Calls the second argument to note progress, the end included; that raises
:class:`JobGone`."""


class Jobs:
    """The jobs that this process carries on."""

    def __init__(self, kernel: Kernel, *, lease_ms: int) -> None:
        self._kernel = kernel
        self._lease_ms = lease_ms
        self.work: Work | None = None
        self._running: dict[str, asyncio.Task[None]] = {}
        self._noted: dict[str, JobRow] = {}
        self._looking = False

    async def add(self, job: JobRow) -> bool:
        """Make a job durable and begin it. False: there is one of this id."""
        added = await self._kernel.store.jobs.add(self._kernel.process_id, job, self._lease_ms)
        if added:
            self._begin(job)
        return added

    def look(self) -> None:
        """Some job has nobody: carry it on."""
        if self.work is not None and not self._looking and not self._kernel.closing:
            self._looking = True
            self._kernel.spawn(self._take(), "take jobs")

    async def _take(self) -> None:
        try:
            for job in await self._kernel.store.jobs.take(self._kernel.process_id, self._lease_ms, TAKEN_MAX):
                logger.info("job %s is carried on here from %d", job.job_id, job.done + job.failed)
                self._begin(job)
        except StoreUnavailable:
            pass  # the next pulse looks again
        finally:
            self._looking = False

    def _begin(self, job: JobRow) -> None:
        earlier = self._running.get(job.job_id)
        if earlier is not None:
            earlier.cancel()  # its lease lapsed under it
        self._running[job.job_id] = self._kernel.spawn(self._carry_on(job), f"job {job.job_id}")

    async def _carry_on(self, job: JobRow) -> None:
        assert self.work is not None, "whoever adds jobs has installed what carries them on"
        self._noted[job.job_id] = replace(job)
        task = asyncio.current_task()
        assert task is not None
        renewing = self._kernel.spawn(self._renew(job.job_id, task), f"renew {job.job_id}")
        try:
            while True:
                try:
                    await self.work(job, self._note)
                    return
                except StoreUnavailable:
                    await asyncio.sleep(AWAY_S)
                    job = await self._again(job)
        except JobGone:
            logger.debug("job %s was stopped, or goes on elsewhere", job.job_id)
        finally:
            renewing.cancel()
            if self._running.get(job.job_id) is task:
                del self._running[job.job_id], self._noted[job.job_id]

    async def _renew(self, job_id: str, working: asyncio.Task[None]) -> None:
        """Slow work keeps its lease; work whose job is gone ends."""
        while True:
            await asyncio.sleep(self._lease_ms / 1000 / RENEWALS)
            try:
                await self._note(self._noted[job_id])
            except JobGone:
                working.cancel()
                return
            except StoreUnavailable:
                pass  # the work itself meets it, too

    async def _again(self, job: JobRow) -> JobRow:
        """The job as it was last noted, if it is still ours."""
        try:
            known = await self._kernel.store.jobs.one(job.job_id)
        except StoreUnavailable:
            return job
        if known is None or known.state is not JobState.RUNNING:
            raise JobGone(job.job_id)
        await self._note(known)
        return known

    async def _note(self, job: JobRow) -> None:
        noted = replace(job)
        if not await self._kernel.store.jobs.save(self._kernel.process_id, noted, self._lease_ms):
            raise JobGone(job.job_id)
        self._noted[job.job_id] = noted

    async def close(self) -> None:
        """Stop here and let others carry on at once."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if running:
            try:
                await self._kernel.store.jobs.release(self._kernel.process_id)
            except StoreUnavailable:
                logger.warning("%d jobs could not be released; their lease will lapse", len(running))
