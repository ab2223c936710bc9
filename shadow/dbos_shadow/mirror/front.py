"""Mirror: the front. A Temporal client whose calls are noted, for the shadow to follow."""

from __future__ import annotations

import asyncio
import logging
from types import TracebackType
from typing import Any, Self

from temporalio.client import Client

from dbos_compat.private_mirror import ObservedServiceClient
from dbos_shadow.mirror.ledger import Ledger, MemoryLedger
from dbos_shadow.mirror.notes import MIRRORED, note_of
from dbos_shadow.mirror.outbox import NOTES_MAX, SEND_EVERY_S, Outbox, Sent
from dbos_shadow.mirror.postgres_ledger import PostgresLedger

__all__ = ["APPLICATION_NAME", "Mirror", "NAMESPACE"]

logger = logging.getLogger("dbos_shadow")

NAMESPACE = "mirror"
"""The shadow's own: schemas ``dbos_mirror`` and ``dbos_compat_mirror``."""
APPLICATION_NAME = "dbos-compat-shadow"
"""To whom these schemas belong: no worker of an application takes up a shadow run by mistake."""
END_S = 5.0


class Mirror:
    """The front of a mirror, in the processes that start and message workflows::

        async with Mirror(temporal, url="postgresql://…") as mirror:
            client = mirror.client            # a temporalio Client, as before

    Every call goes to Temporal and Temporal's answer to the caller. What a call did to a workflow is noted after Temporal
    has answered, in memory, and written to Postgres in the background. No failure of the shadow side, and no time that it
    takes, reaches a caller: not when the database is down, slow, or full.

    ``client`` is good for everything: starting, messaging, querying, and for a ``Worker``, which polls Temporal.
    """

    def __init__(
        self,
        temporal: Client,
        *,
        url: str | None = None,
        namespace: str = NAMESPACE,
        ledger: Ledger | None = None,
        notes_max: int = NOTES_MAX,
    ) -> None:
        """
        Args:
            temporal: a client that is connected to Temporal; it stays as it is.
            url: of the shadow's database, ``postgresql://user:password@host/name``.
            namespace: of the shadow; it has schemas of its own, so that the database may be anybody's.
            ledger: instead of ``url``: in memory, for a worker in the same process.
            notes_max: runs that wait in memory while the database does not answer. Beyond, they are not mirrored, and
                counted.

        Raises:
            ValueError: neither ``url`` nor ``ledger``, or both.
            BadDatabaseURL: the URL is none.
        """
        self._ledger = given_ledger(url, namespace, ledger)
        self._outbox = Outbox(self._ledger, notes_max=notes_max)
        self._owns_ledger = ledger is None
        config = temporal.config()
        config["service_client"] = ObservedServiceClient(temporal.service_client, MIRRORED, self._observe)
        self.client = Client(**config)
        """Use it wherever the other one was used."""

    @property
    def sent(self) -> Sent:
        """How many runs were noted, written, dropped."""
        return self._outbox.sent

    async def flush(self) -> None:
        """Return when all that was noted so far is in the database (or counted as dropped). Nobody needs it but tests, and
        who wants to stop the shadow's worker at a certain point."""
        noted = self._outbox.sent.noted
        # Looked at, not signalled, as the sender does.
        while (sent := self._outbox.sent).sent + sent.dropped < noted:  # noqa: ASYNC110
            await asyncio.sleep(SEND_EVERY_S)

    async def __aenter__(self) -> Self:
        self._outbox.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._outbox.end(END_S)
        if self._owns_ledger:
            try:
                async with asyncio.timeout(END_S):
                    await self._ledger.close()
            except Exception:
                logger.exception("the mirror's ledger could not be closed; nobody is concerned")

    def _observe(self, rpc: str, request: Any, answer: Any) -> None:
        note = note_of(rpc, request, answer)
        if note is not None:
            self._outbox.put(note)


def given_ledger(url: str | None, namespace: str, ledger: Ledger | None) -> Ledger:
    """The one ledger that is meant."""
    if (url is None) == (ledger is None):
        raise ValueError(
            "A mirror needs either url=, the Postgres where the shadow lives, or ledger=MemoryLedger() for a front and a "
            "worker in one process"
        )
    return PostgresLedger(url, namespace=namespace) if url is not None else ledger or MemoryLedger()
