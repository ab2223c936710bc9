"""Every private name of temporalio that we touch, fetched and checked here and nowhere else.

Two things of the SDK are replaced (temporal-seam §7): the service client under ``Client`` and the bridge worker under
``Worker``. The SDK offers no public door for the second, so three attributes are wrapped once, on :func:`install`;
each wrapper looks at what it was given and hands anything that is not ours to the original, so that a process may
talk to a real Temporal server and to this engine at the same time.

``SUPPORTED`` is the range that the test-suite runs against. Outside of it, and when a name has moved,
:class:`UnsupportedTemporalio` says which name and which release.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import google.protobuf.message
import temporalio.bridge.worker
import temporalio.runtime
import temporalio.service
from temporalio.bridge.proto.activity_task import ActivityTask
from temporalio.bridge.proto.activity_task import Start as ActivityStart
from temporalio.bridge.proto.workflow_activation import InitializeWorkflow, RemoveFromCache, WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.bridge.worker import PollShutdownError  # type: ignore[attr-defined]  # as the SDK itself does
from temporalio.common import MetricMeter
from temporalio.exceptions import ApplicationError
from temporalio.runtime import _runtime_ref
from temporalio.service import ConnectConfig, ServiceClient
from temporalio.worker import _activity, _workflow

from dbos_compat import private_activities, private_converters, private_memory, private_sandbox
from dbos_compat.sdk_release import SDK_VERSION, SUPPORTED, TESTED, Name, UnsupportedTemporalio, untested, verify

__all__ = [
    "ActivityHost",
    "BridgeWorker",
    "EngineServiceClient",
    "PollShutdownError",
    "SDK_VERSION",
    "SUPPORTED",
    "TESTED",
    "UnsupportedTemporalio",
    "WorkflowHost",
    "install",
    "runtime",
]

logger = logging.getLogger("dbos_compat")

DEADLOCK_S = 2.0
"""Temporal's limit for one activation."""
SLOW_ACTIVATION_S = 0.1
"""A workflow type that needed longer once is activated on the thread pool from then on, as the stock worker does."""

Response = TypeVar("Response", bound=google.protobuf.message.Message)


_NAMES = (
    Name(temporalio.bridge.worker.Worker, "create", ("client", "config")),
    Name(temporalio.service, "_BridgeServiceClient"),
    Name(temporalio.runtime, "_runtime_ref"),
    Name(_workflow._WorkflowWorker, "run", ("self",)),
    Name(_workflow._WorkflowWorker, "_handle_activation", ("self", "act")),
    Name(_workflow._WorkflowWorker, "_handle_cache_eviction", ("self", "act", "job")),
    Name(_workflow._WorkflowWorker, "_create_workflow_instance", ("self", "act", "init")),
    Name(_workflow, "_RunningWorkflow", ("instance", "workflow_id")),
    Name(_workflow, "_DeadlockError"),
    Name(_workflow, "_InterruptDeadlockError"),
    Name(_activity._ActivityWorker, "run", ("self",)),
    Name(_activity._ActivityWorker, "_handle_start_activity_task", ("self", "task_token", "start", "running_activity")),
    Name(_activity._ActivityWorker, "_handle_cancel_activity_task", ("self", "task_token", "cancel")),
    Name(_activity, "_RunningActivity"),
)

_WORKFLOW_WORKER = (
    "_data_converter", "_debug_mode", "_dynamic_workflow", "_running_workflows", "_throw_after_activation", "_workflows",
    "_workflow_task_executor", "_workflow_task_executor_user_provided",
)  # fmt: skip
_ACTIVITY_WORKER = ("_activities", "_fail_worker_exception_queue", "_running_activities")
"""Attributes that the SDK's workers have once they are made."""


def check() -> None:
    """Raise :class:`UnsupportedTemporalio` when a name is not where we look for it."""
    verify(_NAMES)
    warning = untested()
    if warning is not None:
        logger.warning("%s", warning)


# -- client side -------------------------------------------------------------------------------------------------------


class Engine(Protocol):
    """What stands behind our service client."""

    async def call(
        self,
        rpc: str,
        req: google.protobuf.message.Message,
        *,
        service: str,
        metadata: Mapping[str, str | bytes],
        timeout: timedelta | None,
    ) -> google.protobuf.message.Message: ...

    def create_worker(self, config: Any) -> BridgeWorker: ...


