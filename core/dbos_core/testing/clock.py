"""VirtualClock: time that moves when a test says so, or as soon as nobody has anything to do.

Three ways to move it::

    await clock.advance(60_000)     # a minute: every timer on the way rings at its own time, and is reacted to
    clock.advance_to_next()         # only the next timer; nothing runs in between
    with clock.auto_advance(): ...  # whenever the event loop is idle, on to the next timer

Only timers made through ``Clock.call_at`` are virtual; ``asyncio.sleep`` stays real.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import weakref
from collections.abc import Callable, Iterator

_START_MS = 1_700_000_000_000
_SETTLED_PASSES = 3
"""Empty passes of the loop in a row that count as idle: each of them has also polled the sockets and pipes."""


class VirtualTimer:
    """What ``call_at`` returns."""

    __slots__ = ("_callback", "when_ms")

    def __init__(self, when_ms: int, callback: Callable[[], None]) -> None:
        self.when_ms = when_ms
        self._callback: Callable[[], None] | None = callback

    @property
    def pending(self) -> bool:
        return self._callback is not None

    def cancel(self) -> None:
        self._callback = None

    def ring(self) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class VirtualClock:
    """A ``Clock``. Timers ring in order of their time, those of the same time in the order in which they were armed."""

    def __init__(self, start_ms: int = _START_MS) -> None:
        self._now_ms = start_ms
        self._timers: list[tuple[int, int, VirtualTimer]] = []
        self._order = itertools.count()
        self._holds = 0
        self._changed: asyncio.Event | None = None
        """Set when a timer was armed or a hold ended, for a sleeping ``auto_advance``."""

    # -- Clock ---------------------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        return self._now_ms

    def call_at(self, when_ms: int, callback: Callable[[], None]) -> VirtualTimer:
        timer = VirtualTimer(when_ms, callback)
        heapq.heappush(self._timers, (when_ms, next(self._order), timer))
        self._notify()
        return timer

    # -- moving it -------------------------------------------------------------------------------------------------

    @property
    def next_ms(self) -> int | None:
        """When the next timer is due; a timer armed in the past is due now."""
        while self._timers and not self._timers[0][2].pending:
            heapq.heappop(self._timers)
        return max(self._timers[0][0], self._now_ms) if self._timers else None

    def advance_to_next(self) -> bool:
        """Move to the next timer and ring that one. False: there is none. Does not give the event loop a turn."""
        when_ms = self.next_ms
        if when_ms is None:
            return False
        self._now_ms = when_ms
        heapq.heappop(self._timers)[2].ring()
        return True

    async def advance(self, ms: int) -> None:
        """Let ``ms`` pass. After each timer the loop runs until it is idle, so that new timers on the way ring too."""
        if ms < 0:
            raise ValueError(f"time does not run backwards: advance({ms}); a jump of the wall clock is jump()")
        end_ms = self._now_ms + ms
        await settle()
        while (when_ms := self.next_ms) is not None and when_ms <= end_ms:
            self.advance_to_next()
            await settle()
        self._now_ms = end_ms

    def jump(self, ms: int) -> None:
        """The wall clock is set, forwards or backwards, by somebody else. Rings nothing by itself."""
        self._now_ms += ms

    # -- moving by itself ------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def auto_advance(self) -> Iterator[None]:
        """For the length of the ``with`` block: whenever the running loop is idle and nobody holds, the next timer."""
        task = asyncio.get_running_loop().create_task(self._advance_when_idle(), name="VirtualClock.auto_advance")
        try:
            yield
        finally:
            task.cancel()

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Keep ``auto_advance`` from moving on while real work is under way that the loop cannot see (a thread)."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            self._notify()

    async def _advance_when_idle(self) -> None:
        self._changed = asyncio.Event()
        try:
            while True:
                await settle()
                self._changed.clear()
                if self._holds or self.next_ms is None:
                    await self._changed.wait()
                else:
                    self.advance_to_next()
        finally:
            self._changed = None

    def _notify(self) -> None:
        if self._changed is not None:
            self._changed.set()


async def settle() -> None:
    """Let the event loop run until it has nothing left to do right now.

    asyncio has no public word for "idle"; its loops keep what is to run next in ``_ready``. On a loop without it
    (uvloop) a generous number of passes takes its place. Several may settle at once: they do not wait for each other.
    """
    loop = asyncio.get_running_loop()
    ready = getattr(loop, "_ready", None)
    if ready is None:
        for _ in range(100):
            await asyncio.sleep(0)
        return
    _settling[loop] = _settling.get(loop, 0) + 1
    try:
        empty = 0
        while empty < _SETTLED_PASSES:
            await asyncio.sleep(0)
            empty = empty + 1 if len(ready) < _settling[loop] else 0
    finally:
        _settling[loop] -= 1


_settling: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, int] = weakref.WeakKeyDictionary()
"""How many settle on a loop right now: each has one entry among those that are ready, or runs."""
