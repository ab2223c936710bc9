"""What the tests of activities share: specs, an executor that only takes notes, and processes on one memory store."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from dbos_core.activities.attempt import Attempt, CancelReason, RunRef
from dbos_core.activities.service import ActivityService
from dbos_core.activities.spec import ActivitySpec, AttemptOutcome, FinalOutcome, OutcomeKind
from dbos_core.commit import Commit, JournalRow, Verdict
from dbos_core.retry import RetryPolicy
from dbos_core.store.base import ProcessInfo, Wake, WakeKind
from dbos_core.store.memory import MemoryStore
from dbos_core.testing.clock import VirtualClock, settle
from dbos_core.testing.entropy import SeededEntropy
from dbos_core.writer import CheckpointWriter
from tests.store.support import new_run

START = 1_700_000_000_000
RUN = RunRef("order-42", "order-42", "5e4d7f4c-7a43-4d6a-9a3e-0d5f5b0c8f11", "OrderWorkflow")
LEASE_MS = 10_000


def spec(seq: int = 1, **changes: Any) -> ActivitySpec:
    made = ActivitySpec(
        seq=seq,
        activity_id=str(seq),
        activity_type="charge",
        task_queue="payments",
        record='{"input": []}',
        schedule_to_close_ms=None,
        schedule_to_start_ms=None,
        start_to_close_ms=60_000,
        heartbeat_ms=None,
        retry=RetryPolicy(),
        scheduled_ms=START,
        native=object(),
        prepared=object(),
    )
    return replace(made, **changes)


def bounded(attempts: int = 1, **changes: Any) -> RetryPolicy:
    return RetryPolicy(maximum_attempts=attempts, **changes)


def completed(record: str = '"done"') -> AttemptOutcome:
    return AttemptOutcome(kind=OutcomeKind.COMPLETED, record=record, identity="worker-1")


def failed(**changes: Any) -> AttemptOutcome:
    made = AttemptOutcome(kind=OutcomeKind.FAILED, record='"boom"', error_type="Boom", identity="worker-1")
    return replace(made, **changes)


def canceled() -> AttemptOutcome:
    return AttemptOutcome(kind=OutcomeKind.CANCELED, record='"stopped"', identity="worker-1")


class Notes:
    """An executor: remembers what was started and cancelled; the test decides when and how attempts end."""

    identity = "worker-1"
    shutdown_record = '"worker shutdown"'

    def __init__(self) -> None:
        self.started: list[Attempt] = []
        self.cancels: list[tuple[int, CancelReason]] = []
        """(attempt number, reason)."""
        self.by_token: dict[bytes, Attempt] = {}

    def start(self, attempt: Attempt) -> None:
        self.started.append(attempt)
        self.by_token[attempt.token] = attempt

    def cancel(self, token: bytes, reason: CancelReason) -> None:
        self.cancels.append((self.by_token[token].attempt, reason))

    @property
    def last(self) -> Attempt:
        return self.started[-1]

    def seqs(self) -> list[int]:
        return [attempt.spec.seq for attempt in self.started]


class Process:
    """One process: service, writer, and as much of a kernel as an owner of runs needs."""

    def __init__(self, world: World, name: str, **options: Any) -> None:
        self.world = world
        self.name = name
        self.store = world.store.sibling()
        self.info = ProcessInfo(process_id=name, identity=name, application_version="1")
        self.writer = CheckpointWriter(self.store, name)
        self.finals: list[FinalOutcome] = []
        self.lost: list[str] = []
        self.service = ActivityService(
            store=self.store,
            writer=self.writer,
            clock=world.clock,
            entropy=SeededEntropy(name),
            process_id=name,
            on_final=lambda run, outcome: self.finals.append(outcome),
            on_lost=self.lost.append,
            **options,
        )
        self.position = 0
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self.store.open()
        self.store.listen(self._heard)
        await self.store.register(self.info, LEASE_MS)
        self._task = asyncio.create_task(self.writer.run())

    async def die(self) -> None:
        """Nothing is flushed, closed or said."""
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.store.close()
        await self.service.close()

    def _heard(self, wake: Wake) -> None:
        if wake.kind is WakeKind.ACTIVITY:
            self.service.wake(wake.key)
        elif wake.kind is WakeKind.MAIL and wake.key in self.world.owners and self.world.owners[wake.key] is self:
            self.service.spawn(self.read_mail(), "mail")

    async def read_mail(self) -> None:
        for mail in await self.store.mail([RUN.workflow_uuid]):
            self.service.remote_outcome(RUN.workflow_uuid, mail)

    async def start_run(self) -> None:
        """Own the run whose activities the test is about."""
        new = new_run(
            RUN.workflow_id, at=self.world.clock.now_ms(), run_id=RUN.run_id, workflow_uuid=RUN.workflow_uuid,
            workflow_type=RUN.workflow_type,
        )  # fmt: skip
        self.world.owners[RUN.workflow_uuid] = self
        assert await self.writer.write(Commit(workflow_uuid=RUN.workflow_uuid, fenced=False, start=new)) is _COMMITTED

    async def schedule(self, *specs: ActivitySpec) -> None:
        """As a live run does: rows in the journal's commit, release after it."""
        rows = [row for one in specs for row in self.service.schedule(RUN, one)]
        assert await self.journal(activities=tuple(rows)) is _COMMITTED
        for one in specs:
            self.service.release(RUN, one.seq)
        await settle()

    async def journal(self, **parts: Any) -> Verdict:
        self.position += 1
        now = self.world.clock.now_ms()
        entry = JournalRow(position=self.position, name="step", record="{}", started_ms=now, completed_ms=now)
        return await self.writer.write(Commit(workflow_uuid=RUN.workflow_uuid, entry=entry, **parts))

    async def journal_final(self) -> FinalOutcome:
        """Journal the newest end of an activity as a live run does."""
        outcome = self.finals[-1]
        done = (outcome.seq,) if outcome.has_row else ()
        assert await self.journal(activities_done=done, consumed=outcome.mail_ids) is _COMMITTED
        return outcome

    async def take_over(self, dead: Process, *specs: ActivitySpec, cancel_requested: tuple[int, ...] = ()) -> None:
        """Once the other's lease has lapsed: own its run and restore the given activities, which are open."""
        assert await self.store.take_over(self.name, [dead.name], ["orders"], 10) == [RUN.workflow_uuid]
        await self.restore(*specs, cancel_requested=cancel_requested)

    async def restore(self, *specs: ActivitySpec, cancel_requested: tuple[int, ...] = ()) -> None:
        self.world.owners[RUN.workflow_uuid] = self
        (loaded,) = await self.store.load([RUN.workflow_uuid])
        self.position = len(loaded.entries)
        self.service.restore(RUN, specs, loaded.activities, cancel_requested=cancel_requested, mail=loaded.mail)
        for mail in loaded.mail:
            self.service.remote_outcome(RUN.workflow_uuid, mail)
        await settle()

    async def rows(self) -> list[Any]:
        (loaded,) = await self.store.load([RUN.workflow_uuid])
        return loaded.activities

    async def beat(self) -> None:
        await self.store.pulse(self.info, LEASE_MS)


_COMMITTED = Verdict.COMMITTED


class World:
    """Processes beside each other on one database in memory and one clock."""

    def __init__(self) -> None:
        self.clock = VirtualClock(START)
        self.store = MemoryStore(self.clock)
        self.owners: dict[str, Process] = {}
        self.processes: list[Process] = []

    async def process(self, name: str, **options: Any) -> Process:
        made = Process(self, name, **options)
        await made.open()
        self.processes.append(made)
        return made


@contextlib.asynccontextmanager
async def world() -> AsyncIterator[World]:
    made = World()
    try:
        yield made
    finally:
        for process in made.processes:
            await process.die()
