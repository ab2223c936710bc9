"""Activities across the seam: a schedule command → the kernel's spec, a spec → the task, a completion → the outcome."""

from __future__ import annotations

import functools
import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from temporalio.api.common.v1 import Priority
from temporalio.api.common.v1 import RetryPolicy as RetryPolicyMessage
from temporalio.api.failure.v1 import Failure
from temporalio.bridge.proto import ActivityHeartbeat, ActivityTaskCompletion
from temporalio.bridge.proto.activity_task import Cancel, Start
from temporalio.bridge.proto.workflow_commands import ScheduleActivity

from dbos_compat.bridge.commands import Command, ms
from dbos_compat.bridge.policies import policy_of
from dbos_compat.bridge.refusals import BLOB_BYTES_MAX, is_too_large, too_large, without_details
from dbos_compat.chains.deadlines import run_timeout_ms
from dbos_compat.convert.failures import failure_text, failure_type
from dbos_compat.convert.payloads import dumps, payload_map, payload_map_text, payload_text, payloads, payloads_text
from dbos_compat.convert.times import duration, timestamp
from dbos_compat.relations import retry_policy
from dbos_core.activities.attempt import Attempt, CancelReason, RunIdentity
from dbos_core.activities.local import LocalSpec
from dbos_core.activities.spec import ActivitySpec, AttemptOutcome, OutcomeKind
from dbos_core.commit import RunRow
from dbos_core.retry import RetryPolicy, normalise

_DEFAULT_POLICY = RetryPolicy()


def spec_of(command: Command, at_ms: int, row: RunRow) -> ActivitySpec:
    """What the kernel shall do for a schedule command (defaults and clamps: temporal-seam §2.2)."""
    a = command.message.schedule_activity
    times = normalise(
        schedule_to_close_ms=ms(a.schedule_to_close_timeout) if a.HasField("schedule_to_close_timeout") else None,
        schedule_to_start_ms=ms(a.schedule_to_start_timeout) if a.HasField("schedule_to_start_timeout") else None,
        start_to_close_ms=ms(a.start_to_close_timeout) if a.HasField("start_to_close_timeout") else None,
        heartbeat_ms=ms(a.heartbeat_timeout) if a.HasField("heartbeat_timeout") else None,
        run_timeout_ms=run_timeout_ms(row),
    )
    record = f'{{"in":{command.inputs}'
    if a.headers:
        record += f',"h":{payload_map_text(a.headers)}'
    if a.HasField("priority"):
        record += f',"prio":"{b64encode(a.priority.SerializeToString()).decode()}"'
    return ActivitySpec(
        seq=a.seq,
        activity_id=a.activity_id,
        activity_type=a.activity_type,
        task_queue=a.task_queue,
        record=record + "}",
        schedule_to_close_ms=times.schedule_to_close_ms,
        schedule_to_start_ms=times.schedule_to_start_ms,
        start_to_close_ms=times.start_to_close_ms,
        heartbeat_ms=times.heartbeat_ms,
        retry=policy_of(a.retry_policy) if a.HasField("retry_policy") else _DEFAULT_POLICY,
        scheduled_ms=at_ms,
        native=a,
    )


def recorded_spec(asked: Mapping[str, Any], at_ms: int, row: RunRow) -> ActivitySpec:
    """The same for a command that was journalled."""
    times = normalise(
        schedule_to_close_ms=asked.get("s2c"),
        schedule_to_start_ms=asked.get("s2s"),
        start_to_close_ms=asked.get("stc"),
        heartbeat_ms=asked.get("hb"),
        run_timeout_ms=run_timeout_ms(row),
    )
    return ActivitySpec(
        seq=asked["seq"],
        activity_id=asked["id"],
        activity_type=asked["type"],
        task_queue=asked["queue"],
        record=dumps({key: asked[key] for key in ("in", "h", "prio") if key in asked}),
        schedule_to_close_ms=times.schedule_to_close_ms,
        schedule_to_start_ms=times.schedule_to_start_ms,
        start_to_close_ms=times.start_to_close_ms,
        heartbeat_ms=times.heartbeat_ms,
        retry=policy_of(retry_policy(asked["retry"])) if "retry" in asked else _DEFAULT_POLICY,
        scheduled_ms=at_ms,
    )


def prepare_start(spec: ActivitySpec, run: RunIdentity, namespace: str) -> None:
    """Make the task of its first attempt, as far as it is known before that begins."""
    spec.prepared = _unstarted(spec, run, namespace)


def start_of(attempt: Attempt, namespace: str) -> Start:
    """The task for one attempt."""
    spec = attempt.spec
    start: Start = spec.prepared or _unstarted(spec, attempt.run, namespace)
    spec.prepared = None
    start.attempt = attempt.attempt
    start.current_attempt_scheduled_time.CopyFrom(timestamp(attempt.due_ms))
    start.started_time.CopyFrom(timestamp(attempt.started_ms))
    if attempt.heartbeat:
        start.heartbeat_details.extend(payloads(json.loads(attempt.heartbeat)))
    return start


def _unstarted(spec: ActivitySpec, run: RunIdentity, namespace: str) -> Start:
    native = spec.native or _native(spec)
    start = Start()
    start.CopyFrom(
        _template(
            namespace,
            run.workflow_type,
            spec.activity_type,
            spec.schedule_to_close_ms or 0,
            spec.start_to_close_ms or 0,
            spec.heartbeat_ms or 0,
            spec.retry,
        )
    )
    start.workflow_execution.workflow_id = run.workflow_id
    start.workflow_execution.run_id = run.run_id
    start.activity_id = spec.activity_id
    start.input.extend(native.arguments)
    start.scheduled_time.CopyFrom(timestamp(spec.scheduled_ms))
    for key in native.headers:
        start.header_fields[key].CopyFrom(native.headers[key])
    if isinstance(spec, LocalSpec):
        start.is_local = True
    elif native.HasField("priority"):
        start.priority.CopyFrom(native.priority)
    return start


