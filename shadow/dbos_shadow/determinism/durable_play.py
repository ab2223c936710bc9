"""Play: one life of a script on a real Postgres, in real worker processes, of which one may be really killed.

The play has a namespace of its own, whose clock stands still until the play moves it; the clocks of its processes go with
it. What the script has comes one thing at a time, each once the journal in the database has all that came before: so a
play takes the course of its script, and the time that passes is the script's, be it a month.

Who is killed changes that: an attempt that died with its worker is made again a moment later, or not at all. Then the play
goes on as well as it can: what cannot come any more is left out, and what the script does not know ends the boring way.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

from temporalio.client import Client, WorkflowHistory

from dbos_compat.connect import connect_store, disconnect
from dbos_compat.convert.records import close_record
from dbos_core.store.postgres.store import PostgresStore
from dbos_core.testing import VirtualClock
from dbos_core.testing.stopped import StoppedDatabase
from dbos_shadow.determinism.children import PREFIX
from dbos_shadow.determinism.durable_mother import Mother
from dbos_shadow.determinism.durable_script import (
    RESOLVES,
    Coming,
    Ending,
    Key,
    Script,
    Told,
    asked,
    comings,
    ending_of,
    wire,
)
from dbos_shadow.determinism.durable_worker import key_of, raw
from dbos_shadow.sources import journal as journal_source
from dbos_shadow.trace import ArrivalKind, Status, StepKind, Trace

WORKFLOW_ID = TASK_QUEUE = "determinism"
WITHIN_S = 60.0
"""Real time in which a play has to come to its end, whatever time passes in it."""
LOOK_EVERY_S = 0.01
PATIENCE = 30
"""So many looks at a still worker before something is given up that should come by itself."""
STILL_LOOKS = 600
"""So many before a workflow is given up: the worker has looked around several times meanwhile."""
_AT_ONCE = frozenset({ArrivalKind.CHILD_STARTED, ArrivalKind.EXTERNAL_SIGNALED, ArrivalKind.EXTERNAL_CANCELED})
"""They come by themselves, and no time passes before."""
RESULTS = frozenset({ArrivalKind.ACTIVITY, ArrivalKind.LOCAL_ACTIVITY, ArrivalKind.CHILD})

Boring: TypeAlias = Callable[[str], Told]
"""How an activity of that type ends on a plain day."""


class Died(Exception):
    """The worker process has ended."""


class PlayFailed(RuntimeError):
    """A play cannot go on, or has gone wrong."""


class TaskFails(PlayFailed):
    """A workflow task fails."""


class Stuck(PlayFailed):
    """It has not ended, and nothing more comes to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What came of it."""

    traces: tuple[Trace, ...]
    histories: tuple[WorkflowHistory, ...]
    kills: int
    strange: tuple[str, ...]
    """Activities and children with a result that no attempt of theirs has reported."""
    sent: tuple[Coming, ...]
    """Messages that were sent and acknowledged, in order."""
    called: Counter[str]
    """How often each update was sent."""

    @property
    def ending(self) -> Ending:
        return ending_of(self.traces)

    @property
    def course(self) -> list[list[tuple[Any, ...]]]:
        """What came, and when."""
        return [
            [(c.key, c.how, c.at_ms, c.arrival.values, c.arrival.failure) for c in comings(trace)]
            for trace in self.traces
        ]


class Worker:
    """A worker process and the line to it."""

    def __init__(self, mother: Mother, pid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._mother = mother
        self._pid: int | None = pid
        self._reader = reader
        self._writer = writer

    @classmethod
    async def start(cls, mother: Mother, order: Any, kill: str | None) -> Self:
        """A process that will serve as soon as it is told to."""
        pid, line = await mother.bear(kill)
        worker = cls(mother, pid, *await asyncio.open_connection(sock=line, limit=1 << 26))
        worker._say(order)
        return worker

    async def serve(self, now_ms: int) -> None:
        """Connect, and begin to run workflows."""
        await self._ask({"now_ms": now_ms})

    async def do(self, what: str, **more: Any) -> Any:
        return await self._ask({"do": what, **more})

    async def _ask(self, question: Any) -> Any:
        self._say(question)
        with contextlib.suppress(ConnectionError):
            if text := await self._reader.readline():
                return json.loads(text)
        code = await self._buried()
        if code != -signal.SIGKILL:
            raise PlayFailed(
                f"a worker process ended by itself with status {code}. Its last words: {self._mother.last_words()}"
            )
        raise Died

    def _say(self, what: Any) -> None:
        self._writer.write(json.dumps(what).encode() + b"\n")

    async def _buried(self) -> int:
        assert self._pid is not None
        pid, self._pid = self._pid, None
        return await self._mother.bury(pid)

    async def end(self) -> None:
        if self._pid is not None:
            os.kill(self._pid, signal.SIGKILL)
            await self._buried()
        self._writer.close()


class Play:
    """One life. ``async with Play(...) as play: await play.run(...)``"""

    def __init__(
        self, script: Script, mother: Mother, workflow: type, name: str, url: str, *, sandboxed: bool, boring: Boring
    ) -> None:
        self._script = script
        self._mother = mother
        self._name = name
        self._boring = boring
        self._namespace = f"determinism_{uuid.uuid4().hex[:12]}"
        self._order = {
            "module": workflow.__module__,
            "file": getattr(sys.modules.get(workflow.__module__), "__file__", None),
            "name": workflow.__qualname__,
            "queues": sorted({TASK_QUEUE, *script.queues}),
            "sandboxed": sandboxed,
            "namespace": self._namespace,
        }
        self._clock = VirtualClock(script.begins_ms)
        self._store = PostgresStore(url, namespace=self._namespace)
        self._database = StoppedDatabase(self._store)
        self._client: Client | None = None
        self._workers: list[Worker] = []
        self._sent: dict[tuple[int, Key], asyncio.Future[Any]] = {}
        self._answers: dict[str, Told] = {}
        """How attempts were told to end, by key."""
        self._given: set[str] = set()
        """Keys of the endings that the worker of now has been told."""
        self._first_run_id: str | None = None
        self._runs: list[str] = []
        self._traces: list[Trace] = []
        self._parked = False
        self._patience = 0
        self._kills = 0

    async def __aenter__(self) -> Self:
        self._client = await connect_store(self._store, namespace=self._namespace, clock=self._clock)
        await self._database.stop_at(self._clock.now_ms())
        return self

    async def __aexit__(self, *_: object) -> None:
        for sent in self._sent.values():
            sent.cancel()
        await asyncio.gather(*self._sent.values(), return_exceptions=True)
        for worker in self._workers:
            await worker.end()
        if self._client is not None:
            await disconnect(self._client)
            await self._database.drop()

    # -- the whole -----------------------------------------------------------------------------------------------------

    async def run(self, kill: str | None = None) -> Played:
        """Play it to its end.

        Args:
            kill: the failpoint at which the first worker dies.

        Raises:
            PlayFailed: it does not come to its end.
        """
        script, client = self._script, self._client
        assert client is not None
        handle = await client.start_workflow(
            self._name, args=[raw(wire(v)) for v in script.inputs], id=WORKFLOW_ID, task_queue=TASK_QUEUE
        )
        self._first_run_id = handle.first_execution_run_id
        for coming in script.early:
            await self._send(0, coming)
        worker: Worker | None = None
        deadline = time.monotonic() + WITHIN_S
        while True:
            try:
                if worker is None:
                    worker = await self._start(None if self._kills else kill)
                    await worker.serve(self._clock.now_ms())
                if await self._step(worker):
                    await worker.do("state")  # it may die of its last commit
                    break
            except Died:
                self._kills, worker = self._kills + 1, None
                self._given.clear()
                await self._database.expire([])
            if time.monotonic() > deadline:
                raise Stuck(f"it has not ended within {WITHIN_S:.0f} s; {self._what_is_left()}.")
        ids = [trace.run_id for trace in self._traces]
        histories = [await client.get_workflow_handle(WORKFLOW_ID, run_id=run_id).fetch_history() for run_id in ids]
        return Played(
            traces=tuple(self._traces),
            histories=tuple(histories),
            kills=self._kills,
            strange=tuple(self._strange()),
            called=Counter(name for kind, name, _ in (key for _, key in self._sent) if kind is ArrivalKind.UPDATE),
            sent=tuple(
                c
                for (index, key), sent in self._sent.items()
                if _ok(sent)
                for c in self._script.runs[index]
                if c.key == key
            ),
        )

    def _strange(self) -> Iterator[str]:
        """Results that no attempt has reported."""
        for trace in self._traces:
            for coming in comings(trace):
                if coming.kind in RESULTS and coming.how == "completed":
                    told = self._answers.get(self._address(coming, trace))
                    values = [wire(value) for value in coming.arrival.values]
                    if told is None or told["how"] != "completed" or (told["values"] and told["values"] != values):
                        yield coming.arrival.name

    async def _start(self, kill: str | None) -> Worker:
        worker = await Worker.start(self._mother, self._order, kill)
        self._workers.append(worker)
        return worker

    @property
    def _closed(self) -> bool:
        return bool(self._traces) and self._traces[-1].outcome.status not in (Status.RUNNING, Status.CONTINUED_AS_NEW)

    def _what_is_left(self) -> str:
        left = [f"{c.kind.value} {c.arrival.name}".strip() for c in self._missing()]
        return f"of the script there is left: {', '.join(left)}" if left else "all of the script has come"

    # -- what the database has -----------------------------------------------------------------------------------------

    async def _look(self) -> None:
        """Read the journals, as far as they have been written."""
        if not self._runs:
            first = await self._store.find(WORKFLOW_ID, self._first_run_id)
            assert first is not None
            self._runs.append(first.workflow_uuid)
        while True:
            (loaded,) = await self._store.load([self._runs[-1]])
            trace = journal_source.trace(loaded)
            del self._traces[len(self._runs) - 1 :]
            self._traces.append(trace)
            row = loaded.run
            self._parked = row.owner is None and (row.wake_at_ms or 0) > self._clock.now_ms()
            following = close_record(row.close).new_run_id if row.close else ""
            if not following:
                return
            successor = await self._store.find(WORKFLOW_ID, following)
            if successor is None:
                return
            self._runs.append(successor.workflow_uuid)

    def _missing(self) -> list[Coming]:
        """What the script still has for the newest run."""
        index = len(self._traces) - 1
        if not 0 <= index < len(self._script.runs):
            return []
        there = {coming.key for coming in comings(self._traces[-1])}
        return [c for c in self._script.runs[index] if c.key not in there and not self._refused(index, c)]

    def _refused(self, index: int, coming: Coming) -> bool:
        """A message that was sent, and will never arrive."""
        sent = self._sent.get((index, coming.key))
        return sent is not None and sent.done() and not _ok(sent)

    # -- one thing at a time -------------------------------------------------------------------------------------------

    async def _step(self, worker: Worker) -> bool:
        """Bring about what comes next, or wait for it. True: the workflow has ended."""
        state = await worker.do("state")  # before the database is looked at, which then has all that this tells of
        await self._look()
        if self._closed:
            return True
        if state["failing"] is not None:
            raise TaskFails(f"a workflow task fails on Postgres: {state['failing']}")
        still = not state["busy"] and (self._parked or self._runs[-1] in state["runs"])
        if not still:
            self._patience = 0
            if self._kills and self._runs[-1] not in state["runs"]:
                # The last statement of one who was killed may come through after its death, and renew its lease.
                await self._database.expire([state["process"]])
            await asyncio.sleep(LOOK_EVERY_S)
            return False
        self._patience += 1
        index, trace = len(self._traces) - 1, self._traces[-1]
        known = asked(trace)
        for coming in self._missing():
            if self._possible(coming, known, state):
                await self._bring(worker, index, coming, trace, state)
                return False
        await self._improvise(worker, state)
        return False

    def _possible(self, coming: Coming, known: Any, state: Any) -> bool:
        if coming.arrival.is_message:
            return True
        if coming.kind is ArrivalKind.LOCAL_ACTIVITY:  # in the journal only once it has ended
            return self._waits(self._address(coming, self._traces[-1]), state) or self._patience < PATIENCE
        return (RESOLVES[coming.kind], coming.key[2]) in known

    def _waits(self, key: str, state: Any) -> bool:
        return any(key == waiting for waiting, _ in state["waiting"])

    async def _bring(self, worker: Worker, index: int, coming: Coming, trace: Trace, state: Any) -> None:
        now_ms, next_ms = self._clock.now_ms(), state["next_ms"]
        by_itself = coming.kind in _AT_ONCE or (
            coming.kind is ArrivalKind.CHILD and coming.how in ("canceled", "terminated")
        )
        answer = coming.answer
        if answer is not None and answer["how"] == "hangs":
            # Its first attempts fail, and the time that it took is that of those after them.
            key = self._address(coming, trace)
            if key not in self._given:
                await self._answer(worker, key, answer)
                return
            answer = None
        if coming.at_ms > now_ms and not by_itself:
            exactly = next_ms is None or next_ms > coming.at_ms or coming.kind is ArrivalKind.TIMER
            await self._move(worker, coming.at_ms if exactly else next_ms)
            return
        if coming.arrival.is_message:
            if (index, coming.key) not in self._sent:
                await self._send(index, coming)
            else:
                await asyncio.sleep(LOOK_EVERY_S)
            return
        if answer is not None:
            key = self._address(coming, trace)
            if key not in self._given:
                await self._answer(worker, key, answer)
                return
            in_time = key in state["idle"] or (
                coming.kind is ArrivalKind.LOCAL_ACTIVITY and not self._waits(key, state)
            )
        else:
            in_time = not by_itself
        if next_ms is not None and (in_time or self._patience > PATIENCE):
            await self._move(worker, next_ms)
        else:
            await asyncio.sleep(LOOK_EVERY_S)

    async def _improvise(self, worker: Worker, state: Any) -> None:
        """The script has nothing more, and it goes on: attempts end the boring way, and time passes."""
        if self._patience < PATIENCE:
            await asyncio.sleep(LOOK_EVERY_S)
            return
        for key, activity_type in state["waiting"]:
            if key not in self._given:
                await self._answer(worker, key, self._boring(activity_type))
                return
        if state["next_ms"] is not None:
            await self._move(worker, state["next_ms"])
        elif self._patience > STILL_LOOKS:
            raise Stuck(f"it has not ended, and nothing is left that could wake it; {self._what_is_left()}.")
        else:
            await asyncio.sleep(LOOK_EVERY_S)

    async def _move(self, worker: Worker, to_ms: int) -> None:
        """Time passes."""
        self._patience = 0
        to_ms = max(to_ms, self._clock.now_ms())
        await self._database.move_to(to_ms)
        self._clock.jump(to_ms - self._clock.now_ms())
        await worker.do("now", ms=to_ms)

    async def _answer(self, worker: Worker, key: str, answer: Told) -> None:
        self._patience = 0
        self._given.add(key)
        self._answers[key] = answer
        await worker.do("answer", key=key, told=answer)

    def _address(self, coming: Coming, trace: Trace) -> str:
        """By what the worker knows an activity, or the attempt by which a child ends."""
        if coming.kind is ArrivalKind.CHILD:
            child = asked(trace)[StepKind.CHILD, coming.key[2]]
            return key_of(PREFIX, child.id, "", "")
        if coming.kind is ArrivalKind.ACTIVITY:
            step = asked(trace)[StepKind.ACTIVITY, coming.key[2]]
            return key_of("", "", trace.run_id, step.id)
        return key_of("", "", trace.run_id, coming.step_id)

    async def _send(self, index: int, coming: Coming) -> None:
        """Send a message; whoever sent a signal or a cancel request waits until it is acknowledged."""
        self._patience = 0
        assert self._client is not None
        handle = self._client.get_workflow_handle(WORKFLOW_ID)
        arrival = coming.arrival
        values = [raw(wire(value)) for value in arrival.values]
        call: Any
        if coming.kind is ArrivalKind.SIGNAL:
            call = handle.signal(arrival.name, args=values)
        elif coming.kind is ArrivalKind.UPDATE:
            call = handle.execute_update(arrival.name, args=values)
        else:
            call = handle.cancel()
        sent = self._sent[index, coming.key] = asyncio.ensure_future(call)
        if coming.kind is not ArrivalKind.UPDATE:
            await asyncio.wait([sent])  # it may have ended: as in the schedule, the caller bears it


def _ok(call: asyncio.Future[Any]) -> bool:
    return call.done() and not call.cancelled() and call.exception() is None


__all__ = ["Play", "PlayFailed", "Played", "Stuck", "TaskFails"]
