"""Post: mail for runs of this process. What it wrote itself is handed over, what was announced is fetched, for many runs
at once.

Mail reaches a run in the order of its times. A message that this process wrote needs no look at the database when the
store says that it follows one that the run here knows (``Mail.follows_ms``); if there is a gap, others have written
meanwhile, and the look brings all in order.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dbos_core.broken import broken
from dbos_core.commit import Mail
from dbos_core.errors import StoreUnavailable

if TYPE_CHECKING:
    from dbos_core.kernel import Kernel
    from dbos_core.live_run import LiveRun

logger = logging.getLogger(__name__)

_AGAIN_S = 0.2
_AFTER_A_BUG_S = 5.0


class Post:
    """The mail of one kernel's runs."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._wanted: set[str] = set()
        self._fetching = False

    def posted(self, message: Mail) -> None:
        """A message of this process was committed. If the run lives here and nothing else came before, that was all."""
        run = self._kernel.live_runs.get(message.workflow_uuid)
        if run is not None and _is_next(run, message):
            self._deliver(run, (message,))
        else:
            self.check(message.workflow_uuid)

    def check(self, workflow_uuid: str) -> None:
        """New mail: fetch it if the run lives here, all runs in one query; remember it if the run is on its way here."""
        if workflow_uuid in self._kernel.live_runs:
            self._wanted.add(workflow_uuid)
            self._begin()
        else:
            self._kernel.claims.mail_came(workflow_uuid)

    def check_all(self) -> None:
        """Announcements may have been missed."""
        claims = self._kernel.claims
        self._wanted.update(self._kernel.live_runs)
        claims.mail_came(*claims.arriving)
        self._begin()

    def _begin(self) -> None:
        if not self._fetching and self._wanted:
            self._fetching = True
            self._kernel.spawn(self._fetch(), "mail")

    async def _fetch(self) -> None:
        live_runs = self._kernel.live_runs
        try:
            while self._wanted:
                wanted, self._wanted = self._wanted, set()
                asked = {uuid: run for uuid in wanted if (run := live_runs.get(uuid)) is not None}
                if not asked:
                    continue
                try:
                    messages = await self._kernel.store.mail(list(asked))
                except StoreUnavailable:
                    self._wanted |= wanted
                    await asyncio.sleep(_AGAIN_S)
                    continue
                except Exception:
                    logger.exception("mail of %d runs could not be read; it is tried again", len(asked))
                    self._wanted |= wanted
                    await asyncio.sleep(_AFTER_A_BUG_S)
                    continue
                by_run: dict[str, list[Mail]] = {}
                for message in messages:
                    by_run.setdefault(message.workflow_uuid, []).append(message)
                for uuid, found in by_run.items():
                    # A copy of the run that came since has read its mail itself, perhaps later than this answer.
                    self._deliver(asked[uuid], found)
        finally:
            self._fetching = False

    def _deliver(self, run: LiveRun, messages: Sequence[Mail]) -> None:
        """What a run cannot read is its own affair: neither its sender's nor that of other runs."""
        try:
            run.deliver_mail(messages)
        except Exception as error:
            broken(self._kernel, run, error)


def _is_next(run: LiveRun, message: Mail) -> bool:
    """True when a message that was just committed is the oldest of those that this copy has not heard of."""
    return (
        message.follows_ms is not None
        and message.follows_ms <= run.mail_high_ms
        and run.early_mail is None
        and run.new is None
    )
