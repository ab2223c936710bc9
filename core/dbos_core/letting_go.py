"""Letting go of a run whose task keeps failing here: another process may have the code that it needs.

In a rolling deployment some workers of a queue know a workflow type, or a version of its code, that others do not. A Temporal
server offers a failed task to whoever polls next. Here the owner of a run tries again by itself, so it gives the run back
between two tries, if somebody else serves its queue: its row says when it is due, and the others may look first.

Nothing of it is lost by that: what the failed activation was about is in the store already (mail; ends of activities, by
``kept``) or follows from the journal. A run that still has something under way here stays.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dbos_core.clock import Clock
from dbos_core.commit import Commit, Verdict
from dbos_core.errors import BadCommit, StoreUnavailable
from dbos_core.phase import Phase
from dbos_core.runner import Event, EventKind

if TYPE_CHECKING:
    from dbos_core.kernel import Kernel
    from dbos_core.live_run import LiveRun

logger = logging.getLogger(__name__)

FROM_MS = 1_000
"""Who is tried again sooner than that stays."""
OTHERS_FIRST_MS = 5_000
"""So long after it is due we leave it to the others, who look every 1.5 seconds (``claims.PULSE_EVERY_S``)."""
_HEARD_ALL = 2**62
"""Mail does not hold it back: it could not be taken up here either."""
_FOLLOW = frozenset({EventKind.START, EventKind.RESUME, EventKind.TIMER})
"""Events that follow from the journal."""


class GivenBack:
    """Runs that this process gave back. Without this it would be the first to claim them as often as not."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until_ms: dict[str, int] = {}

    def add(self, workflow_uuid: str, due_ms: int) -> None:
        """Leave it to others until a while after it is due, at ``due_ms``."""
        self._until_ms[workflow_uuid] = due_ms + OTHERS_FIRST_MS

    def still(self) -> list[str]:
        """Runs that are to be left to others now."""
        if self._until_ms:
            now_ms = self._clock.now_ms()
            self._until_ms = {uuid: until for uuid, until in self._until_ms.items() if until > now_ms}
        return list(self._until_ms)

    def forget(self) -> None:
        """Workers have come or gone here: this process may have other code now."""
        self._until_ms.clear()


def consider(kernel: Kernel, run: LiveRun, delay_ms: int, due_ms: int) -> None:
    """Its task has failed, and is to be tried again in ``delay_ms``, at ``due_ms``: here, or elsewhere."""
    if delay_ms >= FROM_MS:
        kernel.spawn(_offer(kernel, run, due_ms), f"give back {run.row.workflow_uuid}")


async def _offer(kernel: Kernel, run: LiveRun, due_ms: int) -> None:
    try:
        if run.failing is not None:
            await run.failing.written()
        if not await kernel.store.served_elsewhere(kernel.process_id, run.row.task_queue):
            return
    except StoreUnavailable:
        return  # it stays, and the next failure asks again
    if kernel.closing or not (run.phase is Phase.READY and run.failing is not None and _may_leave(run)):
        return
    run.phase = Phase.COMMITTING
    commit = Commit(
        workflow_uuid=run.row.workflow_uuid,
        park_until_ms=due_ms,
        mail_seen_ms=_HEARD_ALL,
        mail_left=tuple([event.mail.mail_id for event in run.inbox if event.mail is not None]),
    )

    def done(verdict: Verdict | BadCommit) -> None:
        if run.phase is Phase.GONE:
            return
        if verdict is Verdict.COMMITTED:
            logger.info("%r is given back: its tasks fail here, and others serve queue %r", run, run.row.task_queue)
            kernel.given_back.add(run.row.workflow_uuid, due_ms)
            run.gone()
            kernel.run_parked(run, waiting=False)
        elif isinstance(verdict, BadCommit) or verdict is Verdict.MAIL_WAITING:
            run.phase = Phase.READY
            run.poke()
        else:
            run.gone()
            kernel.run_lost(run, verdict)

    kernel.writer.submit(commit, done)


def _may_leave(run: LiveRun) -> bool:
    ended = {event.outcome.seq for event in run.inbox if event.outcome is not None}
    under_way = run.activities.keys() - ended or run.errands or run.locals or run.new is not None
    return not under_way and all(_is_stored(event) for event in run.inbox)


def _is_stored(event: Event) -> bool:
    if event.outcome is not None:
        return bool(event.outcome.mail_ids)
    return event.mail is not None or event.kind in _FOLLOW
