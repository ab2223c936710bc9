"""Local activities across the seam: command → the kernel's spec, outcome → journal record → job, and the marker.

A row that takes up the outcome of a local activity holds a marker command for it, which is what a Temporal history has
of a local activity. The request itself leaves no event, so a replay need not repeat it as long as it has no outcome;
the marker wants a request of that seq, id and type (temporal-seam §8.4).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from temporalio.api.failure.v1 import Failure
from temporalio.bridge.proto.workflow_activation import WorkflowActivationJob
from temporalio.bridge.proto.workflow_commands import WorkflowCommand

from dbos_compat.bridge.commands import Command, ms
from dbos_compat.bridge.policies import policy_of
from dbos_compat.convert.failures import failure
from dbos_compat.convert.payloads import dumps, payload, payload_map_text
from dbos_compat.convert.times import duration, timestamp, timestamp_ms
from dbos_compat.history.outcomes import local_failure
from dbos_core.activities.local import LocalOutcome, LocalSpec
from dbos_core.activities.spec import OutcomeKind, RetryState
from dbos_core.retry import RetryPolicy

RETRY_THRESHOLD_MS = 60_000
"""Temporal's default for ``local_retry_threshold``."""


@dataclass(slots=True)
class PendingLocal:
    """What a resolution has to repeat of its request."""

    activity_id: str
    activity_type: str
    cancellation_type: int
    attempt: int
    scheduled_ms: int
    meta: str = ""
    cancel_requested: bool = False


def pending_of(command: Command, at_ms: int) -> PendingLocal:
    asked = command.message.schedule_local_activity
    return PendingLocal(
        asked.activity_id,
        asked.activity_type,
        command.cancellation_type,
        max(1, asked.attempt),
        _scheduled_ms(asked, at_ms),
        _metadata(command.message),
    )


def spec_of(command: Command, at_ms: int, task_queue: str) -> LocalSpec:
    """What the kernel shall do for a schedule command, clamped as Temporal's core does it."""
    asked = command.message.schedule_local_activity
    close_ms = ms(asked.schedule_to_close_timeout) or None
    work_ms = ms(asked.start_to_close_timeout) or close_ms
    start_ms = ms(asked.schedule_to_start_timeout) or None
    if close_ms is not None:
        work_ms = min(work_ms or close_ms, close_ms)
        start_ms = None if start_ms is None else min(start_ms, close_ms)
    record = f'{{"in":{command.inputs}'
    if asked.headers:
        record += f',"h":{payload_map_text(asked.headers)}'
    return LocalSpec(
        seq=asked.seq,
        activity_id=asked.activity_id,
        activity_type=asked.activity_type,
        task_queue=task_queue,
        record=record + "}",
        schedule_to_close_ms=close_ms,
        schedule_to_start_ms=start_ms,
        start_to_close_ms=work_ms,
        heartbeat_ms=None,
        retry=policy_of(asked.retry_policy) if asked.HasField("retry_policy") else RetryPolicy(),
        scheduled_ms=_scheduled_ms(asked, at_ms),
        native=asked,
        attempt=max(1, asked.attempt),
        retry_threshold_ms=ms(asked.local_retry_threshold)
        if asked.HasField("local_retry_threshold")
        else RETRY_THRESHOLD_MS,
    )


def _scheduled_ms(asked: Any, at_ms: int) -> int:
    return timestamp_ms(asked.original_schedule_time) if asked.HasField("original_schedule_time") else at_ms


def _metadata(message: WorkflowCommand) -> str:
    if not message.HasField("user_metadata"):
        return ""
    return b64encode(message.user_metadata.SerializeToString()).decode()


# -- records -----------------------------------------------------------------------------------------------------------


def outcome_text(outcome: LocalOutcome) -> str:
    """The outcome as it is journalled."""
    spec = outcome.spec
    parts = [
        f'{{"k":"local","seq":{spec.seq},"id":{dumps(spec.activity_id)},"type":{dumps(spec.activity_type)},'
        f'"o":"{outcome.kind.value}","att":{outcome.attempt},"ost":{spec.scheduled_ms}'
    ]
    if outcome.record is not None:
        parts.append(f'"r":{outcome.record}')
    if outcome.timeout is not None:
        parts.append(f'"t":{int(outcome.timeout)}')
    if outcome.backoff_ms is not None:
        parts.append(f'"bo":{outcome.backoff_ms}')
    return ",".join(parts) + "}"


def marker(record: Mapping[str, Any], pending: PendingLocal) -> Command:
    """The marker of an outcome that has arrived; what it says is in the arrival."""
    return _marker(record["seq"], pending, "")


def cancel_marker(seq: int, pending: PendingLocal, *, began: bool) -> Command:
    """The marker of a local activity that was given up without waiting for it."""
    attempt = pending.attempt if began else 0
    more = (
        f',"id":{dumps(pending.activity_id)},"type":{dumps(pending.activity_type)},"o":"canceled","att":{attempt},'
        f'"ost":{pending.scheduled_ms}'
    )
    return _marker(seq, pending, more)


def _marker(seq: int, pending: PendingLocal, more: str) -> Command:
    meta = f',"meta":"{pending.meta}"' if pending.meta else ""
    return Command(
        "local_marker",
        f"local_marker {seq} {pending.activity_id} {pending.activity_type}",
        f'{{"k":"local_marker","seq":{seq}{more}{meta}}}',
        seq=seq,
    )


# -- jobs --------------------------------------------------------------------------------------------------------------


def resolution(record: Mapping[str, Any]) -> WorkflowActivationJob:
    """The job for an outcome: application failures as they are, timeouts and cancellations wrapped (temporal-seam §2.10)."""
    job = WorkflowActivationJob()
    resolve = job.resolve_activity
    resolve.seq = record["seq"]
    resolve.is_local = True
    if "bo" in record:
        resolve.result.backoff.attempt = record["att"] + 1
        resolve.result.backoff.backoff_duration.CopyFrom(duration(record["bo"]))
        resolve.result.backoff.original_schedule_time.CopyFrom(timestamp(record["ost"]))
    elif record["o"] == OutcomeKind.COMPLETED:
        resolve.result.completed.result.CopyFrom(payload(record["r"]))
    elif record["o"] == OutcomeKind.CANCELED:
        _wrap(resolve.result.cancelled.failure, "Local Activity cancelled", record)
    elif record["o"] == OutcomeKind.TIMED_OUT:
        _wrap(resolve.result.failed.failure, "Local Activity timed out", record)
    else:
        resolve.result.failed.failure.CopyFrom(failure(record["r"]))
    return job


def canceled_at_once(seq: int, pending: PendingLocal) -> WorkflowActivationJob:
    """The immediate answer to TRY_CANCEL, ABANDON and to a cancel in the task that asked for it."""
    return resolution({"seq": seq, "id": pending.activity_id, "type": pending.activity_type, "o": "canceled"})


def _wrap(outer: Failure, message: str, record: Mapping[str, Any]) -> None:
    outer.message = message
    info = outer.activity_failure_info
    info.activity_type.name = record["type"]
    info.activity_id = record["id"]
    info.retry_state = RetryState.CANCEL_REQUESTED.value  # type: ignore[assignment]
    outer.cause.CopyFrom(local_failure(record))
