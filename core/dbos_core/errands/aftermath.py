"""Aftermath: what the end of a run means for others: its parent hears of it, its open children meet their policy.

The commit that closes such a run leaves it in the outbox. Whoever closed it performs what follows, here, and takes it
out again; what a dead process has left there others take over with its runs. Each step may be done twice: a parent knows
the message by its id, and a child ends once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dbos_core.commit import Close, Commit, ParentClosePolicy, RunRow, RunStatus, Verdict
from dbos_core.errors import StoreUnavailable
from dbos_core.failpoints import hit

if TYPE_CHECKING:
    from dbos_core.errands.service import Errands
    from dbos_core.kernel import Kernel

logger = logging.getLogger(__name__)

AGAIN_S = 0.2
AFTER_A_BUG_S = 5.0
SETTLE_S = 5.0
"""How long a process that ends in good order still tells others of the runs that it closed."""


class Aftermath:
    """What follows from the closes of one process."""

    def __init__(self, kernel: Kernel, errands: Errands) -> None:
        self._kernel = kernel
        self._errands = errands
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way: Counter[str] = Counter()
        """Runs whose closes are being seen to."""

    def closed(self, row: RunRow, *, children: bool = True) -> None:
        """A run is closed and in the outbox under our name. ``children`` False: it is known to have no open ones."""
        task = self._kernel.spawn(self._until_done(row, children), f"aftermath of {row.workflow_uuid}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._under_way[row.workflow_uuid] += 1
        task.add_done_callback(lambda _: self._ended(row.workflow_uuid))

    def _ended(self, workflow_uuid: str) -> None:
        self._under_way -= Counter([workflow_uuid])

    def overheard(self, row: RunRow, close: Close | None) -> None:
        """A commit of ours may have closed the run, and the news of that were here before its answer."""
        if close is not None and close.reaches_others:
            self._kernel.spawn(self._look(row.workflow_uuid), f"aftermath of {row.workflow_uuid}")

    async def _look(self, workflow_uuid: str) -> None:
        while True:
            try:
                await self.look([workflow_uuid])
                return
            except StoreUnavailable:
                await asyncio.sleep(AGAIN_S)

    async def look(self, workflow_uuids: Sequence[str]) -> None:
        """See to those of these runs that are closed, unless that is under way."""
        unseen = [uuid for uuid in workflow_uuids if uuid not in self._under_way]
        for row in await self._kernel.store.rows(unseen, watch=False) if unseen else ():
            self.closed(row)

    async def reopened(self, workflow_uuids: Sequence[str]) -> None:
        """A stock tool has opened closed runs again, or closed open ones. What their children said to closed ears is
        said again; what was heard is known by its id."""
        kernel = self._kernel
        for row in await kernel.store.rows(workflow_uuids, watch=False):
            self.closed(row)
            if row.status is RunStatus.RUNNING:
                for child in await kernel.store.closed_children(row):
                    if (news := self._errands.relations.news(child)) is not None:
                        await kernel.send(news)

    async def settle(self) -> None:
        """Before this process ends: let what has begun come to its end."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=SETTLE_S)

    async def _until_done(self, row: RunRow, children: bool) -> None:
        hit("aftermath.before")
        while True:
            try:
                await self._perform(row, children)
                return
            except StoreUnavailable:
                await asyncio.sleep(AGAIN_S)
            except Exception:
                logger.exception(
                    "what follows from the end of workflow %r run %s failed and is tried again",
                    row.workflow_id,
                    row.run_id,
                )
                await asyncio.sleep(AFTER_A_BUG_S)

    async def _perform(self, row: RunRow, children: bool) -> None:
        kernel, uuid = self._kernel, row.workflow_uuid
        if row.status is not RunStatus.RUNNING:  # else somebody has opened it again
            news = self._errands.relations.news(row) if row.parent is not None else None
            if news is not None:
                settled = () if children else (uuid,)
                verdict = await kernel.writer.write(
                    Commit(workflow_uuid=news.workflow_uuid, fenced=False, mail=(news,), settled=settled)
                )
                if verdict is Verdict.RUN_CLOSED:
                    await self._tell_another(row)
                elif not children:
                    return
            if children:
                await self._meet_policies(row)
        await kernel.writer.write(Commit(workflow_uuid=uuid, fenced=False, settled=(uuid,)))

    async def _tell_another(self, row: RunRow) -> None:
        """Its parent is closed; if that was reset meanwhile, another run is the child's parent now."""
        for fresh in await self._kernel.store.rows([row.workflow_uuid], watch=False):
            if fresh.parent != row.parent and (news := self._errands.relations.news(fresh)) is not None:
                await self._kernel.send(news)

    async def _meet_policies(self, parent: RunRow) -> None:
        kernel = self._kernel
        moved_on = True
        while moved_on:  # a child that has closed since we looked may have been followed by another run
            moved_on = False
            for child in await kernel.store.open_children(parent.run_id):
                assert child.parent is not None
                hit("aftermath.child")
                verdict = None
                if child.parent.policy is ParentClosePolicy.TERMINATE:
                    verdict = await kernel.terminate(
                        child.workflow_uuid, self._errands.relations.end_of_child(child, kernel.clock.now_ms())
                    )
                elif child.parent.policy is ParentClosePolicy.REQUEST_CANCEL:
                    verdict = await kernel.send(self._errands.relations.cancel_of_child(child))
                moved_on = moved_on or verdict is Verdict.RUN_CLOSED
