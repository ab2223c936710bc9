"""The SDK's metrics, under their own names, on the meter of the user's ``temporalio.runtime.Runtime``.

Temporal's are recorded by its Rust core. Here we are the core, so we record them: through the runtime's public meter,
so that whatever export was configured (Prometheus, OpenTelemetry, a buffer) works as it did. Without one nothing is
made, and the code that is measured does not even ask: it is wrapped only when there is a meter.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

from temporalio.api.enums.v1 import ApplicationErrorCategory
from temporalio.api.failure.v1 import Failure
from temporalio.common import MetricAttributes, MetricCounter, MetricGauge, MetricHistogramTimedelta, MetricMeter
from temporalio.service import RPCError

from dbos_compat.convert.failures import failure
from dbos_compat.convert.records import close_record
from dbos_core.activities.attempt import Attempt
from dbos_core.activities.local import LocalSpec
from dbos_core.activities.spec import AttemptOutcome, OutcomeKind
from dbos_core.commit import Entry, RunRow, RunStatus
from dbos_core.runner import Activation, Decision, Interpreter

PREFIX = "temporal_"
"""``TelemetryConfig.metric_prefix`` unless it is set, which a runtime does not tell."""

LONG = frozenset({"poll_workflow_execution_update", "update_workflow_execution"})
"""Requests that wait for something, besides a history that waits for its next event."""

_ENDS = {
    RunStatus.COMPLETED: "workflow_completed",
    RunStatus.FAILED: "workflow_failed",
    RunStatus.CANCELED: "workflow_canceled",
    RunStatus.CONTINUED_AS_NEW: "workflow_continue_as_new",
}

T = TypeVar("T")


class _Instruments:
    """Instruments with attributes, each made once."""

    def __init__(self, meter: MetricMeter) -> None:
        self._meter = meter
        self._made: dict[tuple[Any, ...], Any] = {}

    def _of(self, kind: str, name: str, attributes: MetricAttributes) -> Any:
        key = (name, *attributes.values())
        found = self._made.get(key)
        if found is None:
            make = getattr(self._meter, f"create_{kind}")
            unit = "duration" if kind == "histogram_timedelta" else None
            found = make(PREFIX + name, None, unit)
            if attributes:
                found = found.with_additional_attributes(attributes)
            self._made[key] = found
        return found

    def count(self, name: str, attributes: MetricAttributes) -> None:
        counter: MetricCounter = self._of("counter", name, attributes)
        counter.add(1)

    def took(self, name: str, seconds: float, attributes: MetricAttributes) -> None:
        histogram: MetricHistogramTimedelta = self._of("histogram_timedelta", name, attributes)
        histogram.record(timedelta(seconds=max(0.0, seconds)))

    def level(self, name: str, value: int, attributes: MetricAttributes) -> None:
        gauge: MetricGauge = self._of("gauge", name, attributes)
        gauge.set(value)


def live(meter: MetricMeter) -> MetricMeter | None:
    """The meter, unless nothing listens to it."""
    return None if meter is MetricMeter.noop else meter


class ClientMetrics:
    """Requests of one client."""

    def __init__(self, meter: MetricMeter) -> None:
        self._instruments = _Instruments(meter)

    async def measured(self, rpc: str, request: Any, answer: Awaitable[T]) -> T:
        """The answer, counted and timed."""
        attributes: dict[str, str] = {}
        namespace = getattr(request, "namespace", None)
        if isinstance(namespace, str) and namespace:
            attributes["namespace"] = namespace
        attributes["operation"] = "".join(part.capitalize() for part in rpc.split("_"))
        queue = getattr(getattr(request, "task_queue", None), "name", None)
        if queue:
            attributes["task_queue"] = queue
        kind = "long_request" if rpc in LONG or getattr(request, "wait_new_event", False) else "request"
        instruments = self._instruments
        instruments.count(kind, attributes)
        begun = time.perf_counter()
        try:
            return await answer
        except RPCError as error:
            instruments.count(f"{kind}_failure", attributes | {"status_code": error.status.name})
            raise
        finally:
            instruments.took(f"{kind}_latency", time.perf_counter() - begun, attributes)


class WorkerMetrics:
    """Workflow tasks and activities of one worker."""

    def __init__(self, meter: MetricMeter, *, namespace: str, task_queue: str, slots: dict[str, int]) -> None:
        """``slots``: worker type → how many."""
        self._instruments = _Instruments(meter)
        self._queue: dict[str, str] = {"namespace": namespace, "task_queue": task_queue}
        self._slots = slots
        self._used = dict.fromkeys(slots, 0)
        self._cached = 0
        self._running: dict[bytes, tuple[Attempt, float]] = {}

    def started(self) -> None:
        """The worker begins."""
        self._instruments.count("worker_start", self._queue)
        for worker_type in self._slots:
            self._used_by(worker_type, 0)
        self._instruments.level("sticky_cache_size", 0, self._queue)

    def _used_by(self, worker_type: str, change: int) -> None:
        used = self._used[worker_type] = self._used[worker_type] + change
        attributes = self._queue | {"worker_type": worker_type}
        self._instruments.level("worker_task_slots_used", used, attributes)
        self._instruments.level("worker_task_slots_available", max(0, self._slots[worker_type] - used), attributes)

    # -- workflows -------------------------------------------------------------------------------------------------

    def interpreter(self, inner: Interpreter, run: RunRow, now_ms: Callable[[], int]) -> Interpreter:
        """The same, measured."""
        return _Measured(inner, self, run, now_ms)

    def task_begins(self, activation: Activation, now_ms: int) -> None:
        instruments, queue = self._instruments, self._queue
        instruments.count("workflow_task_queue_poll_succeed", queue)
        since = [event.mail.created_ms for event in activation.events if event.mail is not None]
        waited_ms = now_ms - min(since) if since else 0
        instruments.took("workflow_task_schedule_to_start_latency", waited_ms / 1000, queue)
        self._used_by("WorkflowWorker", 1)

    def task_ended(self, run: RunRow, decision: Decision | None, took_s: float, now_ms: int, *, cached: bool) -> None:
        """``decision`` None: the runner raised."""
        instruments, attributes = self._instruments, self._typed(run)
        self._used_by("WorkflowWorker", -1)
        if cached:
            instruments.count("sticky_cache_hit", attributes)
        instruments.took("workflow_task_execution_latency", took_s, attributes)
        failed = None if decision is None else decision.failure
        if decision is None or failed is not None:
            cause = "" if failed is None else failed.cause
            reason = "NonDeterminismError" if cause == "NON_DETERMINISTIC_ERROR" else "WorkflowError"
            instruments.count("workflow_task_execution_failed", attributes | {"failure_reason": reason})
        elif decision.close is not None and decision.close.status in _ENDS:
            if decision.close.status is not RunStatus.FAILED or not _benign(
                close_record(decision.close.record).failure
            ):
                instruments.count(_ENDS[decision.close.status], attributes)
            instruments.took("workflow_endtoend_latency", (now_ms - run.start_ms) / 1000, attributes)

    def replayed(self, run: RunRow, took_s: float) -> None:
        self._instruments.took("workflow_task_replay_latency", took_s, self._typed(run))

    def missed(self, run: RunRow) -> None:
        """A run that is not in memory is rebuilt."""
        self._instruments.count("sticky_cache_miss", self._typed(run))

    def evicted(self) -> None:
        """A run left the memory before its end."""
        self._instruments.count("sticky_cache_total_forced_eviction", self._queue)

    def in_memory(self, change: int) -> None:
        self._cached += change
        self._instruments.level("sticky_cache_size", self._cached, self._queue)

    def _typed(self, run: RunRow) -> dict[str, str]:
        return self._queue | {"workflow_type": run.workflow_type}

    # -- activities ------------------------------------------------------------------------------------------------

    def activity_starts(self, attempt: Attempt) -> None:
        instruments = self._instruments
        self._running[attempt.token] = attempt, time.perf_counter()
        if isinstance(attempt.spec, LocalSpec):
            instruments.count("local_activity_total", self._about(attempt))
            self._used_by("LocalActivityWorker", 1)
            return
        instruments.count("activity_task_received", self._about(attempt) | {"eager": "true"})
        instruments.took(
            "activity_schedule_to_start_latency", (attempt.started_ms - attempt.due_ms) / 1000, self._queue
        )
        self._used_by("ActivityWorker", 1)

    def activity_ended(self, token: bytes, outcome: AttemptOutcome | None, now_ms: int) -> None:
        """``outcome`` None: it will be completed from outside."""
        attempt, begun = self._running.pop(token, (None, 0.0))
        if attempt is None:
            return
        local = isinstance(attempt.spec, LocalSpec)
        prefix = "local_" if local else ""
        self._used_by("LocalActivityWorker" if local else "ActivityWorker", -1)
        instruments, attributes = self._instruments, self._about(attempt)
        instruments.took(f"{prefix}activity_execution_latency", time.perf_counter() - begun, attributes)
        if outcome is None:
            return
        if outcome.kind is OutcomeKind.COMPLETED:
            end_to_end_ms = now_ms - attempt.spec.scheduled_ms
            instruments.took(f"{prefix}activity_succeed_endtoend_latency", end_to_end_ms / 1000, attributes)
        elif outcome.kind is OutcomeKind.FAILED:
            if outcome.record is None or not _benign(failure(json.loads(outcome.record))):
                instruments.count(
                    f"{prefix}activity_execution_failed", attributes | {"failure_reason": "ActivityError"}
                )
        elif local:
            instruments.count("local_activity_execution_cancelled", attributes)

    def _about(self, attempt: Attempt) -> dict[str, str]:
        return self._queue | {
            "activity_type": attempt.spec.activity_type,
            "workflow_type": attempt.run.workflow_type,
        }


def _benign(failed: Failure | None) -> bool:
    """Failures that are no news are not counted, as by Temporal's core."""
    return (
        failed is not None
        and failed.application_failure_info.category == ApplicationErrorCategory.APPLICATION_ERROR_CATEGORY_BENIGN
    )


