"""Stray mail: messages that stock DBOS tools sent to runs that nobody owns.

Our own messages make such a run runnable in the statement that writes them. A stock ``send`` only inserts its row, and
the DBOS schema may not have triggers of ours; but its own trigger announces the message, every serving process hears
it, and one statement makes runnable what needs it. What was sent while nobody listened is found when a process begins
to serve, and after a lost listening session.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from dbos_core.errors import DBOSCompatError
from dbos_core.store.base import Wake, WakeKind
from dbos_core.store.postgres.connect import Database

logger = logging.getLogger(__name__)

GATHER_S = 0.02
"""Announcements of this long share one statement."""

AGAIN_S = 1.0
"""The pause after a look that failed."""

KEYS_MAX = 1000
"""Runs per statement."""

_NUDGE = """
    with clock as materialized (select {own}.now_ms() as ms),
    c as materialized (
        select d.uuid, r.task_queue, r.waits
          from unnest($1::text[]) as d (uuid),
               lateral (
                    select k.task_queue, k.wake_at_ms is null or k.wake_at_ms > (select ms from clock) as waits
                      from {own}.runs k
                     where k.workflow_uuid = d.uuid and k.owner is null and k.status is not distinct from 1
                       and (select 1 from {dbos}.notifications n
                             where n.destination_uuid = d.uuid and not n.consumed
                             limit 1) is not null
                       for no key update) as r),
    nudged as (
        update {own}.runs r set wake_at_ms = (select ms from clock) from c where c.waits and r.workflow_uuid = c.uuid)
    select (select count(*) from c) as runnable,
           (select count(*) from (
               select pg_notify('dbos_compat_wake', {wake} || 'work|' || task_queue)
                 from (select distinct task_queue from c where waits) as q offset 0) as n)"""

# Reads all messages, so this one statement is planned by its cost.
_WAITING = """
    select distinct n.destination_uuid
      from {dbos}.notifications n
      join {own}.runs r on r.workflow_uuid = n.destination_uuid
     where not n.consumed and r.owner is null and r.status = 1 and (r.wake_at_ms is null or r.wake_at_ms > {own}.now_ms())"""


class StrayMail:
    """Makes unowned runs runnable that stock tools sent messages to. Works from :meth:`start` on."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._keys: set[str] = set()
        self._sweep = False
        self._lock = asyncio.Lock()
        self.found = 0
        """How many unowned runs with messages were found so far; all of them are runnable."""
        self._wakeup = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def heard(self, wake: Wake) -> None:
        """A wake of the listener."""
        if self._task is None:
            return
        if wake.kind is WakeKind.MAIL:
            self._keys.add(wake.key)
        elif wake.kind is WakeKind.RESYNC:
            self._sweep = True
        else:
            return
        self._wakeup.set()

    def start(self) -> None:
        if self._task is None:
            self._sweep = True
            self._wakeup.set()
            self._task = asyncio.create_task(self._run(), name="dbos-compat stray mail")

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def settle(self) -> None:
        """Act on what was heard so far."""
        async with self._lock:
            await self._settle()

    async def _settle(self) -> None:
        if self._sweep:
            self._sweep = False
            try:
                rows = await self._db.rows_by_cost("looking for messages of DBOS tools", _WAITING)
            except BaseException:
                self._sweep = True
                raise
            self._keys.update([row[0] for row in rows])
        while self._keys:
            keys = [self._keys.pop() for _ in range(min(KEYS_MAX, len(self._keys)))]
            try:
                self.found += await self._db.value("looking for messages of DBOS tools", _NUDGE, sorted(keys))
            except BaseException:
                self._keys.update(keys)
                raise

    async def _run(self) -> None:
        while True:
            await self._wakeup.wait()
            await asyncio.sleep(GATHER_S)
            self._wakeup.clear()
            try:
                await self.settle()
            except DBOSCompatError as error:
                logger.debug("messages of DBOS tools are looked for later: %s", error)
            except Exception:
                logger.exception("looking for messages of DBOS tools failed and is tried again")
            else:
                continue
            await asyncio.sleep(AGAIN_S)
            self._wakeup.set()
