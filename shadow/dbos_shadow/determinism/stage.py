"""Stage: where a simulated process lives. Its loop, its client and its worker's workflow host; kernels come and go on it.

The expensive things (definitions, sandbox, converters, interceptors) are made once and outlive any kernel. The worker is
temporalio's own, with all options that a user gives; what it takes for its bridge is :class:`_Bridge`, which only catches
the workflow host. No activity of the user's is registered, so none can run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, NoReturn

import temporalio.service
from google.protobuf.message import Message
from temporalio import activity
from temporalio.bridge.proto import NamespaceInfo
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.client import Client
from temporalio.common import RawValue
from temporalio.worker import Worker

from dbos_compat import private
from dbos_compat.bridge.build_ids import build_id_of
from dbos_compat.private import ActivityHost, BridgeWorker, PollShutdownError, WorkflowHost
from dbos_shadow.determinism.clocks import START_MS
from dbos_shadow.determinism.loop import stepped_loop

NAMESPACE = "default"
TASK_QUEUE = "determinism"
IDENTITY = "determinism"

Call = Callable[..., Any]


@activity.defn(dynamic=True)
async def _any_activity(args: Sequence[RawValue]) -> NoReturn:
    """The SDK lets a workflow ask for a local activity only if its worker has it. Nobody ever runs this one."""
    raise AssertionError("the kit runs no activity")


class _Bridge(BridgeWorker):
    """Stands where the SDK expects its Rust worker."""

    def __init__(self, config: Any) -> None:
        self.config = config
        self.host: WorkflowHost | None = None
        self._stopping = asyncio.Event()

    async def run_workflows(self, host: WorkflowHost) -> None:
        self.host = host
        await self._stopping.wait()

    async def run_activities(self, host: ActivityHost) -> None:
        await self._stopping.wait()

    async def validate(self) -> NamespaceInfo:
        return NamespaceInfo()

    async def poll_workflow_activation(self) -> NoReturn:
        await self._stopping.wait()
        raise PollShutdownError

    async def poll_activity_task(self) -> NoReturn:
        await self._stopping.wait()
        raise PollShutdownError

    async def poll_nexus_task(self) -> NoReturn:
        await self._stopping.wait()
        raise PollShutdownError

    async def complete_workflow_activation(self, completion: WorkflowActivationCompletion) -> None:
        if self.host is not None:
            self.host.completed(completion)

    def initiate_shutdown(self) -> None:
        self._stopping.set()

    async def finalize_shutdown(self) -> None:
        """Nothing is left."""


class _Door:
    """What the client talks to: whichever kernel lives on the stage."""

    def __init__(self) -> None:
        self.call_engine: Call | None = None
        self.bridges: list[_Bridge] = []
        self.stamp: Callable[[Message], None] = lambda _: None

    async def call(
        self,
        rpc: str,
        req: Message,
        *,
        service: str,
        metadata: Mapping[str, str | bytes],
        timeout: timedelta | None,
    ) -> Message:
        assert self.call_engine is not None, "no process lives here"
        self.stamp(req)
        answer: Message = await self.call_engine(rpc, req, service=service, metadata=metadata, timeout=timeout)
        return answer

    def create_worker(self, config: Any) -> BridgeWorker:
        bridge = _Bridge(config)
        self.bridges.append(bridge)
        return bridge


class Stage:
    """One place for a process. Closed with :meth:`close`."""

    def __init__(
        self,
        workflows: Sequence[type],
        *,
        client_options: Mapping[str, Any],
        worker_options: Mapping[str, Any],
        stamp: Callable[[Message], None],
    ) -> None:
        """Make the client and the worker.

        Args:
            workflows: classes that the worker knows.
            client_options: of ``temporalio.client.Client`` (data converter, interceptors, plugins ...).
            worker_options: of ``temporalio.worker.Worker`` (workflow runner, interceptors, failure types ...).
            stamp: sees each request of the client before it is answered.
        """
        private.install()
        self.steady_ms: Callable[[], int] = lambda: START_MS
        self.loop = stepped_loop(lambda: self.steady_ms())
        self.door = _Door()
        self.door.stamp = stamp
        self._worker: Worker | None = None
        config = temporalio.service.ConnectConfig(target_host="memory", identity=IDENTITY)
        self.client = Client(private.EngineServiceClient(config, self.door), namespace=NAMESPACE, **client_options)
        try:
            self.loop.run(self._begin(workflows, worker_options))
            self.loop.settle()
        except BaseException:
            self.loop.drop()  # some plug-in, or the worker, refuses what it is given
            raise
        self.own_tasks = asyncio.all_tasks(self.loop)
        """Of the worker, which outlives all processes."""
        (self._bridge,) = self.door.bridges
        assert self._bridge.host is not None
        self.host = self._bridge.host
        self.host.stay_inline()
        self.build_id = build_id_of(self._bridge.config.versioning_strategy)

    async def _begin(self, workflows: Sequence[type], options: Mapping[str, Any]) -> None:
        if "deployment_config" not in options:
            options = {"build_id": IDENTITY, **options}  # else one is made of all code there is, which takes its time
        options = {"activities": [_any_activity], **options}
        self._worker = Worker(self.client, task_queue=TASK_QUEUE, workflows=workflows, **options)
        self._running = asyncio.get_running_loop().create_task(self._worker.run(), name="worker")

    def close(self) -> None:
        """End the worker."""
        worker, self._worker = self._worker, None
        if worker is not None:
            self.loop.run(worker.shutdown())
            self.loop.settle()
            self.loop.drop()
