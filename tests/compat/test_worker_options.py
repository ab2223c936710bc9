"""Workers that cannot be: Temporal's core refuses them when they are made, with its exception types and words."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import WorkerDeploymentVersion
from temporalio.worker import PollerBehaviorAutoscaling, PollerBehaviorSimpleMaximum, Worker, WorkerDeploymentConfig

from .support import Connect, MakeWorker


@activity.defn
async def nothing() -> None:
    pass


@workflow.defn
class Done:
    @workflow.run
    async def run(self) -> str:
        return "done"


TOO_SLOW = "Invalid worker config: `max_worker_activities_per_second` must be positive and nonzero"
UNSIGNED = "OverflowError: can't convert negative int to unsigned"

WRONG: list[tuple[dict[str, Any], list[str]]] = [
    ({"max_activities_per_second": 0}, [f"ValueError: {TOO_SLOW}"]),
    ({"max_activities_per_second": -1}, [f"ValueError: {TOO_SLOW}"]),
    ({"max_activities_per_second": float("nan")}, [f"ValueError: {TOO_SLOW}"]),
    (
        {"max_cached_workflows": -1, "max_activities_per_second": 0},
        ["TypeError: failed to extract field WorkerConfig.max_cached_workflows", UNSIGNED],
    ),
    (
        {"max_cached_workflows": 1, "max_concurrent_workflow_task_polls": 1},
        [
            "ValueError: Invalid worker config: `max_cached_workflows` > 0 requires `workflow_task_poller_behavior` to be "
            "at least 2"
        ],
    ),
    (
        {"workflow_task_poller_behavior": PollerBehaviorSimpleMaximum(maximum=0)},
        ["ValueError: Invalid worker config: SimpleMaximum poller behavior must be at least 1"],
    ),
    (
        {"activity_task_poller_behavior": PollerBehaviorAutoscaling(minimum=5, maximum=2, initial=3)},
        ["ValueError: Invalid worker config: Autoscaling maximum must be greater than or equal to minimum"],
    ),
    (
        {"max_concurrent_activities": -1},
        [
            "TypeError: failed to extract field WorkerConfig.tuner",
            "TypeError: failed to extract field TunerHolder.activity_slot_supplier",
        ],
    ),
]


@pytest.mark.parametrize(("options", "expected"), WRONG, ids=[str(options) for options, _ in WRONG])
async def test_a_wrong_option(client: Client, queue: str, options: dict[str, Any], expected: list[str]) -> None:
    with pytest.raises((TypeError, ValueError)) as refused:
        Worker(client, task_queue=queue, workflows=[Done], activities=[nothing], **options)
    told = []
    error: BaseException | None = refused.value
    while error is not None:
        told.append(f"{type(error).__name__}: {error}")
        error = error.__cause__
    assert told[: len(expected)] == expected


@pytest.mark.parametrize(
    "options",
    [
        {"max_cached_workflows": 0, "max_concurrent_workflow_task_polls": 1},
        {"max_concurrent_activities": 0},
        {"max_task_queue_activities_per_second": 0},
        {"max_task_queue_activities_per_second": -1},
    ],
    ids=str,
)
async def test_an_option_that_only_looks_wrong(client: Client, queue: str, wid: str, options: dict[str, Any]) -> None:
    async with Worker(client, task_queue=queue, workflows=[Done], activities=[nothing], **options):
        assert await client.execute_workflow(Done.run, id=wid, task_queue=queue) == "done"


def of(build_id: str) -> dict[str, Any]:
    version = WorkerDeploymentVersion("shop", build_id)
    return {
        "workflows": [Done],
        "deployment_config": WorkerDeploymentConfig(version=version, use_worker_versioning=False),
    }


FLOWS: dict[str, Any] = {"workflows": [Done]}
ACTS: dict[str, Any] = {"activities": [nothing]}
BOTH: dict[str, Any] = FLOWS | ACTS
KINDS = (
    "WorkerTaskTypes {{ enable_workflows: {}, enable_local_activities: {}, enable_remote_activities: {}, "
    "enable_nexus: false }}"
)
OF_FLOWS = KINDS.format("true", "false", "false")
OF_ACTS = KINDS.format("false", "false", "true")
OF_BOTH = KINDS.format("true", "true", "true")


@pytest.mark.parametrize(
    ("first", "second", "build_id", "then", "now"),
    [
        pytest.param(FLOWS, FLOWS, "None", OF_FLOWS, OF_FLOWS, id="workflows"),
        pytest.param(ACTS, ACTS, "None", OF_ACTS, OF_ACTS, id="activities"),
        pytest.param(BOTH, ACTS, "None", OF_BOTH, OF_ACTS, id="activities beside both"),
        pytest.param(of("1"), of("1"), 'Some("1")', OF_FLOWS, OF_FLOWS, id="of one build"),
    ],
)
async def test_two_workers_of_one_client_that_do_the_same(
    client: Client,
    make_worker: MakeWorker,
    queue: str,
    first: dict[str, Any],
    second: dict[str, Any],
    build_id: str,
    then: str,
    now: str,
) -> None:
    async with make_worker(client, task_queue=queue, **first):
        with pytest.raises(RuntimeError) as refused:
            make_worker(client, task_queue=queue, **second)
    told, _, _ = str(refused.value).partition("\n\nStack backtrace")
    told, _, _ = told.rpartition(": ")  # what follows is the other worker's key
    assert told == (
        "Failed creating worker\n\nCaused by:\n    Registration of multiple workers with overlapping worker task types on "
        "the same namespace, task queue, and deployment build ID not allowed: "
        f'SlotKey {{ namespace: "default", task_queue: "{queue}" }}, worker_instance_key: {then} build_id: {build_id}, '
        f"new task types: {now}, existing task types"
    )
    async with make_worker(client, task_queue=queue, **second):  # the first one has gone
        pass


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(FLOWS, ACTS, id="different work"),
        pytest.param(BOTH | {"no_remote_activities": True}, ACTS, id="local activities"),
        pytest.param(of("1"), of("2"), id="different builds"),
        pytest.param(of("1"), FLOWS, id="of a build and of none"),
    ],
)
async def test_two_workers_of_one_client_that_go_together(
    client: Client, make_worker: MakeWorker, queue: str, first: dict[str, Any], second: dict[str, Any]
) -> None:
    async with make_worker(client, task_queue=queue, **first), make_worker(client, task_queue=queue, **second):
        pass


async def test_workers_of_two_connections_may_do_the_same(
    connect: Connect, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    one, other = await connect(), await connect()
    async with make_worker(one, task_queue=queue, **FLOWS), make_worker(other, task_queue=queue, **FLOWS):
        assert await one.execute_workflow(Done.run, id=wid, task_queue=queue) == "done"


async def test_a_client_made_of_another_has_its_connection(client: Client, make_worker: MakeWorker, queue: str) -> None:
    async with make_worker(client, task_queue=queue, **FLOWS):
        with pytest.raises(RuntimeError, match="Registration of multiple workers"):
            make_worker(Client(**client.config()), task_queue=queue, **FLOWS)
