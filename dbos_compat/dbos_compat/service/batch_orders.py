"""What a batch operation may order: its kinds, Temporal's checks of an order, and the request that does it to one run."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.message import Message
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import ExecutionType, ResetType
from temporalio.api.workflowservice.v1 import (
    DeleteWorkflowExecutionRequest,
    RequestCancelWorkflowExecutionRequest,
    ResetActivityRequest,
    ResetWorkflowExecutionRequest,
    SignalWorkflowExecutionRequest,
    StartBatchOperationRequest,
    TerminateWorkflowExecutionRequest,
    UnpauseActivityRequest,
    UpdateActivityOptionsRequest,
    UpdateWorkflowExecutionOptionsRequest,
)

from dbos_compat.errors import invalid
from dbos_compat.filters import BadFilter
from dbos_compat.filters.syntax import parse_syntax

Order = StartBatchOperationRequest

NO_TYPE = "Either activity type must be set, or match all should be set to true"


@dataclass(frozen=True, slots=True)
class OrderKind:
    """One kind of batch operation."""

    number: int
    """Temporal's ``BatchOperationType``."""
    rpc: str
    """What is sent for each run."""
    make: Callable[[Order, WorkflowExecution], Message]
    open_only: bool = True
    """Only open runs are meant, whatever the filter finds."""


def _terminate(order: Order, run: WorkflowExecution) -> Message:
    operation = order.termination_operation
    return TerminateWorkflowExecutionRequest(
        namespace=order.namespace,
        workflow_execution=run,
        reason=order.reason,
        details=operation.details if operation.HasField("details") else None,
        identity=operation.identity,
    )


def _cancel(order: Order, run: WorkflowExecution) -> Message:
    return RequestCancelWorkflowExecutionRequest(
        namespace=order.namespace,
        workflow_execution=run,
        reason=order.reason,
        identity=order.cancellation_operation.identity,
        request_id=_request_id(order, "cancel", run),
    )


def _signal(order: Order, run: WorkflowExecution) -> Message:
    operation = order.signal_operation
    return SignalWorkflowExecutionRequest(
        namespace=order.namespace,
        workflow_execution=run,
        signal_name=operation.signal,
        input=operation.input if operation.HasField("input") else None,
        header=operation.header if operation.HasField("header") else None,
        identity=operation.identity,
        request_id=_request_id(order, "signal", run),
    )


def _delete(order: Order, run: WorkflowExecution) -> Message:
    return DeleteWorkflowExecutionRequest(namespace=order.namespace, workflow_execution=run)


def _reset(order: Order, run: WorkflowExecution) -> Message:
    """Without the event to reset to, which ``batch_work`` finds in the run's history."""
    operation = order.reset_operation
    options = operation.options if operation.HasField("options") else None
    request = ResetWorkflowExecutionRequest(
        namespace=order.namespace,
        workflow_execution=run,
        reason=order.reason,
        request_id=_request_id(order, "reset", run),
        reset_reapply_type=(options or operation).reset_reapply_type,
        identity=operation.identity,
        post_reset_operations=operation.post_reset_operations,
    )
    if options is not None:
        request.reset_reapply_exclude_types.extend(options.reset_reapply_exclude_types)
    return request


def _update_options(order: Order, run: WorkflowExecution) -> Message:
    operation = order.update_workflow_options_operation
    return UpdateWorkflowExecutionOptionsRequest(
        namespace=order.namespace,
        workflow_execution=run,
        workflow_execution_options=operation.workflow_execution_options,
        update_mask=operation.update_mask,
        identity=operation.identity,
    )


def _aim(request: Message, activity_type: str, everything: str) -> None:
    """At the activities of a type, or by the field of that name at all of them."""
    if activity_type:
        request.type = activity_type  # type: ignore[attr-defined]
    else:
        setattr(request, everything, True)


def _unpause(order: Order, run: WorkflowExecution) -> Message:
    operation = order.unpause_activities_operation
    request = UnpauseActivityRequest(
        namespace=order.namespace,
        execution=run,
        identity=operation.identity,
        reset_attempts=operation.reset_attempts,
        reset_heartbeat=operation.reset_heartbeat,
        jitter=operation.jitter if operation.HasField("jitter") else None,
    )
    _aim(request, operation.type, "unpause_all")
    return request


def _reset_activities(order: Order, run: WorkflowExecution) -> Message:
    operation = order.reset_activities_operation
    request = ResetActivityRequest(
        namespace=order.namespace,
        execution=run,
        identity=operation.identity,
        reset_heartbeat=operation.reset_heartbeat,
        keep_paused=operation.keep_paused,
        jitter=operation.jitter if operation.HasField("jitter") else None,
        restore_original_options=operation.restore_original_options,
    )
    _aim(request, operation.type, "match_all")
    return request


