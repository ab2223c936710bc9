"""Relations: what it means, in Temporal's terms, when runs have to do with each other.

The kernel performs errands and tells parents of their children's ends without knowing what is in a record
(``dbos_core.errands``). Here a journalled command becomes the run or the message that it asks for, and a closed run
becomes what its parent hears.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from temporalio.api.common.v1 import Priority, RetryPolicy, WorkflowType
from temporalio.api.sdk.v1 import UserMetadata
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest

from dbos_compat.convert.failures import failure_text
from dbos_compat.convert.metadata import metadata_record
from dbos_compat.convert.payloads import dumps, payload_map, payload_text, payloads, payloads_text
from dbos_compat.convert.records import CloseRecord, Sender, close_record, close_text, message_text
from dbos_compat.convert.times import duration
from dbos_compat.service.start import Parent, derived_uuid, new_run, terminate_record
from dbos_core.commit import Close, Mail, NewRun, ParentClosePolicy, ParentLink, RunRow, RunStatus
from dbos_core.errands.spec import Errand, ErrandKind, child_run_id, news_id
from dbos_core.mailbox import CANCEL, CHILD, OWN_ID

SERVICE = "history-service"
"""Who Temporal's server says it is when one workflow does something to another."""

_OUTCOMES = {
    RunStatus.COMPLETED: "completed",
    RunStatus.FAILED: "failed",
    RunStatus.CANCELED: "canceled",
    RunStatus.TERMINATED: "terminated",
    RunStatus.TIMED_OUT: "timed_out",
}
_RETRY_POLICY_NOT_SET = 5


def child_request(record: Mapping[str, Any]) -> StartWorkflowExecutionRequest:
    """A child command as the start request that it amounts to."""
    request = StartWorkflowExecutionRequest(
        workflow_id=record["id"],
        workflow_type=WorkflowType(name=record["type"]),
        task_queue=TaskQueue(name=record["queue"]),
        workflow_id_reuse_policy=record["reuse"],
        cron_schedule=record.get("cron", ""),
    )
    if record["in"]:
        request.input.payloads.extend(payloads(record["in"]))
    request.header.SetInParent()
    for key, value in payload_map(record.get("h", {})).items():
        request.header.fields[key].CopyFrom(value)
    for key, timeout in (
        ("xt", request.workflow_execution_timeout),
        ("rt", request.workflow_run_timeout),
        ("tt", request.workflow_task_timeout),
    ):
        if key in record:
            timeout.CopyFrom(duration(record[key]))
    if "retry" in record:
        request.retry_policy.CopyFrom(retry_policy(record["retry"]))
    for key, value in payload_map(record.get("memo", {})).items():
        request.memo.fields[key].CopyFrom(value)
    for key, value in payload_map(record.get("sa", {})).items():
        request.search_attributes.indexed_fields[key].CopyFrom(value)
    if "prio" in record:
        request.priority.CopyFrom(Priority.FromString(b64decode(record["prio"])))
    if "meta" in record:
        request.user_metadata.CopyFrom(UserMetadata.FromString(b64decode(record["meta"])))
    return request


def inherit_priority(request: StartWorkflowExecutionRequest, parent: RunRow) -> None:
    """What a child is not given of a priority it has from its parent. Doing it again changes nothing."""
    if parent.metadata is None or '"priority":"' not in parent.metadata:
        return
    priority = metadata_record(parent.metadata).priority
    if priority is not None and priority.ListFields():
        priority.MergeFrom(request.priority)  # of which zeros are not given
        request.priority.CopyFrom(priority)


def retry_policy(record: Mapping[str, Any]) -> RetryPolicy:
    """A policy as a workflow has given it; what it left out is left out."""
    policy = RetryPolicy(
        backoff_coefficient=record["coefficient"],
        maximum_attempts=record["max_attempts"],
        non_retryable_error_types=record["non_retryable"],
    )
    if record["initial"]:
        policy.initial_interval.CopyFrom(duration(record["initial"]))
    if record["max_interval"]:
        policy.maximum_interval.CopyFrom(duration(record["max_interval"]))
    return policy


