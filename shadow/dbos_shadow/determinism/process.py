"""Process: one kernel on a stage. Opened, killed, frozen and thawed by the schedule.

It is the kernel that users run, with the seam's runner, and two things of a test's own: the store is in memory and shared
with the other processes of its world, and attempts of activities go to a :class:`Hands`, which runs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from dbos_compat.bridge.activity_tasks import shutdown_record
from dbos_compat.bridge.runner import TemporalRunner
from dbos_compat.chains.timeouts import timeout_close
from dbos_compat.private_workbench import abandon, left_in
from dbos_compat.relations import TemporalRelations
from dbos_compat.service.client import EngineService
from dbos_core.activities.attempt import Attempt, CancelReason
from dbos_core.activities.local import LocalLane
from dbos_core.activities.spec import ActivitySpec, AttemptOutcome
from dbos_core.commit import Commit, RunRow, Verdict
from dbos_core.kernel import Kernel
from dbos_core.runner import Interpreter
from dbos_core.store.base import Wake
from dbos_core.store.memory import MemoryStore
from dbos_core.store.memory_tables import Tables
from dbos_shadow.determinism.clocks import ProcessClock, WorldTime
from dbos_shadow.determinism.loop import SteppedLoop
from dbos_shadow.determinism.stage import IDENTITY, NAMESPACE, TASK_QUEUE, Stage
from dbos_shadow.determinism.straight import Asked, Noted, Notes

logger = logging.getLogger(__name__)

LEASE_MS = 10_000
"""What ``connect`` takes by default."""

SUGGEST_AFTER = 4096
MAX_CACHED = 1000
LEAVE_S = 0.4
"""Processor time in which an instance has to be torn down. It takes a millisecond, unless its code goes round and round."""
SLOTS = 1000
CLOSE_MAX = 10
"""So often a coroutine is told to close that awaits something on its way out."""


class Numbered:
    """An ``Entropy`` that counts: the ids of a world follow from what happened in it."""

    def __init__(self, prefix: str) -> None:
        """``prefix``: eight hexadecimal digits, with which all ids begin."""
        self._prefix = prefix
        self._count = 0

    def uuid(self) -> str:
        self._count += 1
        return f"{self._prefix}-{self._count >> 16:04x}-{0x4000 | self._count & 0xFFF:04x}-8000-{self._count:012x}"


class World:
    """What outlives a process: the database, the time, and the supply of ids."""

    def __init__(self) -> None:
        self.time = WorldTime()
        self.tables = Tables()
        self.entropy = Numbered("00000000")
        self.further_ids = Numbered("00000001")
        """For instances that only replay: whether there are any changes nothing for the others."""
        self.notes: Notes = {}
        self.queues = [TASK_QUEUE]
        """What anybody has asked for on, in order: there are workers for each."""
        self.asked: list[Asked] = []
        """Queries that were answered since somebody looked."""
        self.processes: list[Process] = []
        """All that there have been."""
        self.left_behind: list[asyncio.Task[Any]] = []
        """What a process was doing when it died in the middle of an activation. Python would close that some time or other,
        and the SDK report it as the end of whichever activation has the same run id by then."""

    def bury(self) -> None:
        """It is over: nobody can mistake what was left behind for something else."""
        for task in self.left_behind:
            coro = task.get_coro()
            for _ in range(CLOSE_MAX):
                if not inspect.iscoroutine(coro) or inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED:
                    break
                with contextlib.suppress(BaseException):
                    coro.close()
        self.left_behind.clear()
        for process in self.processes:
            process.forget()
        self.processes.clear()

    def has_answered(self, run_id: str, position: int, payload: str, answer: str) -> None:
        """An instance that has lived through so many rows has answered a query."""
        run = self.tables.by_run_id.get(run_id)
        self.asked.append(Asked(run_id, position, 0 if run is None else len(run.journal), payload, answer))


class _Store(MemoryStore):
    """A process's connection: announcements reach it on its own loop, when it gets round to it."""

    def __init__(self, world: World, loop: SteppedLoop) -> None:
        super().__init__(world.time, world.tables)
        self._loop = loop
        self._owners: dict[str, str | None] = {}
        """Who owned the runs when something was applied last."""
        self.strange_writes: list[str] = []
        """Runs to which this process has written a row though they were another's."""

    def listen(self, callback: Callable[[Wake], None]) -> None:
        def tell(wake: Wake) -> None:
            self._loop.call_soon(callback, wake)

        super().listen(tell)

    async def flush(self, process_id: str, commits: Sequence[Commit], *, again: bool) -> list[Verdict]:
        verdicts = await super().flush(process_id, commits, again=again)
        for commit, verdict in zip(commits, verdicts, strict=True):
            goes_on = commit.entry is not None and commit.start is None and commit.close is None
            owner = self._owners.get(commit.workflow_uuid)
            if verdict is Verdict.COMMITTED and goes_on and not again and owner not in (None, process_id):
                self.strange_writes.append(commit.workflow_uuid)
        return verdicts

    def _send_wakes(self) -> None:
        # Called as soon as something has been applied, and before anybody else can do anything.
        self._owners = {uuid: run.owner_xid for uuid, run in self.tables.runs.items()}
        super()._send_wakes()

    def cut(self) -> None:
        """The connection is gone."""
        for callback in self._callbacks:
            self.tables.listeners.remove(callback)
        self._callbacks.clear()


