"""Turns: who steps when many runs could.

What came together would step together, commit together, and then wait together for the disk while nobody uses the
processor: the answers of one flush are such a crowd. So half of a crowd steps in one turn of the event loop and half in
the next. The commits of the first half are on their way to the database while the second half steps.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

CROWD_MIN = 8
"""So few step together: two flushes would cost more than is won."""


class Turns:
    """A queue of steps, each called once, in order, on the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Callable[[], None]] = deque()
        self._second_half = 0
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
        crowd = len(self._waiting)
        if self._second_half:
            steps, self._second_half = self._second_half, 0
        else:
            steps = crowd if crowd < CROWD_MIN else (crowd + 1) // 2
            self._second_half = crowd - steps
        try:
            for _ in range(steps):
                self._waiting.popleft()()
        finally:  # whatever a step raises is its own affair
            if self._waiting:
                self._call()
