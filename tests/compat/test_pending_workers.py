"""What describe tells about who runs, or last ran, a pending activity."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import Client, WorkflowHandle
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

from .support import Connect, MakeWorker, eventually


@dataclass
class Call:
    name: str
    queue: str = ""
    attempts: int = 0
    seconds: float = 60.0


@workflow.defn
class Calls:
    @workflow.run
    async def run(self, call: Call) -> None:
        await workflow.execute_activity(
            call.name,
            activity_id="it",
            task_queue=call.queue or None,
            start_to_close_timeout=timedelta(seconds=call.seconds),
            retry_policy=RetryPolicy(initial_interval=timedelta(hours=1), maximum_attempts=call.attempts),
        )


class Bench:
    """Activities that do as they are named."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    @activity.defn
    async def hold(self) -> None:
        await self.go.wait()

    @activity.defn
    async def refuse(self) -> None:
        raise ApplicationError("not today")

    @activity.defn
    async def later(self) -> None:
        activity.raise_complete_async()

    @property
    def all(self) -> list[Callable[..., object]]:
        return [self.hold, self.refuse, self.later]


async def pending(
    handle: WorkflowHandle[Calls, None], state: str, *, attempt: int = 1, started: bool = False
) -> PendingActivityInfo:
    """The pending activity, as soon as it is in that state."""

    async def shown() -> PendingActivityInfo:
        found = (await handle.describe()).raw_description.pending_activities
        assert len(found) == 1
        info = found[0]
        shown = PendingActivityState.Name(info.state).removeprefix("PENDING_ACTIVITY_STATE_")
        assert (shown, info.attempt, info.HasField("last_started_time")) == (state, attempt, started)
        return info

    return await eventually(shown)


@pytest.mark.parametrize("attempts", [0, 2])
async def test_one_that_runs(client: Client, make_worker: MakeWorker, queue: str, wid: str, attempts: int) -> None:
    bench = Bench()
    async with make_worker(client, task_queue=queue, workflows=[Calls], activities=bench.all, identity="Ada"):
        handle = await client.start_workflow(Calls.run, Call("hold", attempts=attempts), id=wid, task_queue=queue)
        assert (await pending(handle, "STARTED", started=True)).last_worker_identity == "Ada"
        bench.go.set()
        await handle.result()


@pytest.mark.parametrize("attempts", [0, 3])
async def test_one_that_failed_and_waits(
    client: Client, make_worker: MakeWorker, queue: str, wid: str, attempts: int
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Calls], activities=Bench().all, identity="Ada"):
        handle = await client.start_workflow(Calls.run, Call("refuse", attempts=attempts), id=wid, task_queue=queue)
        assert (await pending(handle, "SCHEDULED", attempt=2)).last_worker_identity == "Ada"
        await handle.terminate()


@pytest.mark.parametrize("name", ["hold", "later"])
async def test_one_that_timed_out_and_waits(
    client: Client, make_worker: MakeWorker, queue: str, wid: str, name: str
) -> None:
    bench = Bench()
    async with make_worker(client, task_queue=queue, workflows=[Calls], activities=bench.all, identity="Ada"):
        handle = await client.start_workflow(Calls.run, Call(name, seconds=1.0), id=wid, task_queue=queue)
        assert (await pending(handle, "SCHEDULED", attempt=2)).last_worker_identity == "Ada"
        bench.go.set()
        await handle.terminate()


async def test_one_that_was_left_open_and_fails_outside(
    client: Client, connect: Connect, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    outside = await connect(identity="Bob")
    async with make_worker(client, task_queue=queue, workflows=[Calls], activities=Bench().all, identity="Ada"):
        handle = await client.start_workflow(Calls.run, Call("later"), id=wid, task_queue=queue)
        assert (await pending(handle, "STARTED", started=True)).last_worker_identity == "Ada"
        left_open = outside.get_async_activity_handle(workflow_id=wid, run_id=None, activity_id="it")

        await left_open.fail(ApplicationError("not today"))
        assert (await pending(handle, "SCHEDULED", attempt=2)).last_worker_identity == "Ada"
        await handle.terminate()


async def test_one_that_nobody_has_taken(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Calls], identity="Ada"):
        call = Call("hold", queue=f"{queue}-nobody")
        handle = await client.start_workflow(Calls.run, call, id=wid, task_queue=queue)
        assert (await pending(handle, "SCHEDULED")).last_worker_identity == ""
        await handle.terminate()


async def test_two_workers_of_one_client_have_names_of_their_own(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    bench, there = Bench(), f"{queue}-there"
    async with (
        make_worker(client, task_queue=queue, workflows=[Calls], identity="Ada"),
        make_worker(client, task_queue=there, activities=bench.all, identity="Bob"),
    ):
        handle = await client.start_workflow(Calls.run, Call("hold", queue=there), id=wid, task_queue=queue)
        assert (await pending(handle, "STARTED", started=True)).last_worker_identity == "Bob"
        bench.go.set()
        await handle.result()
