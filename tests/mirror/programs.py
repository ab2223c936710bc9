"""Mixed runs for a mirror: every kind of thing in flight, quickly over, each driven by a small script of its client's."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.common import RetryPolicy, WorkflowIDConflictPolicy
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError

SOON = timedelta(seconds=30)

EFFECTS = "MIRROR_TEST_EFFECTS"
"""Environment: a file to which every execution of an activity adds a line, in whichever process it happens."""

executions: Counter[str] = Counter()
"""How often the function of an activity has really run in this process, by what it was given."""


def happened(what: str) -> None:
    """A side effect that cannot be taken back."""
    what = f"{what} of run {activity.info().workflow_run_id}"  # a run that was reset does its work once more
    executions[what] += 1
    if path := os.environ.get(EFFECTS):
        with open(path, "a") as file:
            file.write(f"{os.getpid()} {what}\n")


@activity.defn
async def charge(order: str) -> str:
    """A side effect: it may happen once per order."""
    happened(f"charge {order}")
    return f"charged {order}"


@activity.defn
async def flaky(order: str) -> int:
    happened(f"flaky {order} {activity.info().attempt}")
    if activity.info().attempt < 2:
        raise ApplicationError("not yet")
    return activity.info().attempt


@activity.defn
async def refuse(order: str) -> None:
    happened(f"refuse {order}")
    raise ApplicationError("no", order, type="Refused", non_retryable=True)


@activity.defn
async def beats(order: str) -> None:
    happened(f"beats {order}")
    while True:
        activity.heartbeat("here")
        await asyncio.sleep(0.05)


@activity.defn
async def refund(order: str) -> None:
    happened(f"refund {order}")


ACTIVITIES: list[Callable[..., Any]] = [charge, flaky, refuse, beats, refund]


@workflow.defn
class Order:
    """Activities in parallel and in a row, failures, local activities, random numbers and the time."""

    @workflow.run
    async def run(self, order: str) -> list[Any]:
        made: list[Any] = await asyncio.gather(
            *[
                workflow.execute_activity(charge, f"{order}/{n}", start_to_close_timeout=SOON)
                for n in range(workflow.random().randint(1, 3))
            ]
        )
        retry = RetryPolicy(initial_interval=timedelta(milliseconds=1))
        made.append(await workflow.execute_activity(flaky, order, start_to_close_timeout=SOON, retry_policy=retry))
        try:
            await workflow.execute_activity(refuse, order, start_to_close_timeout=SOON)
        except ActivityError as error:
            made.append(str(error.cause))
        local = await workflow.execute_local_activity(charge, f"{order}/local", start_to_close_timeout=SOON)
        at = workflow.now().isoformat()
        made.append(
            await workflow.execute_activity(charge, f"{order}/{at}/{workflow.uuid4()}", start_to_close_timeout=SOON)
        )
        return [*made, local, workflow.info().workflow_id]


@workflow.defn
class Basket:
    """Signals and updates, a timer that is beaten or not, an activity per message."""

    def __init__(self) -> None:
        self.items: list[str] = []
        self.done = False

    @workflow.run
    async def run(self, patience_s: float) -> list[str]:
        seen = 0
        while not self.done:
            with contextlib.suppress(TimeoutError):
                await workflow.wait_condition(
                    lambda seen=seen: len(self.items) > seen or self.done,  # type: ignore[misc]
                    timeout=timedelta(seconds=patience_s),
                )
            if len(self.items) == seen and not self.done:
                self.items.append("timeout")
                break
            for item in self.items[seen:]:
                await workflow.execute_activity(
                    charge, f"{workflow.info().workflow_id}/{item}", start_to_close_timeout=SOON
                )
                seen += 1
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self.items

    @workflow.signal
    def put(self, item: str) -> None:
        self.items.append(item)

    @workflow.signal
    def close(self) -> None:
        self.done = True

    @workflow.update
    async def add(self, item: str) -> int:
        await workflow.execute_activity(
            charge, f"{workflow.info().workflow_id}/update {item}", start_to_close_timeout=SOON
        )
        self.items.append(item)
        if item == "bad":
            raise ApplicationError("bad item", type="Bad")
        return len(self.items)

    @add.validator
    def not_empty(self, item: str) -> None:
        if not item:
            raise ValueError("say something")


@workflow.defn
class Family:
    """A child that succeeds, one that fails, one that is signalled; a stranger who is not there."""

    @workflow.run
    async def run(self) -> list[str]:
        own = workflow.info().workflow_id
        made = [str(len(await workflow.execute_child_workflow(Order.run, f"{own}/child", id=f"{own}-order")))]
        try:
            await workflow.execute_child_workflow(Failing.run, id=f"{own}-failing")
        except Exception as error:
            made.append(type(error).__name__)
        basket = await workflow.start_child_workflow(Basket.run, 60.0, id=f"{own}-basket")
        await basket.signal(Basket.put, "apple")
        await basket.signal(Basket.close)
        made += await basket
        try:
            await workflow.get_external_workflow_handle("nobody").signal("put", "x")
        except Exception as error:
            made.append(type(error).__name__)
        return made


@workflow.defn
class Failing:
    @workflow.run
    async def run(self) -> None:
        raise ApplicationError("on purpose", 1, type="OnPurpose")


@workflow.defn
class Chain:
    """Continues as new."""

    @workflow.run
    async def run(self, left: int) -> str:
        await workflow.execute_activity(charge, f"{workflow.info().workflow_id}/{left}", start_to_close_timeout=SOON)
        if left:
            workflow.continue_as_new(left - 1)
        return "done"


@workflow.defn
class Stubborn:
    """Cancelled in the middle of an activity; cleans up."""

    @workflow.run
    async def run(self) -> str:
        own = workflow.info().workflow_id
        try:
            await workflow.execute_activity(
                beats,
                own,
                start_to_close_timeout=SOON,
                heartbeat_timeout=timedelta(seconds=10),
                cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            )
        except (ActivityError, CancelledError):
            await asyncio.shield(workflow.execute_activity(charge, f"{own}/cleanup", start_to_close_timeout=SOON))
            raise
        return "never"


WORKFLOWS: list[type] = [Order, Basket, Family, Failing, Chain, Stubborn]


# -- what clients do ---------------------------------------------------------------------------------------------------

Script = Callable[[Client, str, str], Awaitable[WorkflowHandle[Any, Any]]]


async def order(client: Client, workflow_id: str, queue: str) -> WorkflowHandle[Any, Any]:
    return await client.start_workflow(Order.run, workflow_id, id=workflow_id, task_queue=queue)


async def family(client: Client, workflow_id: str, queue: str) -> WorkflowHandle[Any, Any]:
    return await client.start_workflow(Family.run, id=workflow_id, task_queue=queue)


async def chain(client: Client, workflow_id: str, queue: str) -> WorkflowHandle[Any, Any]:
    return await client.start_workflow(Chain.run, 2, id=workflow_id, task_queue=queue)


async def failing(client: Client, workflow_id: str, queue: str) -> WorkflowHandle[Any, Any]:
    return await client.start_workflow(Failing.run, id=workflow_id, task_queue=queue)


async def talked_to(client: Client, workflow_id: str, queue: str) -> WorkflowHandle[Any, Any]:
    handle = await client.start_workflow(Basket.run, 60.0, id=workflow_id, task_queue=queue)
    await asyncio.gather(*[handle.signal(Basket.put, f"item {n}") for n in range(3)])
    await handle.execute_update(Basket.add, "updated")
    for refused in ("bad", ""):
        with contextlib.suppress(WorkflowUpdateFailedError):
            await handle.execute_update(Basket.add, refused)
    await handle.signal(Basket.close)
    return handle


async def impatient(client: Client, workflow_id: str, queue: str) -> WorkflowHandle[Any, Any]:
    return await client.start_workflow(
        Basket.run, 1.0, id=workflow_id, task_queue=queue, start_signal="put", start_signal_args=["first"]
    )


async def cancelled(client: Client, workflow_id: str, queue: str) -> WorkflowHandle[Any, Any]:
    handle = await client.start_workflow(Stubborn.run, id=workflow_id, task_queue=queue)
    await handle.cancel()
    return handle


async def terminated(client: Client, workflow_id: str, queue: str) -> WorkflowHandle[Any, Any]:
    handle = await client.start_workflow(Basket.run, 60.0, id=workflow_id, task_queue=queue)
    await handle.execute_update(Basket.add, "one")
    await handle.terminate("enough")
    return handle


async def timed_out(client: Client, workflow_id: str, queue: str) -> WorkflowHandle[Any, Any]:
    return await client.start_workflow(
        Basket.run, 60.0, id=workflow_id, task_queue=queue, run_timeout=timedelta(seconds=1)
    )


async def updated_with_start(client: Client, workflow_id: str, queue: str) -> WorkflowHandle[Any, Any]:
    start = WithStartWorkflowOperation(
        Basket.run, 60.0, id=workflow_id, task_queue=queue, id_conflict_policy=WorkflowIDConflictPolicy.FAIL
    )
    await client.execute_update_with_start_workflow(Basket.add, "first", start_workflow_operation=start)
    handle = await start.workflow_handle()
    await handle.signal(Basket.close)
    return handle


async def reset(client: Client, workflow_id: str, queue: str) -> WorkflowHandle[Any, Any]:
    """Back to its first task, when it is over: a run whose history begins with another one's."""
    handle = await talked_to(client, workflow_id, queue)
    await ended(handle)
    async for event in handle.fetch_history_events():
        if event.HasField("workflow_task_completed_event_attributes"):
            break
    request = ResetWorkflowExecutionRequest(
        namespace=client.namespace,
        workflow_execution=WorkflowExecution(workflow_id=workflow_id, run_id=handle.first_execution_run_id or ""),
        workflow_task_finish_event_id=event.event_id,
        request_id=workflow_id,
        reason="once more",
    )
    answer = await client.workflow_service.reset_workflow_execution(request)
    return client.get_workflow_handle(workflow_id, run_id=answer.run_id)


SCRIPTS: list[Script] = [
    order,
    talked_to,
    chain,
    impatient,
    family,
    cancelled,
    failing,
    terminated,
    timed_out,
    updated_with_start,
    reset,
]


async def ended(handle: WorkflowHandle[Any, Any]) -> None:
    """Wait for the end of the chain, whatever it is."""
    with contextlib.suppress(WorkflowFailureError):
        await handle.result()


async def drive(client: Client, prefix: str, queue: str, runs: int, *, at_once: int = 8) -> list[str]:
    """So many scripts, several at a time. Ids of the workflows."""
    slots = asyncio.Semaphore(at_once)

    async def one(number: int) -> str:
        script = SCRIPTS[number % len(SCRIPTS)]
        workflow_id = f"{prefix}-{number}-{script.__name__}"
        async with slots:
            await ended(await script(client, workflow_id, queue))
        return workflow_id

    return list(await asyncio.gather(*[one(number) for number in range(runs)]))
