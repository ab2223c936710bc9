"""Every way in which a run can begin, be reached and go on: each of its runs is mirrored, and no activity runs twice."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from temporalio import workflow
from temporalio.api.batch.v1 import BatchOperationSignal
from temporalio.api.workflowservice.v1 import StartBatchOperationRequest
from temporalio.client import (
    Client,
    RPCError,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleIntervalSpec,
    ScheduleSpec,
    ScheduleState,
    WorkflowHandle,
)
from temporalio.common import RetryPolicy, WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from dbos_shadow.mirror import Entry, MemoryLedger, Mirror, MirrorWorker
from dbos_shadow.verdict import Verdict
from tests.fixtures.waiting import eventually
from tests.mirror.programs import ACTIVITIES, SOON, Basket, charge, ended, executions
from tests.mirror.support import UNSANDBOXED, all_judged

pytestmark = pytest.mark.temporal


@workflow.defn
class Stepwise:
    """Fails at its first attempt if it is told to; asks for an activity, a local one, a version and a search attribute."""

    @workflow.run
    async def run(self, fails: bool) -> str:
        own = f"{workflow.info().workflow_id} {workflow.info().run_id}"
        done = await workflow.execute_activity(charge, own, start_to_close_timeout=SOON)
        if workflow.patched("since the second release"):
            await workflow.execute_local_activity(charge, f"{own} locally", start_to_close_timeout=SOON)
        workflow.upsert_memo({"step": 1})
        if fails and workflow.info().attempt == 1:
            raise ApplicationError("not yet")
        return done


@workflow.defn
class Parent:
    """Two children: one that it waits for, and one that outlives it."""

    @workflow.run
    async def run(self) -> str:
        own = workflow.info().workflow_id
        left = await workflow.start_child_workflow(
            Basket.run, 60.0, id=f"{own}-left", parent_close_policy=workflow.ParentClosePolicy.ABANDON
        )
        await left.signal(Basket.close)
        return await workflow.execute_child_workflow(Stepwise.run, False, id=f"{own}-child")


HERE: list[type] = [Stepwise, Parent, Basket]


class Staged:
    """A server, a mirror in memory, and a worker on each side."""

    def __init__(self, client: Client, queue: str, ledger: MemoryLedger, mirror: Mirror) -> None:
        self.client = client
        self.queue = queue
        self.mirror = mirror
        self._ledger = ledger

    def start(self, run: Any, *args: Any, name: str, **options: Any) -> Any:
        return self.client.start_workflow(run, args=args, id=f"{self.queue}-{name}", task_queue=self.queue, **options)

    async def verdicts(self) -> dict[str, Counter[Verdict | None]]:
        """By name of the workflow, its runs' verdicts."""
        await self.mirror.flush()
        found: dict[str, Counter[Verdict | None]] = {}
        for entry in await all_judged(self._ledger):
            found.setdefault(self.name(entry), Counter())[entry.verdict] += 1
        return found

    def name(self, entry: Entry) -> str:
        return entry.note.workflow_id.removeprefix(f"{self.queue}-")


@pytest.fixture
async def staged(temporal_client: Client) -> AsyncIterator[Staged]:
    executions.clear()
    queue = f"ways-{uuid.uuid4()}"
    ledger = MemoryLedger()
    async with (
        Mirror(temporal_client, ledger=ledger) as mirror,
        MirrorWorker(
            temporal_client,
            ledger=ledger,
            workflows=HERE,
            workflow_runner=UNSANDBOXED,
            query=f"TaskQueue = '{queue}' AND TemporalScheduledById IS NOT NULL",
        ),
        Worker(mirror.client, task_queue=queue, workflows=HERE, activities=ACTIVITIES, workflow_runner=UNSANDBOXED),
    ):
        yield Staged(mirror.client, queue, ledger, mirror)
    assert executions
    assert {what: count for what, count in executions.items() if count > 1} == {}