class Hands:
    """An ``Executor`` that runs nothing: what is started waits for the schedule to say how it ends."""

    def __init__(
        self, started: Callable[[Attempt, Process], None], cancelled: Callable[[bytes, CancelReason], None]
    ) -> None:
        self.identity = IDENTITY
        self.shutdown_record = shutdown_record()
        self.process: Process | None = None
        self._started = started
        self._cancelled = cancelled

    def start(self, attempt: Attempt) -> None:
        assert self.process is not None
        self._started(attempt, self.process)

    def cancel(self, token: bytes, reason: CancelReason) -> None:
        self._cancelled(token, reason)


def runner_on(
    stage: Stage, world: World, local_lane: LocalLane | None = None, task_queue: str = TASK_QUEUE
) -> TemporalRunner:
    """The seam's runner on a stage's workflow host. Without a lane for local activities: for instances that only replay."""
    ids = world.further_ids if local_lane is None else world.entropy
    return TemporalRunner(
        stage.host,
        task_queue=task_queue,
        namespace=NAMESPACE,
        identity=IDENTITY,
        max_cached=MAX_CACHED,
        new_id=ids.uuid,
        now_ms=world.time.now_ms,
        suggest_after=SUGGEST_AFTER,
        local_lane=local_lane,
        build_id=stage.build_id,
    )


class _Noting:
    """A runner whose interpreters leave notes."""

    def __init__(self, inner: TemporalRunner, world: World) -> None:
        self._inner = inner
        self._world = world
        self.task_queue, self.identity = inner.task_queue, inner.identity
        self.max_cached, self.local_lane = inner.max_cached, inner.local_lane
        self.knows, self.why_unreadable = inner.knows, inner.why_unreadable

    def prepare(self, run: RunRow, spec: ActivitySpec) -> None:
        """Attempts run nowhere: nothing has to be made ready for them."""

    def open(self, run: RunRow, inputs: str, native: Any = None) -> Interpreter:
        world = self._world
        return Noted(self._inner.open(run, inputs, native), run.run_id, world.notes, world.has_answered)


