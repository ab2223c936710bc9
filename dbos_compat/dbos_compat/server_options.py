"""Options of ``Client.connect`` that are about the way to a Temporal server, and what ``connect()`` makes of them.

Somebody who changes one line leaves the other arguments where they are. What would change who can read the traffic, or
when a program fails, is refused by name; what only tunes a gRPC connection is taken and has nothing to do here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import timedelta
from typing import TypedDict

from temporalio.service import (
    ConnectConfig,
    DnsLoadBalancingConfig,
    GrpcCompression,
    HttpConnectProxyConfig,
    KeepAliveConfig,
    PayloadLimitsConfig,
    RetryConfig,
    TLSConfig,
)

from dbos_compat.errors import Unsupported


class ServerOptions(TypedDict, total=False):
    """Arguments of ``temporalio.client.Client.connect`` beside those that mean the same here."""

    api_key: str | None
    tls: bool | TLSConfig | None
    http_connect_proxy_config: HttpConnectProxyConfig | None
    lazy: bool
    connect_timeout: timedelta | None
    """Honoured: :class:`StoreUnavailable` when it passes."""
    rpc_metadata: Mapping[str, str | bytes]
    """Kept and shown by the client; there is no server that reads it."""
    retry_config: RetryConfig | None
    keep_alive_config: KeepAliveConfig | None
    dns_load_balancing_config: DnsLoadBalancingConfig | None
    grpc_compression: GrpcCompression
    payload_limits: PayloadLimitsConfig


REFUSED: Mapping[str, str] = {
    "api_key": "user and password stand in the database URL",
    "tls": "ask for it in the database URL: ?sslmode=verify-full&sslrootcert=ca.pem",
    "http_connect_proxy_config": "a database is reached directly",
    "lazy": "connect where the program begins to need the database",
}
"""What cannot be taken, each with what to do instead."""


def check(config: ConnectConfig) -> None:
    """Refuse what cannot be kept, also when a plug-in has set it.

    Raises:
        Unsupported: names the option.
    """
    for name, advice in REFUSED.items():
        if getattr(config, name):
            raise Unsupported("connection-options", f"{name}: {advice}")


def connect_config(
    *, target_host: str, identity: str | None, runtime: object, options: Mapping[str, object]
) -> ConnectConfig:
    """What plug-ins get to see. An option that this release of temporalio does not have yet is left out."""
    known = {field.name for field in fields(ConnectConfig)}
    made = {"target_host": target_host, "identity": identity or "", "runtime": runtime, **options}
    return ConnectConfig(**{name: value for name, value in made.items() if name in known})  # type: ignore[arg-type]
