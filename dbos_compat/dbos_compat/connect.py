"""connect(): URL → kernel → a real ``temporalio.client.Client``."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Unpack

import temporalio.client
import temporalio.common
import temporalio.converter
import temporalio.runtime
from temporalio.client import Client
from temporalio.service import ConnectConfig, ServiceClient

from dbos_compat import private
from dbos_compat.bridge.runner import SUGGEST_AFTER_EVENTS
from dbos_compat.engine import Engine
from dbos_compat.metrics import live
from dbos_compat.server_options import ServerOptions, check, connect_config
from dbos_core.clock import Clock
from dbos_core.errors import StoreUnavailable
from dbos_core.kernel import Kernel
from dbos_core.store.base import Store
from dbos_core.store.postgres.store import PostgresStore
from dbos_core.writer import SPIN_S

logger = logging.getLogger("dbos_compat")

URL_VARIABLE = "DBOS_SYSTEM_DATABASE_URL"
VERSION_VARIABLE = "DBOS__APPVERSION"
APPLICATION_NAME = "dbos-compat"
APPLICATION_VERSION = "1"
"""A stable string: a deployment never strands workflows by itself."""
LEASE = timedelta(seconds=10)
SPIN = timedelta(seconds=SPIN_S)


async def connect(
    url: str | None = None,
    *,
    namespace: str = "default",
    data_converter: temporalio.converter.DataConverter = temporalio.converter.DataConverter.default,
    plugins: Sequence[temporalio.client.Plugin] = (),
    interceptors: Sequence[temporalio.client.Interceptor] = (),
    default_workflow_query_reject_condition: temporalio.common.QueryRejectCondition | None = None,
    header_codec_behavior: temporalio.client.HeaderCodecBehavior = temporalio.client.HeaderCodecBehavior.NO_CODEC,
    identity: str | None = None,
    runtime: temporalio.runtime.Runtime | None = None,
    application_name: str = APPLICATION_NAME,
    application_version: str | None = None,
    create_schema: bool = True,
    lease: timedelta = LEASE,
    suggest_continue_as_new_after: int = SUGGEST_AFTER_EVENTS,
    shortest_timer: timedelta = timedelta(0),
    spin: timedelta = SPIN,
    **server_options: Unpack[ServerOptions],
) -> Client:
    """Connect to Postgres instead of a Temporal cluster.

    Args:
        url: of the database, ``postgresql://user:password@host/name``. Without one ``DBOS_SYSTEM_DATABASE_URL`` is
            used, and without that an embedded Postgres is started in a data directory of the user's (extra
            ``embedded``).
        namespace: Temporal's; each has database schemas of its own (``default``: ``dbos`` and ``dbos_compat``).
        data_converter, plugins, interceptors, default_workflow_query_reject_condition, header_codec_behavior,
            identity, runtime: as in ``temporalio.client.Client.connect``.
        application_name: owner of the schema; another application's schema is refused.
        application_version: a stable string (default ``DBOS__APPVERSION``, else ``1``), never a hash of code.
        create_schema: create or upgrade the schema when needed. False: it must be there (``dbos-compat migrate``).
        lease: how long this process is believed alive without a sign; then others take its workflows over.
        suggest_continue_as_new_after: ``workflow.info().is_continue_as_new_suggested()`` becomes true so many events into
            a history (a setting of the server, on Temporal).
        shortest_timer: no timer of a workflow rings sooner than that, however short it is. For code that has come to
            count on it: on a Temporal server a timer takes a second at least.
        spin: how long the event loop may be kept awake for the answer to a lone commit. It takes a tenth off the
            latency of a workflow that has the process to itself and costs processor time; zero: never.
        server_options: the other arguments of ``Client.connect``. ``connect_timeout`` bounds this call; ``retry_config``,
            ``keep_alive_config``, ``dns_load_balancing_config``, ``grpc_compression``, ``payload_limits`` and
            ``rpc_metadata`` have nothing to act on here; ``tls``, ``api_key``, ``http_connect_proxy_config`` and ``lazy``
            are refused.

    Returns:
        a ``temporalio.client.Client``. End it with :func:`disconnect`.

    Raises:
        BadDatabaseURL: the URL is none, or the database refuses it.
        StoreUnavailable: nobody answers there.
        SchemaMissing, SchemaTooNew, ApplicationMismatch: the schema does not fit.
        UnsupportedTemporalio: this release of temporalio is not supported.
        Unsupported: an argument that is about a Temporal server, and cannot be kept.
    """
    check(connect_config(target_host="", identity=identity, runtime=runtime, options=server_options))
    url = url or os.environ.get(URL_VARIABLE)
    on_close: Callable[[], None] | None = None
    if url is None:
        from dbos_compat.embedded import start_embedded  # an extra

        embedded = await asyncio.to_thread(start_embedded)
        url, on_close = embedded.url, embedded.stop
    version = application_version or os.environ.get(VERSION_VARIABLE) or APPLICATION_VERSION

    def new_store(*, create: bool = False) -> Store:
        return PostgresStore(
            url,
            namespace=namespace,
            application_name=application_name,
            application_version=version,
            create=create,
        )

    try:
        return await connect_store(
            new_store(create=create_schema),
            url=url,
            namespace=namespace,
            data_converter=data_converter,
            plugins=plugins,
            interceptors=interceptors,
            default_workflow_query_reject_condition=default_workflow_query_reject_condition,
            header_codec_behavior=header_codec_behavior,
            identity=identity,
            runtime=runtime,
            application_version=version,
            lease=lease,
            suggest_continue_as_new_after=suggest_continue_as_new_after,
            shortest_timer=shortest_timer,
            spin=spin,
            on_close=on_close,
            another_store=new_store,
            **server_options,
        )
    except BaseException:
        if on_close is not None:
            on_close()
        raise


async def connect_store(
    store: Store,
    *,
    url: str = "memory",
    namespace: str = "default",
    data_converter: temporalio.converter.DataConverter = temporalio.converter.DataConverter.default,
    plugins: Sequence[temporalio.client.Plugin] = (),
    interceptors: Sequence[temporalio.client.Interceptor] = (),
    default_workflow_query_reject_condition: temporalio.common.QueryRejectCondition | None = None,
    header_codec_behavior: temporalio.client.HeaderCodecBehavior = temporalio.client.HeaderCodecBehavior.NO_CODEC,
    identity: str | None = None,
    runtime: temporalio.runtime.Runtime | None = None,
    application_version: str = APPLICATION_VERSION,
    lease: timedelta = LEASE,
    suggest_continue_as_new_after: int = SUGGEST_AFTER_EVENTS,
    shortest_timer: timedelta = timedelta(0),
    spin: timedelta = SPIN,
    clock: Clock | None = None,
    on_close: Callable[[], None] | None = None,
    another_store: Callable[[], Store] | None = None,
    **server_options: Unpack[ServerOptions],
) -> Client:
    """The same on a store of the caller's (tests: ``MemoryStore`` with a virtual clock).

    ``another_store`` makes one of the same database, for calls that come when this event loop does not run.
    """
    private.install()

    async def open_engine(
        config: ConnectConfig, store: Store, reopen: Callable[[], Awaitable[Engine]] | None = None
    ) -> Engine:
        kernel = await Kernel.open(
            store,
            identity=config.identity,
            application_version=application_version,
            clock=clock,
            lease_ms=int(lease.total_seconds() * 1000),
            spin_s=spin.total_seconds(),
        )
        return Engine(
            kernel,
            namespace=namespace,
            identity=config.identity,
            suggest_after=suggest_continue_as_new_after,
            shortest_timer_ms=round(shortest_timer.total_seconds() * 1000),
            meter=live(private.runtime(config.runtime).metric_meter),
            on_close=on_close if reopen is not None or another_store is None else None,
            reopen=reopen,
        )

    async def open_service(config: ConnectConfig) -> ServiceClient:
        check(config)
        if another_store is None:
            engine = await open_engine(config, store)
        else:
            new_store = another_store
            engine = await open_engine(config, store, lambda: open_engine(config, new_store()))
        return private.EngineServiceClient(config, engine)

    config = connect_config(target_host=_shown(url), identity=identity, runtime=runtime, options=server_options)
    wait = server_options.get("connect_timeout")
    try:
        async with asyncio.timeout(None if wait is None else wait.total_seconds()) as limit:
            service = await _through_plugins(plugins, open_service)(config)
    except TimeoutError:
        if not limit.expired() or wait is None:
            raise
        raise StoreUnavailable(
            f"{_shown(url)} was not ready within connect_timeout ({wait.total_seconds():g} s). Is the database up, and does "
            "nobody hold a lock on the schema?"
        ) from None
    return Client(
        service,
        namespace=namespace,
        data_converter=data_converter,
        plugins=list(plugins),
        interceptors=list(interceptors),
        default_workflow_query_reject_condition=default_workflow_query_reject_condition,
        header_codec_behavior=header_codec_behavior,
    )


Connecting = Callable[[ConnectConfig], Awaitable[ServiceClient]]


def _through_plugins(plugins: Sequence[temporalio.client.Plugin], connecting: Connecting) -> Connecting:
    """The plug-ins' hooks around it, the first outermost, as ``Client.connect`` has them."""

    def around(plugin: temporalio.client.Plugin, inner: Connecting) -> Connecting:
        return lambda config: plugin.connect_service_client(config, inner)

    for plugin in reversed(plugins):
        connecting = around(plugin, connecting)
    return connecting


async def disconnect(client: Client) -> None:
    """End a connection: its workflows leave this process and go on elsewhere. May be called twice.

    Raises:
        TypeError: the client is not one of ours.
    """
    service = client.service_client
    if not isinstance(service, private.EngineServiceClient):
        raise TypeError(
            "disconnect() takes a client that dbos_compat.connect() made; this one talks to a Temporal server"
        )
    engine = service.engine
    assert isinstance(engine, Engine)
    await engine.close()


def _shown(url: str) -> str:
    """The URL without what is secret in it."""
    scheme, separator, rest = url.partition("://")
    rest = rest.partition("?")[0]
    return scheme + separator + rest.rpartition("@")[2]
