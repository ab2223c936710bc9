"""``maximum_attempts`` (0: unlimited) is never exceeded, wherever processes die; and every activity ends all the same.

Hypothesis writes the story: how attempts end, and after how many turns of the event loop the owner of the run or the
worker beside it dies. A crash throws away whatever was not in the database at that turn.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from dbos_core.activities.attempt import Attempt
from dbos_core.activities.spec import FinalOutcome
from dbos_core.commit import Verdict
from dbos_core.testing.clock import settle
from tests.unit.activities.support import (
    LEASE_MS,
    RUN,
    Notes,
    Process,
    World,
    bounded,
    completed,
    failed,
    spec,
    world,
)

START_TO_CLOSE_MS = 20_000

ENDINGS = st.sampled_from(["fail", "complete", "beat", "stand still", "leave open", "wait"])
STEP = st.tuples(ENDINGS, st.integers(0, 12), st.sampled_from(["nobody", "nobody", "owner", "worker", "both"]))


@dataclass
class Story:
    """One activity of one run, through any number of processes."""

    world: World
    attempts: int
    owner_serves: bool
    worker_serves: bool
    serial: int = 0
    owner: Process | None = None
    worker: Process | None = None
    executors: dict[str, Notes] = field(default_factory=dict)
    dead: list[str] = field(default_factory=list)
    journalled: FinalOutcome | None = None
    scheduling: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.spec = spec(
            retry=bounded(self.attempts, initial_ms=100, maximum_interval_ms=400), start_to_close_ms=START_TO_CLOSE_MS
        )

    @property
    def started(self) -> list[Attempt]:
        return [attempt for notes in self.executors.values() for attempt in notes.started]

    async def process(self, role: str, serves: bool) -> Process:
        self.serial += 1
        made = await self.world.process(f"{role}-{self.serial}")
        notes = self.executors[made.name] = Notes()
        if serves:
            made.service.serve("payments", notes, 1)
        return made

    async def begin(self) -> None:
        self.owner = await self.process("owner", self.owner_serves)
        self.worker = await self.process("worker", self.worker_serves)
        await self.owner.start_run()
        self.scheduling = asyncio.create_task(self.schedule(self.owner))

    async def schedule(self, owner: Process) -> None:
        rows = owner.service.schedule(RUN, self.spec)
        if await owner.journal(activities=tuple(rows)) is Verdict.COMMITTED:
            owner.service.release(RUN, 1)

    async def end_of_attempt(self, how: str) -> None:
        for process in (self.owner, self.worker):
            if process is None or not self.executors[process.name].started:
                continue
            token = self.executors[process.name].last.token
            if how == "fail":
                process.service.completed(token, failed())
            elif how == "complete":
                process.service.completed(token, completed())
            elif how == "beat":
                process.service.heartbeat(token, '"h"')
            elif how == "leave open":
                process.service.will_complete_async(token)
        if how == "stand still":
            await self.world.clock.advance(START_TO_CLOSE_MS)

    async def journal_final(self) -> None:
        if self.owner is not None and self.owner.finals and self.journalled is None:
            outcome = self.owner.finals[-1]
            done = (outcome.seq,) if outcome.has_row else ()
            verdict = await self.owner.journal(activities_done=done, consumed=outcome.mail_ids)
            if verdict is Verdict.COMMITTED:
                self.journalled = outcome

    async def crash(self, who: str) -> None:
        if who in ("owner", "both") and self.owner is not None:
            self.dead.append(self.owner.name)
            await self.owner.die()
            self.owner = None
        if who in ("worker", "both") and self.worker is not None:
            self.dead.append(self.worker.name)
            await self.worker.die()
            self.worker = None

    async def recover(self) -> None:
        """Leases of the dead lapse; new processes come; the run is taken over; lost attempts are told."""
        for _ in range(2):
            for process in (self.owner, self.worker):
                if process is not None:
                    await process.beat()
            await self.world.clock.advance(LEASE_MS // 2 + 1)
        for process in (self.owner, self.worker):
            if process is not None:
                await process.beat()
        if self.worker is None:
            self.worker = await self.process("worker", self.worker_serves)
        if self.owner is None:
            self.owner = await self.process("owner", self.owner_serves)
            self.world.owners[RUN.workflow_uuid] = self.owner
            taken = await self.owner.store.take_over(self.owner.name, self.dead, ["orders"], 10)
            assert taken == [RUN.workflow_uuid]
            (loaded,) = await self.owner.store.load([RUN.workflow_uuid])
            if not loaded.entries:
                await self.schedule(self.owner)
            elif len(loaded.entries) == 1:
                await self.owner.restore(self.spec)
            else:
                assert self.journalled is not None
        else:
            await self.owner.store.take_over(self.owner.name, self.dead, ["orders"], 10)
        await settle()

    async def last_act(self) -> None:
        """Everybody stays alive from here on: it has to end."""
        self.worker_serves = True
        assert self.worker is not None
        self.worker.service.serve("payments", self.executors[self.worker.name], 1)
        for _ in range(self.attempts + 3):
            for _ in range(3):  # a function whose attempt timed out must return before the next one gets its slot
                await settle()
                await self.end_of_attempt("complete")
            await settle()
            await self.journal_final()
            if self.journalled is not None:
                return
            await self.recover()
            await self.world.clock.advance(START_TO_CLOSE_MS)


async def tell(attempts: int, owner_serves: bool, worker_serves: bool, steps: list[tuple[str, int, str]]) -> Story:
    async with world() as made:
        story = Story(made, attempts, owner_serves, worker_serves)
        await story.begin()
        for how, turns, who in steps:
            for _ in range(turns):
                await asyncio.sleep(0)
            await story.end_of_attempt(how)
            for _ in range(turns // 2):
                await asyncio.sleep(0)
            if who == "nobody":
                await settle()
                await story.journal_final()
                await made.clock.advance(150)
            else:
                await story.crash(who)
                await story.recover()
        await story.last_act()
        return story


@given(
    attempts=st.integers(0, 3),
    owner_serves=st.booleans(),
    worker_serves=st.booleans(),
    steps=st.lists(STEP, max_size=7),
)
@settings(max_examples=250, deadline=None)
def test_attempts_are_never_more_than_allowed_and_it_ends(attempts, owner_serves, worker_serves, steps):
    story = asyncio.run(tell(attempts, owner_serves, worker_serves, steps))
    numbers = [attempt.attempt for attempt in story.started]
    assert attempts == 0 or len(numbers) <= attempts, f"{numbers} were started"
    assert len(set(numbers)) == len(numbers), f"one of {numbers} ran twice"
    assert story.journalled is not None, "it never ended"
