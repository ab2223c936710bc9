"""Time of a simulated world: a wall clock, a steady one beside it, and for each process its own alarms."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

START_MS = 1_700_000_000_000
MOMENT_MS = 2_000
"""Longer than from one pulse of a process to the next."""


class WorldTime:
    """The wall clock that all processes read. A ``Clock`` for the store, which arms nothing."""

    def __init__(self, start_ms: int = START_MS) -> None:
        self._now_ms = self._steady_ms = self.latest_ms = start_ms
        """``latest_ms``: the latest that the wall clock has ever shown."""

    def now_ms(self) -> int:
        return self._now_ms

    def steady_ms(self) -> int:
        """What nobody can set, and never goes back: the time of an event loop."""
        return self._steady_ms

    def pass_ms(self, ms: int) -> None:
        """Time goes by, on both clocks. Rings nothing by itself."""
        self._now_ms += ms
        self._steady_ms += ms
        self.latest_ms = max(self.latest_ms, self._now_ms)

    def set_to(self, when_ms: int) -> None:
        """Somebody sets the wall clock, perhaps back. No time goes by."""
        self._now_ms = when_ms
        self.latest_ms = max(self.latest_ms, when_ms)

    def call_at(self, when_ms: int, callback: Callable[[], None]) -> Alarm:
        raise NotImplementedError("alarms belong to a process")


class Alarm:
    """What ``call_at`` returns."""

    __slots__ = ("callback", "when_ms")

    def __init__(self, when_ms: int, callback: Callable[[], None]) -> None:
        self.when_ms = when_ms
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class ProcessClock:
    """The ``Clock`` of one process: alarms ring in order of their time, those of the same time as they were armed."""

    def __init__(self, world: WorldTime) -> None:
        self._world = world
        self._alarms: list[tuple[int, int, Alarm]] = []
        self._order = itertools.count()

    def now_ms(self) -> int:
        return self._world._now_ms

    def call_at(self, when_ms: int, callback: Callable[[], None]) -> Alarm:
        alarm = Alarm(when_ms, callback)
        heapq.heappush(self._alarms, (when_ms, next(self._order), alarm))
        return alarm

    @property
    def next_ms(self) -> int | None:
        """When the next alarm is due; one in the past is due now."""
        while self._alarms and self._alarms[0][2].callback is None:
            heapq.heappop(self._alarms)
        return max(self._alarms[0][0], self.now_ms()) if self._alarms else None

    def ring_next(self) -> None:
        """Ring the next alarm, unless the clock has been set back since somebody meant to: alarms are never early."""
        if self.next_ms is None or self.next_ms > self.now_ms():
            return
        alarm = heapq.heappop(self._alarms)[2]
        callback, alarm.callback = alarm.callback, None
        assert callback is not None
        callback()

    def ring_due(self) -> None:
        """Ring whatever is due by now."""
        now_ms = self.now_ms()
        while self.next_ms is not None and self.next_ms <= now_ms:
            self.ring_next()

    def drop(self) -> None:
        self._alarms.clear()
