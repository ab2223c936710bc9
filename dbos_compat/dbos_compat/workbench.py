"""Workbench: the workflows of a worker without a kernel. Nothing is stored, nobody polls, no activity ever runs.

temporalio's own ``Worker`` is made, with all that a worker may be given, on a client behind which there is nothing but
this module. What comes out is the interpreter of journals that the engine has, to be fed by whoever wants to see what the
code does with a given past: the shadow, the determinism kit, a test.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, NoReturn, Self

import google.protobuf.message
import temporalio.client
import temporalio.common
import temporalio.service
import temporalio.worker
from temporalio.bridge.proto import NamespaceInfo
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Replayer, Worker

from dbos_compat import private
from dbos_compat.bridge.build_ids import build_id_of
from dbos_compat.bridge.guided import GuidedInterpreter, HintedInterpreter
from dbos_compat.bridge.runner import SUGGEST_AFTER_EVENTS, TemporalRunner
from dbos_compat.errors import rpc_error
from dbos_compat.native_threads import outlive_native_threads
from dbos_compat.private_workbench import BenchHost
from dbos_core.commit import RunRow
from dbos_core.runner import Interpreter
from dbos_core.testing import SeededEntropy

__all__ = ["Workbench", "WorkbenchRunner"]

IDENTITY = "dbos-compat workbench"


class WorkbenchRunner(TemporalRunner):
    """The engine's own runner; its runs may be of any task queue."""

    host: BenchHost

    def open(self, run: RunRow, inputs: str, native: Any = None) -> Interpreter:
        self.host.opened(run.run_id, run.task_queue)
        return super().open(run, inputs, native)

    def hinted(self, run: RunRow, inputs: str, native: Any = None) -> HintedInterpreter:
        """An interpreter that drives by itself, and is told what only a server could know."""
        self.host.opened(run.run_id, run.task_queue)
        return HintedInterpreter(self, run, inputs, native)

    def follow(self, run: RunRow, inputs: str, native: Any = None) -> GuidedInterpreter:
        """An interpreter that is told, task by task, what was recorded elsewhere."""
        self.host.opened(run.run_id, run.task_queue)
        return GuidedInterpreter(self, run, inputs, native)


class Workbench:
    """The workflows of a worker, ready to be interpreted::

        async with Workbench([Order], data_converter=converter) as bench:
            interpreter = bench.runner.open(run_row, inputs)
            decision = interpreter.activate(activation)

    It may be used for any number of runs, of any task queue, one event loop at a time.

    Payloads go in and out without the codec and the external storage of the data converter: whoever feeds a run decodes
    first, once (``data_converter`` is the whole one), and compares values instead of ciphertext.
    """

    def __init__(
        self,
        workflows: Sequence[type],
        *,
        data_converter: DataConverter = DataConverter.default,
        interceptors: Sequence[temporalio.worker.Interceptor] = (),
        client_interceptors: Sequence[temporalio.client.Interceptor] = (),
        plugins: Sequence[Any] = (),
        namespace: str = "default",
        identity: str = IDENTITY,
        new_id: Callable[[], str] | None = None,
        now_ms: Callable[[], int] = lambda: 0,
        suggest_continue_as_new_after: int = SUGGEST_AFTER_EVENTS,
        **worker_options: Any,
    ) -> None:
        """
        Args:
            workflows: the workflow classes, as a ``Worker`` takes them.
            data_converter, plugins, client_interceptors: as the client has them.
            interceptors: of the worker.
            namespace: as workflows read it in their info.
            identity: as journal records say who wrote them.
            new_id: gives the run ids of what follows a run; without it they are the same in every process.
            now_ms: the clock for what happens outside of activations, milliseconds since the epoch.
            suggest_continue_as_new_after: so many events into a history the suggestion becomes true, where the caller
                does not say it otherwise.
            worker_options: whatever else ``temporalio.worker.Worker`` takes (``workflow_runner``,
                ``workflow_failure_exception_types`` …); activities are not run, whatever is given.
        """
        private.install()
        self._workflows = workflows
        self._interceptors = interceptors
        self._of_the_client = [i for i in client_interceptors if isinstance(i, temporalio.worker.Interceptor)]
        self._identity = identity
        self._new_id = new_id or SeededEntropy("workbench").uuid
        self._now_ms = now_ms
        self._suggest_after = suggest_continue_as_new_after
        self._options = {name: option for name, option in worker_options.items() if name != "activities"}
        self.namespace = namespace
        service = private.EngineServiceClient(
            temporalio.service.ConnectConfig(target_host="workbench", identity=identity), _Nobody(self)
        )
        client = Client(
            service,
            namespace=namespace,
            data_converter=data_converter,
            plugins=list(plugins),
            interceptors=list(client_interceptors),
        )
        config = client.config()
        self.data_converter: DataConverter = config["data_converter"]
        """As the client had it, with what plug-ins made of it."""
        config["data_converter"] = _without_codec(self.data_converter)
        config["plugins"] = []  # they have had their say
        self._client = Client(**config)
        self._worker_plugins = [p for p in plugins if isinstance(p, temporalio.worker.Plugin)]
        self._runner: WorkbenchRunner | None = None
        self._stop = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    @property
    def runner(self) -> WorkbenchRunner:
        """Raises RuntimeError outside of ``async with``."""
        if self._runner is None:
            raise RuntimeError("The workbench is not open; use it as: async with Workbench(...) as bench")
        return self._runner

    def knows(self, workflow_type: str) -> bool:
        """Is there a workflow of this type (or a dynamic one)?"""
        return self.runner.knows(workflow_type)

    def replayer(self, *, decoded: bool = False) -> Replayer:
        """Temporal's own replayer with the same workflows, converter, interceptors and plug-ins, and as many of the worker's
        options as it takes. Raises what ``temporalio.worker.Replayer`` raises.

        Args:
            decoded: the histories' payloads are decoded already: it goes without the codec and the external storage.
        """
        outlive_native_threads()
        taken = inspect.signature(Replayer).parameters
        options = {"runtime": _silent(), **self._options}
        return Replayer(
            workflows=list(self._workflows),
            namespace=self.namespace,
            data_converter=_without_codec(self.data_converter) if decoded else self.data_converter,
            interceptors=[*self._of_the_client, *self._interceptors],
            plugins=self._worker_plugins,
            **{name: option for name, option in options.items() if name in taken},
        )

    async def __aenter__(self) -> Self:
        """Raises what ``temporalio.worker.Worker`` raises for these options."""
        options = {"task_queue": "workbench", **self._options}
        worker = Worker(
            self._client,
            workflows=list(self._workflows),
            interceptors=list(self._interceptors),
            plugins=self._worker_plugins,
            **options,
        )
        self._ready: asyncio.Future[WorkbenchRunner] = asyncio.get_running_loop().create_future()
        self._stop.clear()
        self._running = asyncio.create_task(worker.run(), name="dbos_compat workbench")
        either: list[asyncio.Future[Any]] = [self._ready, self._running]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not self._ready.done():
            self._running.result()  # raises
            raise RuntimeError("The worker ended before it began")
        self._runner = self._ready.result()
        self._shutdown = worker.shutdown
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            self._runner.host.close()
            self._runner = None
        if self._running is not None and not self._running.done():
            await self._shutdown()
        if self._running is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._running

    # -- what stands behind the client -----------------------------------------------------------------------------

    def _serving(self, config: Any, host: private.WorkflowHost) -> BenchHost:
        """The SDK's worker is there: make a runner of it."""
        bench = BenchHost(host)
        runner = WorkbenchRunner(
            bench,
            task_queue=config.task_queue,
            namespace=self.namespace,
            identity=self._identity,
            max_cached=config.max_cached_workflows,
            limit_payloads=not getattr(config, "disable_payload_error_limit", False),
            new_id=self._new_id,
            now_ms=self._now_ms,
            suggest_after=self._suggest_after,
            build_id=build_id_of(config.versioning_strategy),
        )
        self._ready.set_result(runner)
        return bench