class _Runtime:
    """Stands where the SDK expects a runtime; only the metric meter is read, and no native thread is started."""

    metric_meter = MetricMeter.noop


_RUNTIME = _Runtime()


def runtime(given: temporalio.runtime.Runtime | None) -> Any:
    """The runtime of a client: the one it was given, else the process's default if a program has set one. None is made:
    only its metrics would be used."""
    return given or _runtime_ref._default_runtime or _RUNTIME


class _EngineRef:
    """Stands where the SDK expects a connected native client."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def update_metadata(self, metadata: Mapping[str, str | bytes]) -> None:
        """The engine has no connection to put metadata on."""

    def update_api_key(self, api_key: str | None) -> None:
        """The engine has no connection to put a key on."""


class EngineServiceClient(temporalio.service._BridgeServiceClient):
    """The service client under a ``Client`` on our engine.

    A subclass of the bridge's since ``Worker`` checks for that, but only :class:`ServiceClient`'s constructor runs.
    """

    def __init__(self, config: ConnectConfig, engine: Engine) -> None:
        ServiceClient.__init__(self, config)
        self.engine = engine
        config.runtime = runtime(config.runtime)
        self._runtime = config.runtime
        self._bridge_client = _EngineRef(engine)  # type: ignore[assignment]

    def update_rpc_metadata(self, metadata: Mapping[str, str | bytes]) -> None:
        self.config.rpc_metadata = metadata

    def update_api_key(self, api_key: str | None) -> None:
        self.config.api_key = api_key

    async def _rpc_call(
        self,
        rpc: str,
        req: google.protobuf.message.Message,
        resp_type: type[Response],
        *,
        service: str,
        retry: bool,
        metadata: Mapping[str, str | bytes],
        timeout: timedelta | None,
    ) -> Response:
        response = await self.engine.call(rpc, req, service=service, metadata=metadata, timeout=timeout)
        assert isinstance(response, resp_type), f"{rpc} answered {type(response).__name__}"
        return response


# -- worker side -------------------------------------------------------------------------------------------------------


class BridgeWorker:
    """Base of the object that stands where the SDK expects its Rust worker (temporal-seam §0.1)."""

    async def run_workflows(self, host: WorkflowHost) -> None:
        """Serve workflows until shutdown."""
        raise NotImplementedError

    async def run_activities(self, host: ActivityHost) -> None:
        """Serve activities until shutdown."""
        raise NotImplementedError

    async def poll_workflow_activation(self) -> WorkflowActivation:
        """Raise PollShutdownError at shutdown."""
        raise NotImplementedError

    async def poll_activity_task(self) -> ActivityTask:
        """Raise PollShutdownError at shutdown."""
        raise NotImplementedError


class WorkflowHost:
    """The SDK's workflow worker: makes instances and activates them.

    Two ways to activate. *Stock*: the SDK's own path, through its thread pool, payload visitors and deadlock detection.
    *Inline*: straight into the instance on the event loop, which costs a third; taken when the data converter has
    neither codec nor external storage, and the workflow type has proven quick. A watchdog thread keeps Temporal's
    deadlock limit on inline activations as well.
    """

    def __init__(self, worker: Any) -> None:
        verify([Name(worker, name) for name in _WORKFLOW_WORKER if not hasattr(worker, name)])
        self._worker = worker
        self._expected: dict[str, asyncio.Future[WorkflowActivationCompletion]] = {}
        self._leaving: dict[str, asyncio.Future[None]] = {}
        """Runs whose instance is being torn down: the next one of that run id has to wait."""
        self._quick: dict[str, bool] = {}
        self._leaves_well: set[str] = set()
        """Types whose code lets itself be torn down. Code that swallows every cancellation would hold the event loop for
        ever, so the first instance of each type is torn down in a thread."""
        self._inline_allowed = not (
            worker._data_converter.payload_codec is not None
            or getattr(worker._data_converter, "external_storage", None) is not None
            or worker._debug_mode
            or worker._workflow_task_executor_user_provided
        )
        self._watchdog = _Watchdog()
        self._slots = asyncio.Semaphore(100)
        self._stays_inline = False

    def stay_inline(self) -> None:
        """Whatever can be done inline is, from the first instance of a type on and however long it takes: for an event
        loop that has nothing else to do, and on which nothing may depend on speed."""
        self._stays_inline = True

    def limit(self, workflow_tasks: int) -> None:
        """How many activations may be on the thread pool at once (inline ones are one at a time by nature)."""
        self._slots = asyncio.Semaphore(workflow_tasks)

    @property
    def workflow_types(self) -> frozenset[str]:
        return frozenset(self._worker._workflows)

    @property
    def dynamic(self) -> bool:
        """A dynamic workflow is registered: every type is known."""
        return self._worker._dynamic_workflow is not None

    @property
    def fails_workflow_on_nondeterminism(self) -> Callable[[str], bool]:
        everywhere: bool = self._worker.nondeterminism_as_workflow_fail()
        types: set[str] = self._worker.nondeterminism_as_workflow_fail_for_types()
        return lambda workflow_type: everywhere or workflow_type in types

    def close(self) -> None:
        self._watchdog.stop()

    # -- activation ------------------------------------------------------------------------------------------------

    def activate(
        self, activation: WorkflowActivation, workflow_type: str
    ) -> WorkflowActivationCompletion | Awaitable[WorkflowActivationCompletion]:
        """Feed one activation. The first of a run carries the initialize job."""
        quick = self._stays_inline or self._quick.get(workflow_type, False)
        if not self._inline_allowed or not quick or activation.run_id in self._leaving:
            return self._activate_stock(activation, workflow_type)
        worker = self._worker
        running = worker._running_workflows.get(activation.run_id)
        if running is None:
            init = next((j.initialize_workflow for j in activation.jobs if j.HasField("initialize_workflow")), None)
            if init is None:
                return self._activate_stock(activation, workflow_type)
            try:
                running = self._create(activation, init)
            except Exception as error:
                return self._creation_failed(activation, error)
        return self._inline(running, activation, workflow_type)

    def _create(self, activation: WorkflowActivation, init: InitializeWorkflow) -> Any:
        worker = self._worker
        instance = worker._create_workflow_instance(activation, init)
        running = _workflow._RunningWorkflow(instance, init.workflow_id)
        worker._running_workflows[activation.run_id] = running
        return running

    def _inline(self, running: Any, activation: WorkflowActivation, workflow_type: str) -> WorkflowActivationCompletion:
        main_loop = asyncio._get_running_loop()
        begun = time.perf_counter()
        self._watchdog.watch(running, begun)
        try:
            completion: WorkflowActivationCompletion = contextvars.Context().run(running.activate, activation)
        except _workflow._InterruptDeadlockError:
            completion = self._failed(self._watchdog.verdict(running))
        except Exception as error:
            completion = self._failed(error)
        finally:
            self._watchdog.rest()
            asyncio._set_running_loop(main_loop)
        if time.perf_counter() - begun > SLOW_ACTIVATION_S:
            self._quick[workflow_type] = False
        completion.run_id = activation.run_id
        return completion

    def _creation_failed(self, activation: WorkflowActivation, error: Exception) -> WorkflowActivationCompletion:
        logger.exception("failed creating the workflow instance of run %s", activation.run_id, exc_info=error)
        completion = self._failed(error)
        completion.run_id = activation.run_id
        return completion

    def _failed(self, error: BaseException) -> WorkflowActivationCompletion:
        """The same completion that the stock path makes of an exception."""
        converter = self._worker._data_converter
        completion = WorkflowActivationCompletion()
        if isinstance(error, ApplicationError) and error.non_retryable:
            failure = completion.successful.commands.add().fail_workflow_execution.failure
        else:
            failure = completion.failed.failure
        failure.SetInParent()
        converter.failure_converter.to_failure(error, converter.payload_converter, failure)
        return completion

    async def _activate_stock(self, activation: WorkflowActivation, workflow_type: str) -> WorkflowActivationCompletion:
        """The SDK's own path; it hands the completion to the bridge worker, which hands it to :meth:`completed`."""
        run_id = activation.run_id
        while (leaving := self._leaving.get(run_id)) is not None:
            await asyncio.wait([leaving])
        future: asyncio.Future[WorkflowActivationCompletion] = asyncio.get_running_loop().create_future()
        self._expected[run_id] = future
        created = run_id not in self._worker._running_workflows
        async with self._slots:
            begun = time.perf_counter()
            try:
                await self._worker._handle_activation(activation)
                completion = await future
            finally:
                self._expected.pop(run_id, None)
        if completion.HasField("successful") and workflow_type not in self._quick:
            # Creating the first instance may import a whole sandbox; that is no sign of slow workflow code.
            self._quick[workflow_type] = created or time.perf_counter() - begun < SLOW_ACTIVATION_S
        return completion

    def completed(self, completion: WorkflowActivationCompletion) -> None:
        """What the SDK hands to ``complete_workflow_activation``."""
        future = self._expected.get(completion.run_id)
        if future is not None and not future.done():
            future.set_result(completion)

    # -- eviction --------------------------------------------------------------------------------------------------

    def evict(self, run_id: str, workflow_type: str, message: str) -> Awaitable[None] | None:
        """Tear an instance down. Inline where that is safe, else the SDK's patient way."""
        worker = self._worker
        running = worker._running_workflows.get(run_id)
        if running is None and run_id not in self._expected:
            return None
        if running is not None and run_id not in self._expected and private_memory.has_ended(running.instance):
            del worker._running_workflows[run_id]
            private_memory.take_apart(running.instance)
            return None
        job = RemoveFromCache(message=message)
        activation = WorkflowActivation(run_id=run_id)
        activation.jobs.add().remove_from_cache.CopyFrom(job)
        if (
            running is not None
            and self._inline_allowed
            and (self._stays_inline or (self._quick.get(workflow_type, False) and workflow_type in self._leaves_well))
            and run_id not in self._expected
            and run_id not in self._leaving
            and not running.deadlocked_activation_task
        ):
            main_loop = asyncio._get_running_loop()
            self._watchdog.watch(running, time.perf_counter())
            try:
                contextvars.Context().run(running.activate, activation)
                del worker._running_workflows[run_id]
                private_memory.take_apart(running.instance)
                return None
            except BaseException as error:
                if self._stays_inline:
                    worker._running_workflows.pop(run_id, None)
                    raise
                logger.debug("eviction of run %s goes the patient way: %s", run_id, error)
            finally:
                self._watchdog.rest()
                asyncio._set_running_loop(main_loop)
        loop = asyncio.get_running_loop()
        before = self._leaving.get(run_id)
        done = self._leaving[run_id] = loop.create_future()
        return self._evict_stock(activation, job, done, before, workflow_type)

    async def _evict_stock(
        self,
        activation: WorkflowActivation,
        job: RemoveFromCache,
        done: asyncio.Future[None],
        before: asyncio.Future[None] | None,
        workflow_type: str,
    ) -> None:
        """The SDK's own path, after whatever is still in the instance."""
        run_id = activation.run_id
        begun = time.perf_counter()
        try:
            for busy in (before, self._expected.get(run_id)):
                if busy is not None:
                    await asyncio.wait([busy])
            running = self._worker._running_workflows.get(run_id)
            await self._worker._handle_cache_eviction(activation, job)
            if running is not None and run_id not in self._worker._running_workflows:
                private_memory.take_apart(running.instance)
            if time.perf_counter() - begun < DEADLOCK_S:
                self._leaves_well.add(workflow_type)
        finally:
            done.set_result(None)
            if self._leaving.get(run_id) is done:
                del self._leaving[run_id]


