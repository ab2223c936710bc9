"""Which build of the code took the newest task of a run."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import WorkerDeploymentConfig

from .support import MakeWorker, eventually


@workflow.defn
class Asks:
    def __init__(self) -> None:
        self.signals = 0

    @workflow.run
    async def run(self) -> list[str]:
        builds = []
        for number in range(3):
            builds.append(workflow.info().get_current_build_id())
            await workflow.wait_condition(lambda number=number: self.signals > number)  # type: ignore[misc]
        return builds

    @workflow.signal
    def proceed(self) -> None:
        self.signals += 1

    @workflow.query
    def build(self) -> str:
        return workflow.info().get_current_build_id()


async def test_a_task_has_the_build_that_took_it(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    handle = await client.start_workflow(Asks.run, id=wid, task_queue=queue)
    async with make_worker(client, task_queue=queue, workflows=[Asks], build_id="one"):
        assert await handle.query(Asks.build) == "one"

    async def two() -> None:
        assert await handle.query(Asks.build) == "two"

    async with make_worker(client, task_queue=queue, workflows=[Asks], build_id="two"):
        assert await handle.query(Asks.build) == "one"  # until it takes a task
        await handle.signal(Asks.proceed)
        await eventually(two)
        await handle.signal(Asks.proceed)
        await handle.signal(Asks.proceed)
        assert await handle.result() == ["one", "two", "two"]
    stamps = [
        event.workflow_task_completed_event_attributes.worker_version.build_id
        for event in (await handle.fetch_history()).events
        if event.HasField("workflow_task_completed_event_attributes")
    ]
    assert [stamps[0], stamps[-1]] == ["one", "two"]


async def test_a_deployment_without_versioning_names_its_build(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    deployment = WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(deployment_name="orders", build_id="seven"),
        use_worker_versioning=False,
        default_versioning_behavior=VersioningBehavior.UNSPECIFIED,
    )
    handle = await client.start_workflow(Asks.run, id=wid, task_queue=queue)
    async with make_worker(client, task_queue=queue, workflows=[Asks], deployment_config=deployment):
        assert await handle.query(Asks.build) == "seven"
        for _ in range(3):
            await handle.signal(Asks.proceed)
        assert (await handle.result())[0] == "seven"


@pytest.mark.parametrize(
    "options",
    [
        {"use_worker_versioning": True, "build_id": "one"},
        {
            "deployment_config": WorkerDeploymentConfig(
                version=WorkerDeploymentVersion(deployment_name="orders", build_id="one"),
                use_worker_versioning=True,
                default_versioning_behavior=VersioningBehavior.AUTO_UPGRADE,
            )
        },
    ],
    ids=["build ids", "deployment"],
)
async def test_routing_by_version_is_refused_by_name(
    engine: str, client: Client, make_worker: MakeWorker, queue: str, options: dict[str, Any]
) -> None:
    if engine == "temporal":
        pytest.skip("a Temporal server routes by version")
    with pytest.raises(Exception, match=r"differences\.md#worker-versioning"):
        make_worker(client, task_queue=queue, workflows=[Asks], **options)
