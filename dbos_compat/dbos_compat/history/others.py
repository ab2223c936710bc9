"""What a run has to do with other workflows → history events: children, and signals and cancel requests to others.

Requests and replies are written together here, since a reply repeats what was asked for.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message
from temporalio.api.common.v1 import Priority, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import (
    CancelExternalWorkflowExecutionFailedCause as CancelFailed,
)
from temporalio.api.enums.v1 import (
    ParentClosePolicy,
    RetryState,
    WorkflowIdReusePolicy,
)
from temporalio.api.enums.v1 import (
    SignalExternalWorkflowExecutionFailedCause as SignalFailed,
)
from temporalio.api.enums.v1 import (
    StartChildWorkflowExecutionFailedCause as StartFailed,
)
from temporalio.api.history.v1 import (
    ChildWorkflowExecutionCanceledEventAttributes,
    ChildWorkflowExecutionCompletedEventAttributes,
    ChildWorkflowExecutionFailedEventAttributes,
    ChildWorkflowExecutionStartedEventAttributes,
    ChildWorkflowExecutionTerminatedEventAttributes,
    ChildWorkflowExecutionTimedOutEventAttributes,
    ExternalWorkflowExecutionCancelRequestedEventAttributes,
    ExternalWorkflowExecutionSignaledEventAttributes,
    HistoryEvent,
    RequestCancelExternalWorkflowExecutionFailedEventAttributes,
    RequestCancelExternalWorkflowExecutionInitiatedEventAttributes,
    SignalExternalWorkflowExecutionFailedEventAttributes,
    SignalExternalWorkflowExecutionInitiatedEventAttributes,
    StartChildWorkflowExecutionFailedEventAttributes,
    StartChildWorkflowExecutionInitiatedEventAttributes,
)

from dbos_compat.convert.failures import failure
from dbos_compat.convert.payloads import as_payloads
from dbos_compat.convert.times import duration
from dbos_compat.history.attributes import event, header, some_payloads
from dbos_compat.history.numbering import ERRANDS, EventIds, Record
from dbos_compat.relations import cancel_reason, child_request
from dbos_compat.service.start import timeouts
from dbos_core.commit import Mail, RunRow


class Others:
    """What one history has said of others so far."""

    def __init__(self, run: RunRow, ids: EventIds, namespace: str) -> None:
        self._run = run
        self._ids = ids
        self._namespace = namespace
        self._asked: dict[tuple[str, int, int], Record] = {}
        self._started: dict[int, tuple[int, str]] = {}
        """Child → its started event and first run id."""

    # -- what was asked for ----------------------------------------------------------------------------------------

    def request(self, command: Record, task_completed: int) -> Message:
        kind = ERRANDS[command["k"]]
        self._asked[kind, command["seq"], command.get("n", 0)] = command
        return _REQUESTS[kind](self, command, task_completed)

    def _child(self, command: Record, task_completed: int) -> Message:
        request = child_request(command)
        times = timeouts(request)
        attributes = StartChildWorkflowExecutionInitiatedEventAttributes(
            namespace=self._namespace,
            workflow_id=command["id"],
            workflow_type=request.workflow_type,
            task_queue=request.task_queue,
            input=request.input if request.HasField("input") else None,
            workflow_run_timeout=duration(times.run_ms),
            workflow_task_timeout=duration(times.task_ms),
            parent_close_policy=ParentClosePolicy.ValueType(command["pcp"]),
            workflow_task_completed_event_id=task_completed,
            workflow_id_reuse_policy=WorkflowIdReusePolicy.ValueType(command["reuse"]),
            retry_policy=request.retry_policy if request.HasField("retry_policy") else None,
            cron_schedule=request.cron_schedule,
            header=request.header,
            memo=request.memo if request.HasField("memo") else None,
            search_attributes=request.search_attributes if request.HasField("search_attributes") else None,
            inherit_build_id=command["queue"] == self._run.task_queue,
            priority=Priority.FromString(b64decode(command.get("prio") or "")),
        )
        attributes.task_queue.kind = 1  # type: ignore[assignment]
        if times.execution_ms:
            attributes.workflow_execution_timeout.CopyFrom(duration(times.execution_ms))
        return attributes

    def _child_cancel(self, command: Record, task_completed: int) -> Message:
        seq = command["seq"]
        return RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(
            workflow_task_completed_event_id=task_completed,
            namespace=self._namespace,
            workflow_execution=self._execution_of_child(seq),
            child_workflow_only=True,
            reason=command["reason"],
        )

    def _signal(self, command: Record, task_completed: int) -> Message:
        return SignalExternalWorkflowExecutionInitiatedEventAttributes(
            workflow_task_completed_event_id=task_completed,
            namespace=self._namespace,
            workflow_execution=_target(command),
            signal_name=command["name"],
            input=some_payloads(command["in"]),
            child_workflow_only=command.get("child", False),
            header=header(command.get("h")),
        )

    def _cancel(self, command: Record, task_completed: int) -> Message:
        return RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(
            workflow_task_completed_event_id=task_completed,
            namespace=self._namespace,
            workflow_execution=_target(command),
            reason=cancel_reason(self._run.run_id, command["reason"]),
        )

    # -- what happened ---------------------------------------------------------------------------------------------

    def reply(self, arrival: Record, event_id: int, at_ms: int) -> HistoryEvent:
        """How an errand went."""
        kind, seq, number = arrival["e"], arrival["seq"], arrival.get("n", 0)
        asked, initiated = self._asked[kind, seq, number], self._ids.initiated(kind, seq, number)
        refused = arrival.get("refused", False)
        if kind == "child":
            if not refused:
                self._started[seq] = event_id, arrival["run"]
            return event(event_id, at_ms, self._start(asked, initiated, arrival))
        target = self._execution_of_child(seq) if kind == "child_cancel" else _target(asked)
        return event(event_id, at_ms, _replied(kind, refused, initiated, self._namespace, target))

    def _start(self, asked: Record, initiated: int, arrival: Record) -> Message:
        if arrival.get("refused"):
            return StartChildWorkflowExecutionFailedEventAttributes(
                namespace=self._namespace,
                workflow_id=asked["id"],
                workflow_type=WorkflowType(name=asked["type"]),
                cause=StartFailed.START_CHILD_WORKFLOW_EXECUTION_FAILED_CAUSE_WORKFLOW_ALREADY_EXISTS,
                initiated_event_id=initiated,
            )
        return ChildWorkflowExecutionStartedEventAttributes(
            namespace=self._namespace,
            initiated_event_id=initiated,
            workflow_execution=WorkflowExecution(workflow_id=asked["id"], run_id=arrival["run"]),
            workflow_type=WorkflowType(name=asked["type"]),
            header=child_request(asked).header,
        )

    def closed(self, message: Record, event_id: int, at_ms: int) -> HistoryEvent:
        """A child has ended."""
        seq, outcome = message["seq"], message["o"]
        asked = self._asked["child", seq, 0]
        made: Any = _ENDS[outcome](
            namespace=self._namespace,
            workflow_execution=WorkflowExecution(workflow_id=asked["id"], run_id=message["run_id"]),
            workflow_type=WorkflowType(name=asked["type"]),
            initiated_event_id=self._ids.initiated("child", seq),
            started_event_id=self._started[seq][0],
        )
        if outcome == "completed" and "r" in message:
            made.result.CopyFrom(as_payloads([message["r"]]))
        elif outcome == "canceled" and "d" in message:
            made.details.CopyFrom(as_payloads(message["d"]))
        elif outcome == "failed":
            made.failure.CopyFrom(failure(message["f"]))
        if "retry" in message:
            made.retry_state = RetryState.ValueType(message["retry"])
        return event(event_id, at_ms, made)

    def told(self, letter: Mail, event_id: int) -> list[HistoryEvent]:
        """News of a child that no task has handled yet. If its start was not handled either, that comes first."""
        message = json.loads(letter.message)
        made = []
        if message["seq"] not in self._started:
            began = {"e": "child", "seq": message["seq"], "run": message["first_run_id"]}
            made.append(self.reply(began, event_id, letter.created_ms))
        made.append(self.closed(message, event_id + len(made), letter.created_ms))
        return made

    def _execution_of_child(self, seq: int) -> WorkflowExecution:
        asked = self._asked["child", seq, 0]
        return WorkflowExecution(workflow_id=asked["id"], run_id=self._started.get(seq, (0, ""))[1])


def _target(command: Record) -> WorkflowExecution:
    return WorkflowExecution(workflow_id=command["id"], run_id=command.get("run", ""))


def _replied(kind: str, refused: bool, initiated: int, namespace: str, target: WorkflowExecution) -> Message:
    if kind == "signal":
        if refused:
            return SignalExternalWorkflowExecutionFailedEventAttributes(
                cause=SignalFailed.SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED_CAUSE_EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND,
                namespace=namespace,
                workflow_execution=target,
                initiated_event_id=initiated,
            )
        return ExternalWorkflowExecutionSignaledEventAttributes(
            initiated_event_id=initiated, namespace=namespace, workflow_execution=target
        )
    if refused:
        return RequestCancelExternalWorkflowExecutionFailedEventAttributes(
            cause=CancelFailed.CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED_CAUSE_EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND,
            namespace=namespace,
            workflow_execution=target,
            initiated_event_id=initiated,
        )
    return ExternalWorkflowExecutionCancelRequestedEventAttributes(
        initiated_event_id=initiated, namespace=namespace, workflow_execution=target
    )


_REQUESTS: dict[str, Callable[[Others, Record, int], Message]] = {
    "child": Others._child,
    "child_cancel": Others._child_cancel,
    "signal": Others._signal,
    "cancel": Others._cancel,
}

_ENDS: dict[str, Callable[..., Message]] = {
    "completed": ChildWorkflowExecutionCompletedEventAttributes,
    "failed": ChildWorkflowExecutionFailedEventAttributes,
    "canceled": ChildWorkflowExecutionCanceledEventAttributes,
    "terminated": ChildWorkflowExecutionTerminatedEventAttributes,
    "timed_out": ChildWorkflowExecutionTimedOutEventAttributes,
}
