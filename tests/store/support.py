"""What the store tests speak in: a process with its store, and short words for the values that it commits."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Sequence
from typing import Any

from dbos_core.activities.spec import ActivityRow
from dbos_core.commit import (
    PARK_FOREVER,
    Close,
    Commit,
    IdConflict,
    IdReuse,
    JournalRow,
    LoadedRun,
    Mail,
    NewRun,
    RunRow,
    RunStatus,
    StartAnswer,
    Verdict,
)
from dbos_core.mailbox import OWN_ID
from dbos_core.store.base import ProcessInfo, Pulse, RequestRow, Store, Wake, WakeKind
from tests.fixtures.waiting import eventually

HOUR = 3_600_000
QUEUE = "orders"
_numbers = itertools.count(1)


def new_run(workflow_id: str = "order-42", *, at: int, **fields: Any) -> NewRun:
    """A claimed start of that workflow id at that time."""
    run_id = fields.pop("run_id", None) or str(uuid.uuid4())
    values: dict[str, Any] = {
        "workflow_uuid": workflow_id,
        "workflow_id": workflow_id,
        "run_id": run_id,
        "first_run_id": run_id,
        "workflow_type": "Order",
        "task_queue": QUEUE,
        "inputs": '{"positionalArgs": ["book"], "namedArgs": {}}',
        "start_ms": at,
        "execution_ms": at,
        "claimed": True,
    }
    return NewRun(**(values | fields))


def entry(position: int, text: str = "", *, name: str = "step") -> JournalRow:
    return JournalRow(
        position=position,
        name=name,
        record=text or f'{{"entry": {position}}}',
        started_ms=1_700_000_000_000,
        completed_ms=1_700_000_000_001,
    )


def close(
    status: RunStatus = RunStatus.COMPLETED, *, at: int = 1_700_000_000_000, seen: int | None = 0, record: str = ""
) -> Close:
    return Close(
        status=status,
        close_ms=at,
        record=record or f'{{"closed": "{status.name}"}}',
        output='"done"' if status is RunStatus.COMPLETED else None,
        error=None if status is RunStatus.COMPLETED else '{"name": "Error", "message": "no"}',
        mail_seen_ms=seen,
    )


def letter(to: str, text: str = "1", *, topic: str = "approve", mail_id: str | None = None) -> Mail:
    return Mail(mail_id=mail_id or f"{OWN_ID}{next(_numbers)}", workflow_uuid=to, topic=topic, message=text)


def post(*mail: Mail) -> Commit:
    """Mail from outside, as a commit."""
    return Commit(workflow_uuid=mail[0].workflow_uuid, fenced=False, mail=mail)


def activity(to: str, seq: int = 1, *, at: int, **fields: Any) -> ActivityRow:
    values: dict[str, Any] = {"task_queue": QUEUE, "attempt": 1, "scheduled_ms": at, "due_ms": at}
    return ActivityRow(workflow_uuid=to, seq=seq, **(values | fields))


def request(to: str, *, deadline: int, queue: str = QUEUE) -> RequestRow:
    return RequestRow(
        request_id=str(uuid.uuid4()),
        workflow_uuid=to,
        task_queue=queue,
        kind="query",
        payload='{"query": "status"}',
        deadline_ms=deadline,
    )


class Process:
    """One process: its store, its id and its queues."""

    def __init__(self, store: Store, *queues: str) -> None:
        self.store = store
        self.id = str(uuid.uuid4())
        self.queues = queues or (QUEUE,)
        self.info = ProcessInfo(
            process_id=self.id, identity=f"test@{self.id[:8]}", application_version="v1", task_queues=self.queues
        )

    async def flush(self, *commits: Commit, again: bool = False) -> list[Verdict]:
        return await self.store.flush(self.id, commits, again=again)

    async def commit(self, commit: Commit, *, again: bool = False) -> Verdict:
        [verdict] = await self.flush(commit, again=again)
        return verdict

    async def start(self, workflow_id: str = "order-42", **fields: Any) -> NewRun:
        """Start a run (claimed unless told otherwise) with a first journal entry, and expect it to work."""
        run = new_run(workflow_id, at=await self.store.now_ms(), **fields)
        first = entry(1) if run.claimed else None
        verdict = await self.commit(Commit(workflow_uuid=run.workflow_uuid, fenced=False, start=run, entry=first))
        assert verdict is Verdict.COMMITTED
        return run

    async def start_by_policy(
        self,
        workflow_id: str = "order-42",
        *,
        reuse: IdReuse = IdReuse.ALLOW_DUPLICATE,
        conflict: IdConflict = IdConflict.FAIL,
        **fields: Any,
    ) -> tuple[NewRun, StartAnswer]:
        run = new_run(workflow_id, at=await self.store.now_ms(), reuse=reuse, conflict=conflict, **fields)
        derived = f"{workflow_id}~{run.run_id}"
        return run, await self.store.start_by_policy(self.id, run, derived, '{"closed": "by policy"}')

    async def finish(self, workflow_uuid: str, status: RunStatus = RunStatus.COMPLETED, *, at: int = 0) -> None:
        """Close a run that this process owns, whatever waits for it."""
        at = at or await self.store.now_ms()
        verdict = await self.commit(Commit(workflow_uuid=workflow_uuid, close=close(status, at=at, seen=None)))
        assert verdict is Verdict.COMMITTED

    async def park(self, workflow_uuid: str, until: int = PARK_FOREVER, *, seen: int = 0) -> Verdict:
        return await self.commit(Commit(workflow_uuid=workflow_uuid, park_until_ms=until, mail_seen_ms=seen))

    async def claim(self, limit: int = 100) -> list[str]:
        return await self.store.claim(self.id, self.queues, limit)

    async def take_over(self, *lapsed: Process, limit: int = 100) -> list[str]:
        return await self.store.take_over(self.id, [other.id for other in lapsed], self.queues, limit)

    async def register(self, lease_ms: int = HOUR) -> None:
        await self.store.register(self.info, lease_ms)

    async def die(self) -> None:
        """Leave a lease that has lapsed already, as a process does that was killed a while ago."""
        await self.store.register(self.info, -1_000)

    async def pulse(self, lease_ms: int = HOUR) -> Pulse:
        return await self.store.pulse(self.info, lease_ms)

    async def load(self, workflow_uuid: str) -> LoadedRun:
        [run] = await self.store.load([workflow_uuid])
        return run

    async def row(self, workflow_uuid: str) -> RunRow:
        [row] = await self.store.rows([workflow_uuid], watch=False)
        return row

    async def journal(self, workflow_uuid: str) -> list[tuple[int, str]]:
        return [(entry.position, entry.record) for entry in (await self.load(workflow_uuid)).entries]

    async def mailbox(self, workflow_uuid: str) -> list[Mail]:
        return await self.store.mail([workflow_uuid])


class Ear:
    """Everything that a store announced, in order."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.wakes: list[Wake] = []
        process.store.listen(self.wakes.append)

    async def hears(self, kind: WakeKind, key: str) -> None:
        await eventually(lambda: Wake(kind, key) in self.wakes, within=10, what=f"a wake {kind} {key}")

    async def has_not_heard(self, kind: WakeKind, key: str) -> None:
        """Wakes arrive in the order of their transactions: once a later one is heard, an earlier one never comes."""
        barrier = await self.process.start(f"barrier-{next(_numbers)}", task_queue="barrier")
        await self.process.commit(post(letter(barrier.workflow_uuid)))
        await self.hears(WakeKind.MAIL, barrier.workflow_uuid)
        assert Wake(kind, key) not in self.wakes


def ids(mail: Sequence[Mail]) -> list[str]:
    return [one.mail_id for one in mail]