async def test_starts_of_every_kind_and_what_follows_from_them(staged: Staged) -> None:
    retried = RetryPolicy(initial_interval=timedelta(milliseconds=10), maximum_attempts=2)
    handles: list[WorkflowHandle[Any, Any]] = [
        await staged.start(Stepwise.run, False, name="plain"),
        await staged.start(Stepwise.run, False, name="eager", request_eager_start=True),
        await staged.start(Stepwise.run, False, name="delayed", start_delay=timedelta(seconds=1)),
        await staged.start(Stepwise.run, True, name="retried", retry_policy=retried),
        await staged.start(Parent.run, name="parent"),
    ]
    cron = await staged.start(Stepwise.run, False, name="cron", cron_schedule="@every 1s")
    basket = await staged.start(Basket.run, 60.0, name="basket")
    again = await staged.start(
        Basket.run, 60.0, name="basket", id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING
    )
    assert again.result_run_id == basket.result_run_id
    await again.signal(Basket.close)
    for handle in (*handles, again):
        await ended(handle)
    await ended(staged.client.get_workflow_handle(f"{staged.queue}-parent-left"))

    async def has_gone_on() -> bool:
        return (await cron.describe()).run_id not in (cron.result_run_id, None)

    await eventually(has_gone_on, what="the next run of the cron chain has begun")
    await cron.terminate()
    found = await staged.verdicts()
    cron_runs = found.pop("cron")
    assert cron_runs.keys() - {Verdict.NOT_RUN} == {Verdict.MATCH}, "the last run may end before its first task"
    assert cron_runs.total() >= 2
    assert found == {
        **{name: {Verdict.MATCH: 1} for name in ("plain", "eager", "delayed", "parent", "parent-child")},
        "parent-left": {Verdict.MATCH: 1},
        "retried": {Verdict.MATCH: 2},
        "basket": {Verdict.MATCH: 1},
    }


async def test_a_schedule_s_runs_are_found_by_a_list_filter(staged: Staged) -> None:
    schedule = await staged.client.create_schedule(
        f"{staged.queue}-schedule",
        Schedule(
            action=ScheduleActionStartWorkflow(
                Stepwise.run, False, id=f"{staged.queue}-scheduled", task_queue=staged.queue
            ),
            spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(days=100))]),
            state=ScheduleState(paused=True),
        ),
    )
    try:
        await schedule.trigger()
        found = await staged.verdicts()
    finally:
        await schedule.delete()
    ((name, verdicts),) = found.items()
    assert name.startswith("scheduled")
    assert verdicts == {Verdict.MATCH: 1}


async def test_a_batch_operation_reaches_runs_that_are_mirrored(staged: Staged) -> None:
    for number in range(2):
        await staged.start(Basket.run, 60.0, name=f"batch-{number}")
    running = f"TaskQueue = '{staged.queue}' AND ExecutionStatus = 'Running'"

    async def listed() -> bool:
        return (await staged.client.count_workflows(running)).count == 2

    await eventually(listed, what="both runs are visible")
    await staged.client.workflow_service.start_batch_operation(
        StartBatchOperationRequest(
            namespace="default",
            job_id=staged.queue,
            visibility_query=running,
            reason="test",
            signal_operation=BatchOperationSignal(signal="close"),
        )
    )
    assert await staged.verdicts() == {f"batch-{number}": {Verdict.MATCH: 1} for number in range(2)}
    executions["nothing was to be executed"] += 1


async def test_what_temporal_refuses_is_not_mirrored(staged: Staged) -> None:
    handle = await staged.start(Stepwise.run, False, name="taken")
    with pytest.raises(Exception, match="already started"):
        await staged.start(Stepwise.run, False, name="taken")
    await ended(handle)
    with pytest.raises(RPCError):
        await handle.signal("put", "x")
    assert await staged.verdicts() == {"taken": {Verdict.MATCH: 1}}


async def test_shadow_runs_have_a_prefix_and_schemas_of_their_own(temporal_client: Client, postgres_url: str) -> None:
    queue = f"ids-{uuid.uuid4()}"
    async with (
        Mirror(temporal_client, url=postgres_url) as mirror,
        MirrorWorker(
            temporal_client, url=postgres_url, workflows=HERE, workflow_runner=UNSANDBOXED, prefix="not-real-"
        ) as worker,
        Worker(mirror.client, task_queue=queue, workflows=HERE, activities=ACTIVITIES, workflow_runner=UNSANDBOXED),
    ):
        handle = await mirror.client.start_workflow(Basket.run, 60.0, id=f"{queue}-open", task_queue=queue)
        await handle.execute_update(Basket.add, "one")

        async def journalled() -> list[Any]:
            async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
                found = await connection.execute(
                    "select workflow_uuid from dbos_mirror.workflow_status w "
                    "where exists (select from dbos_mirror.operation_outputs o where o.workflow_uuid = w.workflow_uuid)"
                )
                return await found.fetchall()

        await mirror.flush()
        assert await eventually(journalled, what="the shadow has taken a task") == [
            (f"not-real-{queue}-open~{handle.result_run_id}",)
        ]
        async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
            schemas = await connection.execute("select nspname from pg_namespace where nspname like 'dbos%' order by 1")
            assert await schemas.fetchall() == [("dbos_compat_mirror",), ("dbos_mirror",)]
        assert worker.followed.following == 1
        await handle.terminate()
