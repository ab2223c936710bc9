"""Turns: who steps when many runs could.

What came together would step together, commit together, and then wait together for the disk while nobody uses the
processor: the answers of one flush are such a crowd. So when the disk is at rest, half of a crowd steps in one turn of the
event loop and half in the next: the commits of the first half are on their way while the second half steps. When some
other crowd's commits are on their way already, all step together, for that is what a processor's caches like best.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

CROWD_MIN = 16
"""So few step together in any case: two flushes would cost more than is won."""


class Turns:
    """A queue of steps, each called once, in order, on the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, disk_rests: Callable[[], bool]) -> None:
        """``disk_rests``: is nothing being written, or about to be?"""
        self._loop = loop
        self._disk_rests = disk_rests
        self._waiting: deque[Callable[[], None]] = deque()
        self._called = False

    def add(self, step: Callable[[], None]) -> None:
        """Call ``step`` soon, never at once."""
        self._waiting.append(step)
        self._call()

    def _call(self) -> None:
        if not self._called:
            self._called = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._called = False
        steps = len(self._waiting)
        if steps >= CROWD_MIN and self._disk_rests():
            steps = (steps + 1) // 2
        try:
            for _ in range(steps):
                self._waiting.popleft()()
        finally:  # whatever a step raises is its own affair
            if self._waiting:
                self._call()
