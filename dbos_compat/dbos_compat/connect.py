"""connect(): URL → kernel → a real ``temporalio.client.Client``."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import temporalio.client
import temporalio.common
import temporalio.converter
import temporalio.runtime
import temporalio.service
from temporalio.client import Client

from dbos_compat import private
from dbos_compat.bridge.runner import SUGGEST_AFTER_EVENTS
from dbos_compat.engine import Engine
from dbos_compat.metrics import live
from dbos_core.clock import Clock
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
    spin: timedelta = SPIN,
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
        spin: how long the event loop may be kept awake for the answer to a lone commit. It takes a tenth off the
            latency of a workflow that has the process to itself and costs processor time; zero: never.

    Returns:
        a ``temporalio.client.Client``. End it with :func:`disconnect`.

    Raises:
        BadDatabaseURL: the URL is none, or the database refuses it.
        StoreUnavailable: nobody answers there.
        SchemaMissing, SchemaTooNew, ApplicationMismatch: the schema does not fit.
        UnsupportedTemporalio: this release of temporalio is not supported.
    """
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
            spin=spin,
            on_close=on_close,
            another_store=new_store,
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
    spin: timedelta = SPIN,
    clock: Clock | None = None,
    on_close: Callable[[], None] | None = None,
    another_store: Callable[[], Store] | None = None,
) -> Client:
    """The same on a store of the caller's (tests: ``MemoryStore`` with a virtual clock).

    ``another_store`` makes one of the same database, for calls that come when this event loop does not run.
    """
    private.install()
    own_identity = identity or f"{os.getpid()}@{socket.gethostname()}"

    async def open_engine(store: Store, reopen: Callable[[], Awaitable[Engine]] | None = None) -> Engine:
        kernel = await Kernel.open(
            store,
            identity=own_identity,
            application_version=application_version,
            clock=clock,
            lease_ms=int(lease.total_seconds() * 1000),
            spin_s=spin.total_seconds(),
        )
        return Engine(
            kernel,
            namespace=namespace,
            identity=own_identity,
            suggest_after=suggest_continue_as_new_after,
            meter=live(private.runtime(runtime).metric_meter),
            on_close=on_close if reopen is not None or another_store is None else None,
            reopen=reopen,
        )

    if another_store is None:
        engine = await open_engine(store)
    else:
        new_store = another_store
        engine = await open_engine(store, lambda: open_engine(new_store()))
    config = temporalio.service.ConnectConfig(target_host=_shown(url), identity=own_identity, runtime=runtime)
    return Client(
        private.EngineServiceClient(config, engine),
        namespace=namespace,
        data_converter=data_converter,
        plugins=list(plugins),
        interceptors=list(interceptors),
        default_workflow_query_reject_condition=default_workflow_query_reject_condition,
        header_codec_behavior=header_codec_behavior,
    )


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
