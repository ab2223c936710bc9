"""SkippingClock: the wall clock, and somebody may let it jump to the next timer.

Where a :class:`~dbos_core.testing.clock.VirtualClock` stands still until it is moved, this one goes with the real time and
is ahead of it by what has been skipped so far: real work beside it (an activity that reads a file) sees time pass.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable

from dbos_core.testing.clock import VirtualTimer

_LOOP_TIMER_MAX_S = 3600.0
"""Some event loops refuse a timer that is weeks away: look again after an hour."""


class SkippingClock:
    """A ``Clock``. Timers ring in order of their time, those of the same time in the order in which they were armed."""

    def __init__(self) -> None:
        self._ahead_ms = 0
        self._timers: list[tuple[int, int, VirtualTimer]] = []
        self._order = itertools.count()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_ms = 0

    # -- Clock -----------------------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self._ahead_ms

    def call_at(self, when_ms: int, callback: Callable[[], None]) -> VirtualTimer:
        timer = VirtualTimer(when_ms, callback)
        heapq.heappush(self._timers, (when_ms, next(self._order), timer))
        if self._alarm is None or when_ms < self._alarm_ms:
            self._arm()
        return timer

    # -- jumping ---------------------------------------------------------------------------------------------------

    @property
    def next_ms(self) -> int | None:
        """When the next timer is due; None: there is none."""
        while self._timers and not self._timers[0][2].pending:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def skip_to(self, when_ms: int) -> None:
        """It is ``when_ms`` now, unless it is later already; the next timer rings if it is due then, and only that one.
        Does not give the event loop a turn."""
        self._ahead_ms += max(0, when_ms - self.now_ms())
        due_ms = self.next_ms
        if due_ms is not None and due_ms <= self.now_ms():
            heapq.heappop(self._timers)[2].ring()
        self._arm()

    def close(self) -> None:
        """Nothing rings any more."""
        self._timers.clear()
        self._arm()

    # -- the real time ---------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        due_ms = self.next_ms
        if due_ms is not None:
            delay_s = max(0.0, (due_ms - self.now_ms()) / 1000)
            self._alarm_ms = due_ms
            self._alarm = asyncio.get_running_loop().call_later(min(delay_s, _LOOP_TIMER_MAX_S), self._look)

    def _look(self) -> None:
        self._alarm = None
        now_ms = self.now_ms()
        while (due_ms := self.next_ms) is not None and due_ms <= now_ms:
            heapq.heappop(self._timers)[2].ring()
        self._arm()