class Process:
    """One incarnation."""

    def __init__(self, world: World, stage: Stage, hands: Hands, *, number: int) -> None:
        """``number``: which incarnation of its world it is."""
        self.world = world
        self.stage = stage
        self.loop = stage.loop
        self.clock = ProcessClock(world.time)
        self.store = _Store(world, self.loop)
        self.hands = hands
        hands.process = self
        world.processes.append(self)
        self.number = number
        self.dead = self.frozen = self.serving = self.starved = False
        stage.steady_ms = world.time.steady_ms
        self.local_lane = LocalLane(SLOTS)
        kernel: Kernel = self.loop.run(
            Kernel.open(
                self.store,
                identity=IDENTITY,
                application_version="1",
                clock=self.clock,
                entropy=world.entropy,
                lease_ms=LEASE_MS,
                spin_s=0.0,
            )
        )
        self.kernel = kernel
        kernel.errands.relations = TemporalRelations(NAMESPACE)
        kernel.timeout_close = timeout_close(world.entropy.uuid)
        stage.door.call_engine = EngineService(kernel, namespace=NAMESPACE).call

    def serve(self) -> None:
        """Begin to run workflows and activities."""
        if self.serving:
            return
        self.serving = True
        self.kernel.activities.serve_local(self.local_lane, self.hands)
        for queue in self.world.queues:
            self.kernel.activities.serve(queue, self.hands, SLOTS)
            self.loop.call_soon(self.kernel.serve, self._runner(queue))

    def serve_too(self, queue: str) -> None:
        """There are workers for another queue, too, where there are any."""
        if self.serving:
            if not self.starved:
                self.loop.call_soon(self.kernel.activities.serve, queue, self.hands, SLOTS)
            self.loop.call_soon(self.kernel.serve, self._runner(queue))

    def _runner(self, queue: str) -> _Noting:
        return _Noting(runner_on(self.stage, self.world, self.local_lane, queue), self.world)

    def starve_activities(self, *, full: bool) -> None:
        """Start no activities for now. ``full``: the worker is there, and all its slots are taken."""
        service = self.kernel.activities
        self.starved = True

        def starve() -> None:
            for queue in self.world.queues:
                service.unserve(queue, self.hands)
                if full:
                    service.serve(queue, self.hands, 0)

        self.loop.call_soon(starve)

    def take_activities(self) -> None:
        """Begin to run activities again, if none were to start."""
        if not self.starved:
            return
        self.starved = False
        for queue in self.world.queues:
            self.loop.call_soon(self.kernel.activities.serve, queue, self.hands, SLOTS)

    def ended(self, token: bytes, outcome: AttemptOutcome) -> bool:
        """An attempt has ended, as its executor reports it. False: nobody waits for it any more."""
        if self.local_lane.completed(token, outcome):
            return True
        return self.kernel.activities.completed(token, outcome)

    def kill(self) -> None:
        """As SIGKILL does: what is not in the database is gone.

        Raises:
            Unevictable: some workflow's code does not let itself be torn down.
        """
        self.dead = True
        self.loop.drop()
        self.clock.drop()
        self.store.cut()
        self.stage.door.call_engine = None
        if abandon(self.stage.host):
            self.world.left_behind += asyncio.all_tasks(self.loop) - self.stage.own_tasks
        runs = list(self.kernel.live_runs.values())
        stuck: list[str] = []
        for run in runs:
            interpreter, run.interpreter = run.interpreter, None
            if interpreter is not None and not let_go(self.loop, interpreter):
                stuck.append(run.row.workflow_type)
        self.loop.drop()
        for run_id in left_in(self.stage.host):  # it died while they were leaving
            if not let_go(self.loop, _Left(self.stage, run_id)):
                stuck.append(run_id)
        self.kernel.live_runs.clear()
        if stuck:
            raise Unevictable(stuck[0])

    def forget(self) -> None:
        """It is dead, and nobody will ask for it again."""
        loop = self.loop
        self.kernel.forget()
        loop.drop()
        self.__dict__.clear()

    def renew(self) -> None:
        """It has given signs of life until now."""
        lease = self.world.tables.leases.get(self.kernel.process_id)
        if lease is not None:
            lease.until_ms = self.world.time.now_ms() + LEASE_MS


class Unevictable(Exception):
    """Workflow code of that type goes on though it is being torn down."""


class _Left:
    """An instance that no run has any more."""

    def __init__(self, stage: Stage, run_id: str) -> None:
        self._stage = stage
        self._run_id = run_id

    def evict(self) -> Awaitable[None] | None:
        return self._stage.host.evict(self._run_id, "", "its process was killed")


def let_go(loop: SteppedLoop, interpreter: Interpreter | _Left) -> bool:
    """Tear an instance down. False: it does not let itself be."""

    async def leave() -> None:
        leaving = interpreter.evict()
        if leaving is not None:
            await leaving

    task = loop.create_task(leave())
    begun_s = time.thread_time()
    loop.settle()
    if task.done():
        raised, loop.raised = loop.raised, None
        return task.exception() is None and raised is None and time.thread_time() - begun_s < LEAVE_S
    loop.drop()
    return False
