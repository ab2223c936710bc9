"""Kernel: open, start, deliver, await, close. Wiring and the public calls; the decisions are elsewhere.

One kernel is one process incarnation on one store: its ``process_id`` is executor id, owner token and lease key in one.
Several kernels live side by side in one Python process without knowing of each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from dbos_core.activities.deadlines import Deadlines
from dbos_core.activities.service import ActivityService
from dbos_core.activities.spec import FinalOutcome
from dbos_core.announced import Announced
from dbos_core.claims import Claims
from dbos_core.clock import Clock, Entropy, SystemClock, SystemEntropy
from dbos_core.commit import (
    Close,
    Commit,
    LoadedRun,
    Mail,
    NewRun,
    RunRow,
    RunStatus,
    StartAnswer,
    StartResult,
    UpdateRow,
    Verdict,
    row_of,
)
from dbos_core.errands.service import Errands
from dbos_core.errors import BadCommit, StoreUnavailable
from dbos_core.jobs import Jobs
from dbos_core.letting_go import GivenBack
from dbos_core.live_run import LiveRun
from dbos_core.measuring import Measure, measure_closed
from dbos_core.parking import Parking
from dbos_core.post import Post
from dbos_core.questions import Questions
from dbos_core.runner import Interpreter, Runner, TaskFailure
from dbos_core.schedules.scheduler import Scheduler
from dbos_core.store.base import ProcessInfo, Store, Wake, WakeKind
from dbos_core.succession import Succession, timed_out
from dbos_core.turns import Turns
from dbos_core.updates import Updates
from dbos_core.waiting import Waiting
from dbos_core.writer import SPIN_S, CheckpointWriter

logger = logging.getLogger(__name__)

LEASE_MS = 10_000
START_HERE_BELOW_RUNS = 20_000
"""Runs in memory at once; further starts are left to be claimed, here or elsewhere."""

SETTLE_S = 10.0
"""How long a run that leaves in good order may take to journal what has reached it."""

EVICT_S = 5.0
"""How long a worker that ends waits for the instances of its workflows to be torn down."""


class Kernel:
    """The engine of one process. Make it with :meth:`open`, end it with :meth:`close`."""

    def __init__(
        self,
        store: Store,
        *,
        identity: str,
        application_version: str,
        clock: Clock,
        entropy: Entropy,
        lease_ms: int,
        spin_s: float = SPIN_S,
    ) -> None:
        self.store = store
        self.clock = clock
        self.entropy = entropy
        self.identity = identity
        self.process_id = entropy.uuid()
        self.process = ProcessInfo(
            process_id=self.process_id, identity=identity, application_version=application_version
        )
        self.loop = asyncio.get_running_loop()
        self.live_runs: dict[str, LiveRun] = {}
        self.timers = Deadlines(clock)
        """Timers of live runs: those due at once ring in the order in which they were started."""
        self.writer = CheckpointWriter(store, self.process_id, spin_s=spin_s)
        self.turns = Turns(self.loop, disk_rests=self.writer.rests)
        self.waiting = Waiting(store, self.live_runs.__contains__)
        self.activities = ActivityService(
            store=store,
            writer=self.writer,
            clock=clock,
            entropy=entropy,
            process_id=self.process_id,
            on_final=self._activity_final,
            spawn=self.spawn,
            on_lost=self._claim_lost,
        )
        self.claims = Claims(self, lease_ms=lease_ms)
        self.errands = Errands(self)
        self.activities.may_start = self.claims.sure
        self.parking = Parking(self)
        self.given_back = GivenBack(clock)
        self.questions = Questions(self)
        self.updates = Updates(self)
        self.scheduler = Scheduler(self)
        self.timeout_close: Callable[[LoadedRun, int], Close] = timed_out
        """How a run ends whose deadline has passed; installed by whoever interprets the runs."""
        self.succession = Succession(self)
        self.measure: Measure | None = None
        self.jobs = Jobs(self, lease_ms=lease_ms)
        self._runners: dict[str, list[Runner]] = {}
        self.announced = Announced()
        self._starting: dict[str, asyncio.Future[Verdict | BadCommit]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._evictions: set[asyncio.Task[Any]] = set()
        self.post = Post(self)
        self.writer.on_mail = self.post.posted
        self.closing = False

    @staticmethod
    async def open(
        store: Store,
        *,
        identity: str,
        application_version: str,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
        lease_ms: int = LEASE_MS,
        spin_s: float = SPIN_S,
    ) -> Kernel:
        """Open the store and start the loops.

        Args:
            store: where state lives; the kernel closes it.
            identity: of this process, for people.
            application_version: a stable string, registered for stock DBOS tools.
            clock, entropy: the system's unless given.
            lease_ms: how long this process is believed alive without a sign (database clock).
            spin_s: how long a lone commit may keep the event loop awake (``writer.Spin``); 0: never.

        Raises:
            StoreUnavailable, SchemaTooNew, ApplicationMismatch, BadDatabaseURL: from the store.
        """
        await store.open()
        clock = clock or SystemClock()
        if isinstance(clock, SystemClock):
            asked_ms = clock.now_ms()
            clock.compare(await store.now_ms(), asked_ms, clock.now_ms())
        kernel = Kernel(
            store,
            identity=identity,
            application_version=application_version,
            clock=clock,
            entropy=entropy or SystemEntropy(),
            lease_ms=lease_ms,
            spin_s=spin_s,
        )
        store.listen(kernel._wake)
        kernel._run_loop(kernel.writer.run, "writer")
        kernel._run_loop(kernel.waiting.run, "waiting")
        return kernel

    async def close(self) -> None:
        """Finish what is in flight, let go of every run, give the lease back."""
        if self.closing:
            return
        self.closing = True
        await self.scheduler.stop()
        for runners in list(self._runners.values()):
            for runner in list(runners):
                await self.unserve(runner)
        await self.errands.aftermath.settle()
        self.timers.close()
        await self.jobs.close()
        await self.activities.close()
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.claims.stop()
        if self.writer.available:
            await self.writer.drain()
        for loop_task in self._loops:
            loop_task.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        self.waiting.stop()
        await self.store.close()

    async def abandon(self) -> None:
        """The event loop ends: only give the lease back, so that others may go on with our runs at once."""
        if not self.closing:
            self.closing = True
            await self.claims.give_back()
            await self.store.close()

    def forget(self) -> None:
        """It was killed in a process that lives on, as simulated ones are, and nothing of it will run again. What it consists
        of is one knot of cycles: cut here, that goes at once, and not with some collection later."""
        for task in (*self._loops, *self._tasks, *self._evictions):
            coro = task.get_coro()
            task.cancel()  # else what it waits for keeps it
            with contextlib.suppress(BaseException):  # whatever it does on its way out concerns nobody
                if inspect.iscoroutine(coro):
                    coro.close()
        for part in (self.activities, self.claims, self.scheduler, self):
            part.__dict__.clear()

    # -- tasks -----------------------------------------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run something that the kernel owns; its failure is logged and ends there."""
        task = self.loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s failed: only that is concerned", task.get_name(), exc_info=error)

    def _run_loop(self, body: Any, name: str) -> None:
        async def supervised() -> None:
            while True:
                try:
                    await body()
                    return
                except Exception:
                    logger.exception("the %s loop failed and begins again", name)
                    await asyncio.sleep(0.5)

        self._loops.append(self.loop.create_task(supervised(), name=f"dbos_core {name}"))

    async def breathe(self) -> None:
        """Let others run in the middle of long work."""
        await asyncio.sleep(0)

    # -- who serves what -------------------------------------------------------------------------------------------

    def serves(self, task_queue: str) -> bool:
        """True when a runner for this queue is registered in this process."""
        return task_queue in self._runners

    @property
    def queues(self) -> list[str]:
        return list(self._runners)

    def serve(self, runner: Runner) -> None:
        """Begin to run the workflows of a queue."""
        self._runners.setdefault(runner.task_queue, []).append(runner)
        self.announced.here(runner.task_queue)
        self.claims.queues_changed()

    async def unserve(self, runner: Runner) -> None:
        """Stop running a queue's workflows: their runs leave this process and are claimable at once."""
        runners = self._runners.get(runner.task_queue, [])
        if runner not in runners:
            return
        runners.remove(runner)
        if not runners:
            del self._runners[runner.task_queue]
        self.claims.queues_changed()
        leaving = [run for run in self.live_runs.values() if run.runner is runner]
        await self._settle(leaving)
        for run in leaving:
            self.activities.hand_over(run.row)
        if self.writer.available:
            await self.writer.drain()
        uuids = []
        for run in leaving:
            if self.live_runs.get(run.row.workflow_uuid) is run:
                del self.live_runs[run.row.workflow_uuid]
                run.gone()
                uuids.append(run.row.workflow_uuid)
        try:
            await self.claims.let_go(uuids)
        except StoreUnavailable:
            logger.warning("%d runs could not be released; that is tried again, or their lease lapses", len(uuids))
        if runners:
            self.claims.wake()
        if self._evictions:  # workflow code that refuses to end is not waited for
            await asyncio.wait(self._evictions, timeout=EVICT_S)

    async def _settle(self, runs: Sequence[LiveRun]) -> None:
        """Let what has happened to these runs reach their journals, as long as that makes progress soon."""
        deadline = self.loop.time() + SETTLE_S
        # Looked at, not signalled: it is a matter of milliseconds, once in a worker's life.
        while self.writer.available and any(run.busy for run in runs) and self.loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    def runner_for(self, task_queue: str, workflow_type: str) -> Runner | None:
        """The newest runner of the queue that knows the type, else the newest one (whose task then fails by name)."""
        runners = self._runners.get(task_queue)
        if not runners:
            return None
        for runner in reversed(runners):
            if runner.knows(workflow_type):
                return runner
        return runners[-1]

    # -- runs: the public calls ------------------------------------------------------------------------------------

    async def start(
        self,
        new: NewRun,
        *,
        derived_uuid: str,
        terminate_record: str,
        mail: Sequence[Mail] = (),
        updates: Sequence[UpdateRow] = (),
    ) -> StartAnswer:
        """Start a run, or find out why not.

        Args:
            new: the run; ``claimed`` is decided here.
            derived_uuid: row key to use when the id's own key is taken by an earlier run.
            terminate_record: close record for a run that TERMINATE_EXISTING ends.
            mail: delivered with the first activation. Not delivered when the answer is not STARTED.
            updates: rows of the update requests among ``mail``, in the same order.

        Raises:
            BadCommit: the database refuses a value.
        """
        runner = None
        if new.execution_ms <= self.clock.now_ms() and len(self.live_runs) < START_HERE_BELOW_RUNS and not self.closing:
            runner = self.runner_for(new.task_queue, new.workflow_type)
        if runner is not None:
            await self.claims.registered()
        new.claimed = runner is not None
        while (earlier := self._starting.get(new.workflow_uuid)) is not None:
            await asyncio.wait([earlier])  # the same id is being started here this very moment
        if new.workflow_uuid not in self.live_runs:
            verdict = await self._start_fast(new, runner, mail, updates)
            if isinstance(verdict, BadCommit):
                raise verdict
            if verdict is Verdict.COMMITTED:
                if not new.claimed:
                    self.succession.due(new)
                return StartAnswer(result=StartResult.STARTED, run=row_of(new, self.process_id))
        with self.claims.doubting():
            answer = await self.store.start_by_policy(
                self.process_id, new, derived_uuid, terminate_record, mail=mail, updates=updates
            )
            if answer.terminated is not None:
                self.closed_from_outside(answer.terminated)
                await measure_closed(self, answer.terminated.workflow_uuid)
        ours = new.claimed and answer.result is StartResult.STARTED
        if ours or self._is_ours_unseen(answer.run):
            # The second: it was claimed here while the copy of this start stood in its place.
            self.spawn(self.claims.retake(answer.run.workflow_uuid, 1, None), f"adopt {answer.run.workflow_uuid}")
        return answer

    def _is_ours_unseen(self, run: RunRow) -> bool:
        ours = run.owner == self.process_id and run.status is RunStatus.RUNNING
        return ours and not self.knows(run.workflow_uuid) and not self.closing

    async def _start_fast(
        self, new: NewRun, runner: Runner | None, mail: Sequence[Mail], updates: Sequence[UpdateRow]
    ) -> Verdict | BadCommit:
        if runner is None:
            return await self.writer.write(
                Commit(
                    workflow_uuid=new.workflow_uuid, fenced=False, start=new, mail=tuple(mail), updates=tuple(updates)
                )
            )
        future: asyncio.Future[Verdict | BadCommit] = self.loop.create_future()
        run = LiveRun(self, runner, row_of(new, self.process_id), new.inputs)
        self.live_runs[new.workflow_uuid] = run
        self._starting[new.workflow_uuid] = future
        run.begin(new, mail, updates)
        return await asyncio.shield(future)  # a caller that gives up leaves the start, and whoever waits for its end

    def run_started(self, run: LiveRun) -> None:
        future = self._starting.pop(run.row.workflow_uuid, None)
        self.claims.watch_deadline(run)
        if future is not None:
            # Two turns later: first whatever the run does at once, and the commit that follows from it; while that is
            # on its way there is time for the starter.
            self.loop.call_soon(self.loop.call_soon, _started, future)

    def start_overheard(self, run: LiveRun, verdict: Verdict | BadCommit) -> None:
        """A starting commit was answered after its run had left this process: whoever waits for it shall not for ever."""
        if verdict is Verdict.COMMITTED:
            self.claims.doubt()  # it may be ours, now that nobody here knows of it
        future = self._starting.pop(run.row.workflow_uuid, None)
        if future is not None and not future.done():
            future.set_result(verdict)

    def start_failed(self, run: LiveRun, verdict: Verdict | BadCommit) -> None:
        self._forget(run)
        future = self._starting.pop(run.row.workflow_uuid, None)
        if future is not None and not future.done():
            future.set_result(verdict)

    async def find(self, workflow_id: str, run_id: str | None = None) -> RunRow | None:
        """The run with that run id, or the current run of the workflow id."""
        live = self.live_runs.get(workflow_id)
        if live is not None and live.new is None and (run_id is None or run_id == live.row.run_id):
            return live.row
        return await self.store.find(workflow_id, run_id)

    async def send(self, mail: Mail) -> Verdict:
        """Deliver a durable message: COMMITTED, DUPLICATE or RUN_CLOSED.

        Raises:
            BadCommit: the database refuses a value.
        """
        return await self.writer.write(Commit(workflow_uuid=mail.workflow_uuid, fenced=False, mail=(mail,)))

    async def terminate(self, workflow_uuid: str, close: Close) -> Verdict:
        """End an open run whoever owns it."""
        close.reaches_others = True
        with self.claims.doubting():
            verdict = await self.store.terminate(self.process_id, workflow_uuid, close)
            if verdict is Verdict.COMMITTED:
                rows = await self.store.rows([workflow_uuid], watch=False)
                for row in rows:
                    self.closed_from_outside(row, reaches_others=close.reaches_others)
                    await measure_closed(self, row.workflow_uuid)
        return verdict

    def closed_from_outside(self, row: RunRow, *, reaches_others: bool = True) -> None:
        """A run was closed by somebody else than its owner: drop it here, tell who waits."""
        run = self.live_runs.get(row.workflow_uuid)
        if run is not None and run.row.run_id == row.run_id:  # not a successor that is trying the same key
            del self.live_runs[row.workflow_uuid]
            run.gone()
        self.waiting.run_closed(row)
        if reaches_others:
            self.errands.aftermath.closed(row)

    async def wait_closed(self, workflow_uuid: str, timeout_s: float) -> RunRow | None:
        """The run's row once it is closed; None if it is still open after ``timeout_s``."""
        return await self.waiting.closed(workflow_uuid, timeout_s)

    async def load(self, workflow_uuid: str) -> LoadedRun | None:
        """A run with its journal and mail."""
        loaded = await self.store.load([workflow_uuid])
        return loaded[0] if loaded else None

    def knows(self, workflow_uuid: str) -> bool:
        """True when the run lives here or is about to."""
        return workflow_uuid in self.live_runs or workflow_uuid in self._starting

    def live(self, workflow_uuid: str) -> LiveRun | None:
        """The run if this process owns it."""
        return self.live_runs.get(workflow_uuid)

    async def query(self, run: RunRow, payload: str, timeout_s: float) -> str:
        """Ask the run's interpreter, wherever it is. Raises TimeoutError when nobody answers in time."""
        return await self.questions.query(run, payload, timeout_s)

    async def request(self, run: RunRow, kind: str, payload: str, timeout_s: float) -> str:
        """Ask the run's owner something else (see ``questions``)."""
        return await self.questions.request(run, kind, payload, timeout_s)

    # -- what live runs tell us ------------------------------------------------------------------------------------

    def _forget(self, run: LiveRun) -> None:
        uuid = run.row.workflow_uuid
        if self.live_runs.get(uuid) is run:
            del self.live_runs[uuid]
        self.parking.forget(run)
        self.claims.room_made()

    def run_closed(self, run: LiveRun) -> None:
        self._forget(run)
        self.waiting.run_closed(run.row)

    def run_parked(self, run: LiveRun, waiting: bool) -> None:
        self._forget(run)
        if waiting:
            self.claims.wake()

    def run_lost(self, run: LiveRun, verdict: Verdict, attempt: int = 1, failure: TaskFailure | None = None) -> None:
        """A copy was dropped. If the run is still ours, take it up again from the store."""
        self._forget(run)
        if not self.closing:
            self.spawn(self.claims.retake(run.row.workflow_uuid, attempt, failure), f"retake {run.row.workflow_uuid}")

    def run_rests(self, run: LiveRun) -> None:
        self.parking.rests(run)

    def _activity_final(self, workflow_uuid: str, outcome: FinalOutcome) -> None:
        run = self.live_runs.get(workflow_uuid)
        if run is not None:
            run.deliver_outcome(outcome)

    def _claim_lost(self, workflow_uuid: str) -> None:
        run = self.live_runs.get(workflow_uuid)
        if run is not None:
            run.gone()
            self.run_lost(run, Verdict.CLAIM_LOST)

    def tear_down(self, interpreter: Interpreter) -> None:
        """Evict an interpreter; one that takes its time does so in a task of its own."""
        pending = interpreter.evict()
        if pending is not None:

            async def finish() -> None:
                await pending

            task = self.spawn(finish(), "evict")
            self._evictions.add(task)
            task.add_done_callback(self._evictions.discard)

    @property
    def evicting(self) -> bool:
        """Some interpreter takes its time to be torn down."""
        return bool(self._evictions)

    # -- what the store tells us -----------------------------------------------------------------------------------

    def _wake(self, wake: Wake) -> None:
        kind, key = wake.kind, wake.key
        if kind is WakeKind.MAIL:
            self.check_mail(key)
        elif kind is WakeKind.WORK:
            if key in self._runners:
                self.claims.wake()
        elif kind is WakeKind.ACTIVITY:
            self.activities.wake(key)
        elif kind is WakeKind.CLOSED:
            if key in self.live_runs and key not in self._starting:
                self.spawn(self.claims.retake(key, 1, None, closed=True), f"closed {key}")
            elif self.waiting.waits_for_close(key):
                self.spawn(self.waiting.look([key]), "look")
        elif kind is WakeKind.UPDATE:
            workflow_uuid, _, update_id = key.rpartition("|")
            self.waiting.update_changed(workflow_uuid, update_id)
        elif kind is WakeKind.REQUEST:
            if key in self._runners:
                self.questions.wake()
        elif kind is WakeKind.ANSWER:
            self.waiting.answered(key)
        elif kind is WakeKind.SCHEDULE:
            self.scheduler.wake()
        else:
            self.scheduler.wake()
            self.claims.wake()
            self.questions.wake()
            self.post.check_all()

    def check_mail(self, workflow_uuid: str) -> None:
        """New mail: fetch it if the run lives here; remember it if the run is on its way here."""
        self.post.check(workflow_uuid)


def _started(future: asyncio.Future[Verdict | BadCommit]) -> None:
    if not future.done():
        future.set_result(Verdict.COMMITTED)


__all__ = ["Kernel", "LEASE_MS", "row_of"]
