"""Workflows that break one rule each, in ways that the gallery does not have."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any, ClassVar

from temporalio import activity, workflow

from dbos_shadow.determinism import determinism_test, plan, returns, sends
from dbos_shadow.trace import Trace

MINUTE = timedelta(minutes=1)
ended: list[str] = []


@activity.defn
async def ping(what: str) -> None:
    raise NotImplementedError("the kit runs no activity")


@workflow.defn
class SameCommands:
    """What was left behind by the run before, this one finds: all of its life, and in every replay."""

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(ping, f"{len(ended)} before", start_to_close_timeout=MINUTE)


def is_counted(trace: Trace) -> None:
    """The end of a run, which the module remembers."""
    ended.append(trace.outcome.status.value)


same_commands = determinism_test(
    SameCommands.run, activities={ping: returns()}, invariants=[is_counted], cancels=False, sandboxed=False
)


@workflow.defn
class Stubs:
    """Starts what the test knows nothing of."""

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity("pong", start_to_close_timeout=MINUTE)


class InClass:
    """Where a team may keep its tests."""

    by_name: ClassVar[dict[str, Any]] = {"stubs": [determinism_test(Stubs.run, activities={ping: returns()})]}


@workflow.defn
class History:
    """Asks where it runs, which is somewhere else in Temporal's Replayer."""

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(f"ping_in_{workflow.info().namespace}", start_to_close_timeout=MINUTE)


@workflow.defn
class HashSeed:
    """Two words have the same order in every other process."""

    @workflow.run
    async def run(self) -> None:
        for word in {"one", "two"}:
            await workflow.execute_activity(ping, word, start_to_close_timeout=MINUTE)


@workflow.defn
class Replay:
    """What the module remembers is kept apart by the sandbox, and by nothing else."""

    @workflow.run
    async def run(self) -> None:
        ended.append("begun")
        await workflow.execute_activity(ping, f"run {len(ended)}", start_to_close_timeout=MINUTE)


lives = itertools.count(1)


@workflow.defn
class EveryFifth:
    """Each fifth of its lives cannot be replayed. Others call that chance."""

    @workflow.run
    async def run(self) -> None:
        odd = not workflow.unsafe.is_replaying() and next(lives) % 5 == 0
        await workflow.execute_activity(ping, "odd" if odd else "even", start_to_close_timeout=MINUTE)


@workflow.defn
class TaskFails:
    """Does not say that this is the workflow's end."""

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(ping, "first", start_to_close_timeout=MINUTE)
        raise RuntimeError("fails its task")


@workflow.defn
class Query:
    """Counts its callers."""

    def __init__(self) -> None:
        self.asked = 0

    @workflow.run
    async def run(self) -> None:
        await workflow.sleep(MINUTE)
        await workflow.execute_activity(ping, f"asked {self.asked} times", start_to_close_timeout=MINUTE)

    @workflow.query
    def how_often(self) -> int:
        self.asked += 1
        return 0


@workflow.defn
class Ends:
    """Waits for nothing that could come."""

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)


@workflow.defn
class Later:
    """Breaks the rule that a signal names, and none if no signal comes."""

    def __init__(self) -> None:
        self.broken = ""

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(ping, "first", start_to_close_timeout=MINUTE)
        what = {
            "HASH_SEED": ", ".join({"one", "two", "three", "four", "five", "six"}),
            "HISTORY": f"ping_in_{workflow.info().namespace}",
            "SAME_COMMANDS": str(len(ended)),
        }
        await workflow.execute_activity(what.get(self.broken, "ping"), start_to_close_timeout=MINUTE)

    @workflow.signal
    def breaks(self, rule: str) -> None:
        self.broken = rule


LATER = {
    rule: plan(
        Later.run,
        activities={ping: returns()},
        fallback=lambda name: returns(),
        signals=[sends(Later.breaks, rule, expected=False)],
        invariants=[is_counted],
        sandboxed=False,
    )
    for rule in ("HASH_SEED", "HISTORY", "SAME_COMMANDS")
}