def _native(spec: ActivitySpec) -> ScheduleActivity:
    """What the workflow asked for, from the record: the spec comes from the journal or from another process."""
    record = json.loads(spec.record)
    native = ScheduleActivity(arguments=payloads(record["in"]))
    for key, value in payload_map(record.get("h", {})).items():
        native.headers[key].CopyFrom(value)
    if "prio" in record:
        native.priority.CopyFrom(Priority.FromString(b64decode(record["prio"])))
    return native


@functools.lru_cache(maxsize=256)
def _template(
    namespace: str,
    workflow_type: str,
    activity_type: str,
    schedule_to_close_ms: int,
    start_to_close_ms: int,
    heartbeat_ms: int,
    retry: RetryPolicy,
) -> Start:
    """What all tasks from one place in the code have in common. Not to be changed: it is copied."""
    return Start(
        workflow_namespace=namespace,
        workflow_type=workflow_type,
        activity_type=activity_type,
        schedule_to_close_timeout=duration(schedule_to_close_ms),
        start_to_close_timeout=duration(start_to_close_ms),
        heartbeat_timeout=duration(heartbeat_ms),
        retry_policy=_policy_message(retry),
    )


@functools.lru_cache(maxsize=256)
def _policy_message(policy: RetryPolicy) -> RetryPolicyMessage:
    return RetryPolicyMessage(
        initial_interval=duration(policy.initial_ms),
        backoff_coefficient=policy.coefficient,
        maximum_interval=duration(policy.maximum_interval_ms),
        maximum_attempts=policy.maximum_attempts,
        non_retryable_error_types=policy.non_retryable_types,
    )


def outcome_of(
    completion: ActivityTaskCompletion, identity: str, *, limit_payloads: bool = True
) -> AttemptOutcome | None:
    """How an attempt ended; None: it will be completed from outside (``raise_complete_async``).

    ``limit_payloads``: a result that is larger than Temporal takes fails the attempt, as in its Rust worker.
    """
    result = completion.result
    kind = result.WhichOneof("status")
    if kind == "completed":
        value = result.completed.result
        if limit_payloads and is_too_large(value):
            return failed_outcome(too_large(), identity)
        return AttemptOutcome(kind=OutcomeKind.COMPLETED, record=payload_text(value), identity=identity)
    if kind == "will_complete_async":
        return None
    if kind == "cancelled":
        details = result.cancelled.failure.canceled_failure_info.details.payloads
        return AttemptOutcome(kind=OutcomeKind.CANCELED, record=payloads_text(details), identity=identity)
    failed = result.failed.failure
    if limit_payloads and failed.ByteSize() > BLOB_BYTES_MAX:
        return replace(failed_outcome(without_details(failed), identity), non_retryable=True)
    return failed_outcome(failed, identity)


_NOT_HERE = "is not registered on this worker"
"""How the SDK says that it has no such activity."""


def failed_outcome(failure: Failure, identity: str, *, heartbeat: str | None = None) -> AttemptOutcome:
    """A failure as an attempt's outcome.

    An activity that raises ``CancelledError`` by itself is refused by a Temporal server, so that the attempt hangs until
    its timeout; here it is a retryable application failure of type ``CancelledError`` (ledger: activity-cancelled-error).
    """
    if failure.HasField("canceled_failure_info"):
        failure = Failure(message=failure.message or "Cancelled", stack_trace=failure.stack_trace)
        failure.application_failure_info.type = "CancelledError"
    info = failure.application_failure_info
    delay = ms(info.next_retry_delay) if info.HasField("next_retry_delay") else None
    return AttemptOutcome(
        kind=OutcomeKind.FAILED,
        record=failure_text(failure),
        error_type=failure_type(failure),
        unknown=info.type == "NotFoundError" and _NOT_HERE in failure.message,
        non_retryable=info.non_retryable or failure.server_failure_info.non_retryable,
        next_retry_delay_ms=delay,
        identity=identity,
        heartbeat=heartbeat,
    )


def heartbeat_text(heartbeat: ActivityHeartbeat) -> str | None:
    """Details as JSON text; None when there are none."""
    return payloads_text(heartbeat.details) if heartbeat.details else None


def cancel_of(reason: CancelReason) -> Cancel:
    """The cancel task for a reason. The SDK looks only at the details (temporal-seam §2.6)."""
    cancel = Cancel(reason=reason.value)  # type: ignore[arg-type]
    if reason is CancelReason.CANCELLED:
        cancel.details.is_cancelled = True
    elif reason is CancelReason.WORKER_SHUTDOWN:
        cancel.details.is_worker_shutdown = True
    elif reason is CancelReason.PAUSED:
        cancel.details.is_paused = True
    elif reason is CancelReason.RESET:
        cancel.details.is_reset = True
    else:
        cancel.details.is_not_found = True
        cancel.details.is_timed_out = reason is CancelReason.TIMED_OUT
    return cancel


def shutdown_record() -> str:
    """The failure of an attempt that its worker's shutdown stopped (temporal-seam §2.9)."""
    failure = Failure(message="Worker is shutting down and this activity did not complete in time")
    failure.application_failure_info.type = "WorkerShutdown"
    return failure_text(failure)
