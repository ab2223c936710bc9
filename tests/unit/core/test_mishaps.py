"""Callers that give up in the middle, answers that come late, steps that raise: no run is left behind by any of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from dbos_core import claims, waiting
from dbos_core.activities.attempt import Attempt, CancelReason
from dbos_core.activities.local import LocalLane
from dbos_core.activities.machine import ActivityMachine
from dbos_core.activities.spec import ActivitySpec, AttemptOutcome, OutcomeKind
from dbos_core.commit import (
    PARK_FOREVER,
    Close,
    Commit,
    Entry,
    IdConflict,
    Mail,
    NewRun,
    RunRow,
    RunStatus,
    StartResult,
    UpdateRow,
    Verdict,
)
from dbos_core.errors import StoreUnavailable
from dbos_core.kernel import Kernel
from dbos_core.mailbox import ACTIVITY, CANCEL, CHILD, OUTCOME, OWN_ID, UPDATE
from dbos_core.retry import RetryPolicy
from dbos_core.runner import Activation, Decision, EventKind
from dbos_core.store.base import Pulse
from dbos_core.store.memory import MemoryStore
from dbos_core.testing.clock import VirtualClock, settle
from dbos_core.testing.entropy import SeededEntropy
from tests.fixtures.waiting import eventually
from tests.store.support import new_run

QUEUE = "orders"
ID = "order-42"


class Gates:
    """A process's view of the store. A call whose gate is closed has been carried out, and its answer is on its way."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._closed: dict[str, asyncio.Event] = {}
        self.held: list[str] = []
        self.calls: list[str] = []

    def hold(self, *names: str) -> None:
        for name in names:
            self._closed[name] = asyncio.Event()

    def let_go(self, *names: str) -> None:
        for name in names:
            self._closed.pop(name).set()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if not asyncio.iscoroutinefunction(found):
            return found

        async def call(*args: object, **options: object) -> object:
            self.calls.append(name)
            answer = await found(*args, **options)
            gate = self._closed.get(name)
            if gate is not None:
                self.held.append(name)
                await gate.wait()
            return answer

        return call


def _nothing() -> None: ...


@dataclass
class Script:
    """Schedules one activity; ends when it hears a signal."""

    heard: list[str] = field(default_factory=list)
    before_open: Callable[[], None] = _nothing
    task_queue: str = QUEUE
    identity: str = "worker"
    max_cached: int = 100
    local_lane: LocalLane | None = None

    def knows(self, workflow_type: str) -> bool:
        return True

    def prepare(self, run: RunRow, spec: object) -> None: ...

    def open(self, run: RunRow, inputs: str, native: object = None) -> Script:
        self.before_open()
        return self

    def activate(self, activation: Activation) -> Decision:
        kinds = [event.kind for event in activation.events]
        self.heard += [e.mail.topic if e.mail is not None else e.kind.value for e in activation.events]
        decision = Decision(record=json.dumps(kinds), name="step", at_ms=activation.at_ms)
        if EventKind.SIGNAL in kinds:
            decision.close = Close(status=RunStatus.COMPLETED, close_ms=activation.at_ms, record='{"kind":"completed"}')
        elif EventKind.START in kinds:
            decision.schedule = [pack()]
        return decision

    def replay(self, entry: Entry) -> Decision:
        scheduled = [pack()] if "start" in entry.record else []
        return Decision(record=entry.record, name=entry.name, schedule=scheduled)

    async def query(self, payload: str) -> str:
        return "answer"

    def evict(self) -> Awaitable[None] | None:
        return None


class Restful(Script):
    """Asks for nothing at all, and so can be parked."""

    def activate(self, activation: Activation) -> Decision:
        decision = super().activate(activation)
        decision.schedule = []
        return decision

    def replay(self, entry: Entry) -> Decision:
        return Decision(record=entry.record, name=entry.name)


def pack() -> ActivitySpec:
    return ActivitySpec(
        seq=1, activity_id="1", activity_type="pack", task_queue=QUEUE, record="{}", schedule_to_close_ms=None,
        schedule_to_start_ms=None, start_to_close_ms=600_000, heartbeat_ms=None, retry=RetryPolicy(), scheduled_ms=0,
    )  # fmt: skip


