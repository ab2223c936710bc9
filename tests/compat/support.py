"""Words that the examples share: how to wait for a fact, and how to write down a chain of failures."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Protocol, TypeVar

import pytest
from temporalio import exceptions
from temporalio.api.enums.v1 import EventType, IndexedValueType, WorkflowTaskFailedCause
from temporalio.api.failure.v1 import Failure
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.common import SearchAttributeKey
from temporalio.worker import Worker

T = TypeVar("T")

FACT_WITHIN_S = 15.0

KEYWORD = SearchAttributeKey.for_keyword("CompatKeyword")
KEYWORDS = SearchAttributeKey.for_keyword_list("CompatKeywords")
TEXT = SearchAttributeKey.for_text("CompatText")
INT = SearchAttributeKey.for_int("CompatInt")
DOUBLE = SearchAttributeKey.for_float("CompatDouble")
BOOL = SearchAttributeKey.for_bool("CompatBool")
DATETIME = SearchAttributeKey.for_datetime("CompatDatetime")


class Connect(Protocol):
    """Gives a client of the engine under test."""

    async def __call__(self, **options: Any) -> Client: ...


class MakeWorker(Protocol):
    """Gives a worker of the engine under test."""

    def __call__(self, client: Client, **options: Any) -> Worker: ...


async def eventually(fact: Callable[[], Awaitable[T]], *, within_s: float = FACT_WITHIN_S) -> T:
    """Ask until `fact` holds (raises no AssertionError) and give what it returned; its last failure at the deadline."""
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        try:
            return await fact()
        except AssertionError:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.02)


async def keeps_failing(handle: WorkflowHandle[Any, Any]) -> None:
    """Wait until the run's task is being tried again; the run itself must be open."""

    async def tried_again() -> None:
        described = await handle.describe()
        assert described.status == WorkflowExecutionStatus.RUNNING
        assert described.raw_description.pending_workflow_task.attempt > 1

    await eventually(tried_again)


async def recorded_failure(handle: WorkflowHandle[Any, Any]) -> tuple[str, Failure]:
    """Cause and failure of the first failed task that the history shows."""

    async def recorded() -> tuple[str, Failure]:
        history = await handle.fetch_history()
        for event in history.events:
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
                attributes = event.workflow_task_failed_event_attributes
                return WorkflowTaskFailedCause.Name(attributes.cause), attributes.failure
        raise AssertionError("no failed task in the history")

    return await eventually(recorded)


async def add_search_attributes(client: Client) -> None:
    """Register the custom search attributes of this suite, which a Temporal server demands before their first use."""
    known = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    wanted = {
        KEYWORD.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
        KEYWORDS.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST,
        TEXT.name: IndexedValueType.INDEXED_VALUE_TYPE_TEXT,
        INT.name: IndexedValueType.INDEXED_VALUE_TYPE_INT,
        DOUBLE.name: IndexedValueType.INDEXED_VALUE_TYPE_DOUBLE,
        BOOL.name: IndexedValueType.INDEXED_VALUE_TYPE_BOOL,
        DATETIME.name: IndexedValueType.INDEXED_VALUE_TYPE_DATETIME,
    }
    missing = {name: kind for name, kind in wanted.items() if name not in known.custom_attributes}
    if missing:
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=client.namespace, search_attributes=missing)
        )


def chain(error: BaseException | None) -> list[str]:
    """A failure and its causes, one line each: class, message, and the fields that code may branch on.

    >>> chain(ApplicationError("no money", type="Poor", non_retryable=True))
    ["ApplicationError 'no money' type=Poor non_retryable"]
    """
    lines = []
    while error is not None:
        lines.append(_line(error))
        error = error.__cause__
    return lines


def _line(error: BaseException) -> str:
    message = error.message if isinstance(error, exceptions.FailureError) else str(error)
    parts = [type(error).__name__, repr(message)]
    if isinstance(error, exceptions.ActivityError):
        parts.append(f"{error.activity_type} {error.retry_state.name if error.retry_state else None}")
    elif isinstance(error, exceptions.ApplicationError):
        parts.append(f"type={error.type}")
        if error.non_retryable:
            parts.append("non_retryable")
        if error.details:
            parts.append(f"details={tuple(error.details)!r}")
    elif isinstance(error, exceptions.TimeoutError):
        parts.append(error.type.name if error.type else "no type")
        if error.last_heartbeat_details:
            parts.append(f"heartbeat={tuple(error.last_heartbeat_details)!r}")
    elif isinstance(error, (exceptions.CancelledError, exceptions.TerminatedError)) and error.details:
        parts.append(f"details={tuple(error.details)!r}")
    return " ".join(parts)


@contextlib.contextmanager
def failed_with(*lines: str) -> Iterator[None]:
    """Expect a client's call to fail for these reasons: the chain below what the client itself says."""
    with pytest.raises((WorkflowFailureError, WorkflowUpdateFailedError)) as failed:
        yield
    assert chain(failed.value.__cause__) == list(lines)
