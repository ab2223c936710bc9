"""Performing errands: for the open runs of this process, after the commit that journals them.

Errands to one workflow id are done one after the other, in the order in which they were asked for; all others at once,
so that a hundred children are started by a few flushes.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from dbos_core.commit import Mail, RunRow, RunStatus, StartResult, Verdict
from dbos_core.errands.aftermath import Aftermath
from dbos_core.errands.spec import Errand, ErrandKind, Relations, Reply, child_run_id
from dbos_core.errors import BadCommit, StoreUnavailable
from dbos_core.failpoints import hit
from dbos_core.phase import Phase
from dbos_core.runner import Event, EventKind

if TYPE_CHECKING:
    from dbos_core.kernel import Kernel
    from dbos_core.live_run import LiveRun

logger = logging.getLogger(__name__)

AFTER_A_BUG_S = 5.0
AGAIN_S = 0.2
"""While the database is away an errand is tried so often."""


class Errands:
    """The errands of one kernel's runs."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._latest: dict[tuple[str, str], asyncio.Task[None]] = {}
        """By sender's run id and target's workflow id."""
        self.aftermath = Aftermath(kernel, self)
        self._relations: Relations | None = None

    @property
    def relations(self) -> Relations:
        assert self._relations is not None, "a run has to do with others, and nobody says what that means"
        return self._relations

    @relations.setter
    def relations(self, relations: Relations) -> None:
        self._relations = relations

    def perform(self, run: LiveRun, errands: Iterable[Errand], *, again: bool = False) -> None:
        """``again``: a process before us may have done it."""
        for errand in errands:
            run.errands[errand.key] = errand
            place = (run.row.run_id, errand.workflow_id)
            work = self._do(run, errand, again, self._latest.get(place))
            task = self._latest[place] = self._kernel.spawn(work, f"errand {errand.key} of {run.row.workflow_uuid}")
            task.add_done_callback(partial(self._forget, place))

    def _forget(self, place: tuple[str, str], task: asyncio.Task[None]) -> None:
        if self._latest.get(place) is task:
            del self._latest[place]

    async def _do(self, run: LiveRun, errand: Errand, again: bool, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        hit("errand.before")
        reply = None
        while run.phase is not Phase.GONE and errand.key in run.errands:
            try:
                reply = await self._reply(run.row, errand, again)
                break
            except StoreUnavailable:
                again = True
                await asyncio.sleep(AGAIN_S)
            except BadCommit as error:  # there cannot be such a workflow
                logger.warning("%r cannot have %s done to %r: %s", run, errand.kind, errand.workflow_id, error)
                reply = Reply(key=errand.key, refused=True)
                break
            except Exception:
                logger.exception("errand %s of %r failed and is tried again", errand.key, run)
                again = True
                await asyncio.sleep(AFTER_A_BUG_S)
        hit("errand.after")
        if reply is not None:
            self._replied(run, reply)

    @staticmethod
    def _replied(run: LiveRun, reply: Reply) -> None:
        if run.errands.pop(reply.key, None) is not None:
            run.deliver(Event(EventKind.ERRAND, reply=reply))

    async def _reply(self, sender: RunRow, errand: Errand, again: bool) -> Reply | None:
        if errand.kind is ErrandKind.CHILD:
            return await self._start(sender, errand, again)
        return Reply(key=errand.key, refused=not await self._send(sender, errand, again))

    async def _start(self, parent: RunRow, errand: Errand, again: bool) -> Reply | None:
        kernel = self._kernel
        run_id = child_run_id(parent.run_id, errand.seq)
        if again and await kernel.store.find(errand.workflow_id, run_id) is not None:
            return Reply(key=errand.key, run_id=run_id)
        new, derived_uuid, terminate_record = self.relations.child(errand, parent, kernel.clock.now_ms())
        answer = await kernel.start(new, derived_uuid=derived_uuid, terminate_record=terminate_record)
        if answer.result is StartResult.PARENT_CLOSED:
            return None
        refused = answer.result is StartResult.ALREADY_STARTED
        return Reply(key=errand.key, refused=refused, run_id="" if refused else run_id)

    async def _send(self, sender: RunRow, errand: Errand, again: bool) -> bool:
        """Deliver a signal or a cancel request. False: there is nobody for it."""
        kernel = self._kernel
        if errand.workflow_id == sender.workflow_id:
            return False  # as on Temporal: nobody is external to itself
        target = await kernel.find(errand.workflow_id, errand.run_id or None)
        if target is not None and errand.child_only and not _is_child(target, sender):
            # What this process remembers of it may be older than the reset that made it the sender's child.
            target = await kernel.store.find(errand.workflow_id, errand.run_id or None)
        while target is not None and (not errand.child_only or _is_child(target, sender)):
            letter = self.relations.letter(errand, sender, target)
            if target.status is not RunStatus.RUNNING:
                return errand.kind is not ErrandKind.SIGNAL or (
                    again and letter.mail_id in await kernel.store.posted([letter.mail_id])
                )
            if await kernel.send(letter) is not Verdict.RUN_CLOSED:
                return True
            again = True
            target = await kernel.store.find(errand.workflow_id, errand.run_id or None)
        return False

    # -- what others tell --------------------------------------------------------------------------------------------

    def child_closed(self, run: LiveRun, message: Mail) -> None:
        """A child says how it ended. If it is not known yet that it had begun, that comes first."""
        said = json.loads(message.message)
        key = (ErrandKind.CHILD, int(said["seq"]), 0)
        if run.errands.pop(key, None) is not None:
            run.inbox.append(Event(EventKind.ERRAND, reply=Reply(key=key, run_id=said["first_run_id"])))
        run.inbox.append(Event(EventKind.CHILD, mail=message))


def _is_child(target: RunRow, parent: RunRow) -> bool:
    return target.parent is not None and target.parent.run_id == parent.run_id
