"""Metrics: Temporal's names, attributes and counts on the runtime that the user configured."""

from __future__ import annotations

import contextlib
from collections import Counter
from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.client import WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, ApplicationErrorCategory
from temporalio.runtime import (
    BufferedMetric,
    MetricBuffer,
    MetricBufferDurationFormat,
    Runtime,
    TelemetryConfig,
)
from temporalio.service import RPCError

from .support import Connect, MakeWorker, eventually

LIMIT = timedelta(seconds=20)


@activity.defn
async def add_one(number: int) -> int:
    activity.metric_meter().create_counter("my_activity").add(1)
    return number + 1


@activity.defn
async def always_fails() -> None:
    raise ApplicationError("no")


@workflow.defn
class Measured:
    @workflow.run
    async def run(self, how: str) -> int:
        workflow.metric_meter().create_counter("my_workflow").add(1)
        number = await workflow.execute_activity(add_one, 1, start_to_close_timeout=LIMIT)
        if how == "fails":
            await workflow.execute_activity(
                always_fails, start_to_close_timeout=LIMIT, retry_policy=RetryPolicy(maximum_attempts=2)
            )
        return number


class Sums:
    """What a buffer has seen: counts by name and the attributes that matter, and how long things took."""

    def __init__(self, buffer: MetricBuffer) -> None:
        self.buffer = buffer
        self.counts: Counter[tuple[str, str]] = Counter()
        self.seconds: dict[str, list[float]] = {}
        self.attributes: dict[str, set[str]] = {}

    def read(self) -> Sums:
        for update in self.buffer.retrieve_updates():
            metric: BufferedMetric = update.metric
            about = update.attributes
            self.attributes.setdefault(metric.name, set()).update(about)
            if metric.kind == 0:
                word = about.get("operation") or about.get("activity_type") or about.get("workflow_type") or ""
                self.counts[metric.name, str(word)] += int(update.value)
            elif metric.kind == 2:
                self.seconds.setdefault(metric.name, []).append(update.value)
        return self


@pytest.fixture
def sums() -> tuple[Sums, Runtime]:
    buffer = MetricBuffer(10_000, duration_format=MetricBufferDurationFormat.SECONDS)
    runtime = Runtime(telemetry=TelemetryConfig(metrics=buffer))
    return Sums(buffer), runtime


@pytest.mark.timeout(60)
async def test_what_is_counted_and_timed(
    connect: Connect, make_worker: MakeWorker, queue: str, wid: str, sums: tuple[Sums, Runtime]
) -> None:
    seen, runtime = sums
    client = await connect(runtime=runtime)
    async with make_worker(client, task_queue=queue, workflows=[Measured], activities=[add_one, always_fails]):
        assert await client.execute_workflow(Measured.run, "ok", id=wid, task_queue=queue) == 2
        with pytest.raises(WorkflowFailureError):
            await client.execute_workflow(Measured.run, "fails", id=f"{wid}-2", task_queue=queue)
        with pytest.raises(RPCError):
            await client.get_workflow_handle(f"{wid}-nobody").signal("x")

        async def counted() -> None:
            counts = seen.read().counts
            assert counts["temporal_workflow_completed", "Measured"] == 1
            assert counts["temporal_workflow_failed", "Measured"] == 1
            assert counts["temporal_activity_task_received", "add_one"] == 2
            assert counts["temporal_activity_task_received", "always_fails"] == 2
            assert counts["temporal_activity_execution_failed", "always_fails"] == 2
            assert counts["temporal_request", "StartWorkflowExecution"] == 2
            assert counts["temporal_request_failure", "SignalWorkflowExecution"] == 1
            assert counts["temporal_worker_start", ""] == 1
            assert counts["my_activity", "add_one"] == 2

        await eventually(counted)
    for name, times in (
        ("temporal_workflow_endtoend_latency", 2),
        ("temporal_activity_execution_latency", 4),
        ("temporal_activity_schedule_to_start_latency", 4),
        ("temporal_activity_succeed_endtoend_latency", 2),
    ):
        assert len(seen.seconds[name]) == times, name
        assert all(0 <= value < 30 for value in seen.seconds[name]), name
    for name in ("temporal_workflow_task_execution_latency", "temporal_workflow_task_schedule_to_start_latency"):
        assert len(seen.seconds[name]) >= 4
    assert {"namespace", "task_queue", "workflow_type", "activity_type"} <= seen.attributes[
        "temporal_activity_execution_latency"
    ]
    assert "failure_reason" in seen.attributes["temporal_activity_execution_failed"]
    assert {"worker_type", "task_queue"} <= seen.attributes["temporal_worker_task_slots_used"]
    assert "status_code" in seen.attributes["temporal_request_failure"]