class Packer:
    """Takes attempts and never ends one by itself."""

    shutdown_record = "{}"

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []

    def start(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)

    def cancel(self, token: bytes, reason: CancelReason) -> None: ...


class Shop:
    """One database, and processes on it."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.store = MemoryStore(self.clock)
        self.kernels: list[Kernel] = []
        self.packer = Packer()

    async def process(self, script: Script | None = None) -> tuple[Kernel, Gates]:
        """A process that serves the queue if it has a script."""
        gates = Gates(self.store.sibling())
        kernel = await Kernel.open(
            gates,
            identity=f"process {len(self.kernels)}",
            application_version="1",
            clock=self.clock,
            entropy=SeededEntropy(len(self.kernels)),
        )
        self.kernels.append(kernel)
        if script is not None:
            kernel.activities.serve(QUEUE, self.packer, 10)
            kernel.serve(script)
        await settle()
        return kernel, gates

    def new(self, number: int = 1, *, workflow_id: str = ID, **fields: Any) -> NewRun:
        run_id = f"00000000-0000-4000-8000-{number:012}"
        return new_run(workflow_id, at=self.clock.now_ms(), run_id=run_id, **fields)

    async def start(self, kernel: Kernel, number: int = 1, **fields: Any) -> StartResult:
        new = self.new(number, **fields)
        derived = f"{new.workflow_id}~{new.run_id}"
        return (await kernel.start(new, derived_uuid=derived, terminate_record="{}")).result

    async def row(self, workflow_id: str = ID) -> RunRow:
        row = await self.store.find(workflow_id, None)
        assert row is not None
        return row


def signal(to: str = ID, *, topic: str = "hurry", text: str = "{}", mail_id: str = f"{OWN_ID}1") -> Mail:
    return Mail(mail_id=mail_id, workflow_uuid=to, topic=topic, message=text)


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    made = Shop()
    await made.store.open()
    yield made
    for kernel in made.kernels:
        await kernel.close()
    await made.store.close()


async def give_up(task: asyncio.Task[object]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# -- callers that give up ----------------------------------------------------------------------------------------------


async def test_a_start_that_is_given_up_while_its_policy_is_applied_leaves_no_run_behind(shop: Shop) -> None:
    kernel, gates = await shop.process(Script())
    await shop.start(kernel)
    gates.hold("start_by_policy")
    starting = asyncio.create_task(shop.start(kernel, 2, conflict=IdConflict.TERMINATE_EXISTING))
    await settle()
    assert gates.held == ["start_by_policy"], "the start is not under way: this would prove nothing"

    await give_up(starting)
    gates.let_go("start_by_policy")
    row = await shop.row()
    assert row.owner == kernel.process_id, "nobody owns the run: this would prove nothing"
    await kernel.claims.look_around()
    await settle()

    assert kernel.live(row.workflow_uuid) is not None
    assert not shop.store.tables.outbox, "nobody sees to the end of the run that it has replaced"


async def test_a_start_that_is_given_up_goes_on_and_others_of_the_id_wait_for_it(shop: Shop) -> None:
    script = Script()
    kernel, gates = await shop.process(script)
    gates.hold("flush")
    first = asyncio.create_task(shop.start(kernel, 1, request_id="a"))
    await settle()
    await give_up(first)
    again = asyncio.create_task(shop.start(kernel, 2, request_id="a"))
    await settle()  # would not return if anybody kept the event loop awake

    gates.let_go("flush")
    assert await again is StartResult.SAME_REQUEST
    assert script.heard == ["start"]
    assert kernel.live(ID) is not None


async def test_a_question_that_is_given_up_while_its_run_is_claimed_leaves_no_run_behind(shop: Shop) -> None:
    leaving, _ = await shop.process(Restful())
    await shop.start(leaving)
    await leaving.writer.write(Commit(workflow_uuid=ID, park_until_ms=PARK_FOREVER, mail_seen_ms=0))
    await leaving.close()
    kernel, gates = await shop.process(Restful())
    row = await shop.row()
    assert row.owner is None, "the run is not parked: this would prove nothing"
    gates.hold("claim_one")
    asking = asyncio.create_task(kernel.query(row, "{}", 10))
    await settle()

    await give_up(asking)
    gates.let_go("claim_one")
    assert (await shop.row()).owner == kernel.process_id
    await kernel.claims.look_around()
    await settle()

    assert kernel.live(ID) is not None


async def test_others_hear_of_an_end_whose_author_has_given_up(shop: Shop) -> None:
    kernel, gates = await shop.process(Script())
    await shop.start(kernel)
    gates.hold("terminate")
    close = Close(status=RunStatus.TERMINATED, close_ms=0, record="{}", mail_seen_ms=None)
    ending = asyncio.create_task(kernel.terminate(ID, close))
    await settle()
    assert shop.store.tables.outbox, "nobody has to hear of it: this would prove nothing"

    await give_up(ending)
    gates.let_go("terminate")
    await kernel.claims.look_around()
    await settle()

    assert not shop.store.tables.outbox


# -- answers that come late --------------------------------------------------------------------------------------------


async def test_a_start_is_answered_though_its_worker_has_left_meanwhile(shop: Shop) -> None:
    script = Script()
    kernel, gates = await shop.process(script)
    gates.hold("flush")
    starting = asyncio.create_task(shop.start(kernel))
    await settle()
    kernel.writer.available = False  # the database is away: nobody waits for it
    await kernel.unserve(script)

    gates.let_go("flush")
    assert await starting is StartResult.STARTED
    await kernel.claims.look_around()

    other = Script()
    kernel_of_other, _ = await shop.process(other)
    assert kernel_of_other.live(ID) is not None, "the run is nobody's, and nobody can claim it"


async def test_the_end_of_a_run_that_has_left_this_process_is_heard_soon(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "LOOK_EVERY_S", 0.01)
    kernel, _ = await shop.process(Restful())
    await shop.start(kernel)
    waits = asyncio.create_task(kernel.wait_closed(ID, 300))
    await settle()
    await shop.clock.advance(10_000)
    kernel.parking.sweep()
    await settle()
    assert kernel.live(ID) is None, "the run is not parked: this would prove nothing"

    close = Close(status=RunStatus.TERMINATED, close_ms=0, record="{}", mail_seen_ms=None)
    assert await shop.store.terminate("somebody", ID, close) is Verdict.COMMITTED

    row = await asyncio.wait_for(waits, 60)
    assert row is not None
    assert row.status is RunStatus.TERMINATED


class Hasty(Restful):
    """Ends at once, and says what it has heard by then."""

    def activate(self, activation: Activation) -> Decision:
        decision = super().activate(activation)
        decision.close = Close(status=RunStatus.COMPLETED, close_ms=activation.at_ms, record='{"kind":"completed"}')
        return decision


async def test_a_run_under_a_used_id_has_the_signal_that_it_is_started_with_from_the_first(shop: Shop) -> None:
    """Its worker is elsewhere, and quicker than the answer to the start."""
    worker = Hasty()
    await shop.process(worker)
    starter, gates = await shop.process()
    await shop.start(starter)
    await settle()
    assert (await shop.row()).status is RunStatus.COMPLETED, "the id is not used: this would prove nothing"
    worker.heard.clear()
    gates.hold("start_by_policy")
    new = shop.new(2)
    message = signal()
    starting = asyncio.create_task(starter.start(new, derived_uuid=f"{ID}~2", terminate_record="{}", mail=[message]))
    await settle()
    gates.let_go("start_by_policy")

    assert (await starting).result is StartResult.STARTED
    await settle()
    assert worker.heard == ["start", "hurry"]


async def test_a_run_under_a_used_id_has_the_update_that_it_is_started_with(shop: Shop) -> None:
    starter, gates = await shop.process(Hasty())
    await shop.start(starter)
    gates.hold("start_by_policy")
    message = signal(topic=UPDATE)
    starting = asyncio.create_task(
        starter.start(
            shop.new(2),
            derived_uuid=f"{ID}~2",
            terminate_record="{}",
            mail=[message],
            updates=[UpdateRow(update_id="u", stage=1)],
        )
    )
    await settle()

    uuid = (await shop.row()).workflow_uuid
    assert [mail.mail_id for mail in await shop.store.mail([uuid])] == [message.mail_id]
    assert await shop.store.update_row(uuid, "u", watch=False) == UpdateRow(update_id="u", stage=1)
    gates.let_go("start_by_policy")
    assert (await starting).result is StartResult.STARTED


async def test_who_waits_for_a_run_is_told_when_this_process_ends(shop: Shop) -> None:
    kernel, _ = await shop.process(Script())
    await shop.start(kernel)
    waits = asyncio.create_task(kernel.wait_closed(ID, 300))
    await settle()

    await kernel.close()

    assert await asyncio.wait_for(waits, 10) is None


# -- many at once ------------------------------------------------------------------------------------------------------


async def test_all_that_a_dead_process_owned_is_taken_over_at_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "CLAIM_RUNS_MAX", 2)
    dead, _ = await shop.process(Script())
    for number in range(7):
        await shop.start(dead, number, workflow_id=f"order-{number}")
    for task in dead.claims._tasks:
        task.cancel()
    kernel, _ = await shop.process()
    kernel.serve(Script())
    shop.clock.jump(60_000)

    await kernel.claims.look_around()
    await settle()

    assert len(kernel.live_runs) == 7


async def test_the_lease_is_renewed_while_many_runs_time_out(shop: Shop) -> None:
    kernel, gates = await shop.process(Script())
    for number in range(3):
        new = shop.new(number, workflow_id=f"order-{number}", deadline_ms=shop.clock.now_ms() + 1000)
        new.claimed, new.task_queue = False, "elsewhere"
        await kernel.writer.write(Commit(workflow_uuid=new.workflow_uuid, fenced=False, start=new))
    shop.clock.jump(2000)
    gates.hold("terminate")

    await asyncio.wait_for(kernel.claims.look_around(), 60)
    await settle()
    assert gates.held == ["terminate"]

    gates.let_go("terminate")
    await settle()
    assert [(await shop.row(f"order-{n}")).status for n in range(3)] == [RunStatus.TIMED_OUT] * 3


async def test_a_run_that_cannot_be_timed_out_is_in_nobodys_way(shop: Shop) -> None:
    kernel, _ = await shop.process(Script())
    for number in range(3):
        new = shop.new(number, workflow_id=f"order-{number}", deadline_ms=shop.clock.now_ms() + 1000)
        new.claimed, new.task_queue = False, "elsewhere"
        await kernel.writer.write(Commit(workflow_uuid=new.workflow_uuid, fenced=False, start=new))
    usual = kernel.timeout_close
    kernel.timeout_close = lambda loaded, now: usual(loaded, now // (loaded.run.workflow_id != "order-0"))
    shop.clock.jump(2000)

    await kernel.claims.look_around()
    await settle()

    assert [(await shop.row(f"order-{n}")).status for n in range(3)] == [
        RunStatus.RUNNING,
        RunStatus.TIMED_OUT,
        RunStatus.TIMED_OUT,
    ]


# -- the database is away ----------------------------------------------------------------------------------------------


class Away:
    """Says that the database is away when it is called first, and is another function from then on."""

    def __init__(self, then: Callable[..., Any]) -> None:
        self._then = then
        self.calls = 0

    async def __call__(self, *args: Any, **options: Any) -> Any:
        self.calls += 1
        if self.calls == 1:
            raise StoreUnavailable("away")
        return await self._then(*args, **options)


async def test_a_deadline_that_passes_while_the_database_is_away_is_kept_when_it_is_back(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "AGAIN_S", 0.001)
    kernel, gates = await shop.process(Script())
    await shop.start(kernel, deadline_ms=shop.clock.now_ms() + 60_000)
    load = Away(gates.load)
    monkeypatch.setattr(gates, "load", load, raising=False)

    await shop.clock.advance(60_000)

    async def timed_out() -> bool:
        return (await shop.row()).status is RunStatus.TIMED_OUT

    await eventually(timed_out, what="the run has timed out")
    assert load.calls > 1


async def test_runs_whose_release_has_failed_are_let_go_later(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their worker has left, and the process lives on: its lease would hold them for ever."""
    script = Script()
    kernel, gates = await shop.process(script)
    await shop.start(kernel)
    monkeypatch.setattr(gates, "release", Away(gates.release), raising=False)
    await kernel.unserve(script)
    assert (await shop.row()).owner == kernel.process_id, "the run was released: this would prove nothing"

    await kernel.claims.look_around()
    await settle()

    other, _ = await shop.process(Script())
    assert other.live(ID) is not None


