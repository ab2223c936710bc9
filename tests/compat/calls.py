"""One workflow that calls one activity as it is told: most examples about activities need no other."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import RetryPolicy
from temporalio.workflow import ActivityCancellationType

from .support import chain


@dataclass
class Retry:
    """A retry policy in seconds."""

    initial: float = 0.01
    coefficient: float = 1.0
    maximum_interval: float | None = None
    attempts: int = 0
    non_retryable: list[str] = field(default_factory=list)

    def policy(self) -> RetryPolicy:
        return RetryPolicy(
            initial_interval=timedelta(seconds=self.initial),
            backoff_coefficient=self.coefficient,
            maximum_interval=seconds(self.maximum_interval),
            maximum_attempts=self.attempts,
            non_retryable_error_types=self.non_retryable,
        )


@dataclass
class Order:
    """Which activity to call, and how; times in seconds."""

    activity: str
    args: list[Any] = field(default_factory=list)
    start_to_close: float | None = 30.0
    schedule_to_close: float | None = None
    schedule_to_start: float | None = None
    heartbeat: float | None = None
    retry: Retry | None = None
    cancellation: str = "TRY_CANCEL"
    queue: str | None = None
    activity_id: str | None = None


def seconds(value: float | None) -> timedelta | None:
    """A duration, or none."""
    return None if value is None else timedelta(seconds=value)


@workflow.defn
class Call:
    """Calls one activity. Signals cancel that activity, or let the run end after its result."""

    def __init__(self) -> None:
        self.state = "new"
        self.calling: asyncio.Task[Any] | None = None
        self.released = True

    @workflow.run
    async def run(self, order: Order) -> Any:
        self.calling = workflow.start_activity(
            order.activity,
            args=order.args,
            task_queue=order.queue,
            activity_id=order.activity_id,
            start_to_close_timeout=seconds(order.start_to_close),
            schedule_to_close_timeout=seconds(order.schedule_to_close),
            schedule_to_start_timeout=seconds(order.schedule_to_start),
            heartbeat_timeout=seconds(order.heartbeat),
            retry_policy=order.retry.policy() if order.retry else None,
            cancellation_type=ActivityCancellationType[order.cancellation],
        )
        self.state = "calling"
        try:
            return await self.calling
        finally:
            self.state = "called"
            await workflow.wait_condition(lambda: self.released)

    @workflow.signal
    def cancel_activity(self) -> None:
        assert self.calling is not None
        self.calling.cancel()

    @workflow.signal
    def hold(self) -> None:
        self.released = False

    @workflow.signal
    def release(self) -> None:
        self.released = True

    @workflow.query
    def current(self) -> str:
        return self.state


async def start_call(client: Client, queue: str, wid: str, order: Order) -> WorkflowHandle[Call, Any]:
    """Start the workflow that makes this call."""
    return await client.start_workflow(Call.run, order, id=wid, task_queue=queue)


async def call(client: Client, queue: str, wid: str, order: Order) -> Any:
    """The result of the call."""
    return await client.execute_workflow(Call.run, order, id=wid, task_queue=queue)


async def call_fails(client: Client, queue: str, wid: str, order: Order) -> list[str]:
    """The chain of failures in which the call ended, without the client's own outermost line."""
    handle = await start_call(client, queue, wid, order)
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    return chain(failed.value)[1:]
