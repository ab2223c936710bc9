"""A child that does as it is told, and how tests look at families of workflows."""

from __future__ import annotations

import asyncio
from typing import Any

from temporalio import exceptions, workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from .support import eventually


@workflow.defn
class Kid:
    """Ends at once with ``how``, or in the way that it names."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @workflow.run
    async def run(self, how: str) -> Any:
        match how:
            case "fail":
                raise ApplicationError("no", "detail", type="Refused")
            case "wait":
                await workflow.wait_condition(lambda: bool(self.heard))
                return self.heard
            case "swallow":
                try:
                    await workflow.wait_condition(lambda: bool(self.heard))
                except asyncio.CancelledError:
                    return f"swallowed {workflow.cancellation_reason()!r}"
                return self.heard
            case "info":
                info = workflow.info()
                return [
                    [info.parent.workflow_id, info.parent.run_id, info.parent.namespace] if info.parent else None,
                    [info.root.workflow_id, info.root.run_id] if info.root else None,
                    [
                        timeout.total_seconds() if timeout else None
                        for timeout in (info.execution_timeout, info.run_timeout, info.task_timeout)
                    ],
                    workflow.memo(),
                    info.run_id == info.first_execution_run_id,
                ]
            case "grandchild":
                return await workflow.execute_child_workflow(Kid.run, "info", id=workflow.info().workflow_id + "-kid")
        return how

    @workflow.signal
    def hear(self, what: str) -> None:
        self.heard.append(what)


def family(error: BaseException | None) -> list[str]:
    """A chain of failures; of a ``ChildWorkflowError`` all that code may branch on."""
    lines = []
    while error is not None:
        message = error.message if isinstance(error, exceptions.FailureError) else str(error)
        parts = [type(error).__name__, repr(message)]
        if isinstance(error, exceptions.ChildWorkflowError):
            state = error.retry_state.name if error.retry_state else None
            parts.append(f"{error.workflow_type} {state} {error.initiated_event_id}/{error.started_event_id}")
            parts.append(f"{error.namespace} {'with' if error.run_id else 'no'} run")
        elif isinstance(error, exceptions.ApplicationError):
            parts.append(f"type={error.type}")
        elif isinstance(error, exceptions.TimeoutError):
            parts.append(error.type.name if error.type else "no type")
        elif isinstance(error, exceptions.WorkflowAlreadyStartedError):
            parts.append(f"{error.workflow_type} {'with' if error.run_id else 'no'} run")
        lines.append(" ".join(parts))
        error = error.__cause__
    return lines


async def status_of(client: Client, workflow_id: str) -> WorkflowExecutionStatus | None:
    """None: there is no such workflow."""
    try:
        return (await client.get_workflow_handle(workflow_id).describe()).status
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        return None


async def ended(client: Client, workflow_id: str, status: WorkflowExecutionStatus) -> None:
    """Wait until the workflow has this status."""

    async def fact() -> None:
        assert await status_of(client, workflow_id) == status

    await eventually(fact)


_NOT_SHOWN = {
    EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED,
    EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED,
    EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
}


async def story(handle: WorkflowHandle[Any, Any]) -> list[str]:
    """The events of a history by name and id, without its workflow tasks."""
    history = await handle.fetch_history()
    return [
        f"{event.event_id} {EventType.Name(event.event_type).removeprefix('EVENT_TYPE_')}"
        for event in history.events
        if event.event_type not in _NOT_SHOWN
    ]


async def attributes(handle: WorkflowHandle[Any, Any], kind: str) -> Any:
    """Of the first event of that kind; there must be one."""

    async def fact() -> Any:
        history = await handle.fetch_history()
        for event in history.events:
            if EventType.Name(event.event_type) == f"EVENT_TYPE_{kind}":
                return getattr(event, event.WhichOneof("attributes") or "")
        raise AssertionError(f"no event {kind} in the history of {handle.id}")

    return await eventually(fact)
