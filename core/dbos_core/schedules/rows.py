"""Rows: what a store keeps of schedules, and the calls that a scheduler makes on it.

A schedule is one row whose text only ``record`` reads. Whoever changes it says which version it has read
(``save_schedule``): of two who do so at once, one is told, and looks again. ``take_schedules`` is a courtesy besides, so
that not all processes do the same work; what makes a start happen once is its ids, which are written down before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from dbos_core.commit import RunRow

SCHEDULED_BY = "TemporalScheduledById"
"""Search attribute of every run that a schedule started, and of those that follow it in its chain: the schedule's id.
When such a run closes, the store makes its schedule due."""


@dataclass(slots=True, kw_only=True)
class ScheduleRow:
    schedule_id: str
    record: str
    created_ms: int
    wake_at_ms: int | None
    """When somebody has to look at it; None: not by itself."""
    version: int = 1
    request_id: str | None = None
    memo: str | None = None
    """JSON text, opaque to the kernel."""
    search_attributes: str | None = None
    """JSON object text, as that of runs."""


@dataclass(slots=True, kw_only=True)
class TakenSchedules:
    now_ms: int
    """The store's clock: what a scheduler goes by."""
    rows: list[ScheduleRow] = field(default_factory=list)
    next_due_in_ms: int | None = None
    """When the next one is due that is not among them."""


class ScheduleStore(Protocol):
    """Part of ``store.base.Store``."""

    async def create_schedule(self, row: ScheduleRow) -> ScheduleRow | None:
        """Insert it. None: done; otherwise the row of that id that is there already. Wakes schedulers if it is due."""
        ...

    async def find_schedule(self, schedule_id: str) -> ScheduleRow | None: ...

    async def save_schedule(self, row: ScheduleRow) -> bool:
        """Write everything but the id, if the row still has ``row.version``, which is then counted up (in the store
        and in ``row``). False: it has another one, or is gone. Wakes schedulers if it is due."""
        ...

    async def delete_schedule(self, schedule_id: str, version: int | None = None) -> bool:
        """Delete it (if it has that version). False: nothing was deleted."""
        ...

    async def take_schedules(self, limit: int, hold_ms: int) -> TakenSchedules:
        """Schedules that are due, and those of runs that have closed since: for us alone during ``hold_ms``, then they
        are due again. Counts up their versions."""
        ...

    async def list_schedules(self, after: tuple[int, str] | None, limit: int) -> list[ScheduleRow]:
        """Newest first, from below (``created_ms``, ``schedule_id``) on."""
        ...

    async def current_runs(self, workflow_ids: Sequence[str]) -> list[RunRow]:
        """The current run of each of these ids, where there is one."""
        ...
