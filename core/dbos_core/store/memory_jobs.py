"""Jobs in memory: the same promises as ``postgres/jobs``."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dbos_core.clock import Clock
from dbos_core.jobs import JobRow, JobState


@dataclass(slots=True)
class Held:
    """A job, and who has it."""

    job: JobRow
    owner: str | None
    lease_until_ms: int


class MemoryJobs:
    """The table of jobs."""

    def __init__(self, clock: Clock, held: dict[str, Held]) -> None:
        self._clock = clock
        self._held = held

    def free(self) -> bool:
        return any(self._is_free(held) for held in self._held.values())

    def _is_free(self, held: Held) -> bool:
        return held.job.state is JobState.RUNNING and held.lease_until_ms <= self._clock.now_ms()

    async def add(self, process_id: str, job: JobRow, lease_ms: int) -> bool:
        if job.job_id in self._held:
            return False
        self._held[job.job_id] = Held(replace(job), process_id, self._clock.now_ms() + lease_ms)
        return True

    async def take(self, process_id: str, lease_ms: int, limit: int) -> list[JobRow]:
        free = sorted(
            (held for held in self._held.values() if self._is_free(held)), key=lambda held: held.lease_until_ms
        )
        for held in free[:limit]:
            held.owner, held.lease_until_ms = process_id, self._clock.now_ms() + lease_ms
        return [replace(held.job) for held in free[:limit]]

    async def save(self, process_id: str, job: JobRow, lease_ms: int) -> bool:
        held = self._held.get(job.job_id)
        if held is None or held.owner != process_id or held.job.state is not JobState.RUNNING:
            return False
        held.job, held.lease_until_ms = replace(job), self._clock.now_ms() + lease_ms
        return True

    async def stop(self, job_id: str, close_ms: int) -> bool:
        held = self._held.get(job_id)
        if held is None or held.job.state is not JobState.RUNNING:
            return False
        held.job.state, held.job.close_ms, held.owner = JobState.FAILED, close_ms, None
        return True

    async def one(self, job_id: str) -> JobRow | None:
        held = self._held.get(job_id)
        return None if held is None else replace(held.job)

    async def page(self, limit: int, after: tuple[int, str] | None) -> list[JobRow]:
        def key(job: JobRow) -> tuple[int, bytes]:
            return (job.start_ms, job.job_id.encode())

        jobs = sorted((held.job for held in self._held.values()), key=key, reverse=True)
        if after is not None:
            jobs = [job for job in jobs if key(job) < (after[0], after[1].encode())]
        return [replace(job) for job in jobs[:limit]]

    async def release(self, process_id: str) -> None:
        for held in self._held.values():
            if held.owner == process_id and held.job.state is JobState.RUNNING:
                held.lease_until_ms = 0
