"""StockTools: what a stock DBOS client does to a run, done to a MemoryStore.

On Postgres a test uses ``dbos.DBOSClient`` itself. Here are the same changes of the same columns, for tests of how a
kernel reacts to them: the status and the fencing token change, ``runs`` does not, and nobody is told.
"""

from __future__ import annotations

from dbos_core.commit import Mail
from dbos_core.mailbox import NULL_TOPIC
from dbos_core.store.memory import MemoryStore


class StockTools:
    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def cancel(self, workflow_uuid: str) -> None:
        """``cancel_workflow``: CANCELLED and nobody's, unless it ended by itself."""
        run = self._store.tables.runs[workflow_uuid]
        if run.dbos_status not in ("SUCCESS", "ERROR"):
            run.dbos_status, run.owner_xid = "CANCELLED", None

    async def resume(self, workflow_uuid: str) -> None:
        """``resume_workflow``: ENQUEUED and nobody's, unless it ended by itself."""
        run = self._store.tables.runs[workflow_uuid]
        if run.dbos_status not in ("SUCCESS", "ERROR"):
            run.dbos_status, run.owner_xid = "ENQUEUED", None

    async def send(self, workflow_uuid: str, message: str, topic: str | None, message_id: str) -> None:
        """``send``: a notification row; to a finished workflow too, since DBOS stores it all the same."""
        mail = Mail(mail_id=message_id, workflow_uuid=workflow_uuid, topic=topic or NULL_TOPIC, message=message)
        self._store.deliver_from_outside(mail)
