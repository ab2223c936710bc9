"""Deadlines: many clocks on one timer of the process.

Nearly every attempt has a start-to-close clock, and nearly none ever rings. Arming one is a push on a heap, taking it
back only marks it; what is marked is swept out when it outweighs the rest, so an hour-long timeout on a thousand
activities a second costs no memory. The loop sees a single timer: the earliest.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable
from functools import partial

from dbos_core.clock import Clock, TimerHandle

logger = logging.getLogger(__name__)

_SWEEP_MIN = 256
"""Below this many entries a sweep is not worth the walk."""


class Deadline:
    """One armed clock. ``cancel`` may be called at any time, also after it rang."""

    __slots__ = ("_owner", "callback")

    def __init__(self, owner: Deadlines, callback: Callable[[], None]) -> None:
        self._owner = owner
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        if self.callback is not None:
            self.callback = None
            self._owner._forgotten()


class Deadlines:
    """A :class:`~dbos_core.clock.Clock` whose timers are cheap to arm and to take back."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.now_ms = clock.now_ms
        self._heap: list[tuple[int, int, Deadline]] = []
        self._order = 0
        self._dead = 0
        self._armed_ms: int | None = None
        self._armed = 0
        """Number of the timer that counts: one that could not be taken back any more rings in vain."""
        self._timer: TimerHandle | None = None
        self._closed = False

    def __len__(self) -> int:
        """How many clocks can still ring."""
        return len(self._heap) - self._dead

    def call_at(self, when_ms: int, callback: Callable[[], None]) -> Deadline:
        entry = Deadline(self, callback)
        if self._closed:
            return entry
        self._order += 1
        heapq.heappush(self._heap, (when_ms, self._order, entry))
        if self._armed_ms is None or when_ms < self._armed_ms:
            self._arm(when_ms)
        return entry

    def close(self) -> None:
        """Nothing rings any more."""
        self._closed = True
        self._heap.clear()
        self._dead = 0
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._armed_ms = None

    def _arm(self, when_ms: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed_ms = when_ms
        self._armed += 1
        self._timer = self._clock.call_at(when_ms, partial(self._ring, self._armed))

    def _forgotten(self) -> None:
        self._dead += 1
        heap = self._heap
        if self._dead * 2 > len(heap) and len(heap) > _SWEEP_MIN:
            self._heap = [item for item in heap if item[2].callback is not None]
            heapq.heapify(self._heap)
            self._dead = 0

    def _ring(self, number: int) -> None:
        if number != self._armed:
            return
        self._timer = self._armed_ms = None
        now = self.now_ms()
        while self._heap and (self._heap[0][0] <= now or self._heap[0][2].callback is None):
            entry = heapq.heappop(self._heap)[2]
            callback, entry.callback = entry.callback, None
            if callback is None:
                self._dead -= 1
                continue
            try:
                callback()
            except Exception:
                logger.exception("an activity's clock raised; only that activity is concerned")
        self._arm_earliest()

    def _arm_earliest(self) -> None:
        if self._heap and (self._armed_ms is None or self._heap[0][0] < self._armed_ms):
            self._arm(self._heap[0][0])
