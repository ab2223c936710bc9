"""Events → activation jobs, in Temporal's order. Pure.

An event goes through its journal record even when it is live: the record is written first and the job is built from
what was written, so that a live run and its replay cannot see different things.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import WorkflowExecutionStartedEventAttributes
from temporalio.bridge.proto.workflow_activation import (
    InitializeWorkflow,
    SignalWorkflow,
    WorkflowActivationJob,
)

from dbos_compat.bridge.local_activities import outcome_text, resolution
from dbos_compat.bridge.others import Others
from dbos_compat.bridge.seeds import seed
from dbos_compat.bridge.stock_messages import message_text
from dbos_compat.convert.failures import failure
from dbos_compat.convert.metadata import began_ms
from dbos_compat.convert.payloads import as_payloads, dumps, payload, payload_map, payloads
from dbos_compat.history.numbering import started_event_id
from dbos_compat.history.outcomes import timeout_failure
from dbos_core import mailbox
from dbos_core.activities.spec import OutcomeKind, RetryState
from dbos_core.commit import RunRow
from dbos_core.runner import Event, EventKind

_SIGNAL_FIELDS = frozenset(SignalWorkflow.DESCRIPTOR.fields_by_name)
_INIT_FIELDS = frozenset(InitializeWorkflow.DESCRIPTOR.fields_by_name)


# -- records -----------------------------------------------------------------------------------------------------------


def record_text(event: Event) -> str:
    """One event as it is journalled."""
    kind = event.kind
    if kind is EventKind.ACTIVITY:
        outcome = event.outcome
        assert outcome is not None
        parts = [f'{{"k":"activity","seq":{outcome.seq},"o":"{outcome.kind.value}"']
        if outcome.record is not None:
            parts.append(f'"r":{outcome.record}')
        if outcome.retry_state:
            parts.append(f'"retry":{int(outcome.retry_state)}')
        if outcome.timeout is not None:
            parts.append(f'"t":{int(outcome.timeout)}')
        parts.append(f'"att":{outcome.attempt}')
        if outcome.started_ms is not None:
            parts.append(f'"st":{outcome.started_ms}')
        if outcome.identity:
            parts.append(f'"by":{dumps(outcome.identity)}')
        if outcome.heartbeat is not None:
            parts.append(f'"hb":{outcome.heartbeat}')
        if outcome.last_failure is not None:
            parts.append(f'"lf":{outcome.last_failure}')
        return ",".join(parts) + "}"
    if kind is EventKind.TIMER:
        return f'{{"k":"timer","seq":{event.timer}}}'
    if kind is EventKind.START:
        return '{"k":"start"}'
    if kind is EventKind.RESUME:
        return '{"k":"resume"}'
    if kind is EventKind.ERRAND:
        reply = event.reply
        assert reply is not None
        errand, seq, number = reply.key
        parts = [f'{{"k":"errand","e":"{errand.value}","seq":{seq}']
        if number:
            parts.append(f'"n":{number}')
        if reply.run_id:
            parts.append(f'"run":{dumps(reply.run_id)}')
        if reply.refused:
            parts.append('"refused":true')
        return ",".join(parts) + "}"
    if kind is EventKind.LOCAL:
        assert event.local is not None
        return outcome_text(event.local)
    mail = event.mail
    assert mail is not None
    head = f'"id":{dumps(mail.mail_id)},"ms":{mail.created_ms},"m":{message_text(mail)}'
    if kind is EventKind.SIGNAL:
        name = "" if mail.topic == mailbox.NULL_TOPIC else mail.topic
        return f'{{"k":"signal","name":{dumps(name)},{head}}}'
    return f'{{"k":"{kind.value}",{head}}}'


# -- jobs --------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class PendingActivity:
    """What a resolution has to repeat of its request."""

    activity_id: str
    activity_type: str
    cancellation_type: int
    scheduled_event_id: int
    cancel_requested: bool = False


_RANK = {
    "start": 0,
    "signal": 1,
    "update": 2,
    "resume": 9,
    "cancel": 3,
    "timer": 3,
    "activity": 3,
    "errand": 3,
    "child": 3,
    "local": 4,
}


def rank(record: Mapping[str, Any]) -> int:
    """Its place in the order of delivery. Updates come after all signals, but those that a reset brings have an event
    like these and come in their order."""
    kind: str = record["k"]
    return _RANK["signal" if kind == "update" and "reapplied" in record["m"] else kind]


def ordered(records: Sequence[Mapping[str, Any]]) -> list[int]:
    """Indexes of the records in the order of delivery (temporal-seam §1.3): stable within a rank."""
    return sorted(range(len(records)), key=lambda index: rank(records[index]))


def job(
    record: Mapping[str, Any],
    event_id: int,
    *,
    activities: Mapping[int, PendingActivity],
    others: Others,
    start: InitializeWorkflow | None,
    replaying: bool,
) -> WorkflowActivationJob | None:
    """The job for one event; None when nobody waits for it any more."""
    kind = record["k"]
    if kind == "activity":
        pending = activities.get(record["seq"])
        if pending is None:
            return None
        return _resolve_activity(record, pending, event_id)
    if kind == "resume":
        return None
    if kind == "errand":
        return others.reply(record, event_id)
    if kind == "child":
        return others.closed(record["m"])
    if kind == "local":
        return resolution(record)
    result = WorkflowActivationJob()
    if kind == "timer":
        result.fire_timer.seq = record["seq"]
        return result
    if kind == "start":
        assert start is not None
        result.initialize_workflow.CopyFrom(start)
        return result
    message = record["m"]
    if kind == "signal":
        signal = result.signal_workflow
        signal.signal_name = record["name"]
        signal.identity = message.get("identity", "")
        signal.input.extend(payloads(message.get("args", ())))
        for key, value in payload_map(message.get("headers", {})).items():
            signal.headers[key].CopyFrom(value)
        if "originating_event_id" in _SIGNAL_FIELDS:  # temporalio >= 1.32
            signal.originating_event_id = event_id
    elif kind == "cancel":
        result.cancel_workflow.reason = message.get("reason", "")
    else:
        update = result.do_update
        update.id = update.protocol_instance_id = message["update_id"]
        update.name = message["name"]
        update.input.extend(payloads(message.get("args", ())))
        for key, value in payload_map(message.get("headers", {})).items():
            update.headers[key].CopyFrom(value)
        update.meta.update_id = message["update_id"]
        update.meta.identity = message.get("identity", "")
        update.run_validator = not replaying
    return result


def _resolve_activity(record: Mapping[str, Any], pending: PendingActivity, event_id: int) -> WorkflowActivationJob:
    result = WorkflowActivationJob()
    resolve = result.resolve_activity
    resolve.seq = record["seq"]
    outcome = record["o"]
    if outcome == OutcomeKind.COMPLETED:
        resolve.result.completed.result.CopyFrom(payload(record["r"]))
        return result
    if outcome == OutcomeKind.CANCELED:
        resolve.result.cancelled.failure.CopyFrom(
            canceled_failure(pending, record.get("r"), record, started_event_id(record, event_id))
        )
        return result
    resolve.result.failed.failure.CopyFrom(activity_failure(record, pending, started_event_id(record, event_id)))
    return result


def activity_failure(record: Mapping[str, Any], pending: PendingActivity, started_id: int) -> Failure:
    """The failure of a failed or timed-out activity, as the workflow sees it (temporal-seam §2.8)."""
    timed_out = record["o"] == OutcomeKind.TIMED_OUT
    outer = Failure(message="Activity task timed out" if timed_out else "Activity task failed")
    info = outer.activity_failure_info
    info.scheduled_event_id = pending.scheduled_event_id
    info.started_event_id = started_id
    info.identity = "" if timed_out else record.get("by", "")
    info.activity_type.name = pending.activity_type
    info.activity_id = pending.activity_id
    info.retry_state = record.get("retry", 0)
    if timed_out:
        outer.cause.CopyFrom(timeout_failure(record))
    else:
        outer.cause.CopyFrom(failure(record["r"]))
    return outer


def canceled_failure(
    pending: PendingActivity, details: Sequence[Mapping[str, Any]] | None, record: Mapping[str, Any], started_id: int
) -> Failure:
    """The failure of an activity that ended as cancelled."""
    outer = Failure(message="Activity cancelled")
    info = outer.activity_failure_info
    info.scheduled_event_id = pending.scheduled_event_id
    info.started_event_id = started_id
    info.identity = record.get("by", "")
    info.activity_type.name = pending.activity_type
    info.activity_id = pending.activity_id
    info.retry_state = RetryState.CANCEL_REQUESTED.value  # type: ignore[assignment]
    outer.cause.canceled_failure_info.SetInParent()
    if details:
        outer.cause.canceled_failure_info.details.CopyFrom(as_payloads(details))
    return outer


def canceled_at_once(seq: int, pending: PendingActivity) -> WorkflowActivationJob:
    """The immediate answer to TRY_CANCEL, ABANDON and to a cancel in the task that scheduled the activity. It names no
    events, whether there are any or not (observed)."""
    result = WorkflowActivationJob()
    resolve = result.resolve_activity
    resolve.seq = seq
    outer = resolve.result.cancelled.failure
    outer.message = "Activity cancelled"
    info = outer.activity_failure_info
    info.activity_type.name = pending.activity_type
    info.activity_id = pending.activity_id
    info.retry_state = RetryState.CANCEL_REQUESTED.value  # type: ignore[assignment]
    outer.cause.canceled_failure_info.SetInParent()
    return result


def initialize(row: RunRow, started: WorkflowExecutionStartedEventAttributes) -> InitializeWorkflow:
    """The initialize job from the start record. Carries the *start* values of memo and search attributes."""
    init = InitializeWorkflow(
        workflow_type=started.workflow_type.name,
        workflow_id=row.workflow_id,
        arguments=started.input.payloads,
        randomness_seed=seed(started.original_execution_run_id or row.run_id),
        identity=started.identity,
        continued_from_execution_run_id=started.continued_execution_run_id,
        first_execution_run_id=started.first_execution_run_id,
        attempt=max(1, started.attempt),
        cron_schedule=started.cron_schedule,
        start_time=timestamp(began_ms(row)),
    )
    if "original_execution_run_id" in _INIT_FIELDS:  # temporalio >= 1.32
        init.original_execution_run_id = started.original_execution_run_id or row.run_id
    for key, value in started.header.fields.items():
        init.headers[key].CopyFrom(value)
    for name in ("workflow_execution_timeout", "workflow_run_timeout", "workflow_task_timeout"):
        if started.HasField(name):
            getattr(init, name).CopyFrom(getattr(started, name))
    for name in ("retry_policy", "memo", "search_attributes", "priority", "last_completion_result"):
        if started.HasField(name):  # type: ignore[arg-type]
            getattr(init, name).CopyFrom(getattr(started, name))
    if started.HasField("continued_failure"):
        init.continued_failure.CopyFrom(started.continued_failure)
    if started.parent_workflow_execution.workflow_id:
        init.parent_workflow_info.namespace = started.parent_workflow_namespace
        init.parent_workflow_info.workflow_id = started.parent_workflow_execution.workflow_id
        init.parent_workflow_info.run_id = started.parent_workflow_execution.run_id
        if started.HasField("root_workflow_execution"):
            init.root_workflow.CopyFrom(started.root_workflow_execution)
    return init


def reseed(run_id: str) -> WorkflowActivationJob:
    """A run that was reset goes on with other random numbers than the one that it goes back in."""
    result = WorkflowActivationJob()
    result.update_random_seed.randomness_seed = seed(run_id)
    return result


def timestamp(ms: int) -> Timestamp:
    seconds, rest = divmod(ms, 1000)
    return Timestamp(seconds=seconds, nanos=rest * 1_000_000)
