"""Engine: what stands behind one connection: a kernel, the RPC handlers on it, and the workers made with it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import timedelta
from typing import Any

from google.protobuf.message import Message
from temporalio.common import MetricMeter

from dbos_compat.bridge.runner import SUGGEST_AFTER_EVENTS
from dbos_compat.bridge.worker import EngineWorker
from dbos_compat.bridge.worker_options import Registered
from dbos_compat.chains.timeouts import timeout_close
from dbos_compat.elsewhere import Elsewhere
from dbos_compat.metrics import ClientMetrics
from dbos_compat.private import BridgeWorker
from dbos_compat.relations import TemporalRelations
from dbos_compat.service.client import EngineService
from dbos_core.kernel import Kernel

logger = logging.getLogger("dbos_compat")


class ConnectionClosed(RuntimeError):
    """The connection was closed with ``disconnect``; make a new one."""


class Engine:
    """One connection. ``close`` may be called twice."""

    def __init__(
        self,
        kernel: Kernel,
        *,
        namespace: str,
        identity: str,
        suggest_after: int = SUGGEST_AFTER_EVENTS,
        shortest_timer_ms: int = 0,
        meter: MetricMeter | None = None,
        on_close: Callable[[], None] | None = None,
        reopen: Callable[[], Awaitable[Engine]] | None = None,
    ) -> None:
        """``reopen`` makes the same connection once more, on the loop that runs then."""
        self.kernel = kernel
        kernel.errands.relations = TemporalRelations(namespace)
        self.namespace = namespace
        self.identity = identity
        self._suggest_after = suggest_after
        self._shortest_timer_ms = shortest_timer_ms
        kernel.timeout_close = timeout_close(kernel.entropy.uuid)
        self.service = EngineService(kernel, namespace=namespace)
        self._loop = asyncio.get_running_loop()
        self._meter = meter
        self._metrics = None if meter is None else ClientMetrics(meter)
        self._on_close = on_close
        self.attending: Callable[[str, Message], contextlib.AbstractContextManager[None]] | None = None
        """Stands around every call (a test environment lets time be skipped while a result is awaited)."""
        self._workers: weakref.WeakSet[Registered] = weakref.WeakSet()
        self._closed = False
        self._left = False
        """The loop has ended without ``disconnect``: what there was of the connection is gone."""
        self._elsewhere = None if reopen is None else Elsewhere(reopen)
        self._guard = asyncio.get_running_loop().create_task(self._guarded(), name="dbos_compat guard")

    async def _guarded(self) -> None:
        """When the event loop ends without ``disconnect``, give the lease back at least, so that nobody waits for it."""
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not self._closed:
                self._left = True
                with contextlib.suppress(Exception):
                    await self.kernel.abandon()
                if self._on_close is not None:
                    self._on_close()
            raise

    async def call(
        self,
        rpc: str,
        req: Message,
        *,
        service: str,
        metadata: Mapping[str, str | bytes],
        timeout: timedelta | None,
    ) -> Message:
        """Answer one RPC. May be called on any event loop, in any thread, as on a Temporal client: a synchronous
        activity that says ``asyncio.run(client.…)`` is on a loop of its own. The work is done on the connection's, and if
        that does not run, on another of the same kind (``elsewhere``)."""
        if self._closed:
            raise ConnectionClosed(f"{rpc} was called on a connection that is closed; call dbos_compat.connect again")
        if not self._left and asyncio.get_running_loop() is self._loop:
            return await self._answer(rpc, req, service=service, metadata=metadata, timeout=timeout)
        if not self._left and self._loop.is_running():
            answer = self._answer(rpc, req, service=service, metadata=metadata, timeout=timeout)
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(answer, self._loop))
        if self._elsewhere is None:
            raise ConnectionClosed(
                f"{rpc} was called on a connection whose event loop does not run any more; call dbos_compat.connect on "
                "the loop that runs now"
            )
        return await self._elsewhere.call(
            lambda engine: engine.call(rpc, req, service=service, metadata=metadata, timeout=timeout)
        )

    def _answer(
        self,
        rpc: str,
        req: Message,
        *,
        service: str,
        metadata: Mapping[str, str | bytes],
        timeout: timedelta | None,
    ) -> Coroutine[Any, Any, Message]:
        answer = self.service.call(rpc, req, service=service, timeout=timeout, metadata=metadata)
        if self.attending is not None:
            answer = _within(self.attending(rpc, req), answer)
        return answer if self._metrics is None else self._metrics.measured(rpc, req, answer)

    def create_worker(self, config: Any) -> BridgeWorker:
        return EngineWorker(
            self.kernel,
            config,
            identity=self.identity,
            namespace=self.namespace,
            suggest_after=self._suggest_after,
            shortest_timer_ms=self._shortest_timer_ms,
            meter=self._meter,
            beside=self._workers,
        )

    async def close(self) -> None:
        """Let go of every run, give the lease back, close the database connections."""
        if self._closed:
            return
        self._closed = True
        loop_runs = not self._left and self._loop.is_running()
        if loop_runs and asyncio.get_running_loop() is not self._loop:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._close(), self._loop))
        elif loop_runs:
            await self._close()
        elif self._elsewhere is not None:
            await self._elsewhere.close()

    async def _close(self) -> None:
        try:
            if self._elsewhere is not None:
                await self._elsewhere.close()
            await self.kernel.close()
        finally:
            self._guard.cancel()
            if self._on_close is not None:
                self._on_close()


async def _within(attending: contextlib.AbstractContextManager[None], answer: Coroutine[Any, Any, Message]) -> Message:
    with attending:
        return await answer
