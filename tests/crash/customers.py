"""Customers: what callers outside do while processes die, and what they were told.

Everything that a customer was told to be done must be found done afterwards: that is what ``check`` compares.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from tests.crash.evidence import (
    Ledger,
    Woken,
    assert_all_completed,
    assert_attempts_are_bounded,
    assert_no_step_ran_after_its_completion_was_journalled,
    assert_temporal_accepts_the_histories,
    states_of,
)
from tests.crash.programs.workload import QUEUE, Bounded, Pipeline, Post

POST_NUMBERS = 4


@dataclass
class Sent:
    """What one ``Post`` workflow was sent."""

    tries: Counter[int] = field(default_factory=Counter)
    """How often each signal was tried: more than once only if a try ended in an error."""
    updates: list[int] = field(default_factory=list)
    """Acknowledged, in order."""


class Customers:
    """Start, signal, update, await; in any number, until told to stop."""

    def __init__(self, client: Client, database: str, seed: int = 0) -> None:
        self.client = client
        self._database = database
        self.acknowledged: list[str] = []
        self.results: dict[str, Any] = {}
        self._sent: dict[str, Sent] = {}
        self._numbers = itertools.count()
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._chance = random.Random(seed)

    # -- one customer ----------------------------------------------------------------------------------------------

    async def pipeline(self, steps: int = 3, seconds: float = 0.01) -> None:
        handle = await self._start(Pipeline.run, [steps, seconds], "pipeline")
        await self._result(handle)
        assert self.results[handle.id] == list(range(steps))

    async def bounded(self, maximum: int, seconds: float = 0.01) -> None:
        handle = await self._start(Bounded.run, [maximum, seconds], f"bounded{maximum}")
        await self._result(handle)
        assert self.results[handle.id] in ("done", "gave up")

    async def post(self, numbers: int = POST_NUMBERS, pause: float = 0.0) -> None:
        handle = await self._start(Post.run, [numbers], "post")
        sent = self._sent[handle.id] = Sent()
        for number in range(numbers):
            await self._signal(handle, number, sent)
            await asyncio.sleep(pause)
            await self._until_answered(lambda number=number: handle.execute_update(Post.add, number, id=f"u{number}"))  # type: ignore[misc]
            sent.updates.append(number)
        await self._result(handle)

    async def _start(self, run: Any, args: list[Any], kind: str) -> WorkflowHandle[Any, Any]:
        workflow_id = f"{kind}-{next(self._numbers)}"

        async def once() -> WorkflowHandle[Any, Any]:
            try:
                return await self.client.start_workflow(
                    run,
                    args=args,
                    id=workflow_id,
                    task_queue=QUEUE,
                    # A try whose answer was lost may have begun the workflow.
                    id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                    id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                )
            except WorkflowAlreadyStartedError:
                return self.client.get_workflow_handle(workflow_id)

        handle: WorkflowHandle[Any, Any] = await self._until_answered(once)
        self.acknowledged.append(workflow_id)
        return handle

    async def _signal(self, handle: WorkflowHandle[Any, Any], number: int, sent: Sent) -> None:
        async def once() -> None:
            sent.tries[number] += 1
            await handle.signal(Post.put, number)

        await self._until_answered(once)

    async def _result(self, handle: WorkflowHandle[Any, Any]) -> None:
        self.results[handle.id] = await self._until_answered(handle.result)

    async def _until_answered(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """A caller whose call ended because the database was away tries again, as Temporal's clients do."""
        while True:
            try:
                return await call()
            except RPCError as error:
                if error.status not in (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED):
                    raise
                await asyncio.sleep(0.1)

    # -- many of them ----------------------------------------------------------------------------------------------

    def begin(self, count: int) -> None:
        """That many customers, each with one workflow after the other."""
        self._tasks += [asyncio.create_task(self._keep_going(), name="customer") for _ in range(count)]

    async def _keep_going(self) -> None:
        while not self._stop.is_set():
            await self.one_of_each_kind(self._chance.randrange(5))

    async def one_of_each_kind(self, kind: int) -> None:
        if kind == 0:
            await self.bounded(1)
        elif kind == 1:
            await self.bounded(3)
        elif kind == 2:
            await self.post(pause=0.01)
        else:
            await self.pipeline()

    async def until_done(self, *, within: float = 60.0) -> None:
        """Begin nothing new, and wait for the end of everything that was begun."""
        self._stop.set()
        _, late = await asyncio.wait(self._tasks, timeout=within) if self._tasks else (set(), set())
        if late:
            for task in late:
                task.cancel()
            open_ones = sorted(set(self.acknowledged) - self.results.keys())
            states = await asyncio.to_thread(states_of, self._database, open_ones)
            raise AssertionError("\n  ".join([f"{len(open_ones)} workflows did not end within {within} s:", *states]))
        for task in self._tasks:
            task.result()

    async def finish(self, started: Iterable[str]) -> None:
        """Wait for the pipelines that worker programs started by themselves. They are nobody's customer's, and end."""
        for workflow_id in started:
            try:
                async with asyncio.timeout(30):
                    assert await self.client.get_workflow_handle(workflow_id).result() == [0, 1]
            except TimeoutError:
                states = await asyncio.to_thread(states_of, self._database, [workflow_id])
                raise AssertionError("\n  ".join([f"{workflow_id} does not end:", *states])) from None

    async def give_up(self) -> None:
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(Exception):
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- afterwards ------------------------------------------------------------------------------------------------

    async def check(self, ledger: Ledger, *, woken: Woken | None = None) -> None:
        """Every promise, compared with what customers were told, what ran, and what the database says."""
        await assert_all_completed(self.client, [*self.acknowledged, *ledger.started()])
        for workflow_id, sent in self._sent.items():
            self._check_post(self.results[workflow_id], sent, workflow_id)
        await asyncio.to_thread(
            assert_no_step_ran_after_its_completion_was_journalled, ledger, self._database, woken=woken
        )
        assert_attempts_are_bounded(ledger)
        await assert_temporal_accepts_the_histories(self.client, [*self.acknowledged, *ledger.started()])

    @staticmethod
    def _check_post(result: dict[str, list[int]], sent: Sent, workflow_id: str) -> None:
        numbers = sorted(sent.tries)
        arrived = result["signals"]
        assert arrived == sorted(arrived), f"{workflow_id}: signals out of order: {arrived}"
        counts = Counter(arrived)
        assert sorted(counts) == numbers, f"{workflow_id}: sent {numbers}, arrived {arrived}"
        too_often = {number: counts[number] for number in numbers if counts[number] > sent.tries[number]}
        assert not too_often, f"{workflow_id}: delivered more often than sent: {too_often}"
        assert result["updates"] == sent.updates, f"{workflow_id}: updates {sent.updates}, arrived {result['updates']}"
