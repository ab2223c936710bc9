"""What ``connect()`` makes of the arguments of ``Client.connect``: taken, without effect, or refused by name."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from temporalio.api.workflowservice.v1 import GetSystemInfoRequest
from temporalio.client import Client
from temporalio.plugin import SimplePlugin
from temporalio.service import (
    ConnectConfig,
    GrpcCompression,
    HttpConnectProxyConfig,
    KeepAliveConfig,
    PayloadLimitsConfig,
    RetryConfig,
    ServiceClient,
    TLSConfig,
)

import dbos_compat
from dbos_compat.connect import connect_store
from dbos_compat.errors import Unsupported
from dbos_compat.server_options import ServerOptions
from dbos_core.clock import SystemClock
from dbos_core.errors import StoreUnavailable
from dbos_core.store.memory import MemoryStore

NOWHERE = "postgresql://localhost:1/nobody-is-asked"


def store() -> MemoryStore:
    return MemoryStore(SystemClock())


def test_every_argument_of_temporals_connect_is_known() -> None:
    theirs = set(inspect.signature(Client.connect).parameters) - {"target_host"}
    ours = set(inspect.signature(dbos_compat.connect).parameters) | set(ServerOptions.__annotations__)
    assert not theirs - ours


@pytest.mark.parametrize(
    "options",
    [
        {"tls": True},
        {"tls": TLSConfig(domain="example.com")},
        {"api_key": "secret-key"},
        {"http_connect_proxy_config": HttpConnectProxyConfig("proxy:80")},
        {"lazy": True},
    ],
    ids=lambda options: next(iter(options)),
)
async def test_what_would_change_who_reads_or_when_it_fails_is_refused(options: Any) -> None:
    with pytest.raises(Unsupported) as caught:
        await dbos_compat.connect(NOWHERE, **options)  # before the database is asked
    [name] = options
    assert name in str(caught.value)
    assert "secret-key" not in str(caught.value)
    assert caught.value.slug == "connection-options"


async def test_what_tunes_a_connection_to_a_server_is_taken() -> None:
    client = await connect_store(
        store(),
        tls=False,
        api_key=None,
        lazy=False,
        retry_config=RetryConfig(max_retries=3),
        keep_alive_config=KeepAliveConfig(interval_millis=1000),
        dns_load_balancing_config=None,
        grpc_compression=GrpcCompression.NONE,
        payload_limits=PayloadLimitsConfig(payloads_warn_size=0),
        connect_timeout=timedelta(seconds=30),
        rpc_metadata={"who": "me"},
        identity="somebody",
    )
    try:
        assert client.identity == "somebody"
        assert client.rpc_metadata == {"who": "me"}
        client.rpc_metadata = {"who": "you"}
        client.api_key = "another"
        await client.workflow_service.get_system_info(GetSystemInfoRequest(), metadata={"trace": "1"})
        assert client.rpc_metadata == {"who": "you"}
    finally:
        await dbos_compat.disconnect(client)


async def test_connect_timeout_is_kept() -> None:
    class Asleep(MemoryStore):
        async def open(self) -> None:
            await asyncio.Event().wait()

    with pytest.raises(StoreUnavailable, match=r"memory was not ready within connect_timeout \(0\.05 s\)"):
        await connect_store(Asleep(SystemClock()), connect_timeout=timedelta(milliseconds=50))


class Naming(SimplePlugin):
    """Puts something into the configuration of the connection, as plug-ins for clouds do."""

    def __init__(self, name: str, seen: list[str], **changes: Any) -> None:
        super().__init__(name)
        self.seen, self.changes = seen, changes

    async def connect_service_client(
        self,
        config: ConnectConfig,
        next: Callable[[ConnectConfig], Awaitable[ServiceClient]],  # noqa: A002 - its name
    ) -> ServiceClient:
        self.seen.append(f"{self.name()} {config.target_host}")
        for name, value in self.changes.items():
            setattr(config, name, value)
        client = await next(config)
        self.seen.append(f"{self.name()} is through")
        return client


async def test_plug_ins_see_the_connection_and_may_change_it() -> None:
    seen: list[str] = []
    plugins = [Naming("first", seen, identity="pod-1"), Naming("second", seen, rpc_metadata={"a": "b"})]
    client = await connect_store(store(), url="postgresql://user:secret@host/name?password=secret", plugins=plugins)
    try:
        place = "postgresql://host/name"
        assert seen == [f"first {place}", f"second {place}", "second is through", "first is through"]
        assert client.identity == "pod-1"
        assert client.rpc_metadata == {"a": "b"}
    finally:
        await dbos_compat.disconnect(client)


async def test_what_a_plug_in_asks_for_is_refused_as_well() -> None:
    with pytest.raises(Unsupported, match="api_key"):
        await connect_store(store(), plugins=[Naming("cloud", [], api_key="key")])
