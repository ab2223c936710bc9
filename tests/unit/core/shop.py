"""A shop: processes on one database, whose answers can be held up, and what they run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from dbos_core.activities.attempt import Attempt, CancelReason
from dbos_core.activities.local import LocalLane
from dbos_core.activities.spec import ActivitySpec
from dbos_core.commit import (
    Close,
    Entry,
    Mail,
    NewRun,
    RunRow,
    RunStatus,
    StartResult,
)
from dbos_core.kernel import Kernel
from dbos_core.mailbox import OWN_ID
from dbos_core.retry import RetryPolicy
from dbos_core.runner import Activation, Decision, EventKind
from dbos_core.store.memory import MemoryStore
from dbos_core.testing.clock import VirtualClock, settle
from dbos_core.testing.entropy import SeededEntropy
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


def nothing() -> None: ...


@dataclass
class Script:
    """Schedules one activity; ends when it hears a signal."""

    heard: list[str] = field(default_factory=list)
    before_open: Callable[[], None] = nothing
    task_queue: str = QUEUE
    identity: str = "worker"
    max_cached: int = 100
    local_lane: LocalLane | None = None

    def knows(self, workflow_type: str) -> bool:
        return True

    def why_unreadable(self, message: Mail) -> str | None:
        return None

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

    identity = "worker-1"
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


@asynccontextmanager
async def open_shop() -> AsyncIterator[Shop]:
    made = Shop()
    await made.store.open()
    yield made
    for kernel in made.kernels:
        await kernel.close()
    await made.store.close()
