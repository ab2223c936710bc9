"""What a run has to do with other workflows: its children, and the signals and cancel requests that it sends.

Here is what the interpreter remembers of them, what a workflow is told at once, and the jobs that tell it how things
went (temporal-seam §3.2–3.4). Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import RetryState, TimeoutType
from temporalio.api.failure.v1 import Failure
from temporalio.bridge.proto.child_workflow import StartChildWorkflowExecutionFailedCause as StartFailed
from temporalio.bridge.proto.workflow_activation import WorkflowActivationJob

from dbos_compat.bridge.commands import Command
from dbos_compat.convert.failures import failure
from dbos_compat.convert.payloads import dumps, payload
from dbos_core.commit import ParentClosePolicy
from dbos_core.errands.spec import Errand, ErrandKind

ABANDON, TRY_CANCEL = 0, 1
"""``ChildWorkflowCancellationType``; the other two wait for the child's end."""

_TAKEN = "START_CHILD_WORKFLOW_EXECUTION_FAILED_CAUSE_WORKFLOW_ALREADY_EXISTS"
NOT_FOUND = "ExternalWorkflowExecutionNotFound"


@dataclass(slots=True)
class Child:
    """A child as its parent knows it."""

    workflow_id: str
    workflow_type: str
    namespace: str
    cancellation_type: int
    policy: int
    initiated_event_id: int = 0
    started_event_id: int = 0
    run_id: str = ""
    cancels: int = 0
    """How often its cancellation was requested."""
    given_up: bool = False
    """The workflow was told of its end before it came."""
    over: bool = False
    """It has ended, or never begun."""


