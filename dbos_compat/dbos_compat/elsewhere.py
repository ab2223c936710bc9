"""Calls that come while the connection's event loop does not run.

A synchronous program connects once, ``client = asyncio.run(connect())``, and says ``asyncio.run(client.start_workflow(…))``
for each request, on a new event loop every time. A Temporal client allows that: its connection lives in threads of its
own. Ours lives on a loop; so a thread with a loop and a connection of its own is started when the first such call comes.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, Protocol, TypeVar

Result = TypeVar("Result")


class Closable(Protocol):
    """What can be ended."""

    async def close(self) -> None: ...


Connection = TypeVar("Connection", bound=Closable)


class Elsewhere(Generic[Connection]):
    """A connection on a loop of its own, in a thread of its own. Opened with the first call; may be used from any thread."""

    def __init__(self, open_connection: Callable[[], Awaitable[Connection]]) -> None:
        self._open_connection = open_connection
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: asyncio.Task[Connection] | None = None
        """Of that loop, and touched on it alone."""

    async def call(self, function: Callable[[Connection], Coroutine[Any, Any, Result]]) -> Result:
        """What the function makes of the connection.

        Raises:
            whatever opening the connection raises; the next call tries again.
        """
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._there(function), self._running()))

    async def _there(self, function: Callable[[Connection], Coroutine[Any, Any, Result]]) -> Result:
        opening = self._connection
        if opening is None or (opening.done() and (opening.cancelled() or opening.exception() is not None)):
            opening = self._connection = asyncio.ensure_future(self._open_connection())
        assert opening is not None
        return await function(await asyncio.shield(opening))

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._run, args=(self._loop,), name="dbos_compat calls", daemon=True).start()
            return self._loop

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.run_forever()
        loop.close()

    async def close(self) -> None:
        """End the connection and the thread, if there are any."""
        with self._starting:
            loop, self._loop = self._loop, None
        if loop is None:
            return
        try:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._close_there(), loop))
        finally:
            loop.call_soon_threadsafe(loop.stop)

    async def _close_there(self) -> None:
        opening, self._connection = self._connection, None
        if opening is not None:
            await (await opening).close()
