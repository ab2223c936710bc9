"""Errands and aftermaths on a kernel in memory: what is done again, what is said in which order, who is not told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from dbos_core import failpoints
from dbos_core.commit import Close, Entry, Mail, NewRun, ParentClosePolicy, ParentLink, RunRow, RunStatus
from dbos_core.errands.spec import Errand, ErrandKind, Reply, child_run_id
from dbos_core.errors import StoreUnavailable
from dbos_core.kernel import Kernel
from dbos_core.mailbox import CANCEL, CHILD, OWN_ID
from dbos_core.runner import Activation, Decision, Event, EventKind
from dbos_core.store.memory import MemoryStore
from dbos_core.testing.clock import VirtualClock, settle
from dbos_core.testing.entropy import SeededEntropy
from tests.store.support import new_run
from tests.unit.core.runners import AnyRunner

QUEUE = "families"


def run_id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


def child(seq: int = 1, policy: ParentClosePolicy = ParentClosePolicy.TERMINATE) -> Errand:
    return Errand(
        kind=ErrandKind.CHILD, seq=seq, workflow_id=f"child-{seq}", event_id=5, record=json.dumps(int(policy))
    )


def signal(to: str, seq: int = 1) -> Errand:
    return Errand(kind=ErrandKind.SIGNAL, seq=seq, workflow_id=to, event_id=5, record='"hello"')


class Plain:
    """Relations whose records are as plain as can be."""

    def child(self, errand: Errand, parent: RunRow, now_ms: int) -> tuple[NewRun, str, str]:
        link = ParentLink(
            workflow_uuid=parent.workflow_uuid,
            workflow_id=parent.workflow_id,
            run_id=parent.run_id,
            seq=errand.seq,
            policy=ParentClosePolicy(json.loads(errand.record)),
            root_workflow_id=parent.workflow_id,
            root_run_id=parent.run_id,
        )
        new = in_the_family(errand.workflow_id, child_run_id(parent.run_id, errand.seq), now_ms)
        new.parent = link
        return new, f"{errand.workflow_id}~2", "{}"

    def letter(self, errand: Errand, sender: RunRow, target: RunRow) -> Mail:
        return Mail(
            mail_id=f"{OWN_ID}{sender.run_id}:xs:{errand.seq}",
            workflow_uuid=target.workflow_uuid,
            topic="hear",
            message=errand.record,
        )

    def news(self, child: RunRow) -> Mail | None:
        assert child.parent is not None
        said = {"seq": child.parent.seq, "first_run_id": child.first_run_id, "status": child.status.name}
        return Mail(
            mail_id=f"{OWN_ID}{child.parent.run_id}:child:{child.parent.seq}",
            workflow_uuid=child.parent.workflow_uuid,
            topic=CHILD,
            message=json.dumps(said),
        )

    def end_of_child(self, child: RunRow, now_ms: int) -> Close:
        return Close(status=RunStatus.TERMINATED, close_ms=now_ms, record='{"kind":"terminated"}', mail_seen_ms=None)

    def cancel_of_child(self, child: RunRow) -> Mail:
        return Mail(mail_id=f"{OWN_ID}{child.run_id}:c", workflow_uuid=child.workflow_uuid, topic=CANCEL, message="{}")


def in_the_family(workflow_id: str, run_id: str, now_ms: int) -> NewRun:
    return new_run(workflow_id, at=now_ms, run_id=run_id, workflow_type="Script", task_queue=QUEUE, claimed=False)


@dataclass
class Script(AnyRunner):
    """Does what its first activation says; ends when it hears ``end``, or of a child's end. Remembers all it saw."""

    errands: Callable[[str], list[Errand]]
    seen: dict[str, list[str]] = field(default_factory=dict)
    ends_at_once: set[str] = field(default_factory=set)
    waits: set[str] = field(default_factory=set)
    task_queue: str = QUEUE

    def open(self, run: RunRow, inputs: str, native: object = None) -> Run:
        return Run(self, run)