@dataclass(slots=True)
class Others:
    """All that one run has to do with others."""

    children: dict[int, Child] = field(default_factory=dict)
    signals: set[int] = field(default_factory=set)
    """Sent, and without a reply."""
    cancels: set[int] = field(default_factory=set)

    @property
    def open_children(self) -> bool:
        """Is there a child that the end of this run concerns?"""
        if not self.children:
            return False
        return any(not c.over and c.policy != ParentClosePolicy.ABANDON for c in self.children.values())

    # -- commands --------------------------------------------------------------------------------------------------

    def answers(
        self, fresh: Iterable[Command], before: Sequence[Command], records: Iterable[Mapping[str, Any]]
    ) -> tuple[list[WorkflowActivationJob], list[Command]]:
        """What the workflow is told at once of these commands; and those of them that come too late and are dropped.

        Args:
            before: what it asked for earlier in this task, and now.
            records: what happened to it in this task.
        """
        jobs: list[WorkflowActivationJob] = []
        late: list[Command] = []
        unsent = {(c.kind, c.seq): c for c in before if c.kind in ("child", "signal_external")}
        ended = {seq for record in records if (seq := _ended(record)) is not None}
        for command in fresh:
            if command.kind == "cancel_signal":
                if ("signal_external", command.seq) in unsent:
                    jobs.append(_signal_unsent(command.seq))
                else:
                    late.append(command)
            elif command.kind == "cancel_child":
                asked = unsent.get(("child", command.seq))
                child = self.children.get(command.seq)
                if asked is not None:
                    jobs.append(_child_unsent(command.seq, child_of(asked), command.message.reason))
                elif child is None or child.over or child.given_up or command.seq in ended:
                    late.append(command)
                else:
                    jobs += self._cancel(command, child)
        return jobs, late

    def _cancel(self, command: Command, child: Child) -> list[WorkflowActivationJob]:
        child.cancels += 1
        command.cancellation_type = child.cancellation_type
        command.number = child.cancels
        command.written = (
            f'{{"k":"cancel_child","seq":{command.seq},"n":{child.cancels},"ct":{child.cancellation_type},'
            f'"reason":{dumps(command.message.reason)}}}'
        )
        if child.cancellation_type not in (ABANDON, TRY_CANCEL):
            return []
        child.given_up = True
        return [_child_canceled(command.seq, child)]

    # -- events ----------------------------------------------------------------------------------------------------

    def reply(self, record: Mapping[str, Any], event_id: int) -> WorkflowActivationJob | None:
        """The job for the reply to an errand; None when the workflow does not wait for it."""
        kind, seq, refused = record["e"], record["seq"], record.get("refused", False)
        if kind == ErrandKind.CHILD:
            return self._started(seq, record, event_id)
        if kind == ErrandKind.SIGNAL and seq in self.signals:
            result = WorkflowActivationJob()
            result.resolve_signal_external_workflow.seq = seq
            if refused:
                result.resolve_signal_external_workflow.failure.CopyFrom(
                    not_found("Unable to signal external workflow because it was not found")
                )
            return result
        if kind == ErrandKind.CANCEL and seq in self.cancels:
            result = WorkflowActivationJob()
            result.resolve_request_cancel_external_workflow.seq = seq
            if refused:
                result.resolve_request_cancel_external_workflow.failure.CopyFrom(
                    not_found("Unable to cancel external workflow because not found")
                )
            return result
        return None

    def _started(self, seq: int, record: Mapping[str, Any], event_id: int) -> WorkflowActivationJob | None:
        child = self.children.get(seq)
        if child is None:
            return None
        result = WorkflowActivationJob()
        start = result.resolve_child_workflow_execution_start
        start.seq = seq
        if record.get("refused"):
            start.failed.workflow_id = child.workflow_id
            start.failed.workflow_type = child.workflow_type
            start.failed.cause = StartFailed.Value(_TAKEN)
        else:
            child.started_event_id, child.run_id = event_id, record["run"]
            start.succeeded.run_id = child.run_id
        return None if child.given_up else result

    def closed(self, message: Mapping[str, Any]) -> WorkflowActivationJob | None:
        """The job for the end of a child; None when the workflow does not wait for it."""
        seq = message["seq"]
        child = self.children.get(seq)
        if child is None or child.over or child.given_up:
            return None
        outcome = message["o"]
        if outcome == "canceled":
            return _child_canceled(seq, child)
        result = WorkflowActivationJob()
        resolve = result.resolve_child_workflow_execution
        resolve.seq = seq
        if outcome == "completed":
            resolve.result.completed.SetInParent()
            if "r" in message:
                resolve.result.completed.result.CopyFrom(payload(message["r"]))
            return result
        resolve.result.failed.failure.CopyFrom(child_failure(message, child))
        return result

    def happened(self, record: Mapping[str, Any]) -> None:
        """Take note of an event that is committed (or read back)."""
        if record["k"] == "child":
            child = self.children.get(record["m"]["seq"])
            if child is not None:
                child.over = True
            return
        kind, seq = record["e"], record["seq"]
        if kind == ErrandKind.CHILD:
            if record.get("refused") and seq in self.children:
                self.children[seq].over = True
        elif kind == ErrandKind.SIGNAL:
            self.signals.discard(seq)
        elif kind == ErrandKind.CANCEL:
            self.cancels.discard(seq)


def _ended(record: Mapping[str, Any]) -> int | None:
    """The child that is over by this event."""
    if record["k"] == "child":
        return int(record["m"]["seq"])
    if record["k"] == "errand" and record["e"] == ErrandKind.CHILD and record.get("refused"):
        return int(record["seq"])
    return None


def child_of(command: Command) -> Child:
    """What is to be remembered of a child that is asked for."""
    start = command.message.start_child_workflow_execution
    return Child(
        workflow_id=start.workflow_id,
        workflow_type=start.workflow_type,
        namespace=start.namespace,
        cancellation_type=start.cancellation_type,
        policy=start.parent_close_policy or ParentClosePolicy.TERMINATE,
    )


# -- errands -----------------------------------------------------------------------------------------------------------

ERRANDS = frozenset({"child", "cancel_child", "signal_external", "cancel_external"})
"""Kinds of commands that other workflows shall feel."""


