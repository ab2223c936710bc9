"""Describe in a process that runs nothing: the owner is asked how its activities stand, and may be in any state."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import cast

import pytest
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import dbos_compat
from dbos_compat.engine import Engine
from dbos_compat.private import EngineServiceClient
from dbos_compat.service.attempts import PENDING
from tests.fixtures.process import Program, Spawn
from tests.fixtures.waiting import eventually
from tests.postgres.holding_worker import Call, Calls, hold

ANSWER_S = 4.0
"""Longer than an owner may take to answer, and shorter than anybody waits for a process that hangs."""

Shown = tuple[str, bool, str]
"""State, whether the time of a start is shown, who runs or ran it."""

StartWorker = Callable[..., Program]


@pytest.fixture
async def client(postgres_url: str) -> AsyncIterator[Client]:
    client = await dbos_compat.connect(postgres_url)
    yield client
    await dbos_compat.disconnect(client)


@pytest.fixture
def start_worker(spawn: Spawn, postgres_url: str) -> StartWorker:
    def started(
        identity: str, *, workflows: str = "calls", activities: str = "hands", lease_s: float = 30.0
    ) -> Program:
        arguments = (postgres_url, identity, workflows, activities, str(lease_s))
        worker = spawn("-m", "tests.postgres.holding_worker", *arguments, name=identity)
        worker.wait_for_line("ready")
        return worker

    return started


async def begun(client: Client, call: Call) -> str:
    return (await client.start_workflow(Calls.run, call, id=call.name, task_queue="calls")).id


async def shown(client: Client, workflow_id: str) -> Shown | None:
    before = time.monotonic()
    description = (await client.get_workflow_handle(workflow_id).describe()).raw_description
    assert time.monotonic() - before < ANSWER_S
    for info in description.pending_activities:
        state = PendingActivityState.Name(info.state).removeprefix("PENDING_ACTIVITY_STATE_")
        return state, info.HasField("last_started_time"), info.last_worker_identity
    return None


async def becomes(client: Client, workflow_id: str, wanted: Shown) -> None:
    seen: list[Shown | None] = []

    async def fact() -> bool:
        seen.append(await shown(client, workflow_id))
        return seen[-1] == wanted

    await eventually(fact, within=20, what=f"{workflow_id} is shown as {wanted}, not {seen[-1:]}")


@pytest.mark.parametrize("activities", ["hands", "-"])
async def test_attempts_of_a_run_elsewhere(client: Client, start_worker: StartWorker, activities: str) -> None:
    """In the process that owns the run, or (``-``) in a third one that has taken what it offers."""
    start_worker("Ada", activities=activities)
    if activities == "-":
        start_worker("Bob", workflows="-")
    who = "Ada" if activities == "hands" else "Bob"
    await becomes(client, await begun(client, Call("hold", "hands")), ("STARTED", True, who))
    await becomes(client, await begun(client, Call("later", "hands")), ("STARTED", True, who))
    await becomes(client, await begun(client, Call("refuse", "hands")), ("SCHEDULED", False, who))
    [waits] = (await client.get_workflow_handle("refuse").describe()).raw_description.pending_activities
    assert (waits.attempt, waits.last_failure.message) == (2, "not today")
    await becomes(client, await begun(client, Call("unheard of", "nobody")), ("SCHEDULED", False, ""))


async def test_an_owner_that_is_frozen_or_dead(client: Client, start_worker: StartWorker) -> None:
    owner = start_worker("Ada")
    unbounded = await begun(client, Call("hold", "hands"))
    await becomes(client, unbounded, ("STARTED", True, "Ada"))
    bounded = (await client.start_workflow(Calls.run, Call("hold", "hands", 1), id="once", task_queue="calls")).id
    await becomes(client, bounded, ("STARTED", True, "Ada"))
    owner.freeze()
    assert await shown(client, unbounded) == ("SCHEDULED", False, "")  # it left no row
    assert await shown(client, bounded) == ("STARTED", True, "Ada")
    owner.thaw()
    await becomes(client, unbounded, ("STARTED", True, "Ada"))
    await asyncio.to_thread(owner.kill)
    assert await shown(client, unbounded) == ("SCHEDULED", False, "")
    assert await shown(client, bounded) == ("STARTED", True, "Ada")


async def test_an_owner_of_a_release_that_does_not_know_the_question(client: Client, postgres_url: str) -> None:
    other = await dbos_compat.connect(postgres_url, identity="Ada")

    async def unheard_of(run: object, payload: str) -> str:
        raise KeyError(PENDING)  # as looking for an answerer does

    engine = cast(Engine, cast(EngineServiceClient, other.service_client).engine)
    engine.kernel.questions.register(PENDING, unheard_of)
    async with Worker(
        other,
        task_queue="calls",
        workflows=[Calls],
        activities=[hold],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        holding = await begun(client, Call("hold", "calls", seconds=2.0))
        assert await shown(client, holding) in (None, ("SCHEDULED", False, ""))
        await client.get_workflow_handle(holding).result()
    await dbos_compat.disconnect(other)


async def test_the_command_line_shows_it(
    client: Client, start_worker: StartWorker, spawn: Spawn, postgres_url: str
) -> None:
    start_worker("Ada")
    await becomes(client, await begun(client, Call("hold", "hands")), ("STARTED", True, "Ada"))

    async def printed(*words: str) -> str:
        command = spawn("-m", "dbos_compat.cli", "workflow", "show", "hold", *words, "--url", postgres_url)
        assert await asyncio.to_thread(command.wait) == 0
        return command.output

    [pending] = json.loads(await printed("--json"))["pending_activities"]
    assert (pending["state"], pending["last_worker"]) == ("STARTED", "Ada")
    assert "attempt 1, started, last worker: Ada" in " ".join((await printed()).split())


async def test_an_owner_whose_loop_is_blocked(client: Client, start_worker: StartWorker) -> None:
    owner = start_worker("Ada")
    blocking = await begun(client, Call("block", "hands", seconds=5.0))
    await asyncio.to_thread(owner.wait_for_line, "blocked")
    assert await shown(client, blocking) == ("SCHEDULED", False, "")
    await client.get_workflow_handle(blocking).result()
    assert await shown(client, blocking) is None


async def test_after_a_takeover(client: Client, start_worker: StartWorker) -> None:
    owner = start_worker("Ada", lease_s=2.0)
    spent = await begun(client, Call("hold", "hands", attempts=1))
    await becomes(client, spent, ("STARTED", True, "Ada"))
    again = (
        await client.start_workflow(Calls.run, Call("hold", "hands", retry_s=0.1), id="again", task_queue="calls")
    ).id
    await becomes(client, again, ("STARTED", True, "Ada"))
    await asyncio.to_thread(owner.kill)
    start_worker("Bob", lease_s=2.0)
    await becomes(client, again, ("STARTED", True, "Bob"))
    assert await shown(client, spent) == ("STARTED", True, "Ada")
