"""Waiting: callers that want to hear of a close, of an update's stage or of an answer.

What happens in this process resolves its waiter at once. What happens elsewhere is announced by the store when the row
was marked as watched; a slow look (once a second, all waiters in one query) covers announcements that were lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

from dbos_core.commit import RunRow, RunStatus, UpdateRow
from dbos_core.errors import StoreUnavailable
from dbos_core.store.base import Store

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0

K = TypeVar("K")
V = TypeVar("V")


class _Waiters(dict[K, list["asyncio.Future[V]"]]):
    """Futures by key."""

    def add(self, key: K) -> asyncio.Future[V]:
        future: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        self.setdefault(key, []).append(future)
        return future

    def resolve(self, key: K, value: V) -> None:
        for future in self.pop(key, ()):
            if not future.done():
                future.set_result(value)

    def drop(self, key: K, future: asyncio.Future[V]) -> None:
        futures = self.get(key)
        if futures and future in futures:
            futures.remove(future)
            if not futures:
                del self[key]


def _give_up(future: asyncio.Future[RunRow | None]) -> None:
    if not future.done():
        future.set_result(None)


class Waiting:
    """All waiters of one process."""

    def __init__(self, store: Store, is_live: Callable[[str], bool]) -> None:
        self._store = store
        self._is_live = is_live
        self._closed: _Waiters[str, RunRow | None] = _Waiters()
        self._updates: dict[str, _Waiters[str, None]] = {}
        """By run, by update id."""
        self._answers: _Waiters[str, None] = _Waiters()
        self._someone = asyncio.Event()

    # -- what others tell us ---------------------------------------------------------------------------------------

    def run_closed(self, row: RunRow) -> None:
        self._closed.resolve(row.workflow_uuid, row)
        for update_id in list(self._updates.get(row.workflow_uuid, ())):
            self.update_changed(row.workflow_uuid, update_id)

    def update_changed(self, workflow_uuid: str, update_id: str) -> None:
        of_run = self._updates.get(workflow_uuid)
        if of_run is not None:
            of_run.resolve(update_id, None)
            if not of_run:
                del self._updates[workflow_uuid]

    def awaits_update(self, workflow_uuid: str, update_id: str) -> bool:
        return update_id in self._updates.get(workflow_uuid, ())

    def answered(self, request_id: str) -> None:
        self._answers.resolve(request_id, None)

    def waits_for_close(self, workflow_uuid: str) -> bool:
        return workflow_uuid in self._closed

    # -- what callers ask ------------------------------------------------------------------------------------------

    async def closed(self, workflow_uuid: str, timeout_s: float) -> RunRow | None:
        """The row once the run is closed; None after ``timeout_s``."""
        future = self._closed.add(workflow_uuid)
        try:
            if not self._is_live(workflow_uuid):
                rows = await self._store.rows([workflow_uuid], watch=True)
                if not rows:
                    return None
                if rows[0].status is not RunStatus.RUNNING:
                    return rows[0]
            self._someone.set()  # also for a run that lives here: it may end elsewhere, and nobody would announce that
            alarm = asyncio.get_running_loop().call_later(timeout_s, _give_up, future)
            try:
                return await future
            finally:
                alarm.cancel()
        finally:
            self._closed.drop(workflow_uuid, future)

    @contextlib.contextmanager
    def update_moves(self, workflow_uuid: str, update_id: str) -> Iterator[asyncio.Future[None]]:
        """A future that is done when the update may have moved on. Made before looking, so that nothing is missed."""
        future = self._updates.setdefault(workflow_uuid, _Waiters()).add(update_id)
        try:
            yield future
        finally:
            of_run = self._updates.get(workflow_uuid)
            if of_run is not None:
                of_run.drop(update_id, future)
                if not of_run:
                    del self._updates[workflow_uuid]

    @contextlib.contextmanager
    def answer_comes(self, request_id: str) -> Iterator[asyncio.Future[None]]:
        """A future that is done when the request may have been answered. Made before looking."""
        future = self._answers.add(request_id)
        try:
            yield future
        finally:
            self._answers.drop(request_id, future)

    @staticmethod
    async def hear(future: asyncio.Future[None], timeout_s: float) -> None:
        """Wait for it, but not longer than until the next slow look."""
        await asyncio.wait([future], timeout=min(timeout_s, LOOK_EVERY_S))

    async def run(self) -> None:
        """The slow look at runs that are awaited here and live elsewhere."""
        while True:
            await self._someone.wait()
            await asyncio.sleep(LOOK_EVERY_S)
            elsewhere = [uuid for uuid in self._closed if not self._is_live(uuid)]
            if not elsewhere:
                if not self._closed:
                    self._someone.clear()
                continue
            await self.look(elsewhere)

    def stop(self) -> None:
        """This process ends: whoever waits for a run to close asks somebody else."""
        for workflow_uuid in list(self._closed):
            self._closed.resolve(workflow_uuid, None)

    async def look(self, workflow_uuids: list[str]) -> None:
        """Look at these runs now and resolve the waiters of closed ones."""
        try:
            rows = await self._store.rows(workflow_uuids, watch=False)
        except StoreUnavailable as error:
            logger.debug("waiters look again later: %s", error)
            return
        for row in rows:
            if row.status is not RunStatus.RUNNING:
                self.run_closed(row)


def update_settled(row: UpdateRow | None, stage: int) -> bool:
    """True when a waiter for ``stage`` has its answer: reached, or rejected (stage 0)."""
    return row is not None and (row.stage >= stage or row.stage == 0)