class _Watchdog:
    """Keeps the deadlock limit on inline activations: one thread, which looks twice a second."""

    def __init__(self) -> None:
        self._watched: tuple[Any, float] | None = None
        self._verdicts: dict[int, BaseException] = {}
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, running: Any, begun: float) -> None:
        self._watched = (running, begun)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="dbos_compat deadlock watchdog", daemon=True)
            self._thread.start()

    def rest(self) -> None:
        self._watched = None

    def verdict(self, running: Any) -> BaseException:
        error = self._verdicts.pop(id(running), None) or _workflow._DeadlockError("[TMPRL1101] Potential deadlock")
        swap = getattr(error, "swap_traceback", None)
        if swap is not None:
            swap()
        return error

    def stop(self) -> None:
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(0.5):
            watched = self._watched
            if watched is None or time.perf_counter() - watched[1] < DEADLOCK_S:
                continue
            running = watched[0]
            self._verdicts[id(running)] = _workflow._DeadlockError.from_deadlocked_workflow(
                running.instance, int(DEADLOCK_S)
            )
            if self._watched is watched:
                self._watched = None
                running.attempt_deadlock_interruption()


def _running_activity() -> Any:
    """The SDK's record of an activity that runs. Older releases brought a queue of heartbeats along."""
    if _HEARTBEAT_QUEUE:
        return _activity._RunningActivity(pending_heartbeats=asyncio.Queue(1000))  # type: ignore[call-arg]
    return _activity._RunningActivity()


