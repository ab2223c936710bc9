"""What is not supported, used as a Temporal user would use it: the error names the entry of the ledger, says what was
asked for and what to do instead. The list here is the ledger's."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from types import ModuleType
from typing import Any

import nexusrpc
import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from temporalio import activity, workflow
from temporalio.api.common.v1 import Callback, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import EventType, WorkflowIdConflictPolicy
from temporalio.api.operatorservice import v1 as operator_api
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.testservice import v1 as test_api
from temporalio.api.workflow.v1 import OnConflictOptions, PostResetOperation
from temporalio.api.workflowservice import v1 as workflow_api
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest, StartWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.common import PinnedVersioningOverride, VersioningBehavior, WorkerDeploymentVersion
from temporalio.service import OperatorService, RPCError, RPCStatusCode, WorkflowService
from temporalio.service import TestService as SkippingService
from temporalio.worker import (
    CustomSlotSupplier,
    FixedSizeSlotSupplier,
    UnsandboxedWorkflowRunner,
    Worker,
    WorkerDeploymentConfig,
    WorkerTuner,
)

import dbos_compat
from dbos_compat.connect import connect_store
from dbos_compat.differences import BY_RPC, LEDGER, Kind
from dbos_compat.testing import WorkflowEnvironment
from dbos_core.clock import SystemClock
from dbos_core.store.memory import MemoryStore

UNSUPPORTED = {slug: entry for slug, entry in LEDGER.items() if entry.kind is Kind.UNSUPPORTED}


@nexusrpc.service
class Elsewhere:
    ask: nexusrpc.Operation[str, str]


@workflow.defn
class Asks:
    """Calls a Nexus operation."""

    @workflow.run
    async def run(self) -> str:
        nexus = workflow.create_nexus_client(service=Elsewhere, endpoint="elsewhere")
        return await nexus.execute_operation(Elsewhere.ask, "please")


@workflow.defn
class Rests:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)


@activity.defn
async def alone() -> None:
    """Needs no workflow."""


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    client = await connect_store(MemoryStore(SystemClock()))
    yield client
    await dbos_compat.disconnect(client)


def worker(client: Client, **options: Any) -> Worker:
    return Worker(
        client, task_queue="q", workflows=[Asks, Rests], workflow_runner=UnsandboxedWorkflowRunner(), **options
    )


async def nexus(client: Client) -> None:
    """The workflow waits, with the words in its history and on its description."""
    async with worker(client):
        handle = await client.start_workflow(Asks.run, id="asks", task_queue="q")
        async with asyncio.timeout(30):
            while True:
                for event in (await handle.fetch_history()).events:
                    if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
                        raise RuntimeError(event.workflow_task_failed_event_attributes.failure.message)
                await asyncio.sleep(0.01)


async def post_reset_operations(client: Client) -> None:
    await client.start_workflow(Rests.run, id="rests", task_queue="q")
    await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace="default",
            workflow_execution=WorkflowExecution(workflow_id="rests"),
            workflow_task_finish_event_id=3,
            post_reset_operations=[PostResetOperation()],
        )
    )


async def standalone_activity(client: Client) -> None:
    await client.execute_activity(alone, id="alone", task_queue="q", start_to_close_timeout=timedelta(seconds=5))


async def versioned_worker(client: Client) -> None:
    version = WorkerDeploymentVersion(deployment_name="shop", build_id="1")
    config = WorkerDeploymentConfig(
        version=version, use_worker_versioning=True, default_versioning_behavior=VersioningBehavior.PINNED
    )
    async with worker(client, deployment_config=config):
        pass


async def versioned_start(client: Client) -> None:
    version = WorkerDeploymentVersion(deployment_name="shop", build_id="1")
    await client.start_workflow(
        Rests.run, id="rests", task_queue="q", versioning_override=PinnedVersioningOverride(version)
    )


async def build_ids(client: Client) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        await client.get_worker_build_id_compatibility("q")


async def completion_callbacks(client: Client) -> None:
    await client.workflow_service.start_workflow_execution(
        StartWorkflowExecutionRequest(
            namespace="default",
            workflow_id="rests",
            workflow_type=WorkflowType(name="Rests"),
            task_queue=TaskQueue(name="q"),
            request_id="1",
            completion_callbacks=[Callback(nexus=Callback.Nexus(url="http://elsewhere"))],
        )
    )


async def on_conflict_options(client: Client) -> None:
    await client.workflow_service.start_workflow_execution(
        StartWorkflowExecutionRequest(
            namespace="default",
            workflow_id="rests",
            workflow_type=WorkflowType(name="Rests"),
            task_queue=TaskQueue(name="q"),
            request_id="1",
            workflow_id_conflict_policy=WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
            on_conflict_options=OnConflictOptions(attach_request_id=True),
        )
    )


async def time_skipping(client: Client) -> None:
    await client.test_service.lock_time_skipping(test_api.LockTimeSkippingRequest())


async def reachable_test_server(client: Client) -> None:
    await WorkflowEnvironment.start_local(port=7233)


async def custom_slots(client: Client) -> None:
    class Own(CustomSlotSupplier):
        async def reserve_slot(self, ctx: Any) -> Any: ...
        def try_reserve_slot(self, ctx: Any) -> Any: ...
        def mark_slot_used(self, ctx: Any) -> None: ...
        def release_slot(self, ctx: Any) -> None: ...

    fixed = FixedSizeSlotSupplier(1)
    tuner = WorkerTuner.create_composite(
        workflow_supplier=fixed, activity_supplier=Own(), local_activity_supplier=fixed, nexus_supplier=fixed
    )
    async with worker(client, tuner=tuner):
        pass


async def cloud(client: Client) -> None:
    import temporalio.api.cloud.cloudservice.v1 as cloud_api

    await client.service_client.cloud_service.get_users(cloud_api.GetUsersRequest())


async def tls(client: Client) -> None:
    await dbos_compat.connect("postgresql://localhost:1/nobody-is-asked", tls=True)


async def filter_on_size(client: Client) -> None:
    async for _ in client.list_workflows("HistorySizeBytes > 1000"):
        pass


async def filter_on_transitions(client: Client) -> None:
    await client.count_workflows("StateTransitionCount > 1000")


USES: list[tuple[str, Callable[[Client], Awaitable[None]]]] = [
    ("nexus", nexus),
    ("post-reset-operations", post_reset_operations),
    ("standalone-activities", standalone_activity),
    ("worker-versioning", versioned_worker),
    ("worker-versioning", versioned_start),
    ("worker-versioning", build_ids),
    ("completion-callbacks", completion_callbacks),
    ("on-conflict-options", on_conflict_options),
    ("time-skipping", time_skipping),
    ("test-server", reachable_test_server),
    ("custom-slot-supplier", custom_slots),
    ("cloud-api", cloud),
    ("connection-options", tls),
    ("filters-on-history-size", filter_on_size),
    ("filters-on-history-size", filter_on_transitions),
]


def test_every_entry_is_tried() -> None:
    assert {slug for slug, _ in USES} | {entry.slug for entry in BY_RPC.values()} == set(UNSUPPORTED)


@pytest.mark.parametrize(("slug", "use"), USES, ids=[use.__name__ for _, use in USES])
async def test_it_is_refused_by_name(client: Client, slug: str, use: Callable[[Client], Awaitable[None]]) -> None:
    with pytest.raises(Exception, match=f"differences.md#{slug}") as refused:
        await use(client)
    assert UNSUPPORTED[slug].advice in str(refused.value)


_SERVICES: dict[str, tuple[type, ModuleType]] = {
    "workflow_service": (WorkflowService, workflow_api),
    "operator_service": (OperatorService, operator_api),
    "test_service": (SkippingService, test_api),
}
_REQUESTS: dict[str, type[Message]] = {
    "unlock_time_skipping_with_sleep": test_api.SleepRequest,
    "get_current_time": Empty,
}
"""Those whose class has another name."""
CALLS = [(name, rpc) for rpc in sorted(BY_RPC) for name, (kind, _) in _SERVICES.items() if hasattr(kind, rpc)]
"""What this release of temporalio knows."""


@pytest.mark.parametrize(("service", "rpc"), CALLS)
async def test_each_rpc_is_refused_by_name(client: Client, service: str, rpc: str) -> None:
    name = "".join(word.capitalize() for word in rpc.split("_")) + "Request"
    request = _REQUESTS[rpc]() if rpc in _REQUESTS else getattr(_SERVICES[service][1], name)()
    with pytest.raises(RPCError) as refused:
        await getattr(getattr(client, service), rpc)(request)
    assert refused.value.status is RPCStatusCode.UNIMPLEMENTED
    entry = BY_RPC[rpc]
    assert f"RPC {rpc}" in refused.value.message
    assert entry.advice in refused.value.message
    assert f"differences.md#{entry.slug}" in refused.value.message
