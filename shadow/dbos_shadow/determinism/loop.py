"""SteppedLoop: an event loop that does nothing by itself. Whoever holds it says when, and how far.

One per simulated process. It has no selector, no threads and no clock of its own: callbacks run in the order in which they
were asked for, one *turn* each, and time is the simulated process's. A process that is killed between two turns is a
process that died there, for nothing else can happen in between.

What libraries ask of a loop beside that (sockets, signals, subprocesses) is not there and says so; work for a thread pool is
done on the spot.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import heapq
import inspect
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Turn:
    """A callback that waits for its turn, or for its time. What ``call_soon`` and ``call_at`` return."""

    __slots__ = ("_when_s", "args", "callback", "context")

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
        when_s: float = 0.0,
    ) -> None:
        self.callback: Callable[..., object] | None = callback
        self.args = args
        self.context = contextvars.copy_context() if context is None else context
        self._when_s = when_s

    def cancel(self) -> None:
        self.callback = None
        self.args = ()

    def cancelled(self) -> bool:
        return self.callback is None

    def when(self) -> float:
        return self._when_s


class Stuck(BaseException):
    """A callback does not come to an end. Raised inside of it, again and again, until it does."""


class Guard:
    """Watches the thread that turns loops: code that goes round and round without waiting is stopped.

    An error is raised in the midst of it, and once more if it is swallowed; sooner or later one comes at a moment when
    nothing catches it.
    """

    def __init__(self) -> None:
        self.turn = 0
        """Counts the callbacks."""
        self.turning = False
        """One of them is being run."""
        self._thread_id = 0
        self._watching: threading.Thread | None = None
        self._lock = threading.Lock()
        self.raised = False
        """Something was raised in it, perhaps too late."""

    def begin(self) -> None:
        """Callbacks are about to be run in this thread. Each is to count itself, and to say while it runs."""
        if self._watching is None:
            self._watching = threading.Thread(target=self._watch, name="dbos_shadow guard", daemon=True)
            self._watching.start()
        self._thread_id = threading.get_ident()

    def take_back(self) -> None:
        """What was raised in a callback that has come to an end."""
        with self._lock:
            self.raised = False
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread_id), None)

    def _watch(self) -> None:
        seen, since_s = 0, 0.0
        while True:
            time.sleep(LOOK_S)
            if not self.turning or self.turn != seen:
                seen, since_s = self.turn, _processor_s(self._thread_id)
            elif _processor_s(self._thread_id) - since_s > STUCK_S:
                while self._raise(seen):
                    time.sleep(0.0005)

    def _raise(self, turn: int) -> bool:
        with self._lock:
            if not self.turning or self.turn != turn:
                return False
            self.raised = True
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread_id), ctypes.py_object(Stuck))
            return True


def _processor_s(thread_id: int) -> float:
    """Processor time of a thread, where that can be told; else the time."""
    clock_of = getattr(time, "pthread_getcpuclockid", None)
    return time.monotonic() if clock_of is None else time.clock_gettime(clock_of(thread_id))


LOOK_S = 0.25
STUCK_S = 3.0
"""Processor time. More than the SDK's own limit for an activation, which is tried first."""

_guard = Guard()


class SteppedLoop(asyncio.AbstractEventLoop):
    """See the module. ``steady_ms`` is asked for the time: a clock that nobody can set."""

    def __init__(self, steady_ms: Callable[[], int]) -> None:
        self._steady_ms = steady_ms
        self._ready: deque[Turn] = deque()
        self._later: list[tuple[float, int, Turn]] = []
        self._order = itertools.count()
        self.raised: BaseException | None = None
        """The first that escaped from a callback."""
        self._unbegun: list[Coroutine[Any, Any, Any]] = []
        """Of tasks: some may not have had their first turn."""

    # -- moving it -------------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Nothing is to be done now."""
        return not self._ready

    def settle(self, turns_max: int = 1_000_000) -> int:
        """Run until there is nothing to do, or for so many turns. How many it took.

        What escapes from a callback is kept in ``raised``.
        """
        ready = self._ready
        if not ready:
            return 0
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        guard, turns = _guard, 0
        guard.begin()
        try:
            while ready and turns < turns_max:
                turns += 1
                turn = ready.popleft()
                callback = turn.callback
                if callback is None:
                    continue
                guard.turn += 1
                guard.turning = True
                try:
                    turn.context.run(callback, *turn.args)
                except (Exception, Stuck) as error:
                    self.raised = self.raised or error
                finally:
                    guard.turning = False
                    if guard.raised:
                        guard.take_back()
            if not ready:
                self._unbegun.clear()
        finally:
            asyncio._set_running_loop(before)
        return turns

    def ring(self) -> None:
        """Let what was to happen by now happen, in the order of its times: next turn."""
        now_s = self.time()
        while self._later and self._later[0][0] <= now_s:
            turn = heapq.heappop(self._later)[2]
            if not turn.cancelled():
                self._ready.append(turn)

    def drop(self) -> None:
        """Forget everything that waits. Nobody is told."""
        self._ready.clear()
        self._later.clear()
        unbegun, self._unbegun = self._unbegun, []
        for coro in unbegun:  # else Python complains of each
            if inspect.iscoroutine(coro) and inspect.getcoroutinestate(coro) == inspect.CORO_CREATED:
                coro.close()

    # -- what asyncio asks for -----------------------------------------------------------------------------------------

    def time(self) -> float:
        return self._steady_ms() / 1000

    def call_soon(  # type: ignore[override]  # a Turn is what asyncio needs of a Handle
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> Turn:
        turn = Turn(callback, args, context)
        self._ready.append(turn)
        return turn

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> Turn:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> Turn:
        turn = Turn(callback, args, context, when)
        heapq.heappush(self._later, (when, next(self._order), turn))
        return turn

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        **options: Any,
    ) -> asyncio.Task[T]:
        self._unbegun.append(coro)
        return asyncio.Task(coro, loop=self, name=name, context=context, **options)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """On the spot, as if a thread had been infinitely fast."""
        future: asyncio.Future[T] = self.create_future()
        here = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        try:
            future.set_result(contextvars.Context().run(func, *args))
        except Exception as error:
            future.set_exception(error)
        finally:
            asyncio._set_running_loop(here)
        return future

    def set_default_executor(self, executor: Any) -> None:
        """There is no need for one."""

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        """There is nothing to say."""

    def get_task_factory(self) -> None:
        return None

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        logger.debug("%s", context.get("message"), exc_info=context.get("exception"))

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something to its end, with whatever else is to be done.

        Raises:
            RuntimeError: it waits for something that does not come by itself.
        """
        task = self.create_task(work)
        self.settle()
        if not task.done():
            task.cancel()
            self.settle()
            raise RuntimeError(f"{task.get_name()} waits for something that does not come by itself")
        return task.result()


def stepped_loop(steady_ms: Callable[[], int]) -> SteppedLoop:
    """A loop. What asyncio's base class wants beside what is here raises NotImplementedError, as there."""
    return SteppedLoop(steady_ms)  # type: ignore[abstract]
