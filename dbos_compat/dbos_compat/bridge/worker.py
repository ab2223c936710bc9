"""The object that temporalio's ``Worker`` takes for its Rust worker: one SDK worker on the kernel.

It brings the SDK's workflow host and activity host to the kernel and takes them away again at shutdown, in the order
that ``Worker._run`` expects (temporal-seam §0.3): first the activities end, within the graceful period or by a
shutdown cancel, and what they report still reaches their workflows; then the workflows leave this process.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from typing import Any, NoReturn

from temporalio.api.common.v1 import Payloads
from temporalio.bridge.proto import ActivityHeartbeat, ActivityTaskCompletion, NamespaceInfo
from temporalio.bridge.proto.activity_task import ActivityTask
from temporalio.bridge.proto.nexus import NexusTask, NexusTaskCompletion
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.common import MetricMeter

from dbos_compat.bridge.activity_tasks import (
    cancel_of,
    failed_outcome,
    heartbeat_text,
    outcome_of,
    shutdown_record,
    start_of,
)
from dbos_compat.bridge.added_attributes import AddedAttributes
from dbos_compat.bridge.build_ids import build_id_of
from dbos_compat.bridge.refusals import BLOB_BYTES_MAX, too_large
from dbos_compat.bridge.runner import SUGGEST_AFTER_EVENTS, TemporalRunner
from dbos_compat.bridge.slots import Slots
from dbos_compat.bridge.worker_options import Registered, check_options
from dbos_compat.errors import Unsupported
from dbos_compat.metrics import WorkerMetrics
from dbos_compat.private import ActivityHost, BridgeWorker, PollShutdownError, WorkflowHost
from dbos_core.activities.attempt import Attempt, CancelReason
from dbos_core.activities.execution import Throttle
from dbos_core.activities.local import LocalLane
from dbos_core.activities.spec import AttemptOutcome
from dbos_core.kernel import Kernel

logger = logging.getLogger("dbos_compat")


class ActivityExecutor:
    """Runs the kernel's attempts on the SDK's activity worker."""

    def __init__(self, host: ActivityHost, namespace: str, identity: str, metrics: WorkerMetrics | None) -> None:
        self._host = host
        self._namespace = namespace
        self._metrics = metrics
        self.identity = identity
        self.shutdown_record = shutdown_record()

    def start(self, attempt: Attempt) -> None:
        if self._metrics is not None:
            self._metrics.activity_starts(attempt)
        self._host.start(attempt.token, start_of(attempt, self._namespace))

    def cancel(self, token: bytes, reason: CancelReason) -> None:
        self._host.cancel(token, cancel_of(reason))


class EngineWorker(BridgeWorker):
    """One SDK worker on one kernel. ``config`` is the SDK's own description of the worker."""

    def __init__(
        self,
        kernel: Kernel,
        config: Any,
        *,
        identity: str,
        namespace: str,
        suggest_after: int = SUGGEST_AFTER_EVENTS,
        shortest_timer_ms: int = 0,
        meter: MetricMeter | None = None,
        beside: weakref.WeakSet[Registered] | None = None,
    ) -> None:
        """Raises Unsupported for what this release does not do, and what Temporal's core raises for bad options.

        Args:
            beside: the workers of this connection.
        """
        check_options(config)
        self._kernel = kernel
        self._namespace = namespace
        self._suggest_after = suggest_after
        self._shortest_timer_ms = shortest_timer_ms
        self._config = config
        self._identity: str = config.identity_override or identity
        self._slots = Slots.of(config)
        self._metrics = None if meter is None else self._measured_by(meter)
        self._executor: ActivityExecutor | None = None
        self._stopping = asyncio.Event()
        self._activities_done = asyncio.Event()
        self._workflow_host: WorkflowHost | None = None
        self._attributes = AddedAttributes(kernel)
        self._limit_payloads = not getattr(config, "disable_payload_error_limit", False)
        tasks = config.task_types
        self._serves_remote: bool = tasks.enable_remote_activities
        self._serves_activities: bool = tasks.enable_remote_activities or tasks.enable_local_activities
        self._local_lane = LocalLane(self._slots.local_activities)
        if tasks.enable_nexus:
            # Nobody can make an endpoint, so nothing is lost but hope; the rest of the worker is of use.
            logger.warning(
                "%s", Unsupported("nexus", f"the handlers of the worker of task queue {config.task_queue!r}")
            )
        strategy = type(config.versioning_strategy).__name__
        if strategy == "WorkerVersioningStrategyLegacyBuildIdBased" or getattr(
            config.versioning_strategy, "use_worker_versioning", False
        ):
            raise Unsupported("worker-versioning", f"worker of task queue {config.task_queue!r}")
        self._registered = Registered(config, weakref.WeakSet() if beside is None else beside)
        if tasks.enable_workflows:
            kernel.announced.announce(config.task_queue)

    def _measured_by(self, meter: MetricMeter) -> WorkerMetrics:
        slots = {
            "WorkflowWorker": self._slots.workflow_tasks,
            "ActivityWorker": self._slots.activities,
            "LocalActivityWorker": self._slots.local_activities,
        }
        return WorkerMetrics(meter, namespace=self._config.namespace, task_queue=self._config.task_queue, slots=slots)

    # -- the halves ------------------------------------------------------------------------------------------------

    async def run_workflows(self, host: WorkflowHost) -> None:
        self._workflow_host = host
        host.limit(self._slots.workflow_tasks)
        runner = TemporalRunner(
            host,
            task_queue=self._config.task_queue,
            namespace=self._config.namespace,
            identity=self._identity,
            max_cached=self._config.max_cached_workflows,
            limit_payloads=self._limit_payloads,
            new_id=self._kernel.entropy.uuid,
            now_ms=self._kernel.clock.now_ms,
            suggest_after=self._suggest_after,
            shortest_timer_ms=self._shortest_timer_ms,
            local_lane=self._local_lane,
            metrics=self._metrics,
            build_id=build_id_of(self._config.versioning_strategy),
            attributes=self._attributes,
        )
        self._kernel.serve(runner)
        try:
            await self._stopping.wait()
            if self._serves_activities:
                await self._activities_done.wait()
        finally:
            await self._kernel.unserve(runner)

    async def run_activities(self, host: ActivityHost) -> None:
        if not self._serves_activities:
            await self._stopping.wait()
            return
        executor = self._executor = ActivityExecutor(host, self._config.namespace, self._identity, self._metrics)
        service, lane = self._kernel.activities, self._local_lane
        failed = asyncio.ensure_future(host.failures.get())
        stopping = asyncio.ensure_future(self._stopping.wait())
        service.serve_local(lane, executor)
        try:
            self._serve_remote(executor)
            await asyncio.wait([failed, stopping], return_when=asyncio.FIRST_COMPLETED)
            service.unserve(self._config.task_queue, executor)
            lane.close()
            await self._wind_down(host, executor)
            if failed.done():
                raise failed.result()
        finally:
            failed.cancel()
            stopping.cancel()
            service.local_lanes.remove(lane)
            self._kernel.claims.queues_changed()
            self._activities_done.set()  # whatever happened: the other half waits for it

    def _serve_remote(self, executor: ActivityExecutor) -> None:
        if not self._serves_remote:
            return
        self._kernel.activities.serve(
            self._config.task_queue,
            executor,
            self._slots.activities,
            max_per_second=self._config.max_activities_per_second,
            max_queue_per_second=self._config.max_task_queue_activities_per_second,
            throttle=Throttle(
                default_ms=self._config.default_heartbeat_throttle_interval_millis,
                max_ms=self._config.max_heartbeat_throttle_interval_millis,
            ),
        )
        self._kernel.claims.queues_changed()

    async def _wind_down(self, host: ActivityHost, executor: ActivityExecutor) -> None:
        """Wait for the running attempts; after the graceful period ask them to stop, and wait on."""
        grace_s = self._config.graceful_shutdown_period_millis / 1000
        try:
            async with asyncio.timeout(grace_s):
                await host.idle()
        except TimeoutError:
            self._kernel.activities.shut_down(executor)
            self._local_lane.shut_down()
            await host.idle()

    # -- what temporalio calls -------------------------------------------------------------------------------------

    async def validate(self) -> NamespaceInfo:
        """Raises when the namespace is another one, the event loop is, or the database cannot be reached."""
        if self._config.namespace != self._namespace:
            raise RuntimeError(
                f"Worker validation failed: Namespace {self._config.namespace} is not found: the connection is one of "
                f"namespace {self._namespace}. Call dbos_compat.connect with namespace={self._config.namespace!r}."
            )
        if asyncio.get_running_loop() is not self._kernel.loop:
            raise RuntimeError(
                f"Worker validation failed: the worker of task queue {self._config.task_queue!r} runs on another event "
                "loop than its connection. Call dbos_compat.connect on the loop that runs the worker."
            )
        await self._kernel.store.now_ms()
        await self._attributes.load()
        if self._metrics is not None:
            self._metrics.started()
        return NamespaceInfo()

    async def poll_workflow_activation(self) -> WorkflowActivation:
        """Work does not come this way. An exception out of it, as the SDK's tests inject, still ends the worker."""
        return await self._no_task()

    async def poll_activity_task(self) -> ActivityTask:
        """As above."""
        return await self._no_task()

    async def poll_nexus_task(self) -> NexusTask:
        """There are no Nexus tasks."""
        return await self._no_task()

    async def _no_task(self) -> NoReturn:
        await self._stopping.wait()
        raise PollShutdownError

    async def complete_workflow_activation(self, completion: WorkflowActivationCompletion) -> None:
        if self._workflow_host is not None:
            self._workflow_host.completed(completion)

    async def complete_activity_task(self, completion: ActivityTaskCompletion) -> None:
        outcome = outcome_of(completion, self._identity, limit_payloads=self._limit_payloads)
        if self._metrics is not None:
            self._metrics.activity_ended(completion.task_token, outcome, self._kernel.clock.now_ms())
        if self._local_lane.completed(completion.task_token, outcome):
            return
        if outcome is None:
            self._kernel.activities.will_complete_async(completion.task_token)
        else:
            self._kernel.activities.completed(completion.task_token, outcome)

    async def complete_nexus_task(self, completion: NexusTaskCompletion) -> None:
        raise Unsupported("nexus")

    def record_activity_heartbeat(self, heartbeat: ActivityHeartbeat) -> None:
        if self._limit_payloads and Payloads(payloads=heartbeat.details).ByteSize() > BLOB_BYTES_MAX:
            self._end_attempt(heartbeat.task_token, failed_outcome(too_large(), self._identity))
            return
        self._kernel.activities.heartbeat(heartbeat.task_token, heartbeat_text(heartbeat))

    def _end_attempt(self, token: bytes, outcome: AttemptOutcome) -> None:
        """As Temporal's core does with heartbeat details that are too large: the attempt has failed by that, and its
        function is asked to stop."""
        if self._metrics is not None:
            self._metrics.activity_ended(token, outcome, self._kernel.clock.now_ms())
        self._kernel.activities.completed(token, outcome)
        if self._executor is not None:
            self._executor.cancel(token, CancelReason.CANCELLED)

    def request_workflow_eviction(self, run_id: str) -> None:
        for run in self._kernel.live_runs.values():
            if run.row.run_id == run_id:
                run.evict()
                return

    def replace_client(self, client: Any) -> None:
        """A worker stays with its kernel; another client of the same engine is fine.

        Raises:
            ValueError: the new client belongs to another engine.
        """
        if getattr(getattr(client, "engine", None), "kernel", None) is not self._kernel:
            raise ValueError(
                "The new client belongs to another connection. A worker on dbos-compat stays with the connection it "
                "was made with; make a new worker for the new connection."
            )

    def initiate_shutdown(self) -> None:
        self._registered.leave()
        self._stopping.set()

    async def finalize_shutdown(self) -> None:
        """Everything has been done when the two halves returned."""