class Run:
    def __init__(self, script: Script, row: RunRow) -> None:
        self.script, self.row = script, row

    def activate(self, activation: Activation) -> Decision:
        names = [self._name(event) for event in activation.events]
        self.script.seen.setdefault(self.row.workflow_id, []).extend(names)
        record = {"at": activation.at_ms, "keys": [e.reply.key for e in activation.events if e.reply is not None]}
        decision = self._decision(record, started="start" in names)
        decision.record = json.dumps(record)
        ends = "start" in names and self.row.workflow_id in self.script.ends_at_once
        if ends or "hear" in names or ("child" in names and self.row.workflow_id not in self.script.waits):
            decision.close = Close(
                status=RunStatus.COMPLETED, close_ms=activation.at_ms, record='{"kind":"completed"}', output="1"
            )
        return decision

    def replay(self, entry: Entry) -> Decision:
        return self._decision(json.loads(entry.record), started=entry.position == 1)

    def _decision(self, record: dict[str, object], *, started: bool) -> Decision:
        errands = self.script.errands(self.row.workflow_id) if started else []
        keys = [(ErrandKind(kind), seq, number) for kind, seq, number in record["keys"]]  # type: ignore[attr-defined]
        return Decision(
            record=None,
            name="step",
            at_ms=int(str(record["at"])),
            errands=errands,
            consumed_errands=keys,
            open_children=any(e.kind is ErrandKind.CHILD for e in self.script.errands(self.row.workflow_id)),
        )

    @staticmethod
    def _name(event: Event) -> str:
        if event.reply is not None:
            return f"{event.reply.key[0].value} {'refused' if event.reply.refused else 'done'}"
        if event.kind is EventKind.SIGNAL and event.mail is not None:
            return event.mail.topic
        return event.kind.value

    async def query(self, payload: str) -> str:
        return "{}"

    def evict(self) -> None:
        return None