_HEARTBEAT_QUEUE = any(f.name == "pending_heartbeats" for f in dataclasses.fields(_activity._RunningActivity))


class ActivityHost:
    """The SDK's activity worker: runs one attempt per call."""

    def __init__(self, worker: Any) -> None:
        verify([Name(worker, name) for name in _ACTIVITY_WORKER if not hasattr(worker, name)])
        self._worker = worker
        self._context = contextvars.copy_context()

    @property
    def activity_types(self) -> frozenset[str]:
        return frozenset(self._worker._activities)

    @property
    def failures(self) -> asyncio.Queue[Exception]:
        """Errors that must end the worker (a broken executor)."""
        queue: asyncio.Queue[Exception] = self._worker._fail_worker_exception_queue
        return queue

    @property
    def running(self) -> int:
        return len(self._worker._running_activities)

    async def idle(self) -> None:
        """Return when nothing runs any more."""
        while tasks := [r.task for r in self._worker._running_activities.values() if r.task and not r.task.done()]:
            await asyncio.wait(tasks)

    def start(self, token: bytes, start: ActivityStart) -> None:
        """Run an attempt; its completion arrives at the bridge worker."""
        running = _running_activity()
        running.task = asyncio.get_running_loop().create_task(
            self._worker._handle_start_activity_task(token, start, running), context=self._context.copy()
        )
        self._worker._running_activities[token] = running

    def cancel(self, token: bytes, cancel: Any) -> None:
        """Tell a running attempt to stop (``coresdk.activity_task.Cancel``); one that has ended is left alone."""
        if token in self._worker._running_activities:
            self._worker._handle_cancel_activity_task(token, cancel)


