"""Runs whose activations fail, on a kernel in memory with a runner that does what it is told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from dbos_core import kept
from dbos_core.activities.attempt import Attempt, CancelReason
from dbos_core.activities.spec import ActivitySpec, AttemptOutcome, FinalOutcome, OutcomeKind, RetryState, TimeoutKind
from dbos_core.commit import Close, Entry, Mail, RunRow, RunStatus
from dbos_core.failing import Note, note_text, noted
from dbos_core.kernel import Kernel
from dbos_core.mailbox import ACTIVITY, OUTCOME, OWN_ID
from dbos_core.questions import QuestionFailed
from dbos_core.retry import RetryPolicy
from dbos_core.runner import Activation, Decision, EventKind, TaskFailure
from dbos_core.store.memory import MemoryStore
from dbos_core.testing.clock import VirtualClock, settle
from dbos_core.testing.entropy import SeededEntropy
from tests.store.support import new_run
from tests.unit.core.runners import AnyRunner

QUEUE = "orders"


@dataclass
class Script(AnyRunner):
    """What the workflow does: schedules one activity when it starts, and closes when the activity ends."""

    broken: bool = False
    unreadable: bool = False
    """The journal cannot be replayed."""
    ends_unreadable: bool = False
    """And that shall fail the run."""
    seen: list[list[str]] = field(default_factory=list)

    task_queue: str = QUEUE
    identity: str = "worker-1"

    def open(self, run: RunRow, inputs: str, native: object = None) -> Script:
        return self

    def activate(self, activation: Activation) -> Decision:
        self.seen.append([event.kind.value for event in activation.events])
        if self.broken:
            return Decision(record=None, name="", failure=TaskFailure("a mistake", "UNHANDLED", '{"why":"code"}'))
        events = [event.kind for event in activation.events]
        decision = Decision(record=json.dumps([event.value for event in events]), name="step", at_ms=activation.at_ms)
        if EventKind.START in events:
            decision.schedule = [pack(activation.at_ms)]
        if EventKind.ACTIVITY in events:
            decision.close = Close(
                status=RunStatus.COMPLETED, close_ms=activation.at_ms, record='{"kind":"completed"}', output='"done"'
            )
        return decision

    def replay(self, entry: Entry) -> Decision:
        if self.unreadable:
            failure = TaskFailure(
                "does not fit", "NON_DETERMINISTIC_ERROR", misfit=self if self.ends_unreadable else None
            )
            return Decision(record=None, name="", failure=failure)
        return self.recorded(entry)

    def recorded(self, entry: Entry) -> Decision:
        decision = Decision(record=entry.record, name=entry.name)
        if "start" in json.loads(entry.record):
            decision.schedule = [pack(0)]
        if "activity" in json.loads(entry.record):
            decision.consumed_activities = [1]
        return decision

    def end(self, activation: Activation) -> Decision:
        self.seen.append([event.kind.value for event in activation.events])
        decision = Decision(record='["end"]', name="step", at_ms=activation.at_ms)
        decision.close = Close(
            status=RunStatus.FAILED, close_ms=activation.at_ms, record='{"kind":"failed"}', error="{}"
        )
        return decision

    async def query(self, payload: str) -> str:
        return "answer"

    def evict(self) -> None:
        return None


def pack(at_ms: int) -> ActivitySpec:
    return ActivitySpec(
        seq=1,
        activity_id="1",
        activity_type="pack",
        task_queue=QUEUE,
        record="{}",
        schedule_to_close_ms=None,
        schedule_to_start_ms=None,
        start_to_close_ms=600_000,
        heartbeat_ms=None,
        retry=RetryPolicy(),
        scheduled_ms=at_ms,
    )


class Packer:
    """Ends each attempt at once, or when it is told to."""

    identity = "worker-1"
    shutdown_record = '{"type":"WorkerShutdown"}'

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.started = 0
        self.idle = False
        self.held: list[Attempt] = []

    def start(self, attempt: Attempt) -> None:
        self.started += 1
        if self.idle:
            self.held.append(attempt)
        else:
            self.finish(attempt)

    def finish(self, attempt: Attempt) -> None:
        outcome = AttemptOutcome(kind=OutcomeKind.COMPLETED, record='"packed"', identity="packer")
        self.kernel.loop.call_soon(self.kernel.activities.completed, attempt.token, outcome)

    def cancel(self, token: bytes, reason: CancelReason) -> None:
        raise AssertionError("nobody cancels here")


class Shop:
    """Processes on one store and one clock."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.store = MemoryStore(self.clock)
        self.kernels: list[Kernel] = []
        self.starts = 0

    async def process(self, script: Script, *, idle: bool = False) -> tuple[Kernel, Packer]:
        kernel = await Kernel.open(
            self.store.sibling(),
            identity=script.identity,
            application_version="v1",
            clock=self.clock,
            entropy=SeededEntropy(len(self.kernels)),
        )
        self.kernels.append(kernel)
        packer = Packer(kernel)
        packer.idle = idle
        kernel.activities.serve(QUEUE, packer, 10)
        kernel.serve(script)
        await settle()
        return kernel, packer

    async def close(self, kernel: Kernel) -> None:
        await kernel.close()
        self.kernels.remove(kernel)

    async def start(self, kernel: Kernel, workflow_id: str = "order-42") -> None:
        self.starts += 1
        run_id = f"00000000-0000-4000-8000-{self.starts:012}"
        new = new_run(workflow_id, at=self.clock.now_ms(), run_id=run_id)
        await kernel.start(new, derived_uuid=f"{workflow_id}~2", terminate_record="{}")
        await settle()

    async def row(self, workflow_id: str = "order-42") -> RunRow:
        row = await self.store.find(workflow_id, None)
        assert row is not None
        return row


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    made = Shop()
    await made.store.open()
    yield made
    for kernel in made.kernels:
        await kernel.close()
    await made.store.close()