class World:
    """Processes on one memory store and one virtual clock."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.store = MemoryStore(self.clock)
        self.asked: dict[str, list[Errand]] = {}
        self.script = Script(lambda workflow_id: self.asked.get(workflow_id, []))
        self.kernels: list[Kernel] = []

    async def process(self) -> Kernel:
        kernel = await Kernel.open(
            self.store.sibling(),
            identity=f"process {len(self.kernels)}",
            application_version="1",
            clock=self.clock,
            entropy=SeededEntropy(len(self.kernels)),
        )
        kernel.errands.relations = Plain()
        kernel.serve(self.script)
        self.kernels.append(kernel)
        return kernel

    async def start(self, kernel: Kernel, workflow_id: str, number: int) -> RunRow:
        new = in_the_family(workflow_id, run_id(number), self.clock.now_ms())
        answer = await kernel.start(new, derived_uuid=f"{workflow_id}~x", terminate_record="{}")
        await settle()
        return answer.run

    async def status(self, workflow_id: str) -> RunStatus | None:
        row = await self.store.find(workflow_id, None)
        return None if row is None else row.status

    def seen(self, workflow_id: str) -> list[str]:
        return self.script.seen.get(workflow_id, [])


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    failpoints.disarm()
    for kernel in world.kernels:
        await kernel.close()


async def test_a_parent_hears_of_the_start_before_the_end(world: World) -> None:
    world.asked["parent"] = [child()]
    world.script.ends_at_once.add("child-1")
    kernel = await world.process()

    await world.start(kernel, "parent", 1)
    await settle()

    assert world.seen("parent") == ["start", "child done", "child"]
    assert await world.status("parent") is RunStatus.COMPLETED
    assert world.store.tables.outbox == {}


async def test_an_errand_without_a_reply_is_done_again_by_the_next_owner_and_happens_once(world: World) -> None:
    """The process loses its answer: what it has done is known to nobody, and is not done twice."""
    world.asked["sender"] = [signal("target"), child()]
    kernel = await world.process()
    await world.start(kernel, "target", 7)
    with failpoints.armed("errand.after", RuntimeError("the process dies here"), onwards=True):
        await world.start(kernel, "sender", 1)
        await settle()
    assert world.seen("sender") == ["start"]
    assert world.seen("target") == ["start", "hear"]

    await kernel.unserve(world.script)
    await world.process()
    await settle()

    assert sorted(world.seen("sender")[1:]) == ["child done", "signal done"]
    assert world.seen("target").count("hear") == 1
    assert world.seen("child-1") == ["start"]


async def test_the_database_is_away_for_a_while(world: World) -> None:
    world.asked["sender"] = [signal("target")]
    kernel = await world.process()
    await world.start(kernel, "target", 7)
    find, tries = kernel.store.find, 0

    async def away(workflow_id: str, run_id: str | None) -> RunRow | None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise StoreUnavailable("away")
        return await find(workflow_id, run_id)

    kernel.live_runs.pop("target")  # so that it has to be looked up
    kernel.store.find = away  # type: ignore[method-assign]
    await world.start(kernel, "sender", 1)
    async with asyncio.timeout(10):
        while len(world.seen("sender")) < 2:
            await asyncio.sleep(0.01)

    assert world.seen("sender") == ["start", "signal done"]
    assert tries >= 3


async def test_who_is_not_there_is_not_told(world: World) -> None:
    world.asked["sender"] = [signal("target", seq) for seq in range(1, 6)]
    kernel = await world.process()
    await world.start(kernel, "sender", 1)
    await settle()
    assert world.seen("sender") == ["start", *["signal refused"] * 5]


@pytest.mark.parametrize(
    ("policy", "status"),
    [
        (ParentClosePolicy.TERMINATE, RunStatus.TERMINATED),
        (ParentClosePolicy.ABANDON, RunStatus.RUNNING),
        (ParentClosePolicy.REQUEST_CANCEL, RunStatus.RUNNING),
    ],
)
async def test_what_a_dead_process_was_to_tell_another_one_tells(
    world: World, policy: ParentClosePolicy, status: RunStatus
) -> None:
    world.asked["parent"] = [child(policy=policy)]
    first = await world.process()
    parent = await world.start(first, "parent", 1)
    await settle()
    with failpoints.armed("aftermath.before", RuntimeError("the process dies here"), onwards=True):
        close = Close(
            status=RunStatus.TERMINATED, close_ms=world.clock.now_ms(), record='{"kind":"t"}', mail_seen_ms=None
        )
        await first.terminate(parent.workflow_uuid, close)
        await settle()
    assert list(world.store.tables.outbox) == ["parent"]
    assert await world.status("child-1") is RunStatus.RUNNING

    await first.claims.give_back()
    second = await world.process()
    pulse = await second.store.pulse(second.process, 10_000)
    await second.claims._act_on(pulse)
    await settle()

    assert world.store.tables.outbox == {}
    assert await world.status("child-1") is status
    assert ("cancel" in world.seen("child-1")) is (policy is ParentClosePolicy.REQUEST_CANCEL)


async def test_a_child_of_a_parent_that_was_terminated_meanwhile_does_not_begin(world: World) -> None:
    world.asked["parent"] = [child()]
    kernel = await world.process()
    gate = asyncio.Event()
    start = kernel.errands._start

    async def held(parent: RunRow, errand: Errand, again: bool) -> Reply | None:
        await gate.wait()
        return await start(parent, errand, again)

    kernel.errands._start = held  # type: ignore[method-assign]
    parent = await world.start(kernel, "parent", 1)
    close = Close(status=RunStatus.TERMINATED, close_ms=world.clock.now_ms(), record='{"kind":"t"}', mail_seen_ms=None)
    await kernel.terminate(parent.workflow_uuid, close)
    gate.set()
    await settle()

    assert await world.status("child-1") is None
    assert world.store.tables.outbox == {}