async def _unless_poll_fails(serving: Coroutine[Any, Any, None], poll: Callable[[], Awaitable[Any]]) -> None:
    """Serve. Work does not come through the poll, but who makes it fail means a worker that is broken."""
    work, polling = asyncio.ensure_future(serving), asyncio.ensure_future(poll())
    try:
        await asyncio.wait([work, polling], return_when=asyncio.FIRST_COMPLETED)
        if not work.done() and polling.done() and not isinstance(polling.exception(), PollShutdownError):
            polling.result()
        await work
    finally:
        for task in (work, polling):
            task.cancel()
        await asyncio.gather(work, polling, return_exceptions=True)


# -- installation ------------------------------------------------------------------------------------------------------

_installed = False


def install() -> None:
    """Wrap the three attributes, once per process."""
    global _installed  # what is patched is global, so is the knowledge that it is
    if _installed:
        return
    check()
    _installed = True
    private_memory.tune_collector()
    create = temporalio.bridge.worker.Worker.create
    run_workflows = _workflow._WorkflowWorker.run
    run_activities = _activity._ActivityWorker.run

    def create_worker(client: Any, config: Any) -> Any:
        if isinstance(client, _EngineRef):
            return client.engine.create_worker(config)
        return create(client, config)

    async def run_workflow_worker(self: Any) -> None:
        bridge = self._bridge_worker()
        if not isinstance(bridge, BridgeWorker):
            await run_workflows(self)
            return
        host = WorkflowHost(self)
        try:
            await _unless_poll_fails(bridge.run_workflows(host), bridge.poll_workflow_activation)
        except Exception as error:
            raise RuntimeError("Workflow worker failed") from error
        finally:
            host.close()
            if not self._workflow_task_executor_user_provided:
                self._workflow_task_executor.shutdown(wait=False)
        if self._throw_after_activation:
            raise self._throw_after_activation

    async def run_activity_worker(self: Any) -> None:
        bridge = self._bridge_worker()
        if not isinstance(bridge, BridgeWorker):
            await run_activities(self)
            return
        try:
            await _unless_poll_fails(bridge.run_activities(ActivityHost(self)), bridge.poll_activity_task)
        except Exception as error:
            raise RuntimeError("Activity worker failed") from error

    private_sandbox.install()
    private_converters.install()
    private_activities.install()
    temporalio.bridge.worker.Worker.create = staticmethod(create_worker)  # type: ignore[method-assign]
    _workflow._WorkflowWorker.run = run_workflow_worker  # type: ignore[method-assign]
    _activity._ActivityWorker.run = run_activity_worker  # type: ignore[method-assign]
