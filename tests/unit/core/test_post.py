"""Mail of this process to a run of this process: handed over when nothing else came before, fetched when it may have."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest

from dbos_core.commit import Commit, Entry, Mail, RunRow, Verdict
from dbos_core.kernel import Kernel
from dbos_core.live_run import LiveRun
from dbos_core.mailbox import NULL_TOPIC, OWN_ID
from dbos_core.runner import Activation, Decision
from dbos_core.store.base import Wake, WakeKind
from dbos_core.store.memory import MemoryStore
from dbos_core.testing.clock import VirtualClock, settle
from dbos_core.testing.entropy import SeededEntropy
from tests.store.support import new_run
from tests.unit.core.runners import AnyRunner

QUEUE = "orders"
UUID = "order-42"
RUN_ID = "00000000-0000-4000-8000-000000000001"


@dataclass
class Listener(AnyRunner):
    """Writes down what it hears, and waits for more."""

    heard: list[str] = field(default_factory=list)
    task_queue: str = QUEUE

    def open(self, run: RunRow, inputs: str, native: object = None) -> Listener:
        return self

    def activate(self, activation: Activation) -> Decision:
        self.heard += [event.mail.mail_id for event in activation.events if event.mail is not None]
        return Decision(record='{"ev": []}', name="task", history_length=1)

    async def replay(self, entry: Entry) -> object:
        raise AssertionError("nothing is replayed here")

    def evict(self) -> None: ...


class DeafStore:
    """A process's view of the store that counts its looks at mailboxes and hears no announcements."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.looks = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def listen(self, callback: object) -> None: ...

    async def mail(self, workflow_uuids: Sequence[str]) -> list[Mail]:
        self.looks += 1
        return await self._store.mail(workflow_uuids)


class Office:
    """A process with a run that listens, and another process that writes to it."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.table = MemoryStore(self.clock)
        self.store = DeafStore(self.table.sibling())
        self.others = self.table.sibling()
        self.listener = Listener()
        self.kernel: Kernel

    async def open(self) -> None:
        await self.table.open()
        self.kernel = await Kernel.open(
            self.store,  # type: ignore[arg-type]
            identity="us",
            application_version="1",
            clock=self.clock,
            entropy=SeededEntropy(1),
        )
        self.kernel.serve(self.listener)  # type: ignore[arg-type]
        new = new_run(UUID, at=self.clock.now_ms(), run_id=RUN_ID)
        await self.kernel.start(new, derived_uuid=f"{UUID}~2", terminate_record="{}")
        await settle()

    @property
    def run(self) -> LiveRun:
        return self.kernel.live_runs[UUID]

    async def others_send(self, *numbers: int) -> None:
        """Another process writes, and the announcement has not been heard yet."""
        for number in numbers:
            verdicts = await self.others.flush(
                "them", [Commit(workflow_uuid=UUID, fenced=False, mail=(signal(number),))], again=False
            )
            assert verdicts == [Verdict.COMMITTED]


def signal(number: int) -> Mail:
    return Mail(mail_id=f"{OWN_ID}{number}", workflow_uuid=UUID, topic="hurry", message="{}")


def ids(*numbers: int) -> list[str]:
    return [f"{OWN_ID}{number}" for number in numbers]


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    made = Office()
    await made.open()
    yield made
    await made.kernel.close()
    await made.table.close()


async def test_our_own_signals_need_no_look_at_the_mailbox(office: Office) -> None:
    for number in range(5):
        assert await office.kernel.send(signal(number)) is Verdict.COMMITTED
    await settle()

    assert office.listener.heard == ids(0, 1, 2, 3, 4)
    assert office.store.looks == 0


async def test_a_signal_is_there_when_its_sender_goes_on(office: Office) -> None:
    await office.kernel.send(signal(0))

    waiting = [event.mail.mail_id for event in office.run.inbox if event.mail]
    assert office.listener.heard + waiting == ids(0)


async def test_a_gap_is_filled_first(office: Office) -> None:
    await office.kernel.send(signal(0))
    await office.others_send(1, 2)

    await office.kernel.send(signal(3))
    await settle()

    assert office.listener.heard == ids(0, 1, 2, 3)
    assert office.store.looks == 1


async def test_after_a_gap_was_filled_no_look_is_needed_again(office: Office) -> None:
    await office.others_send(0)
    await office.kernel.send(signal(1))
    await settle()
    looks = office.store.looks

    await office.kernel.send(signal(2))
    await settle()

    assert office.listener.heard == ids(0, 1, 2)
    assert office.store.looks == looks == 1


async def test_a_message_of_a_stock_tool_is_not_passed_by(office: Office) -> None:
    stray = Mail(mail_id="stray", workflow_uuid=UUID, topic=NULL_TOPIC, message="1")
    office.others.deliver_from_outside(stray)

    await office.kernel.send(signal(0))
    await settle()

    assert office.listener.heard == ["stray", *ids(0)]


async def test_the_same_signal_twice_is_heard_once(office: Office) -> None:
    assert await office.kernel.send(signal(0)) is Verdict.COMMITTED
    assert await office.kernel.send(signal(0)) is Verdict.DUPLICATE
    office.kernel._wake(Wake(WakeKind.MAIL, UUID))  # the announcement of the first
    await settle()

    assert office.listener.heard == ids(0)


async def test_a_sender_that_gives_up_has_sent(office: Office) -> None:
    task = office.kernel.spawn(office.kernel.send(signal(0)), "send")
    await asyncio.sleep(0)  # it has begun
    task.cancel()
    await settle()

    assert office.listener.heard == ids(0)
