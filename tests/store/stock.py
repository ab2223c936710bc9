"""Stock DBOS, doing to a run what its users may do: the real client on Postgres, its effects on the memory store."""

from __future__ import annotations

import asyncio
import json
from typing import Protocol

from dbos import DBOSClient, WorkflowSerializationFormat


class Stock(Protocol):
    async def cancel(self, workflow_uuid: str) -> None: ...
    async def resume(self, workflow_uuid: str) -> None: ...
    async def send(self, workflow_uuid: str, message: str, topic: str | None, message_id: str) -> None: ...


class PostgresStockTools:
    def __init__(self, url: str) -> None:
        self._url = url

    async def cancel(self, workflow_uuid: str) -> None:
        await asyncio.to_thread(self._with_client, lambda client: client.cancel_workflow(workflow_uuid))

    async def resume(self, workflow_uuid: str) -> None:
        await asyncio.to_thread(self._with_client, lambda client: client.resume_workflow(workflow_uuid))

    async def send(self, workflow_uuid: str, message: str, topic: str | None, message_id: str) -> None:
        await asyncio.to_thread(
            self._with_client,
            lambda client: client.send(
                workflow_uuid,
                json.loads(message),
                topic,
                message_id,
                serialization_type=WorkflowSerializationFormat.PORTABLE,
            ),
        )

    def _with_client(self, act) -> None:
        client = DBOSClient(system_database_url=self._url)
        try:
            act(client)
        finally:
            client.destroy()
