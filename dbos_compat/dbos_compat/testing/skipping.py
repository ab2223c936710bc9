"""TimeSkipper: lets the clock of one kernel jump whenever everything there only waits for time.

Temporal's test server counts locks: one of the environment itself, taken away while somebody awaits a result or sleeps;
one for each activity from its scheduling to its end (not between attempts), one for each workflow task. At none the time
jumps to the next timer; at any it is the real time. The same rule here, read off the kernel instead of counted.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from google.protobuf.message import Message
from temporalio.api.enums.v1 import HistoryEventFilterType
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryRequest

from dbos_core.kernel import Kernel
from dbos_core.store.memory import MemoryStore
from dbos_core.testing.clock import settle
from dbos_core.testing.skipping import SkippingClock
from dbos_core.testing.stillness import activities_under_way, next_due_ms, task_under_way

_CLOSE_EVENT = HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT
_LOOK_FIRST_S, _LOOK_MAX_S = 0.0005, 0.005
"""While time may be skipped but real work is under way (a thread, a socket): how soon to look again."""


class TimeSkipper:
    """Made and closed on the loop of its kernel."""

    def __init__(self, kernel: Kernel, store: MemoryStore, clock: SkippingClock) -> None:
        self._kernel = kernel
        self._store = store
        self._clock = clock
        self.automatic = True
        """Time may be skipped while a result is awaited."""
        self._awaited = 0
        self._sleeping = 0
        self._someone = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="dbos_compat time skipping")

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._clock.close()

    @property
    def now_ms(self) -> int:
        return self._clock.now_ms()

    # -- who wants it ----------------------------------------------------------------------------------------------

    def attending(self, rpc: str, request: Message) -> contextlib.AbstractContextManager[None]:
        """Around an RPC: the long poll for a result lets time be skipped, any other leaves it alone."""
        if (
            self.automatic
            and isinstance(request, GetWorkflowExecutionHistoryRequest)
            and request.wait_new_event
            and request.history_event_filter_type == _CLOSE_EVENT
        ):
            return self._result_awaited()
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def _result_awaited(self) -> Iterator[None]:
        self._awaited += 1
        self._someone.set()
        try:
            yield
        finally:
            self._awaited -= 1

    async def sleep(self, ms: int) -> None:
        """Let ``ms`` pass, skipping what can be skipped. Every timer on the way rings in its turn."""
        rung: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self._clock.call_at(self._clock.now_ms() + ms, lambda: _ring(rung))
        self._sleeping += 1
        self._someone.set()
        try:
            await rung
        finally:
            self._sleeping -= 1
            timer.cancel()
        await settle()

    # -- skipping --------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        pause_s = _LOOK_FIRST_S
        while True:
            if not self._awaited and not self._sleeping:
                self._someone.clear()
                await self._someone.wait()
            await settle()
            if await self._skip():
                pause_s = _LOOK_FIRST_S
            else:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LOOK_MAX_S)

    async def _skip(self) -> bool:
        """On to what is due next. False: time may not be skipped right now, or nothing waits for it."""
        if not self._unlocked():
            return False
        ours_ms, stored_ms = self._clock.next_ms, next_due_ms(self._store)
        if stored_ms is not None and (ours_ms is None or stored_ms < ours_ms):
            self._clock.skip_to(stored_ms)
            await self._kernel.claims.look_around()
            return True
        if ours_ms is None:
            return False
        self._clock.skip_to(ours_ms)
        return True

    def _unlocked(self) -> bool:
        """Temporal's sum of locks. An activity that sleeps in the environment gives up its own."""
        locks = 1 - min(self._awaited, 1) - self._sleeping + activities_under_way(self._kernel)
        return (
            (self._awaited > 0 or self._sleeping > 0) and locks <= 0 and not task_under_way(self._kernel, self._store)
        )


def _ring(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