class _Measured:
    """An interpreter whose tasks are measured."""

    def __init__(self, inner: Interpreter, metrics: WorkerMetrics, run: RunRow, now_ms: Callable[[], int]) -> None:
        self._inner = inner
        self._metrics = metrics
        self._run = run
        self._now_ms = now_ms
        self._tasks = 0
        self._replayed = False
        self._over = False
        metrics.in_memory(1)

    def activate(self, activation: Activation) -> Decision | Awaitable[Decision]:
        self._metrics.task_begins(activation, self._now_ms())
        begun = time.perf_counter()
        self._tasks += 1
        try:
            decision = self._inner.activate(activation)
        except BaseException:
            self._ended(None, begun)
            raise
        if isinstance(decision, Decision):
            self._ended(decision, begun)
            return decision
        return self._later(decision, begun)

    async def _later(self, pending: Awaitable[Decision], begun: float) -> Decision:
        decision = None
        try:
            decision = await pending
        finally:
            self._ended(decision, begun)
        return decision

    def _ended(self, decision: Decision | None, begun: float) -> None:
        cached = self._tasks > 1
        self._over = decision is not None and decision.failure is None and decision.close is not None
        self._metrics.task_ended(self._run, decision, time.perf_counter() - begun, self._now_ms(), cached=cached)

    def replay(self, entry: Entry) -> Decision | Awaitable[Decision]:
        if not self._replayed:
            self._replayed = True
            self._metrics.missed(self._run)
        begun = time.perf_counter()
        decision = self._inner.replay(entry)
        if isinstance(decision, Decision):
            self._metrics.replayed(self._run, time.perf_counter() - begun)
            return decision
        return self._replays(decision, begun)

    async def _replays(self, pending: Awaitable[Decision], begun: float) -> Decision:
        decision = await pending
        self._metrics.replayed(self._run, time.perf_counter() - begun)
        return decision

    async def query(self, payload: str) -> str:
        return await self._inner.query(payload)

    def evict(self) -> Awaitable[None] | None:
        self._metrics.in_memory(-1)
        if not self._over:
            self._metrics.evicted()
        return self._inner.evict()
