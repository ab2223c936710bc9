"""WorkflowEnvironment: ``temporalio.testing.WorkflowEnvironment``, on our kernel in memory.

No server is started and nothing is downloaded: the state of an environment is in this process and gone with it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, Self

import temporalio.client
import temporalio.common
import temporalio.converter
import temporalio.exceptions
import temporalio.runtime
import temporalio.service
import temporalio.testing
import temporalio.worker
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client

from dbos_compat.connect import connect_store, disconnect
from dbos_compat.engine import Engine
from dbos_compat.errors import Unsupported
from dbos_compat.private import EngineServiceClient
from dbos_compat.testing.skipping import TimeSkipper
from dbos_core.clock import Clock, SystemClock
from dbos_core.store.memory import MemoryStore
from dbos_core.testing.skipping import SkippingClock

_LEASE = timedelta(days=36_500)
"""Time may be skipped by years, and nobody shall believe this process dead for that."""


class WorkflowEnvironment(temporalio.testing.WorkflowEnvironment):
    """Temporal's environment under Temporal's names. Make one with :meth:`start_time_skipping`, :meth:`start_local` or
    :meth:`from_client`."""

    _skipper: TimeSkipper | None = None
    _own: Client | None = None
    """The connection that ends with this environment."""

    # -- making one ------------------------------------------------------------------------------------------------

    @classmethod
    def from_client(cls, client: Client) -> WorkflowEnvironment:
        """An environment on a client of any kind, of Temporal's too. Time is real; ``shutdown`` leaves the client open."""
        return cls(_with_assertions(client))

    @classmethod
    async def start_local(
        cls,
        *,
        namespace: str = "default",
        data_converter: temporalio.converter.DataConverter = temporalio.converter.DataConverter.default,
        interceptors: Sequence[temporalio.client.Interceptor] = (),
        plugins: Sequence[temporalio.client.Plugin] = (),
        default_workflow_query_reject_condition: temporalio.common.QueryRejectCondition | None = None,
        identity: str | None = None,
        runtime: temporalio.runtime.Runtime | None = None,
        search_attributes: Sequence[temporalio.common.SearchAttributeKey[Any]] = (),
        **of_the_server: Any,
    ) -> WorkflowEnvironment:
        """All that the engine does, in memory, in real time.

        Args:
            namespace, data_converter, interceptors, plugins, default_workflow_query_reject_condition, identity, runtime:
                as in ``Client.connect``.
            search_attributes: to register.
            of_the_server: Temporal's other arguments. Those that say where its binary comes from and how it logs mean
                nothing here and are accepted; those by which a test would reach the server (``port``, ``ui``, a database
                file, a server's own flags) are refused.

        Raises:
            Unsupported: a server was asked for.
            TypeError: Temporal knows no such argument either.
        """
        _no_server("start_local", of_the_server)
        return await cls._start(
            SystemClock(),
            namespace=namespace,
            data_converter=data_converter,
            interceptors=interceptors,
            plugins=plugins,
            default_workflow_query_reject_condition=default_workflow_query_reject_condition,
            identity=identity,
            runtime=runtime,
            search_attributes=search_attributes,
        )

    @classmethod
    async def start_time_skipping(
        cls,
        *,
        data_converter: temporalio.converter.DataConverter = temporalio.converter.DataConverter.default,
        interceptors: Sequence[temporalio.client.Interceptor] = (),
        plugins: Sequence[temporalio.client.Plugin] = (),
        default_workflow_query_reject_condition: temporalio.common.QueryRejectCondition | None = None,
        identity: str | None = None,
        runtime: temporalio.runtime.Runtime | None = None,
        **of_the_server: Any,
    ) -> WorkflowEnvironment:
        """An environment whose time jumps to the next timer while a workflow's result is awaited and nothing runs, and
        that :meth:`sleep` moves on. It begins at the real time. An activity runs in real time.

        Args:
            data_converter, interceptors, plugins, default_workflow_query_reject_condition, identity, runtime: as in
                ``Client.connect``.
            of_the_server: as in :meth:`start_local`.

        Raises:
            Unsupported: a server was asked for.
            TypeError: Temporal knows no such argument either.
        """
        _no_server("start_time_skipping", of_the_server)
        return await cls._start(
            SkippingClock(),
            data_converter=data_converter,
            interceptors=interceptors,
            plugins=plugins,
            default_workflow_query_reject_condition=default_workflow_query_reject_condition,
            identity=identity,
            runtime=runtime,
        )

    @classmethod
    async def start_time_skipping_v2(cls, **_: Any) -> NoReturn:
        """Temporal's experimental second kind, with a clock for each workflow.

        Raises:
            Unsupported: always; :meth:`start_time_skipping` skips time on the full engine.
        """
        raise Unsupported("time-skipping", "WorkflowEnvironment.start_time_skipping_v2")

    @classmethod
    async def _start(
        cls,
        clock: Clock,
        *,
        search_attributes: Sequence[temporalio.common.SearchAttributeKey[Any]] = (),
        **options: Any,
    ) -> WorkflowEnvironment:
        store = MemoryStore(clock)
        client = await connect_store(store, url="memory://test", clock=clock, lease=_LEASE, spin=timedelta(), **options)
        env = cls(_with_assertions(client))
        env._own = client
        if isinstance(clock, SkippingClock):
            engine = _engine(client)
            env._skipper = TimeSkipper(engine.kernel, store, clock)
            engine.attending = env._skipper.attending
        if search_attributes:
            await client.operator_service.add_search_attributes(
                AddSearchAttributesRequest(
                    namespace=client.namespace,
                    search_attributes={key.name: _indexed(key) for key in search_attributes},
                )
            )
        return env

    async def __aenter__(self) -> Self:
        return self

    async def shutdown(self) -> None:
        """End the environment and all that is in it. May be called twice."""
        skipper, self._skipper = self._skipper, None
        if skipper is not None:
            await skipper.close()
        own, self._own = self._own, None
        if own is not None:
            await disconnect(own)

    async def connect_client(self, **options: Any) -> Client:
        """Another client of this environment. ``options``: those of ``Client.connect`` that are about the client and not
        about the wire.

        Raises:
            TypeError: an option that is about the wire.
        """
        return Client(self.client.service_client, **{"namespace": self.client.namespace, **options})

    # -- time ------------------------------------------------------------------------------------------------------

    async def sleep(self, duration: timedelta | float) -> None:
        """Let this much time pass (seconds, or a timedelta): skipped in an environment that skips, else really."""
        if self._skipper is None:
            await super().sleep(duration)
            return
        seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
        await self._skipper.sleep(round(seconds * 1000))

    async def get_current_time(self, handle: temporalio.client.WorkflowHandle[Any, Any] | None = None) -> datetime:
        """The time here; ``handle`` is of no account, since all workflows of an environment have one clock."""
        if self._skipper is None:
            return datetime.now(UTC)
        return datetime.fromtimestamp(self._skipper.now_ms / 1000, UTC)

    @property
    def supports_time_skipping(self) -> bool:
        return self._skipper is not None

    @property
    def supports_time_skipping_v1(self) -> bool:
        return self._skipper is not None

    @contextlib.contextmanager
    def auto_time_skipping_disabled(self) -> Iterator[None]:
        """Within the block a result is awaited in real time. Blocks may be nested; the outermost counts."""
        skipper = self._skipper
        if skipper is None:
            yield
            return
        before, skipper.automatic = skipper.automatic, False
        try:
            yield
        finally:
            skipper.automatic = before


