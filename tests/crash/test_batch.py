"""A batch operation whose process is killed goes on elsewhere, and does each thing once."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from temporalio.api.enums.v1 import BatchOperationState, EventType
from temporalio.api.workflowservice.v1 import DescribeBatchOperationRequest, DescribeBatchOperationResponse
from temporalio.client import Client

from tests.crash.conftest import LEASE_SECONDS, MakeWorker
from tests.fixtures.process import Spawn
from tests.fixtures.waiting import eventually

RUNS = 60


@pytest.mark.timeout(90)
async def test_a_killed_batch_goes_on_where_a_worker_is(
    client: Client, survivor: MakeWorker, spawn: Spawn, database: str
) -> None:
    for number in range(RUNS):
        await client.start_workflow("Unserved", id=f"unserved-{number}", task_queue="nobody")
    batcher = spawn(
        "-m",
        "tests.crash.programs.batcher",
        "ring-all",
        "WorkflowId STARTS_WITH 'unserved-'",
        "20",
        env={"DBOS_SYSTEM_DATABASE_URL": database, "CRASH_LEASE_SECONDS": str(LEASE_SECONDS)},
        name="batcher",
    )
    await asyncio.to_thread(batcher.wait_for_line, "^done [1-9]")
    await asyncio.to_thread(batcher.kill)
    begun = (await described(client)).complete_operation_count
    assert 0 < begun < RUNS

    async with survivor():

        async def ended() -> bool:
            return (await described(client)).state != BatchOperationState.BATCH_OPERATION_STATE_RUNNING

        await eventually(ended, within=60)

    done = await described(client)
    assert done.state == BatchOperationState.BATCH_OPERATION_STATE_COMPLETED
    assert (done.total_operation_count, done.complete_operation_count) == (RUNS, RUNS)
    rung = Counter[int]()
    for number in range(RUNS):
        history = await client.get_workflow_handle(f"unserved-{number}").fetch_history()
        signals = [e for e in history.events if e.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED]
        rung[len(signals)] += 1
    assert rung == {1: RUNS}


async def described(client: Client) -> DescribeBatchOperationResponse:
    return await client.workflow_service.describe_batch_operation(
        DescribeBatchOperationRequest(namespace=client.namespace, job_id="ring-all")
    )
