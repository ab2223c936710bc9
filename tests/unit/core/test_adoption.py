"""Runs on their way into a process: what reaches them meanwhile is not missed, and not heard too early."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass, field

import pytest

from dbos_core import kept
from dbos_core.activities.attempt import Attempt, CancelReason
from dbos_core.activities.spec import ActivitySpec, FinalOutcome, OutcomeKind, RetryState
from dbos_core.commit import Close, Commit, Entry, LoadedRun, Mail, NewRun, RunRow, RunStatus, StartResult, Verdict
from dbos_core.kernel import Kernel
from dbos_core.mailbox import OUTCOME, OWN_ID
from dbos_core.retry import RetryPolicy
from dbos_core.runner import Activation, Decision, EventKind
from dbos_core.store.memory import MemoryStore
from dbos_core.testing.clock import VirtualClock, settle
from dbos_core.testing.entropy import SeededEntropy
from tests.store.support import new_run
from tests.unit.core.runners import AnyRunner

QUEUE = "orders"
RUN_ID = "00000000-0000-4000-8000-000000000001"


class Gate:
    """Holds up whoever comes, once closed."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self.waiting = 0

    def close(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    async def passed(self) -> None:
        self.waiting += 1
        await self._open.wait()
        self.waiting -= 1


@dataclass
class Script(AnyRunner):
    """Schedules one activity; ends when it hears of its end, or of a signal."""

    replaying: Gate = field(default_factory=Gate)
    seen: list[str] = field(default_factory=list)
    task_queue: str = QUEUE

    def open(self, run: RunRow, inputs: str, native: object = None) -> Script:
        return self

    def activate(self, activation: Activation) -> Decision:
        kinds = [event.kind for event in activation.events]
        self.seen += [kind.value for kind in kinds]
        decision = Decision(record=json.dumps(kinds), name="step", at_ms=activation.at_ms)
        if EventKind.START in kinds:
            decision.schedule = [pack()]
        else:
            decision.close = Close(
                status=RunStatus.COMPLETED, close_ms=activation.at_ms, record='{"kind":"completed"}', output='"done"'
            )
        return decision

    def replay(self, entry: Entry) -> Awaitable[Decision]:
        async def slowly() -> Decision:
            await self.replaying.passed()
            return Decision(record=entry.record, name=entry.name, schedule=[pack()])

        return slowly()

    async def query(self, payload: str) -> str:
        return "answer"

    def evict(self) -> None:
        return None


def pack() -> ActivitySpec:
    return ActivitySpec(
        seq=1, activity_id="1", activity_type="pack", task_queue=QUEUE, record="{}", schedule_to_close_ms=None,
        schedule_to_start_ms=None, start_to_close_ms=600_000, heartbeat_ms=None, retry=RetryPolicy(), scheduled_ms=0,
    )  # fmt: skip


class Idle:
    """Takes attempts and never ends one."""

    identity = "worker-1"
    shutdown_record = "{}"

    def __init__(self) -> None:
        self.started = 0

    def start(self, attempt: Attempt) -> None:
        self.started += 1

    def cancel(self, token: bytes, reason: CancelReason) -> None:
        """The run has ended."""


class SlowLoads:
    """A process's view of the store whose answers to ``load`` (or flushes) are on their way while the gate is closed."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.loading = Gate()
        self.flushing = Gate()

    async def flush(self, process_id: str, commits: Sequence[Commit], *, again: bool) -> list[Verdict]:
        await self.flushing.passed()
        return await self._store.flush(process_id, commits, again=again)

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def load(self, workflow_uuids: Sequence[str]) -> list[LoadedRun]:
        found = await self._store.load(workflow_uuids)
        await self.loading.passed()
        return found


class Shop:
    """One run that nobody owns, and processes that may take it up."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.store = MemoryStore(self.clock)
        self.kernels: list[Kernel] = []

    async def kernel(self, store: object) -> Kernel:
        kernel = await Kernel.open(
            store,  # type: ignore[arg-type]
            identity="somebody",
            application_version="1",
            clock=self.clock,
            entropy=SeededEntropy(len(self.kernels)),
        )
        self.kernels.append(kernel)
        return kernel

    async def start_and_leave(self) -> None:
        """A process starts the run, and ends in good order."""
        kernel = await self.kernel(self.store.sibling())
        kernel.activities.serve(QUEUE, Idle(), 10)
        kernel.serve(Script())
        await kernel.start(self.new(), derived_uuid="order-42~2", terminate_record="{}")
        await settle()
        self.kernels.remove(kernel)
        await kernel.close()

    def new(self) -> NewRun:
        return new_run(at=self.clock.now_ms(), run_id=RUN_ID)

    async def status(self) -> RunStatus:
        row = await self.store.find("order-42", None)
        assert row is not None
        return row.status


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    made = Shop()
    await made.store.open()
    await made.start_and_leave()
    yield made
    for kernel in made.kernels:
        await kernel.close()
    await made.store.close()


def signal() -> Mail:
    return Mail(mail_id=f"{OWN_ID}1", workflow_uuid="order-42", topic="hurry", message="{}")


async def test_a_message_sent_while_its_run_is_being_loaded_reaches_it(shop: Shop) -> None:
    sender = await shop.kernel(shop.store.sibling())
    view = SlowLoads(shop.store.sibling())
    view.loading.close()
    script = Script()
    owner = await shop.kernel(view)
    owner.serve(script)
    await settle()
    assert view.loading.waiting, "the run is not on its way: this would prove nothing"

    await sender.send(signal())
    await settle()
    view.loading.open()
    await settle()

    assert script.seen == ["signal"]
    assert await shop.status() is RunStatus.COMPLETED


async def test_a_start_that_meets_its_own_run_on_its_way_does_not_leave_it_behind(shop: Shop) -> None:
    """The start's copy in memory stands in the way of the run that has just been claimed, and is then dropped."""
    view = SlowLoads(shop.store.sibling())
    view.loading.close()
    view.flushing.close()
    script = Script()
    owner = await shop.kernel(view)
    owner.serve(script)
    await settle()
    assert view.loading.waiting, "the run is not on its way: this would prove nothing"
    starting = asyncio.create_task(owner.start(shop.new(), derived_uuid="order-42~3", terminate_record="{}"))
    await settle()
    view.loading.open()
    await settle()
    view.flushing.open()
    await settle()
    assert (await starting).result is StartResult.SAME_REQUEST
    await settle()

    assert owner.live("order-42") is not None
    await owner.send(signal())
    await settle()
    assert script.seen[-1] == "signal"
    assert await shop.status() is RunStatus.COMPLETED


async def test_a_message_of_the_same_process_reaches_a_run_that_is_being_loaded(shop: Shop) -> None:
    view = SlowLoads(shop.store.sibling())
    view.loading.close()
    script = Script()
    owner = await shop.kernel(view)
    owner.serve(script)
    await settle()

    await owner.send(signal())
    view.loading.open()
    await settle()

    assert script.seen == ["signal"]


async def test_an_outcome_that_arrives_during_the_replay_is_heard_after_it(shop: Shop) -> None:
    script = Script()
    script.replaying.close()
    owner = await shop.kernel(shop.store.sibling())
    packer = Idle()
    owner.activities.serve(QUEUE, packer, 10)
    owner.serve(script)
    await settle()
    assert script.replaying.waiting == 1, "the run is not being replayed: this would prove nothing"

    packed = FinalOutcome(
        seq=1, kind=OutcomeKind.COMPLETED, record='"packed"', retry_state=RetryState.UNSPECIFIED, timeout=None,
        attempt=1, started_ms=1, identity="packer", last_failure=None, heartbeat=None,
    )  # fmt: skip
    text = kept.outcome_text(packed)
    await owner.send(Mail(mail_id=f"{OWN_ID}o", workflow_uuid="order-42", topic=OUTCOME, message=text))
    await settle()
    script.replaying.open()
    await settle()

    assert script.seen == ["activity"]
    assert packer.started == 0, "an activity whose end is known was run again"
    assert await shop.status() is RunStatus.COMPLETED


async def test_nothing_is_remembered_of_runs_that_are_elsewhere(shop: Shop) -> None:
    script = Script()
    owner = await shop.kernel(shop.store.sibling())
    owner.serve(script)
    other = await shop.kernel(shop.store.sibling())
    await settle()

    await other.send(signal())
    await settle()

    assert script.seen == ["signal"]
    assert not other.claims.arriving
    assert not owner.claims.arriving
