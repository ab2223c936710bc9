"""A live namespace → ``Candidate`` by list query → ``Recorded``. It only reads, at the pace that it is given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from dbos_shadow.reading.listing import list_page
from dbos_shadow.reading.pace import Pace
from dbos_shadow.recorded import Recorded
from dbos_shadow.select import Candidate, Selection

__all__ = ["Namespace"]


class Namespace:
    """A namespace of Temporal's, as a place to read from."""

    def __init__(self, client: Client, pace: Pace | None = None) -> None:
        """
        Args:
            client: with the namespace, the TLS settings and the keys that reading needs.
            pace: how hard the server may be asked.
        """
        self.client = client
        self.pace = pace or Pace()

    @property
    def concurrency(self) -> int:
        return self.pace.concurrency

    @property
    def source(self) -> str:
        return f"temporal:{self.client.namespace}"

    async def count(self, selection: Selection) -> int | None:
        """How many runs the list filter holds; None: the server does not count."""
        try:
            found = await self.pace("counting", lambda: self.client.count_workflows(selection.list_query()))
        except RPCError as error:
            if error.status in (RPCStatusCode.UNIMPLEMENTED, RPCStatusCode.INVALID_ARGUMENT):
                return None
            raise
        return found.count

    async def candidates(self, selection: Selection) -> AsyncIterator[Candidate]:
        """What the selection wants, sampling aside, as the server lists it.

        Raises:
            ServerUnavailable: the server did not answer for too long.
            RPCError: the server refuses the list filter, or us.
        """
        query, after = selection.list_query(), b""
        while True:
            page = await self.pace("listing", partial(list_page, self.client, query, after))
            for candidate in page.runs:
                if selection.takes(candidate):
                    yield candidate
            if not (after := page.next):
                return

    async def read(self, candidate: Candidate) -> Recorded | None:
        """The history of a run. None: it is gone, its retention was over.

        Raises:
            ServerUnavailable: the server did not answer for too long.
        """
        handle = self.client.get_workflow_handle(candidate.workflow_id, run_id=candidate.run_id)
        pages = handle.fetch_history_events()
        events: list[HistoryEvent] = []
        while True:
            try:
                await self.pace(f"reading workflow {candidate.workflow_id!r}", pages.fetch_next_page)
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return None
                raise
            events += pages.current_page or ()
            if not pages.next_page_token:
                break
        return Recorded(
            workflow_id=candidate.workflow_id,
            run_id=candidate.run_id,
            workflow_type=candidate.workflow_type,
            events=events,
            source=self.source,
            closed=not candidate.is_open,
        )
