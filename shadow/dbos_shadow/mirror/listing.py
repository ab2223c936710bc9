"""Listing: runs that nobody noted, found by a list filter: those that a schedule starts, or a service without a front."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from functools import partial

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from dbos_shadow.mirror.ledger import Ledger
from dbos_shadow.mirror.notes import Note
from dbos_shadow.mirror.patience import patiently
from dbos_shadow.reading.listing import list_page

__all__ = ["Lister"]

logger = logging.getLogger("dbos_shadow")

BATCH = 500
OVERLAP = timedelta(minutes=2)
"""A run may be listed some time after it has begun, and clocks differ. Also what a new worker looks back."""


class Lister:
    """Looks for runs that have begun since the last look."""

    def __init__(self, temporal: Client, query: str) -> None:
        """
        Args:
            query: a list filter.
        """
        self._temporal = temporal
        self._query = query
        self._since = datetime.now(UTC) - OVERLAP
        self._known: set[str] = set()

    async def note(self, ledger: Ledger) -> None:
        """Enter what has begun since the last look.

        Raises:
            RPCError: the server refuses the filter.
        """
        try:
            found = await self.more()
        except RPCError as error:
            if error.status is RPCStatusCode.INVALID_ARGUMENT:
                raise
            logger.warning("runs could not be listed (%s); it is tried again", error.status.name)
            return
        for at in range(0, len(found), BATCH):
            await patiently(partial(ledger.note, found[at : at + BATCH]))

    async def more(self) -> list[Note]:
        """Runs that were not there at the last look.

        Raises:
            RPCError: the server refuses the filter, or does not answer; the next look makes up for it.
        """
        looked_at = datetime.now(UTC)
        since = self._since.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        query, after = f"({self._query}) AND StartTime >= '{since}'", b""
        found: list[Note] = []
        while True:
            page = await list_page(self._temporal, query, after)
            found += [
                Note(workflow_id=run.workflow_id, run_id=run.run_id, workflow_type=run.workflow_type)
                for run in page.runs
            ]
            if not (after := page.next):
                break
        fresh = [note for note in found if note.run_id not in self._known]
        self._known = {note.run_id for note in found}
        self._since = looked_at - OVERLAP
        return fresh
