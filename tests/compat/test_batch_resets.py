"""Batch operations that reset runs, and that act on their activities."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.batch.v1 import (
    BatchOperationReset,
    BatchOperationResetActivities,
    BatchOperationUnpauseActivities,
    BatchOperationUpdateActivityOptions,
)
from temporalio.api.common.v1 import ResetOptions
from temporalio.api.enums.v1 import ResetType
from temporalio.client import Client, WorkflowHandle

from .calls import Call, Order, Retry, start_call
from .operators import Operator, Workshop, s
from .support import MakeWorker, eventually
from .test_batch import COMPLETED, Waiter, carried_out, mine, order, planted


async def first_task_done(handle: WorkflowHandle[Any, Any]) -> None:
    assert (await handle.describe()).history_length == 4


@pytest.mark.parametrize("how", ["type", "options"])
async def test_reset_to_the_first_workflow_task(
    client: Client, make_worker: MakeWorker, unique: str, queue: str, how: str
) -> None:
    ids = await planted(client, unique, 2, queue)
    handles = [client.get_workflow_handle(workflow_id) for workflow_id in ids]
    operation = BatchOperationReset(identity="operator")
    if how == "type":
        operation.reset_type = ResetType.RESET_TYPE_FIRST_WORKFLOW_TASK
    else:
        operation.options.CopyFrom(ResetOptions(first_workflow_task=Empty()))
    async with make_worker(client, task_queue=queue, workflows=[Waiter]):
        before = []
        for handle in handles:
            await eventually(partial(first_task_done, handle))
            before.append((await handle.describe()).run_id)
        done = await carried_out(client, order(client, visibility_query=mine(unique), reset_operation=operation))
        assert (done.state, done.complete_operation_count, done.failure_operation_count) == (COMPLETED, 2, 0)
        for handle, earlier in zip(handles, before, strict=True):
            assert (await handle.describe()).run_id != earlier
            await handle.signal("go", "again")
            assert await handle.result() == ["again"]


async def test_activities_are_changed_reset_and_unpaused(
    client: Client, make_worker: MakeWorker, unique: str, queue: str
) -> None:
    shop = Workshop()
    wid = f"{unique}-call"
    ops = Operator(client, wid)
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[shop.silent, shop.beating]):
        handle = await start_call(client, queue, wid, Order("silent", retry=Retry(initial=60)))
        await shop.starts()
        shop.say.put_nowait("fail")

        async def waits_for_its_retry() -> None:
            assert (await ops.sees()).attempt == 2

        await eventually(waits_for_its_retry)
        await ops.pause(id="1")

        async def paused() -> None:
            assert await ops.state() == "PAUSED"

        await eventually(paused)

        async def listed() -> None:
            assert (await client.count_workflows(mine(unique))).count == 1

        await eventually(listed)
        change = BatchOperationUpdateActivityOptions(
            identity="operator",
            match_all=True,
            activity_options=ActivityOptions(start_to_close_timeout=s(77)),
            update_mask=FieldMask(paths=["start_to_close_timeout"]),
        )
        done = await carried_out(
            client, order(client, visibility_query=mine(unique), update_activity_options_operation=change)
        )
        assert (done.state, done.complete_operation_count, done.failure_operation_count) == (COMPLETED, 1, 0)
        assert (await ops.sees()).activity_options.start_to_close_timeout == s(77)

        anew = BatchOperationResetActivities(identity="operator", match_all=True, keep_paused=True)
        done = await carried_out(client, order(client, visibility_query=mine(unique), reset_activities_operation=anew))
        assert (done.state, done.failure_operation_count) == (COMPLETED, 0)
        assert (await ops.sees()).attempt == 1
        assert (await ops.sees()).paused

        go_on = BatchOperationUnpauseActivities(identity="operator", match_all=True)
        done = await carried_out(
            client, order(client, visibility_query=mine(unique), unpause_activities_operation=go_on)
        )
        assert (done.state, done.failure_operation_count) == (COMPLETED, 0)
        assert (await shop.starts()).attempt == 1
        shop.say.put_nowait("ok")
        assert await handle.result() == "done"