# -- arguments of a server that is not there ------------------------------------------------------------------------

_OF_NO_ACCOUNT = frozenset(
    {
        "retry_config",
        "rpc_metadata",
        "ip",
        "download_dest_dir",
        *(
            f"{server}_server_{name}"
            for server in ("dev", "test")
            for name in ("existing_path", "download_version", "download_ttl", "startup_timeout")
        ),
        "dev_server_log_format",
        "dev_server_log_level",
    }
)
_REFUSED = frozenset(
    {"port", "tls", "ui", "ui_port", "dev_server_database_filename", "dev_server_extra_args", "test_server_extra_args"}
)


def _no_server(method: str, arguments: Mapping[str, Any]) -> None:
    for name, value in arguments.items():
        if name in _REFUSED:
            if value:
                raise Unsupported("test-server", f"WorkflowEnvironment.{method}({name}=...)")
        elif name not in _OF_NO_ACCOUNT:
            raise TypeError(f"WorkflowEnvironment.{method}() got an unexpected keyword argument {name!r}")


def _engine(client: Client) -> Engine:
    service = client.service_client
    assert isinstance(service, EngineServiceClient)
    assert isinstance(service.engine, Engine)
    return service.engine


def _indexed(key: temporalio.common.SearchAttributeKey[Any]) -> IndexedValueType.ValueType:
    return IndexedValueType.ValueType(int(key.indexed_value_type))


# -- assert in a workflow -------------------------------------------------------------------------------------------


def _with_assertions(client: Client) -> Client:
    config = client.config()
    config["interceptors"] = [*config["interceptors"], _Assertions()]
    return Client(**config)


class _Assertions(temporalio.client.Interceptor, temporalio.worker.Interceptor):
    """In a test, ``assert`` in a workflow fails the workflow; elsewhere it fails the task, which is tried again."""

    def workflow_interceptor_class(
        self,
        input: temporalio.worker.WorkflowInterceptorClassInput,  # noqa: A002 (Temporal's name)
    ) -> type[temporalio.worker.WorkflowInboundInterceptor] | None:
        return _AssertionsInbound


class _AssertionsInbound(temporalio.worker.WorkflowInboundInterceptor):
    async def execute_workflow(self, input: temporalio.worker.ExecuteWorkflowInput) -> Any:  # noqa: A002
        with _as_failure():
            return await super().execute_workflow(input)

    async def handle_signal(self, input: temporalio.worker.HandleSignalInput) -> None:  # noqa: A002
        with _as_failure():
            await super().handle_signal(input)


@contextlib.contextmanager
def _as_failure() -> Iterator[None]:
    try:
        yield
    except AssertionError as error:
        failure = temporalio.exceptions.ApplicationError(str(error), type="AssertionError", non_retryable=True)
        raise failure.with_traceback(error.__traceback__) from None
