"""The engine under test: a connection of dbos_compat, in one of four modes (``CONFORMANCE_MODE``).

*plain*: as a user has it. *evicted*: every workflow leaves memory after each activation, so that every event is also a
test of replay. *two-processes*: every RPC is answered by a second process on the same database, and this one runs the
workers alone, as in a deployment with web servers and workers apart. *server*: not our engine at all but Temporal's
development server, to compare outcomes and times on the same machine.
"""

from __future__ import annotations

import dataclasses
import os
from datetime import timedelta
from typing import Any, cast

from temporalio.client import Client
from temporalio.runtime import Runtime
from temporalio.service import ConnectConfig, ServiceClient

import dbos_compat
from dbos_compat.elsewhere import Elsewhere
from dbos_compat.engine import Engine
from dbos_compat.private import EngineServiceClient

from .remote import RemoteServiceClient, RpcProcess

SUGGEST_AFTER = 50
"""What the suite sets on the server that it starts itself."""


class LocalEngine:
    """Client and workers in this process."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.engine = cast(Engine, cast(EngineServiceClient, client.service_client).engine)

    async def connect(self, config: ConnectConfig) -> ServiceClient:
        return EngineServiceClient(config, self.engine)

    async def close(self) -> None:
        await self.engine.close()


class SplitEngine(LocalEngine):
    """Workers in this process, everything that a client asks in another."""

    def __init__(self, client: Client, process: Elsewhere[RpcProcess]) -> None:
        super().__init__(client)
        self.process = process
        self.client = Client(RemoteServiceClient(client.service_client.config, self.engine, process))

    async def connect(self, config: ConnectConfig) -> ServiceClient:
        return RemoteServiceClient(config, self.engine, self.process)

    async def close(self) -> None:
        await self.process.close()
        await super().close()


class Server:
    """Temporal's own server: what the engine is compared with."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def connect(self, config: ConnectConfig) -> ServiceClient:
        return await _connect_to_server(config)

    async def close(self) -> None:
        """It ends with the process that started it."""


_connect_to_server = ServiceClient.connect


async def connect() -> LocalEngine | Server:
    """What ``CONFORMANCE_ENGINE`` names."""
    url = os.environ["CONFORMANCE_URL"]
    mode = os.environ.get("CONFORMANCE_MODE", "plain")
    if mode == "server":
        return Server(await Client.connect(url, runtime=Runtime.default()))
    # What the SDK's tests tell their server, and what no server can be told: its timers take a second at least.
    client = await dbos_compat.connect(
        url, runtime=Runtime.default(), suggest_continue_as_new_after=50, shortest_timer=timedelta(seconds=1)
    )
    if mode == "two-processes":
        return SplitEngine(client, Elsewhere(lambda: RpcProcess.start(url)))
    engine = LocalEngine(client)
    if mode == "evicted":
        _evict_always(engine.engine)
    return engine


def _evict_always(engine: Engine) -> None:
    """Whatever a worker asks for, no workflow of its stays in memory."""
    create_worker = engine.create_worker

    def create(config: Any) -> Any:
        return create_worker(dataclasses.replace(config, max_cached_workflows=0))

    engine.create_worker = create  # type: ignore[method-assign]