# -- steps that raise --------------------------------------------------------------------------------------------------


class Once:
    """Raises when it is called first, and is another function from then on."""

    def __init__(self, then: Callable[..., object]) -> None:
        self._then = then
        self.raised = False

    def __call__(self, *args: object, **options: object) -> object:
        if not self.raised:
            self.raised = True
            raise RuntimeError("a bug")
        return self._then(*args, **options)


@pytest.mark.parametrize("step", ["schedule", "release"])
async def test_a_step_that_raises_is_done_again(shop: Shop, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script()
    kernel, _ = await shop.process(script)
    bug = Once(getattr(kernel.activities, step))
    monkeypatch.setattr(kernel.activities, step, bug)

    assert await asyncio.wait_for(shop.start(kernel), 60) is StartResult.STARTED
    await shop.clock.advance(10_000)

    assert bug.raised
    assert [machine.started for machine in kernel.activities.pending(ID)] == [True]
    await kernel.send(signal())
    await settle()
    assert (await shop.row()).status is RunStatus.COMPLETED


async def test_an_activity_whose_end_cannot_be_acted_on_is_tried_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel, _ = await shop.process(Script())
    await shop.start(kernel)
    [attempt] = shop.packer.attempts
    bug = Once(ActivityMachine.ended)
    monkeypatch.setattr(ActivityMachine, "ended", lambda *args: bug(*args))

    kernel.activities.completed(attempt.token, AttemptOutcome(kind=OutcomeKind.FAILED))
    await settle()
    await shop.clock.advance(10_000)

    assert bug.raised
    assert [one.attempt for one in shop.packer.attempts] == [1, 2]
    assert kernel.live(ID) is not None


async def test_a_pulse_that_finds_trouble_does_not_keep_activities_from_starting(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "PULSE_EVERY_S", 0.01)
    kernel, _ = await shop.process()

    async def trouble(pulse: Pulse) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(kernel.claims, "_act_on", trouble)
    await kernel.claims.registered()
    kernel.claims._sure_until_s = 0.0  # as after a stop that was longer than the lease
    kernel.activities.serve(QUEUE, shop.packer, 10)
    kernel.serve(Script())

    await shop.start(kernel)

    await eventually(lambda: shop.packer.attempts, what="the activity has started")


async def test_a_run_that_cannot_be_taken_up_says_so_and_is_taken_up_later(shop: Shop) -> None:
    leaving, _ = await shop.process(Script())
    await shop.start(leaving)
    await leaving.close()
    script = Script()
    bug = script.before_open = Once(_nothing)  # type: ignore[assignment]
    kernel, _ = await shop.process(script)

    await shop.clock.advance(10_000)

    assert isinstance(bug, Once)
    assert bug.raised
    await kernel.send(signal())
    await settle()
    assert (await shop.row()).status is RunStatus.COMPLETED


@pytest.mark.parametrize("topic", [ACTIVITY, CANCEL, CHILD, OUTCOME])
@pytest.mark.parametrize("lives", [True, False])
async def test_a_stock_tools_message_under_a_topic_of_ours_is_dropped(shop: Shop, topic: str, lives: bool) -> None:
    stray = signal(topic=topic, text='"surprise"', mail_id="stray")
    kernel, _ = await shop.process(Script())
    await shop.start(kernel)
    if lives:
        shop.store.deliver_from_outside(stray)
    else:
        await kernel.close()
        shop.store.deliver_from_outside(stray)
        kernel, _ = await shop.process(Script())
    await settle()

    await kernel.send(signal())
    await settle()

    assert (await shop.row()).status is RunStatus.COMPLETED


async def test_a_message_that_one_run_cannot_read_does_not_keep_others_from_theirs(shop: Shop) -> None:
    kernel, _ = await shop.process(Script())
    sender, _ = await shop.process()
    for number in (1, 2):
        await shop.start(kernel, number, workflow_id=f"order-{number}")

    unreadable = signal("order-1", topic=OUTCOME, text='"from a newer release"', mail_id=f"{OWN_ID}x")
    answers = await asyncio.wait_for(
        asyncio.gather(sender.send(unreadable), sender.send(signal("order-2")), kernel.send(signal("order-2"))), 60
    )
    await settle()

    assert Verdict.RUN_CLOSED not in answers
    assert (await shop.row("order-2")).status is RunStatus.COMPLETED

    async def said() -> bool:
        return (await shop.row("order-1")).task_failure is not None

    await eventually(said, what="order-1 is known to fail")
