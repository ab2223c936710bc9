"""Lease guard: keeps the lease of a process whose event loop somebody blocks.

The pulse is a task of the event loop. An ``async def`` activity that calls something slow and synchronous (a model that is
loaded, ``requests``, a breakpoint) holds up everything in the loop, and with it the lease: others would take over runs that
are alive, and begin the same activity again, which blocks them in turn. On Temporal that activity ends as if nothing had
been, since its server believes in it until its timeout.

So a thread asks the loop for an answer now and then, and renews the lease on a session of its own while there is none. Only
while it has not lapsed: a process that stood still as a whole (SIGSTOP) wakes up without it, as before. And not for ever: a
loop that is wedged gives its runs up at last.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable

from dbos_core.errors import StoreUnavailable

logger = logging.getLogger(__name__)

BLOCKED_MAX_S = 300.0
"""So long the lease of a blocked process is renewed."""
FRAMES = 6
"""So many of the innermost calls are told of what blocks."""


class LeaseGuard:
    """Of one kernel. Begins with :meth:`start`, on the event loop that it watches."""

    def __init__(
        self,
        keep: Callable[[], Awaitable[bool]],
        kept: Callable[[float], None],
        *,
        lease_s: float,
        blocked_max_s: float = BLOCKED_MAX_S,
    ) -> None:
        """
        Args:
            keep: renews the lease, unless it has lapsed; awaited in the guard's own thread and event loop.
            kept: told when a renewal that succeeded began (the clock of the event loop, in seconds).
            lease_s: how long the lease is.
            blocked_max_s: how long a loop that does not answer is believed in.
        """
        self._keep, self._kept = keep, kept
        self._every_s = lease_s / 4
        self._blocked_max_s = blocked_max_s
        self._answered = True
        self._ended = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watched = 0

    def start(self) -> None:
        """Watch the running event loop from now on."""
        self._loop = asyncio.get_running_loop()
        self._watched = threading.get_ident()
        threading.Thread(target=self._watch, name="dbos_core lease", daemon=True).start()

    def stop(self) -> None:
        self._ended.set()

    def _answer(self) -> None:
        self._answered = True

    def _watch(self) -> None:
        loop, asked_s = self._loop, time.monotonic()
        assert loop is not None
        said = False
        while not self._ended.wait(self._every_s):
            if self._answered:
                if said:
                    logger.warning("the event loop goes on after %.1f s", time.monotonic() - asked_s)
                said, asked_s, self._answered = False, time.monotonic(), False
                try:
                    loop.call_soon_threadsafe(self._answer)
                except RuntimeError:  # it has ended
                    return
                continue
            blocked_s = time.monotonic() - asked_s
            if blocked_s > self._blocked_max_s:
                if said:
                    logger.error(
                        "the event loop has been blocked for %.1f s; its lease is not renewed any more, and others go on "
                        "with its runs",
                        blocked_s,
                    )
                said = False
                continue
            if not said:
                logger.warning(
                    "the event loop has been blocked for %.1f s; its lease is renewed meanwhile. Activities that block "
                    "belong into threads (def instead of async def, with an activity_executor). It is here:\n%s",
                    blocked_s,
                    self._where(),
                )
                said = True
            self._renew(loop)

    def _renew(self, loop: asyncio.AbstractEventLoop) -> None:
        begun = loop.time()
        try:
            if asyncio.run(_coroutine(self._keep)):
                self._kept(begun)
        except StoreUnavailable as error:
            logger.warning("the lease of a blocked event loop could not be renewed (%s)", error)
        except Exception:
            logger.exception("the lease of a blocked event loop could not be renewed")

    def _where(self) -> str:
        frame = sys._current_frames().get(self._watched)
        return "".join(traceback.format_stack(frame)[-FRAMES:]).rstrip() if frame is not None else "(unknown)"


async def _coroutine(keep: Callable[[], Awaitable[bool]]) -> bool:
    return await keep()
