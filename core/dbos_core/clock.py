"""Clock and Entropy: the only way in for time and chance.

The acting part of the kernel asks these and nothing else, so that tests can stand time still and shrink chance.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from typing import Protocol


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


class SystemClock:
    """The real clock, on the running event loop."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def call_at(self, when_ms: int, callback: Callable[[], None]) -> TimerHandle:
        # Round up to the next millisecond: a timer must never be early, since `now` is what the workflow will see.
        delay_s = max(0.0, when_ms / 1000 - time.time())
        return asyncio.get_running_loop().call_later(delay_s, self._ring, when_ms, callback)

    def _ring(self, when_ms: int, callback: Callable[[], None]) -> None:
        if self.now_ms() < when_ms:  # the loop's clock ran ahead of the wall clock
            self.call_at(when_ms, callback)
            return
        callback()


class Entropy(Protocol):
    """Where ids come from."""

    def uuid(self) -> str: ...


class SystemEntropy:
    def uuid(self) -> str:
        return str(uuid.uuid4())