def errand_of(command: Command, event_id: int, others: Others) -> Errand | None:
    """What the kernel shall do for a command, which is taken note of. None: an abandoned child is not told."""
    seq = command.seq
    if command.kind == "child":
        child = others.children[seq] = child_of(command)
        child.initiated_event_id = event_id
        return _errand(ErrandKind.CHILD, command, event_id, child.workflow_id, native=command.request)
    if command.kind == "cancel_child":
        child = others.children[seq]
        if child.cancellation_type == ABANDON:
            return None
        return _errand(
            ErrandKind.CHILD_CANCEL, command, event_id, child.workflow_id, number=command.number, child_only=True
        )
    if command.kind == "signal_external":
        others.signals.add(seq)
        signal = command.message.signal_external_workflow_execution
        if signal.WhichOneof("target") == "child_workflow_id":
            return _errand(ErrandKind.SIGNAL, command, event_id, signal.child_workflow_id, child_only=True)
        target = signal.workflow_execution
        return _errand(ErrandKind.SIGNAL, command, event_id, target.workflow_id, run_id=target.run_id)
    others.cancels.add(seq)
    target = command.message.request_cancel_external_workflow_execution.workflow_execution
    return _errand(ErrandKind.CANCEL, command, event_id, target.workflow_id, run_id=target.run_id)


def _errand(kind: ErrandKind, command: Command, event_id: int, workflow_id: str, **fields: Any) -> Errand:
    return Errand(kind=kind, seq=command.seq, workflow_id=workflow_id, event_id=event_id, record=command.text, **fields)


# -- failures, in the words of Temporal's core -------------------------------------------------------------------------


def _outer(message: str, child: Child, retry_state: int) -> Failure:
    result = Failure(message=message)
    info = result.child_workflow_execution_failure_info
    info.namespace = child.namespace
    info.workflow_execution.CopyFrom(WorkflowExecution(workflow_id=child.workflow_id, run_id=child.run_id))
    info.workflow_type.CopyFrom(WorkflowType(name=child.workflow_type))
    info.initiated_event_id = child.initiated_event_id
    info.started_event_id = child.started_event_id
    info.retry_state = retry_state  # type: ignore[assignment]
    return result


def child_failure(message: Mapping[str, Any], child: Child) -> Failure:
    """The failure of a child that failed, timed out or was terminated."""
    outcome = message["o"]
    if outcome == "timed_out":
        outer = _outer("Child Workflow execution timed out", child, message.get("retry", 0))
        outer.cause.message = "Timed out"
        outer.cause.timeout_failure_info.timeout_type = TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE
        return outer
    if outcome == "terminated":
        outer = _outer("Child Workflow execution terminated", child, RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE)
        outer.cause.message = "Terminated"
        outer.cause.terminated_failure_info.SetInParent()
        return outer
    outer = _outer("Child Workflow execution failed", child, message.get("retry", 0))
    outer.cause.CopyFrom(failure(message["f"]))
    return outer


def _child_canceled(seq: int, child: Child) -> WorkflowActivationJob:
    result = WorkflowActivationJob()
    resolve = result.resolve_child_workflow_execution
    resolve.seq = seq
    outer = _outer("Child Workflow execution cancelled", child, RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE)
    outer.cause.canceled_failure_info.SetInParent()
    resolve.result.cancelled.failure.CopyFrom(outer)
    return result


def _child_unsent(seq: int, child: Child, reason: str) -> WorkflowActivationJob:
    """A child that was asked for and cancelled in one task is never started."""
    result = WorkflowActivationJob()
    start = result.resolve_child_workflow_execution_start
    start.seq = seq
    outer = _outer(
        f"Child Workflow Execution cancelled before scheduled: {reason}",
        child,
        RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE,
    )
    outer.cause.canceled_failure_info.SetInParent()
    start.cancelled.failure.CopyFrom(outer)
    return result


def _signal_unsent(seq: int) -> WorkflowActivationJob:
    result = WorkflowActivationJob()
    result.resolve_signal_external_workflow.seq = seq
    result.resolve_signal_external_workflow.failure.message = "Signal was cancelled before being sent"
    result.resolve_signal_external_workflow.failure.canceled_failure_info.SetInParent()
    return result


def not_found(message: str) -> Failure:
    result = Failure(message=message)
    result.application_failure_info.type = NOT_FOUND
    return result