@activity.defn
async def fails_with(benign: bool) -> None:
    category = ApplicationErrorCategory.BENIGN if benign else ApplicationErrorCategory.UNSPECIFIED
    raise ApplicationError("no", non_retryable=True, category=category)


@workflow.defn
class Failing:
    @workflow.run
    async def run(self, benign: bool) -> None:
        for start in (workflow.start_activity, workflow.start_local_activity):
            with contextlib.suppress(ActivityError, ApplicationError):
                await start(fails_with, benign, start_to_close_timeout=LIMIT)
        category = ApplicationErrorCategory.BENIGN if benign else ApplicationErrorCategory.UNSPECIFIED
        raise ApplicationError("no", category=category)


@pytest.mark.timeout(60)
async def test_failures_that_are_no_news_are_not_counted(
    connect: Connect, make_worker: MakeWorker, queue: str, wid: str, sums: tuple[Sums, Runtime]
) -> None:
    seen, runtime = sums
    client = await connect(runtime=runtime)
    async with make_worker(client, task_queue=queue, workflows=[Failing], activities=[fails_with]):
        for benign in (True, False):
            with pytest.raises(WorkflowFailureError):
                await client.execute_workflow(Failing.run, benign, id=f"{wid}-{benign}", task_queue=queue)

        async def counted() -> None:
            counts = seen.read().counts
            assert counts["temporal_workflow_failed", "Failing"] == 1
            assert counts["temporal_activity_execution_failed", "fails_with"] == 1
            assert counts["temporal_local_activity_execution_failed", "fails_with"] == 1

        await eventually(counted)


class Tries:
    count = 0


@workflow.defn
class Stumbles:
    @workflow.run
    async def run(self) -> None:
        Tries.count += 1
        if Tries.count == 1:
            raise RuntimeError("once")


@pytest.mark.timeout(60)
async def test_a_run_that_leaves_the_memory_before_its_end_is_counted(
    connect: Connect, make_worker: MakeWorker, queue: str, wid: str, sums: tuple[Sums, Runtime]
) -> None:
    seen, runtime = sums
    Tries.count = 0
    client = await connect(runtime=runtime)
    async with make_worker(client, task_queue=queue, workflows=[Stumbles, Measured], activities=[add_one]):
        await client.execute_workflow(Stumbles.run, id=wid, task_queue=queue)

        async def counted() -> None:
            assert seen.read().counts["temporal_sticky_cache_total_forced_eviction", ""] == 1

        await eventually(counted)


@pytest.mark.timeout(60)
async def test_a_runtime_that_is_the_default_of_the_process_is_used(
    connect: Connect,
    make_worker: MakeWorker,
    queue: str,
    wid: str,
    sums: tuple[Sums, Runtime],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen, runtime = sums
    monkeypatch.setattr("temporalio.runtime._runtime_ref._default_runtime", runtime)
    client = await connect()
    async with make_worker(client, task_queue=queue, workflows=[Measured], activities=[add_one]):
        await client.execute_workflow(Measured.run, "ok", id=wid, task_queue=queue)

        async def counted() -> None:
            assert seen.read().counts["temporal_workflow_completed", "Measured"] == 1

        await eventually(counted)
