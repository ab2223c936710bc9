"""Schedules in memory: the same promises as in Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dbos_core.clock import Clock
from dbos_core.commit import RunRow
from dbos_core.schedules.rows import ScheduleRow, TakenSchedules
from dbos_core.store.base import WakeKind
from dbos_core.store.memory_flush import refuse_bad_text
from dbos_core.store.memory_tables import Tables


class MemorySchedules:
    """The part of ``MemoryStore`` that is about schedules."""

    tables: Tables
    clock: Clock

    def _send_wakes(self) -> None:
        raise NotImplementedError

    async def create_schedule(self, row: ScheduleRow) -> ScheduleRow | None:
        self._check(row)
        if (existing := self.tables.schedules.get(row.schedule_id)) is not None:
            return replace(existing)
        self.tables.schedules[row.schedule_id] = replace(row, version=1)
        self._announce(row)
        return None

    async def find_schedule(self, schedule_id: str) -> ScheduleRow | None:
        row = self.tables.schedules.get(schedule_id)
        return None if row is None else replace(row)

    async def save_schedule(self, row: ScheduleRow) -> bool:
        self._check(row)
        known = self.tables.schedules.get(row.schedule_id)
        if known is None or known.version != row.version:
            return False
        row.version += 1
        self.tables.schedules[row.schedule_id] = replace(row)
        self._announce(row)
        return True

    async def delete_schedule(self, schedule_id: str, version: int | None = None) -> bool:
        known = self.tables.schedules.get(schedule_id)
        if known is None or version not in (None, known.version):
            return False
        del self.tables.schedules[schedule_id]
        return True

    async def take_schedules(self, limit: int, hold_ms: int) -> TakenSchedules:
        now_ms, schedules = self.clock.now_ms(), self.tables.schedules
        heard = dict.fromkeys(self.tables.schedule_news)
        self.tables.schedule_news.clear()
        told = sorted(schedule_id for schedule_id in heard if schedule_id in schedules)
        waiting = sorted((row.wake_at_ms, row.schedule_id) for row in schedules.values() if row.wake_at_ms is not None)
        due = [key for wake_at_ms, key in waiting if wake_at_ms <= now_ms and key not in told][:limit]
        later = [wake_at_ms - now_ms for wake_at_ms, _ in waiting if wake_at_ms > now_ms]
        rows = [schedules[key] for key in (*told, *due)]
        for row in rows:
            row.version += 1
            row.wake_at_ms = now_ms + hold_ms
        return TakenSchedules(
            now_ms=now_ms, rows=[replace(row) for row in rows], next_due_in_ms=min(later, default=None)
        )

    async def list_schedules(self, after: tuple[int, str] | None, limit: int) -> list[ScheduleRow]:
        def key(row: ScheduleRow) -> tuple[int, bytes]:
            return row.created_ms, row.schedule_id.encode()

        rows = sorted(self.tables.schedules.values(), key=key, reverse=True)
        if after is not None:
            last = (after[0], after[1].encode())
            rows = [row for row in rows if key(row) < last]
        return [replace(row) for row in rows[:limit]]

    async def current_runs(self, workflow_ids: Sequence[str]) -> list[RunRow]:
        current = self.tables.current
        return [replace(current[key].row) for key in dict.fromkeys(workflow_ids) if key in current]

    def _announce(self, row: ScheduleRow) -> None:
        if row.wake_at_ms is not None and row.wake_at_ms <= self.clock.now_ms():
            self.tables.wake(WakeKind.SCHEDULE, "")
            self._send_wakes()

    @staticmethod
    def _check(row: ScheduleRow) -> None:
        for text in (row.schedule_id, row.record, row.memo, row.search_attributes, row.request_id):
            if text is not None:
                refuse_bad_text(row.schedule_id, text)
