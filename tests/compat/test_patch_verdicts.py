"""Whatever the old code and the new: a replay is refused here exactly where Temporal's own Replayer refuses it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.client import Client, RPCError, WorkflowHistory, WorkflowQueryFailedError
from temporalio.common import RawValue
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from .support import MakeWorker, eventually

Program = tuple[str, ...]
"""Steps: an activity by its type, "timer", "?x" for patched("x"), "-x" for deprecate_patch("x"), "&a" for a local
activity."""

WORDS = ("a", "b", "timer", "?x", "?y", "-x", "-y", "-z", "&a", "&b")


@activity.defn(dynamic=True)
async def anything(args: Sequence[RawValue]) -> None:
    return None


CODE: list[str] = []
"""The program that the workflow follows: what deploying another version changes."""


@workflow.defn(sandboxed=False)
class Follows:
    """Takes the steps of its program and then waits."""

    def __init__(self) -> None:
        self.through = False

    @workflow.run
    async def run(self) -> None:
        for step in CODE:
            if step.startswith("?"):
                workflow.patched(step[1:])
            elif step.startswith("-"):
                workflow.deprecate_patch(step[1:])
            elif step.startswith("&"):
                await workflow.execute_local_activity(step, start_to_close_timeout=timedelta(seconds=30))
            elif step == "timer":
                await workflow.sleep(timedelta(milliseconds=1))
            else:
                await workflow.execute_activity(step, start_to_close_timeout=timedelta(seconds=30))
        self.through = True
        await workflow.wait_condition(lambda: False)

    @workflow.query
    def is_through(self) -> bool:
        return self.through


def pairs(seed: int, count: int) -> list[tuple[Program, Program]]:
    """Programs and what became of them: a few words changed, added or taken away."""
    chance = random.Random(seed)
    found = []
    for _ in range(count):
        old = [chance.choice(WORDS) for _ in range(chance.randint(0, 4))]
        new = list(old)
        for _ in range(chance.randint(1, 2)):
            at = chance.randint(0, len(new))
            match chance.choice(["add", "drop", "change"]):
                case "add":
                    new.insert(at, chance.choice(WORDS))
                case "drop":
                    del new[at : at + 1]
                case _:
                    new[at : at + 1] = [chance.choice(WORDS)]
        if all(len({step for step in old if step[1:] == name}) < 2 for name in "xyz"):
            # Temporal also refuses code that drops deprecate_patch("x") where patched("x") comes later in the same run:
            # its core writes the search attribute twice then. We do not.
            found.append((tuple(old), tuple(new)))
    return found


async def temporals_verdict(history: WorkflowHistory) -> bool:
    replayer = Replayer(workflows=[Follows], workflow_runner=UnsandboxedWorkflowRunner())
    result = await replayer.replay_workflow(history, raise_on_replay_failure=False)
    return result.replay_failure is None


async def differing(client: Client, make_worker: MakeWorker, queue: str, old: Program, new: Program, wid: str) -> Any:
    """None, or both verdicts where they differ."""
    CODE[:] = old
    async with make_worker(client, task_queue=queue, workflows=[Follows], activities=[anything]):
        handle = await client.start_workflow(Follows.run, id=wid, task_queue=queue)

        async def through() -> None:
            assert await handle.query(Follows.is_through)

        await eventually(through)
    history = await handle.fetch_history()
    CODE[:] = new
    theirs = await temporals_verdict(history)
    async with make_worker(client, task_queue=queue, workflows=[Follows], activities=[anything]):
        try:
            await handle.query(Follows.is_through)
            ours, why = True, ""
        except (WorkflowQueryFailedError, RPCError) as refused:
            ours, why = False, str(refused)
        await handle.terminate()
    return None if ours == theirs else {"old": old, "new": new, "temporal": theirs, "here": ours, "why": why}


async def _compare(client: Client, make_worker: MakeWorker, queue: str, seed: int, count: int) -> None:
    found = []
    for number, (old, new) in enumerate(pairs(seed, count)):
        difference = await differing(client, make_worker, queue, old, new, f"{queue}-{number}")
        if difference is not None:
            found.append(difference)
    assert not found, "\n".join(map(str, found))


@pytest.mark.timeout(120)
@pytest.mark.no_replay("each program is replayed by another one")
async def test_the_verdict_is_temporals(engine: str, client: Client, make_worker: MakeWorker, queue: str) -> None:
    if engine == "temporal":
        pytest.skip("compares us with Temporal's Replayer")
    await _compare(client, make_worker, queue, 7, 40)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.no_replay("each program is replayed by another one")
@pytest.mark.parametrize("seed", range(5))
async def test_the_verdict_is_temporals_for_hundreds(
    engine: str, client: Client, make_worker: MakeWorker, queue: str, seed: int
) -> None:
    if engine == "temporal":
        pytest.skip("compares us with Temporal's Replayer")
    await _compare(client, make_worker, queue, 100 + seed, 300)
