"""What every handler needs: the kernel, the namespace, Temporal's checks of ids, and finding the run that is meant."""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message
from temporalio.api.common.v1 import Link, Priority, WorkflowExecution
from temporalio.api.enums.v1 import EventType

from dbos_compat.errors import already_completed, invalid, no_run, not_found
from dbos_core.commit import RunRow, RunStatus
from dbos_core.kernel import Kernel

ID_BYTES_MAX = 1000
"""Temporal's limit for ids and names."""

FAIRNESS_KEY_BYTES_MAX = 64

BLOB_BYTES_MAX = 2 * 1024 * 1024
"""Temporal's limit for the payloads of one request."""

LONG_POLL_S = 20.0
"""How long the server holds a call that waits for something; then it answers "not yet" and the client asks again."""

CALL_S = 30.0
"""How long a call that a worker must answer (a query) is held when the caller set no timeout: the Rust client's."""

OWNER_GRACE_MS = 2_000
"""How long after a run's deadline its owner may take to time it out, before whoever asks for the run does."""

T = TypeVar("T")


@dataclass(slots=True)
class Context:
    """Handlers are functions of this and a request."""

    kernel: Kernel
    namespace: str


Handler = Callable[[Context, T], Awaitable[Message]]


def check_text(value: str, name: str) -> None:
    """Temporal's text for ``name`` being too long; ours for what Postgres cannot keep."""
    if len(value) > ID_BYTES_MAX // 4 and len(value.encode()) > ID_BYTES_MAX:
        raise invalid(f"{name} length exceeds limit.")
    check_nul(value, name)


def check_nul(value: str, name: str) -> None:
    if "\0" in value:
        raise invalid(f"{name} has a NUL character, which Postgres cannot keep. Take it out of {value!r:.200}.")


def check_size(message: Message, what: str = "Blob data") -> None:
    """Temporal's limit for payloads that travel together."""
    if message.ByteSize() > BLOB_BYTES_MAX:
        raise invalid(f"{what} size exceeds limit.")


def wrong_priority(priority: Priority) -> str:
    """Temporal's refusal of a priority; nothing if it is right."""
    if priority.priority_key < 0:
        return "priority key can't be negative"
    if len(priority.fairness_key.encode()) > FAIRNESS_KEY_BYTES_MAX:
        return "fairness key length exceeds limit"
    return "must be greater than zero" if priority.fairness_weight < 0 else ""


def check_execution(execution: WorkflowExecution) -> None:
    """Temporal's checks of the execution a request names."""
    if not execution.workflow_id:
        raise invalid("WorkflowId is not set on request.")
    if execution.run_id and not is_uuid(execution.run_id):
        raise invalid("Invalid RunId.")
    if "\0" in execution.workflow_id:  # no such id can have been started
        raise no_run(execution.workflow_id, execution.run_id)


def is_uuid(text: str) -> bool:
    """Does Temporal take it for a UUID?"""
    if _AS_WE_WRITE_IT.fullmatch(text):
        return True
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


_AS_WE_WRITE_IT = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


async def find_run(context: Context, execution: WorkflowExecution, first_run_id: str = "") -> RunRow:
    """The run that is meant: the named one, or the latest of the id, which must belong to the chain of
    ``first_run_id`` if one is given."""
    check_execution(execution)
    run = await context.kernel.find(execution.workflow_id, execution.run_id or None)
    if run is None:
        raise no_run(execution.workflow_id, execution.run_id)
    if overdue_in_s(context, run) == 0:
        run = await timed_out(context, run)
    if first_run_id and run.first_run_id != first_run_id:
        raise not_found("workflow execution not found")
    return run


async def follower(context: Context, execution: WorkflowExecution, closed: RunRow, first_run_id: str = "") -> RunRow:
    """The run that has followed one that was found open and has closed since: what is meant for the workflow id goes
    to it.

    Raises:
        RPCError: nothing has followed, or the caller named that very run.
    """
    found = None if execution.run_id else await context.kernel.store.find(execution.workflow_id, None)
    if found is None or found.run_id == closed.run_id or found.status is not RunStatus.RUNNING:
        raise already_completed()
    if first_run_id and found.first_run_id != first_run_id:
        raise not_found("workflow execution not found")
    return found


def overdue_in_s(context: Context, run: RunRow) -> float | None:
    """When this process shall time the run out, since its owner does not: 0 now, None never."""
    if run.deadline_ms is None or run.status is not RunStatus.RUNNING:
        return None
    grace_ms = OWNER_GRACE_MS if run.owner is not None else 0
    return max(run.deadline_ms + grace_ms - context.kernel.clock.now_ms(), 0) / 1000


async def timed_out(context: Context, run: RunRow) -> RunRow:
    """The run after its deadline, closed by us if nobody else did: perhaps no worker is alive that could."""
    await context.kernel.claims.time_out(run.workflow_uuid)
    rows = await context.kernel.store.rows([run.workflow_uuid], watch=False)
    return rows[0] if rows else run


def start_link(context: Context, workflow_id: str, run_id: str) -> Link:
    """The link to a run's first event."""
    return Link(
        workflow_event=Link.WorkflowEvent(
            namespace=context.namespace,
            workflow_id=workflow_id,
            run_id=run_id,
            event_ref=Link.WorkflowEvent.EventReference(
                event_id=1, event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED
            ),
        )
    )


def request_link(context: Context, run: RunRow, request_id: str, event_type: EventType.ValueType) -> Link:
    """The link to the event that a request made."""
    return Link(
        workflow_event=Link.WorkflowEvent(
            namespace=context.namespace,
            workflow_id=run.workflow_id,
            run_id=run.run_id,
            request_id_ref=Link.WorkflowEvent.RequestIdReference(request_id=request_id, event_type=event_type),
        )
    )