@functools.cache
def _silent() -> Runtime:
    """Temporal's core writes failed tasks to standard output, with the messages of failures: it must not, here."""
    return Runtime(telemetry=TelemetryConfig(logging=None))


def _without_codec(converter: DataConverter) -> DataConverter:
    if getattr(converter, "external_storage", None) is not None:
        converter = dataclasses.replace(converter, external_storage=None)
    return converter if converter.payload_codec is None else dataclasses.replace(converter, payload_codec=None)


class _Nobody:
    """Stands where a client expects an engine. It answers nothing."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench

    async def call(
        self,
        rpc: str,
        req: google.protobuf.message.Message,
        *,
        service: str,
        metadata: Mapping[str, str | bytes],
        timeout: timedelta | None,
    ) -> google.protobuf.message.Message:
        raise _refused(rpc)

    def create_worker(self, config: Any) -> private.BridgeWorker:
        return _BenchWorker(self._bench, config)


def _refused(rpc: str) -> RPCError:
    return rpc_error(
        f"RPC {rpc} was called on a workbench, which has workflows and nothing else: no server, no store, no activities. "
        "Workflow code must not call a client; if an interceptor or a plug-in does, leave it out here.",
        RPCStatusCode.UNIMPLEMENTED,
    )


class _BenchWorker(private.BridgeWorker):
    """Stands where the SDK expects its Rust worker. There is never any work."""

    def __init__(self, bench: Workbench, config: Any) -> None:
        self._bench = bench
        self._config = config
        self._stopping = asyncio.Event()
        self._host: BenchHost | None = None

    async def validate(self) -> NamespaceInfo:
        return NamespaceInfo()

    async def run_workflows(self, host: private.WorkflowHost) -> None:
        self._host = self._bench._serving(self._config, host)
        await self._stopping.wait()

    async def run_activities(self, host: private.ActivityHost) -> None:
        await self._stopping.wait()

    async def poll_workflow_activation(self) -> NoReturn:
        await self._no_task()

    async def poll_activity_task(self) -> NoReturn:
        await self._no_task()

    async def poll_nexus_task(self) -> NoReturn:
        await self._no_task()

    async def _no_task(self) -> NoReturn:
        await self._stopping.wait()
        raise private.PollShutdownError

    async def complete_workflow_activation(self, completion: WorkflowActivationCompletion) -> None:
        if self._host is not None:
            self._host.completed(completion)

    def initiate_shutdown(self) -> None:
        self._stopping.set()

    async def finalize_shutdown(self) -> None:
        """There is nothing to wait for."""
