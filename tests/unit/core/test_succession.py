"""A run that follows another begins at once where it can, and is not forgotten where an answer or a process is lost."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from dbos_core import failpoints
from dbos_core.commit import Close, Entry, Mail, RunRow, RunStatus
from dbos_core.errors import StoreUnavailable
from dbos_core.kernel import Kernel
from dbos_core.mailbox import OWN_ID
from dbos_core.runner import Activation, Decision, EventKind
from dbos_core.store.memory import MemoryStore
from dbos_core.succession import following
from dbos_core.testing.clock import VirtualClock, settle
from dbos_core.testing.entropy import SeededEntropy
from tests.fixtures.waiting import eventually
from tests.store.support import new_run
from tests.unit.core.runners import AnyRunner

QUEUE = "legs"


class Legs(AnyRunner):
    """Each run is followed by another, until so many have been; the last one waits for a signal."""

    task_queue = QUEUE

    def __init__(self, count: int, *, delay_ms: int = 0, ahead_ms: int = 0, queue: str = QUEUE) -> None:
        """``ahead_ms``: so much later than the clock says they think it is, since it was set back."""
        self.left = count
        self.delay_ms = delay_ms
        self.ahead_ms = ahead_ms
        self.queue = queue
        self.seen: list[str] = []

    def open(self, run: RunRow, inputs: str, native: object = None) -> Leg:
        return Leg(self, run)


class Leg:
    def __init__(self, legs: Legs, run: RunRow) -> None:
        self._legs, self._run = legs, run

    def activate(self, activation: Activation) -> Decision:
        legs, kinds = self._legs, [event.kind for event in activation.events]
        legs.seen += [kind.value for kind in kinds]
        decision = Decision(record=json.dumps(kinds), name="leg", at_ms=activation.at_ms)
        if EventKind.SIGNAL in kinds:
            decision.close = Close(status=RunStatus.COMPLETED, close_ms=activation.at_ms, record='{"kind":"done"}')
        elif legs.left > 0:
            legs.left -= 1
            new = following(self._run, run_id=f"run-{legs.left}")
            new.start_ms = activation.at_ms + legs.ahead_ms
            new.execution_ms = new.start_ms + legs.delay_ms
            new.task_queue = legs.queue
            decision.close = Close(
                status=RunStatus.CONTINUED_AS_NEW, close_ms=activation.at_ms, record='{"kind":"on"}', successor=new
            )
        return decision

    def replay(self, entry: Entry) -> Decision:
        return Decision(record=entry.record, name=entry.name)

    async def query(self, payload: str) -> str:
        return "answer"

    def evict(self) -> None:
        return None


class Track:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.store = MemoryStore(self.clock)
        self.kernels: list[Kernel] = []

    async def kernel(self) -> Kernel:
        kernel = await Kernel.open(
            self.store.sibling(),
            identity="somebody",
            application_version="1",
            clock=self.clock,
            entropy=SeededEntropy(len(self.kernels)),
        )
        self.kernels.append(kernel)
        return kernel

    async def start(self, kernel: Kernel) -> None:
        new = new_run("relay", at=self.clock.now_ms(), run_id="run-first", workflow_type="Leg", task_queue=QUEUE)
        await kernel.start(new, derived_uuid="relay~2", terminate_record="{}")

    async def current(self) -> RunRow:
        row = await self.store.find("relay", None)
        assert row is not None
        return row

    async def ends(self, kernel: Kernel) -> None:
        """The last run hears a signal and ends."""
        row = await self.current()
        await kernel.send(Mail(mail_id=f"{OWN_ID}end", workflow_uuid=row.workflow_uuid, topic="end", message="{}"))

        async def completed() -> bool:
            return (await self.current()).status is RunStatus.COMPLETED

        await eventually(completed, what="the last run has ended")


@pytest.fixture
async def track() -> AsyncIterator[Track]:
    made = Track()
    await made.store.open()
    yield made
    failpoints.disarm()
    for kernel in made.kernels:
        await kernel.close()
    await made.store.close()


async def test_the_next_run_begins_here_and_at_once(track: Track) -> None:
    kernel = await track.kernel()
    legs = Legs(3)
    kernel.serve(legs)
    await track.start(kernel)
    await settle()
    row = await track.current()
    assert (row.run_id, row.status, row.owner) == ("run-0", RunStatus.RUNNING, kernel.process_id)
    assert row.workflow_uuid in kernel.live_runs
    assert legs.seen == ["start"] * 4
    await track.ends(kernel)


@pytest.mark.parametrize("where", ["memory.before_apply", "memory.after_apply"])
@pytest.mark.parametrize("at", [1, 2, 3])
async def test_a_lost_answer_loses_no_run(track: Track, where: str, at: int) -> None:
    kernel = await track.kernel()
    legs = Legs(2)
    kernel.serve(legs)
    failpoints.arm(where, StoreUnavailable("the connection is gone"), at=at)
    await track.start(kernel)
    await eventually(lambda: len(legs.seen) == 3, what="all three runs have begun")
    row = await track.current()
    assert (row.run_id, row.owner) == ("run-0", kernel.process_id)
    assert legs.seen == ["start"] * 3
    await track.ends(kernel)


async def test_a_run_on_a_queue_that_others_serve_is_left_to_them(track: Track) -> None:
    kernel, other = await track.kernel(), await track.kernel()
    kernel.serve(Legs(1, queue="elsewhere"))
    there = Legs(0)
    there.task_queue = "elsewhere"
    other.serve(there)
    await track.start(kernel)
    await settle()
    assert (await track.current()).owner == other.process_id
    assert there.seen == ["start"]
    await track.ends(kernel)


@pytest.mark.parametrize("queue", [QUEUE, "elsewhere"])
async def test_a_clock_that_was_set_back_delays_nothing(track: Track, queue: str) -> None:
    kernel, other = await track.kernel(), await track.kernel()
    kernel.serve(Legs(1, ahead_ms=3_600_000, queue=queue))
    there = Legs(0)
    there.task_queue = "elsewhere"
    other.serve(there)
    await track.start(kernel)
    await settle()
    row = await track.current()
    assert (row.run_id, row.owner) == ("run-0", (kernel if queue == QUEUE else other).process_id)
    assert row.start_ms == row.execution_ms == track.clock.now_ms()
    await track.ends(kernel)


async def test_a_delayed_run_begins_on_time(track: Track) -> None:
    kernel = await track.kernel()
    legs = Legs(1, delay_ms=60_000)
    kernel.serve(legs)
    await track.start(kernel)
    await settle()
    row = await track.current()
    assert (row.run_id, row.owner) == ("run-0", None)
    assert legs.seen == ["start"]
    await track.clock.advance(59_999)
    await settle()
    assert legs.seen == ["start"]
    await track.clock.advance(1)
    await settle()
    assert legs.seen == ["start", "start"]
    await track.ends(kernel)


async def test_a_message_does_not_hasten_a_delayed_run_and_is_heard_when_it_begins(track: Track) -> None:
    kernel = await track.kernel()
    legs = Legs(1, delay_ms=60_000)
    kernel.serve(legs)
    await track.start(kernel)
    await settle()
    row = await track.current()
    await kernel.send(Mail(mail_id=f"{OWN_ID}early", workflow_uuid=row.workflow_uuid, topic="end", message="{}"))
    await settle()
    assert legs.seen == ["start"]
    row = await track.current()
    assert (row.status, row.owner, row.wake_at_ms) == (RunStatus.RUNNING, None, row.execution_ms)
    await track.clock.advance(60_000)
    await settle()
    assert legs.seen == ["start", "start", "signal"]
    assert (await track.current()).status is RunStatus.COMPLETED
