"""Clock and Entropy: the only way in for time and chance.

The acting part of the kernel asks these and nothing else, so that tests can stand time still and shrink chance.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from typing import Protocol

logger = logging.getLogger(__name__)


class TimerHandle(Protocol):
    """Something armed that can be taken back."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Wall time and timers of this process."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        ...

    def call_at(self, when_ms: int, callback: Callable[[], None]) -> TimerHandle:
        """Call ``callback`` on the event loop once ``now_ms()`` has reached ``when_ms``."""
        ...


DRIFT_MS = 100
"""So far the machine's clock may be from the database's before that is taken for more than chance."""
TOLD_MS = 2_000
"""From that far on somebody should set it."""


class SystemClock:
    """The real clock, on the running event loop: the machine's, set by the database's if the two differ.

    Several machines work on one database, which judges by its own clock what is due and whose lease has lapsed.
    """

    def __init__(self) -> None:
        self.ahead_ms = 0
        """So much is added to what the machine shows."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms

    def compare(self, database_ms: int, asked_ms: int, answered_ms: int) -> None:
        """Go by the database's clock from now on, if it is another time there.

        Args:
            database_ms: what it showed between ``asked_ms`` and ``answered_ms`` (both ``now_ms()``).
        """
        off_ms = database_ms - (asked_ms + answered_ms) // 2
        if abs(off_ms) <= max(DRIFT_MS, answered_ms - asked_ms):
            return
        self.ahead_ms += off_ms
        if abs(self.ahead_ms) >= TOLD_MS:
            logger.warning(
                "this machine's clock is %.1f s %s the database's, by which the engine goes; set it (NTP)",
                abs(self.ahead_ms) / 1000,
                "behind" if self.ahead_ms > 0 else "ahead of",
            )

    def call_at(self, when_ms: int, callback: Callable[[], None]) -> TimerHandle:
        return _Alarm(self, when_ms, callback)


LOOK_EVERY_S = 60.0
"""The loop's clock stands still while a machine sleeps, and does not know that the wall clock was set: an alarm that is
far away looks at the wall clock so often."""


class _Alarm:
    """One timer of the event loop, armed again when the loop's clock ran ahead of the wall clock.

    A timer must never be early, since the wall clock is what the workflow will see.
    """

    __slots__ = ("_callback", "_clock", "_handle", "_when_ms")

    def __init__(self, clock: SystemClock, when_ms: int, callback: Callable[[], None]) -> None:
        self._clock = clock
        self._when_ms = when_ms
        self._callback = callback
        self._handle = self._arm()

    def _arm(self) -> asyncio.TimerHandle:
        delay_s = min(max(0.0, (self._when_ms - self._clock.ahead_ms) / 1000 - time.time()), LOOK_EVERY_S)
        return asyncio.get_running_loop().call_later(delay_s, self._ring)

    def _ring(self) -> None:
        if self._clock.now_ms() < self._when_ms:
            self._handle = self._arm()
        else:
            self._callback()

    def cancel(self) -> None:
        self._handle.cancel()


class Entropy(Protocol):
    """Where ids come from."""

    def uuid(self) -> str: ...


class SystemEntropy:
    def uuid(self) -> str:
        return time_ordered_uuid()


def time_ordered_uuid() -> str:
    """A UUID of version 7, as a Temporal server gives to runs: it begins with the time, so that new rows are neighbours
    in an index. Only its last 62 bits are random: who needs a part takes the end."""
    number = time.time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(10), "big")
    number = number & ~(0xF000 << 64) | 7 << 76
    text = f"{number & ~(0xC000 << 48) | 0x8000 << 48:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