def position(kernel: Kernel) -> int | None:
    live = kernel.live("order-42")
    return None if live is None else live.position


async def until(shop: Shop, fact: Callable[[], bool], *, within_ms: int = 300_000) -> None:
    """Let virtual time pass, a little at a time, until it is so."""
    for _ in range(within_ms // 500):
        if fact():
            return
        await shop.clock.advance(500)
    raise AssertionError(f"not so within {within_ms} ms of virtual time")


async def packing(shop: Shop) -> tuple[Script, Kernel, Packer]:
    """A run whose activity has started, and does not end by itself."""
    script = Script()
    kernel, packer = await shop.process(script, idle=True)
    await shop.start(kernel)
    await until(shop, lambda: bool(packer.held))
    return script, kernel, packer


async def test_a_failing_first_activation_stands_on_the_row(shop: Shop) -> None:
    script = Script(broken=True)
    kernel, _ = await shop.process(script)

    await shop.start(kernel)
    await until(shop, lambda: len(script.seen) >= 3)
    await settle()

    row = await shop.row()
    note = noted(row, 0)
    assert note is not None
    assert (note.cause, note.message, note.record, note.identity) == (
        "UNHANDLED",
        "a mistake",
        '{"why":"code"}',
        "worker-1",
    )
    assert row.task_attempt == len(script.seen) + 1
    assert row.status is RunStatus.RUNNING


async def test_a_good_activation_takes_the_note_back(shop: Shop) -> None:
    script = Script(broken=True)
    kernel, packer = await shop.process(script)
    await shop.start(kernel)
    await until(shop, lambda: len(script.seen) >= 2)

    packer.idle = True  # the run stays open
    script.broken = False
    await until(shop, lambda: position(kernel) == 1)
    await settle()

    row = await shop.row()
    assert (row.task_attempt, row.task_failure) == (1, None)


async def test_the_first_failure_stays_and_attempts_count_on_in_another_process(shop: Shop) -> None:
    first = Script(broken=True)
    kernel, _ = await shop.process(first)
    await shop.start(kernel)
    await until(shop, lambda: len(first.seen) >= 2)
    await settle()
    before = await shop.row()
    await shop.close(kernel)

    second = Script(broken=True, identity="worker-2")
    await shop.process(second)
    await until(shop, lambda: len(second.seen) >= 1)
    await settle()

    row = await shop.row()
    assert row.task_attempt > before.task_attempt
    assert row.task_failure == before.task_failure


async def test_a_finished_activity_does_not_run_again_when_mended_code_comes_in_another_process(shop: Shop) -> None:
    script, kernel, packer = await packing(shop)
    script.broken = True
    packer.finish(packer.held[0])
    await until(shop, lambda: ["activity"] in script.seen)
    await settle()
    [message] = await shop.store.mail(["order-42"])
    assert message.topic == OUTCOME
    await shop.close(kernel)

    mended = Script()
    _, other_packer = await shop.process(mended)
    await until(shop, lambda: mended.seen == [["activity"]])
    await settle()

    assert (await shop.row()).status is RunStatus.COMPLETED
    assert (packer.started, other_packer.started) == (1, 0)
    assert await shop.store.mail(["order-42"]) == []


async def test_a_finished_activity_reaches_mended_code_in_the_same_process_once(shop: Shop) -> None:
    script, kernel, packer = await packing(shop)
    script.broken = True
    packer.finish(packer.held[0])
    await until(shop, lambda: script.seen.count(["activity"]) >= 3)
    script.broken = False

    await until(shop, lambda: kernel.live("order-42") is None)
    await settle()

    assert (await shop.row()).status is RunStatus.COMPLETED
    assert packer.started == 1
    assert await shop.store.mail(["order-42"]) == []


async def test_an_activity_that_ends_between_two_tries_is_kept_too(shop: Shop) -> None:
    script, kernel, packer = await packing(shop)
    script.broken = True
    await kernel.send(Mail(mail_id=f"{OWN_ID}1", workflow_uuid="order-42", topic="hurry", message="{}"))
    await until(shop, lambda: len(script.seen) == 5)
    packer.finish(packer.held[0])
    await settle()
    assert [message.topic for message in await shop.store.mail(["order-42"])] == ["hurry", OUTCOME]
    await shop.close(kernel)

    mended = Script()
    _, other_packer = await shop.process(mended)
    await until(shop, lambda: bool(mended.seen))
    await settle()

    assert mended.seen == [["signal", "activity"]]
    assert (await shop.row()).status is RunStatus.COMPLETED
    assert other_packer.started == 0


async def test_an_activity_that_ends_between_two_tries_does_not_end_the_trying(shop: Shop) -> None:
    script, kernel, packer = await packing(shop)
    script.broken = True
    await kernel.send(Mail(mail_id=f"{OWN_ID}1", workflow_uuid="order-42", topic="hurry", message="{}"))
    await until(shop, lambda: len(script.seen) == 5)
    packer.finish(packer.held[0])
    await settle()
    assert len(script.seen) == 5, "tried again only when it is time"
    await until(shop, lambda: len(script.seen) == 6)
    script.broken = False

    await until(shop, lambda: kernel.live("order-42") is None)

    assert script.seen[-1] == ["signal", "activity"]
    assert (await shop.row()).status is RunStatus.COMPLETED
    assert await shop.store.mail(["order-42"]) == []


async def test_a_replay_that_fails_is_noted_and_forgotten_when_it_works_again(shop: Shop) -> None:
    good = Script()
    kernel, packer = await shop.process(good)
    packer.idle = True
    await shop.start(kernel)
    await shop.close(kernel)

    other = Script(unreadable=True)
    second, second_packer = await shop.process(other)
    second_packer.idle = True
    for _ in range(20):
        await shop.clock.advance(500)
    row = await shop.row()
    note = noted(row, 1)
    assert note is not None
    assert note.cause == "NON_DETERMINISTIC_ERROR"
    assert 3 <= row.task_attempt <= 7, "not tried again at once, for ever"

    other.unreadable = False
    await until(shop, lambda: position(second) == 1)
    await settle()
    row = await shop.row()
    assert (row.task_attempt, row.task_failure) == (1, None)


async def misfitting(shop: Shop) -> tuple[Kernel, Packer, Script]:
    """A run that waits for its activity has been taken over by code that does not fit."""
    kernel, packer = await shop.process(Script(), idle=True)
    await shop.start(kernel)
    await shop.close(kernel)
    other = Script(unreadable=True, ends_unreadable=True)
    kernel, packer = await shop.process(other, idle=True)
    await until(shop, lambda: bool(packer.held))
    return kernel, packer, other


async def test_a_run_that_is_to_fail_since_its_code_does_not_fit_waits_until_something_happens(shop: Shop) -> None:
    kernel, packer, script = await misfitting(shop)
    for _ in range(20):
        await shop.clock.advance(500)
    row = await shop.row()
    assert (row.status, row.task_attempt, row.task_failure) == (RunStatus.RUNNING, 1, None)
    assert (packer.started, script.seen) == (1, [])

    packer.finish(packer.held[0])
    await until(shop, lambda: kernel.live("order-42") is None)

    row = await shop.row()
    assert (row.status, row.close) == (RunStatus.FAILED, '{"kind":"failed"}')
    assert script.seen == [["activity"]], "what it failed with is the journal's last entry"
    [loaded] = await shop.store.load(["order-42"])
    assert [entry.record for entry in loaded.entries] == ['["start"]', '["end"]']


async def test_a_message_is_enough_for_a_run_whose_code_does_not_fit(shop: Shop) -> None:
    kernel, _, script = await misfitting(shop)
    await kernel.send(Mail(mail_id=f"{OWN_ID}1", workflow_uuid="order-42", topic="hurry", message="{}"))
    await until(shop, lambda: kernel.live("order-42") is None)

    assert (await shop.row()).status is RunStatus.FAILED
    assert script.seen == [["signal"]]
    assert await shop.store.mail(["order-42"]) == []


async def test_a_question_is_refused_and_does_not_fail_the_run(shop: Shop) -> None:
    kernel, packer, script = await misfitting(shop)
    for _ in range(2):
        with pytest.raises(QuestionFailed, match="does not fit"):
            await kernel.questions.query(await shop.row(), "{}", 10)
    assert (await shop.row()).status is RunStatus.RUNNING
    assert script.seen == []

    packer.finish(packer.held[0])
    await until(shop, lambda: kernel.live("order-42") is None)
    assert (await shop.row()).status is RunStatus.FAILED


async def test_other_runs_of_the_process_go_on(shop: Shop) -> None:
    script = Script(broken=True)
    kernel, _ = await shop.process(script)
    await shop.start(kernel, "broken")
    script.broken = False
    await shop.start(kernel, "sound")
    await until(shop, lambda: kernel.live("sound") is None)

    assert (await shop.row("sound")).status is RunStatus.COMPLETED


def test_a_note_that_the_journal_has_outlived_says_nothing() -> None:
    note = Note(position=3, at_ms=1, identity="w", cause="UNHANDLED", message="ünïcode \0", record=None)
    row = a_row()
    row.task_failure = note_text(note)

    assert "\0" not in row.task_failure
    assert noted(row, 3) == note
    assert noted(row, 4) is None


@pytest.mark.parametrize("timeout", [None, TimeoutKind.HEARTBEAT])
def test_a_kept_outcome_is_read_back_as_it_was(timeout: TimeoutKind | None) -> None:
    given = FinalOutcome(
        seq=7,
        kind=OutcomeKind.FAILED,
        record='{"message":"no"}',
        retry_state=RetryState.MAXIMUM_ATTEMPTS_REACHED,
        timeout=timeout,
        attempt=3,
        started_ms=5,
        identity="w",
        last_failure='"earlier"',
        heartbeat="[1]",
        has_row=True,
    )
    message = Mail(
        mail_id=f"{OWN_ID}x:o:7", workflow_uuid="x", topic=OUTCOME, message=kept.outcome_text(given), created_ms=12
    )

    read = kept.outcome(message)

    assert (read.mail_ids, read.mail_ms) == ((f"{OWN_ID}x:o:7",), 12)
    read.mail_ids, read.mail_ms = (), 0
    assert read == given
    other = Mail(mail_id="a", workflow_uuid="x", topic=ACTIVITY, message="{}")
    assert kept.ended([message, other]) == {7}


def a_row() -> RunRow:
    return RunRow(
        workflow_uuid="x",
        workflow_id="x",
        run_id="r",
        first_run_id="r",
        workflow_type="Order",
        task_queue=QUEUE,
        status=RunStatus.RUNNING,
        start_ms=0,
        execution_ms=0,
    )