class TemporalRelations:
    """The ``Relations`` of a kernel that runs Temporal workflows."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    def child(self, errand: Errand, parent: RunRow, now_ms: int) -> tuple[NewRun, str, str]:
        record = json.loads(errand.record)
        above = parent.parent
        link = ParentLink(
            workflow_uuid=parent.workflow_uuid,
            workflow_id=parent.workflow_id,
            run_id=parent.run_id,
            seq=errand.seq,
            policy=ParentClosePolicy(record["pcp"]),
            root_workflow_id=above.root_workflow_id if above else parent.workflow_id,
            root_run_id=above.root_run_id if above else parent.run_id,
        )
        request = errand.native or child_request(record)
        inherit_priority(request, parent)
        new = new_run(
            request,
            run_id=child_run_id(parent.run_id, errand.seq),
            now_ms=now_ms,
            parent=Parent(link=link, namespace=self._namespace, initiated_event_id=errand.event_id),
        )
        return new, derived_uuid(new), terminate_record(new.run_id)

    def letter(self, errand: Errand, sender: RunRow, target: RunRow) -> Mail:
        record = json.loads(errand.record)
        origin = Sender(workflow_id=sender.workflow_id, run_id=sender.run_id, event_id=errand.event_id)
        if errand.kind is ErrandKind.SIGNAL:
            mail_id = f"{OWN_ID}{sender.run_id}:xs:{errand.seq}"
            return Mail(
                mail_id=mail_id,
                workflow_uuid=target.workflow_uuid,
                topic=record["name"],
                message=message_text(
                    args=payloads(record["in"]),
                    headers=payload_map(record.get("h", {})),
                    identity=SERVICE,
                    request_id=str(uuid5(NAMESPACE_OID, mail_id)),
                    sender=origin,
                ),
            )
        reason = record["reason"]
        if errand.kind is ErrandKind.CANCEL:
            reason = cancel_reason(sender.run_id, reason)
        return _cancel(target, message_text(identity=SERVICE, reason=reason, sender=origin))

    def news(self, child: RunRow) -> Mail | None:
        assert child.parent is not None
        close = close_record(child.close) if child.close else CloseRecord(kind=_OUTCOMES[child.status])
        if close.new_run_id or child.status not in _OUTCOMES:
            return None
        return Mail(
            mail_id=news_id(child.parent.run_id, child.parent.seq),
            workflow_uuid=child.parent.workflow_uuid,
            topic=CHILD,
            message=news_text(child, close),
        )

    def end_of_child(self, child: RunRow, now_ms: int) -> Close:
        reason = "by parent close policy"
        return Close(
            status=RunStatus.TERMINATED,
            close_ms=now_ms,
            record=close_text(CloseRecord(kind="terminated", reason=reason, identity=SERVICE)),
            error=dumps({"name": "WorkflowTerminated", "message": reason}),
            mail_seen_ms=None,
        )

    def cancel_of_child(self, child: RunRow) -> Mail:
        parent = child.parent
        assert parent is not None
        origin = Sender(workflow_id=parent.workflow_id, run_id=parent.run_id)
        return _cancel(child, message_text(identity=SERVICE, sender=origin))


def cancel_reason(sender_run_id: str, reason: str) -> str:
    """How Temporal's core puts the reason of a cancel request to an external workflow."""
    return f"Cancel requested by workflow with run id {sender_run_id} with reason: {reason}"


def _cancel(target: RunRow, message: str) -> Mail:
    return Mail(mail_id=f"{OWN_ID}{target.run_id}:c", workflow_uuid=target.workflow_uuid, topic=CANCEL, message=message)


def news_text(child: RunRow, close: CloseRecord) -> str:
    """How a child ended, for its parent's journal."""
    assert child.parent is not None
    outcome = _OUTCOMES[child.status]
    parts = [
        f'"seq":{child.parent.seq},"first_run_id":"{child.first_run_id}","run_id":"{child.run_id}","o":"{outcome}"'
    ]
    if close.result:
        parts.append(f'"r":{payload_text(close.result[0])}')
    if outcome == "failed" and close.failure is not None:
        parts.append(f'"f":{failure_text(close.failure)}')
    if outcome in ("failed", "timed_out"):
        parts.append(f'"retry":{close.retry_state or _RETRY_POLICY_NOT_SET}')
    if outcome == "canceled" and close.details:
        parts.append(f'"d":{payloads_text(close.details)}')
    return "{" + ",".join(parts) + "}"