def _update_activities(order: Order, run: WorkflowExecution) -> Message:
    operation = order.update_activity_options_operation
    request = UpdateActivityOptionsRequest(
        namespace=order.namespace,
        execution=run,
        identity=operation.identity,
        update_mask=operation.update_mask,
        restore_original=operation.restore_original,
        activity_options=operation.activity_options if operation.HasField("activity_options") else None,
    )
    _aim(request, operation.type, "match_all")
    return request


KINDS: dict[str, OrderKind] = {
    "termination_operation": OrderKind(13, "terminate_workflow_execution", _terminate),
    "cancellation_operation": OrderKind(14, "request_cancel_workflow_execution", _cancel),
    "signal_operation": OrderKind(15, "signal_workflow_execution", _signal),
    "deletion_operation": OrderKind(16, "delete_workflow_execution", _delete, open_only=False),
    "reset_operation": OrderKind(17, "reset_workflow_execution", _reset, open_only=False),
    "update_workflow_options_operation": OrderKind(18, "update_workflow_execution_options", _update_options),
    "unpause_activities_operation": OrderKind(7, "unpause_activity", _unpause),
    "update_activity_options_operation": OrderKind(8, "update_activity_options", _update_activities),
    "reset_activities_operation": OrderKind(9, "reset_activity", _reset_activities),
}
"""By the name of the field in the request."""


def _request_id(order: Order, what: str, run: WorkflowExecution) -> str:
    """The same for the same job and run, so that doing it again is recognised."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{order.job_id}:{what}:{run.workflow_id}:{run.run_id}"))


def identity_of(order: Order) -> str:
    """Who ordered it."""
    name = order.WhichOneof("operation")
    return str(getattr(order, name).identity) if name is not None else ""


def check_order(order: Order) -> None:
    """Temporal's checks, in its order and words."""
    operation = order.WhichOneof("operation")
    selectors = sum(map(bool, (order.visibility_query, order.executions, order.target_executions)))
    if operation is None or not order.reason or not selectors:
        raise invalid(
            "must provide required parameters: BatchType,Reason,Namespace, AND one of (Query OR Executions OR "
            "TargetExecutions)"
        )
    if not order.job_id:
        raise invalid("JobId is not set on request.")
    if selectors > 1:
        raise invalid("visibility query, executions, and target executions are mutually exclusive")
    if operation not in KINDS:
        raise invalid(f"The operation type {operation} is not supported for this namespace")
    for at, target in enumerate(order.target_executions):
        if target.type != ExecutionType.EXECUTION_TYPE_WORKFLOW:
            raise invalid(
                f"target_executions[{at}] has type {ExecutionType.Name(target.type)}, but operation {operation} requires "
                "EXECUTION_TYPE_WORKFLOW"
            )
    _check_operation(order, operation)
    try:
        parse_syntax(order.visibility_query)
    except BadFilter as error:
        # Temporal makes another statement of it here, whose head is one character shorter.
        text = re.sub(r"(?<=at position )\d+", lambda found: str(int(found[0]) - 1), str(error))
        raise invalid(f"invalid visibility query: {text.removeprefix('malformed SQL query: ')}") from None


def _check_operation(order: Order, operation: str) -> None:
    match operation:
        case "signal_operation" if not order.signal_operation.signal:
            raise invalid("must provide signal name")
        case "reset_operation":
            _check_reset(order)
        case "update_workflow_options_operation":
            if not order.update_workflow_options_operation.HasField("workflow_execution_options"):
                raise invalid("must provide UpdateOptions")
            if not order.update_workflow_options_operation.HasField("update_mask"):
                raise invalid("must provide UpdateMask")
        case "unpause_activities_operation":
            which = order.unpause_activities_operation.WhichOneof("activity")
            if which is None:
                raise invalid("activity filter must be set")
            if not getattr(order.unpause_activities_operation, which):
                raise invalid(NO_TYPE)
        case "reset_activities_operation":
            which = order.reset_activities_operation.WhichOneof("activity")
            if which is None:
                raise invalid("must provide ActivityType or MatchAll")
            if not getattr(order.reset_activities_operation, which):
                raise invalid(NO_TYPE)
        case "update_activity_options_operation":
            update = order.update_activity_options_operation
            if update.HasField("activity_options") and update.restore_original:
                raise invalid("cannot set both activity options and restore original")
            which = update.WhichOneof("activity")
            if not (update.HasField("activity_options") or update.restore_original):
                raise invalid("Either activity type must be set, or restore original should be set to true")
            if which is None or not getattr(update, which):
                raise invalid(NO_TYPE)


def _check_reset(order: Order) -> None:
    reset = order.reset_operation
    if reset.HasField("options"):
        if reset.options.WhichOneof("target") is None:
            raise invalid("batch reset missing target")
    elif reset.reset_type not in (ResetType.RESET_TYPE_FIRST_WORKFLOW_TASK, ResetType.RESET_TYPE_LAST_WORKFLOW_TASK):
        raise invalid("unknown batch reset type Unspecified")
