"""ActivityService: the acting part of activities in one process.

Three parties meet here. *Owners* (``LiveRun``) schedule, release, cancel and forget activities of runs that this
process owns; each has a pure :class:`~dbos_core.activities.machine.ActivityMachine`, whose effects are carried out
below. *Executors* serve task queues with slots (``lanes``) and report how attempts end. *Other processes* run what is
offered to them, and we run what they offer (``claimed``).

Everything happens on the event loop. Calls return at once; ``on_final`` may be called from within them.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable
from functools import partial
from typing import Any, Protocol, TypeVar

from dbos_core.activities.attempt import Attempt, Executor, RunIdentity, make_token
from dbos_core.activities.claimed import ActivityStore, ClaimedAttempts
from dbos_core.activities.deadlines import Deadlines
from dbos_core.activities.effects import (
    Abort,
    DeleteRow,
    DeliverCancel,
    Effects,
    Enqueue,
    Final,
    FlagCancel,
    LeaveOpen,
    Record,
    ReturnSlot,
    SetTimer,
    Start,
    Withdraw,
    WriteRow,
)
from dbos_core.activities.execution import AttemptExecution, Throttle
from dbos_core.activities.lanes import Lane, RateLimit, TaskQueue
from dbos_core.activities.machine import ActivityMachine
from dbos_core.activities.moves import State
from dbos_core.activities.owner_mail import OwnerMail
from dbos_core.activities.spec import (
    ActivityRow,
    ActivitySpec,
    AttemptOutcome,
    FinalOutcome,
    OutcomeKind,
    kernel_failure,
)
from dbos_core.clock import Clock, Entropy
from dbos_core.commit import Commit, Mail, Verdict
from dbos_core.errors import BadCommit, StoreUnavailable
from dbos_core.failpoints import hit

logger = logging.getLogger(__name__)

T = TypeVar("T")

_RETRY_FIRST_MS = 50
_RETRY_MAX_MS = 2_000

OnFinal = Callable[[str, FinalOutcome], None]
Spawn = Callable[[Coroutine[Any, Any, Any], str], object]


class Writer(Protocol):
    """Where durable changes go (``writer.CheckpointWriter``). Commits of one run land in the order of their submission."""

    def submit(self, commit: Commit, done: Callable[[Verdict | BadCommit], None]) -> None: ...


class Answer(enum.Enum):
    """To somebody outside who completes an attempt or sends its heartbeat."""

    OK = "ok"
    NOT_FOUND = "not found"
    """No such attempt is open (any more)."""
    NOT_REQUESTED = "not requested"
    """It cannot end as canceled, for nobody requested its cancellation."""


class _Run:
    """The open activities of one run that this process owns."""

    __slots__ = ("identity", "machines")

    def __init__(self, identity: RunIdentity) -> None:
        self.identity = identity
        self.machines: dict[int, ActivityMachine] = {}


class ActivityService:
    """See the module. One per kernel."""

    def __init__(
        self,
        *,
        store: ActivityStore,
        writer: Writer,
        clock: Clock,
        entropy: Entropy,
        process_id: str,
        on_final: OnFinal,
        spawn: Spawn | None = None,
        on_lost: Callable[[str], None] | None = None,
        shared: Callable[[str], bool] | None = None,
    ) -> None:
        """``on_lost`` hears of a run that turns out to be ours no more. ``shared`` says whether other live processes
        serve a queue too: then what finds no slot and no place in the line here is offered to them."""
        self.process_id = process_id
        self._writer = writer
        self.clock = Deadlines(clock)
        self._now_ms = clock.now_ms
        self._nonce = entropy.uuid().replace("-", "")[:12]
        self._tokens = 0
        self._on_final = on_final
        self._on_lost = on_lost
        self._shared = shared
        self._runs: dict[str, _Run] = {}
        self._queues: dict[str, TaskQueue] = {}
        self._running: dict[bytes, AttemptExecution] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self.spawn: Spawn = spawn or self._spawn
        self._claimed = ClaimedAttempts(self, store, writer)
        self._mail = OwnerMail(self, store)

    # -- for owners: live runs -------------------------------------------------------------------------------------

    def schedule(self, run: RunIdentity, spec: ActivitySpec) -> list[ActivityRow]:
        """Plan an activity; the answer are the rows for the commit that journals it. Nothing starts before ``release``."""
        live = self._live(run)
        before = live.machines.get(spec.seq)
        if before is not None:
            self._act(before, before.forget(self._now_ms()))
        machine = ActivityMachine(run, spec, self.process_id)
        live.machines[spec.seq] = machine
        queue = self._queues.get(spec.task_queue)
        machine.served = queue is not None and self._has_place(queue)
        if queue is not None and machine.served and spec.retry.bounded and not queue.backlog:
            # Only an attempt that starts for sure is recorded as started: one that waits for a slot is not used up.
            machine.slot = queue.take_slot()
        row = machine.plan(self._now_ms(), slot_held=machine.slot is not None)
        return [] if row is None else [row]

    def release(self, run: RunIdentity, seq: int) -> None:
        """The commit that schedules it is through: it may start."""
        machine = self._runs[run.workflow_uuid].machines[seq]
        if not machine.row_exists:
            machine.served = machine.spec.task_queue in self._queues and machine.served
        self._act(machine, machine.release(self._now_ms()))

    def request_cancel(self, run: RunIdentity, seq: int) -> None:
        """The workflow wants it cancelled. One that has not started ends at once."""
        machine = self._machine(run.workflow_uuid, seq)
        if machine is not None:
            self._act(machine, machine.cancel(self._now_ms()))

    def forget(self, run: RunIdentity, seq: int) -> None:
        """Its outcome shall reach nobody (cancellation types TRY_CANCEL, after ``request_cancel``, and ABANDON), or its
        scheduling commit did not happen."""
        machine = self._machine(run.workflow_uuid, seq)
        if machine is not None:
            planned = machine.state is State.PLANNED
            self._act(machine, machine.forget(self._now_ms()))
            if planned:
                del self._runs[run.workflow_uuid].machines[seq]

    def restore(
        self,
        run: RunIdentity,
        specs: Iterable[ActivitySpec],
        rows: Iterable[ActivityRow],
        *,
        cancel_requested: Collection[int] = (),
    ) -> None:
        """Go on with the open activities of a run that was loaded. ``cancel_requested``: seqs whose cancellation the
        journal requests. Rows that belong to no open activity are deleted."""
        live = self._live(run)
        left = {row.seq: row for row in rows}
        now = self._now_ms()
        for spec in specs:
            machine = ActivityMachine(run, spec, self.process_id)
            live.machines[spec.seq] = machine
            machine.served = self._serves(spec.task_queue)
            row = left.pop(spec.seq, None)
            if row is not None and row.worker == self.process_id and not self._claimed.runs(row):
                row.offered = False  # taken by us, and nothing of it is left
            self._act(machine, machine.restore(now, row))
            if spec.seq in cancel_requested:
                self._act(machine, machine.cancel(now))
        if left:
            done = tuple(left)
            self._submit(Commit(workflow_uuid=run.workflow_uuid, activities_done=done))

    def drop_run(self, run: RunIdentity) -> None:
        """The run closed, was evicted or is owned elsewhere now."""
        live = self._runs.pop(run.workflow_uuid, None)
        if live is None:
            return
        for machine in live.machines.values():
            state, slot = machine.state, machine.slot
            machine.void()
            if machine.handle is not None:
                machine.handle.cancel()
            if state is State.PLANNED and slot is not None:
                slot.queue.give_back(slot)
            elif isinstance(slot, AttemptExecution):
                slot.disown()
                if slot.lane is None:
                    self._running.pop(slot.attempt.token, None)

    def remote_outcome(self, workflow_uuid: str, mail: Mail) -> None:
        """Mail of topic ``mailbox.ACTIVITY``. Is consumed by a commit of ours, unless the activity ends by it: then
        ``FinalOutcome.mail_ids`` has it, for the commit that journals the end."""
        self._mail.arrived(workflow_uuid, mail)

    def pending(self, workflow_uuid: str) -> list[ActivityMachine]:
        """The open activities of a live run, to look at."""
        live = self._runs.get(workflow_uuid)
        return [] if live is None else [m for m in live.machines.values() if not m.forgotten]

    # -- for executors ---------------------------------------------------------------------------------------------

    @property
    def queues(self) -> Collection[str]:
        """The task queues that this process serves."""
        return self._queues.keys()

    def serve(
        self,
        queue: str,
        executor: Executor,
        slots: int,
        *,
        max_per_second: float | None = None,
        max_queue_per_second: float | None = None,
        throttle: Throttle | None = None,
    ) -> None:
        """Serve a task queue. ``max_queue_per_second`` is the queue's limit in this process, whoever serves it."""
        now = self._now_ms()
        served = self._queues.get(queue)
        if served is None:
            served = self._queues[queue] = TaskQueue(queue, self.clock, self._slot_free, self._claimed.claim)
        limit = None if max_per_second is None else RateLimit(max_per_second, now)
        served.lanes.append(Lane(served, executor, slots, limit, throttle or Throttle()))
        if max_queue_per_second is not None:
            served.limit = RateLimit(max_queue_per_second, now)
        served.offers_wait = True
        served.pump()

    def unserve(self, queue: str, executor: Executor) -> None:
        """Start nothing more there. What waits is offered to others if no other executor of ours serves the queue."""
        served = self._queues.get(queue)
        if served is None:
            return
        served.lanes = [lane for lane in served.lanes if lane.executor is not executor]
        if served.lanes:
            return
        del self._queues[queue]
        served.close()
        now = self._now_ms()
        for machine in served.backlog:
            if machine.state is State.READY:
                machine.served = False
                self._act(machine, machine.unserved(now))
        served.backlog.clear()

    def shut_down(self, executor: Executor) -> None:
        """The grace period is over: tell everything that still runs there."""
        for execution in list(self._running.values()):
            if execution.lane is not None and execution.lane.executor is executor:
                execution.shut_down()

    def running(self, executor: Executor) -> int:
        """How many of its slots are in use."""
        return sum(1 for e in self._running.values() if e.lane is not None and e.lane.executor is executor)

    def completed(self, token: bytes, outcome: AttemptOutcome) -> bool:
        """An attempt that was started here has ended. False: no such attempt (any more)."""
        execution = self._running.pop(token, None)
        if execution is None:
            return False
        hit("activity.after_run")
        lane, execution.lane = execution.lane, None
        try:
            execution.completed(outcome)
        finally:
            if lane is not None:
                lane.release()
        return True

    def heartbeat(self, token: bytes, details: str | None) -> bool:
        """``activity.heartbeat`` of an attempt that was started here. False: no such attempt (any more)."""
        execution = self._running.get(token)
        if execution is None:
            return False
        execution.beat(details)
        return True

    def will_complete_async(self, token: bytes) -> bool:
        """Its function returned; somebody outside will complete it. Its slot is free, its clocks go on."""
        execution = self._running.get(token)
        if execution is None:
            return False
        lane, execution.lane = execution.lane, None
        execution.leave_open()
        home = execution.home
        if home is self:
            machine: ActivityMachine = execution.subject
            self._act(machine, machine.leave_open(self._now_ms()))
        else:
            del self._running[token]
            if home is not None:
                self._claimed.left_open(execution)
        if lane is not None:
            lane.release()
        return True

    # -- for people outside: completion by token or id ---------------------------------------------------------------

    def find(self, workflow_uuid: str, activity_id: str) -> ActivityMachine | None:
        """The open activity of that id, if the run is live here."""
        for machine in self.pending(workflow_uuid):
            if machine.spec.activity_id == activity_id:
                return machine
        return None

    def complete_outside(self, workflow_uuid: str, seq: int, attempt: int | None, outcome: AttemptOutcome) -> Answer:
        """Somebody completes an attempt of a run that is live here. ``attempt`` None: whichever is open."""
        machine = self._open_attempt(workflow_uuid, seq, attempt)
        if machine is None:
            return Answer.NOT_FOUND
        if outcome.kind is OutcomeKind.CANCELED and not machine.cancel_requested:
            return Answer.NOT_REQUESTED
        execution = machine.slot
        if isinstance(execution, AttemptExecution):
            execution.disown()
            if execution.lane is None:
                self._running.pop(execution.attempt.token, None)
            if outcome.heartbeat is None and outcome.kind is not OutcomeKind.COMPLETED:
                outcome.heartbeat = execution.details
        self._act(machine, machine.ended(self._now_ms(), outcome))
        return Answer.OK

    def heartbeat_outside(
        self, workflow_uuid: str, seq: int, attempt: int | None, details: str | None
    ) -> tuple[Answer, bool]:
        """A heartbeat from outside. The second value: a cancel was requested."""
        machine = self._open_attempt(workflow_uuid, seq, attempt)
        if machine is None:
            return Answer.NOT_FOUND, False
        execution = machine.slot
        if isinstance(execution, AttemptExecution):
            execution.beat(details)
        return Answer.OK, machine.cancel_requested

    def _open_attempt(self, workflow_uuid: str, seq: int, attempt: int | None) -> ActivityMachine | None:
        machine = self._machine(workflow_uuid, seq)
        if machine is None or machine.forgotten:
            return None
        return machine if machine.expects(machine.attempt if attempt is None else attempt) else None

    # -- for the kernel ----------------------------------------------------------------------------------------------

    def wake(self, queue: str) -> None:
        """Something was offered on this queue."""
        served = self._queues.get(queue)
        if served is not None:
            served.offers_wait = True
            served.pump()

    def poll(self) -> None:
        """Something may have been offered on any queue of ours."""
        for queue in list(self._queues):
            self.wake(queue)

    async def close(self) -> None:
        """Stop. What is open is taken up elsewhere, as after a crash."""
        self.clock.close()
        for queue in self._queues.values():
            queue.close()
        self._queues.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- effects -----------------------------------------------------------------------------------------------------

    def _act(self, machine: ActivityMachine, effects: Effects) -> None:
        for effect in effects:
            _HANDLERS[type(effect)](self, machine, effect)

    def _enqueue(self, machine: ActivityMachine, _: Enqueue) -> None:
        queue = self._queues.get(machine.spec.task_queue)
        if queue is None:  # unserved within this very turn
            machine.served = False
            self._act(machine, machine.unserved(self._now_ms()))
            return
        queue.enqueue(machine)

    def _slot_free(self, machine: ActivityMachine, lane: Lane) -> None:
        machine.slot = lane
        self._act(machine, machine.slot_free(self._now_ms()))

    def _start(self, machine: ActivityMachine, _: Start) -> None:
        lane: Lane = machine.slot
        execution = self._execution(machine, lane.executor, lane.throttle)
        execution.lane = lane
        self.start_execution(execution)

    def _execution(self, machine: ActivityMachine, executor: Executor | None, throttle: Throttle) -> AttemptExecution:
        now = self._now_ms() if machine.started_ms is None else machine.started_ms
        attempt = Attempt(
            token=self.token(machine.run.workflow_uuid, machine.spec.seq, machine.attempt),
            run=machine.run,
            spec=machine.spec,
            attempt=machine.attempt,
            due_ms=machine.due_ms,
            started_ms=now,
            heartbeat=machine.heartbeat,
        )
        execution = AttemptExecution(attempt, self, executor, self.clock, throttle)
        execution.subject = machine
        machine.slot = execution
        self._running[attempt.token] = execution
        return execution

    def token(self, workflow_uuid: str, seq: int, attempt: int) -> bytes:
        self._tokens += 1
        return make_token(f"{self._nonce}{self._tokens:x}", workflow_uuid, seq, attempt)

    def start_execution(self, execution: AttemptExecution) -> None:
        """Hand an attempt that holds a slot to its executor."""
        lane = execution.lane
        assert lane is not None
        self._running[execution.attempt.token] = execution
        if lane not in lane.queue.lanes:  # its worker went away while the start was written
            record = lane.executor.shutdown_record
            gone = AttemptOutcome(kind=OutcomeKind.FAILED, error_type="WorkerShutdown", record=record)
            self.completed(execution.attempt.token, gone)
            return
        try:
            hit("activity.before_start")
            lane.executor.start(execution.attempt)
        except Exception as error:
            attempt = execution.attempt
            logger.exception(
                "attempt %d of activity %r of workflow %r could not be started; it counts as failed",
                attempt.attempt, attempt.spec.activity_id, attempt.run.workflow_id,
            )  # fmt: skip
            record = kernel_failure(type(error).__name__, f"The activity could not be started: {error}")
            failed = AttemptOutcome(kind=OutcomeKind.FAILED, error_type=type(error).__name__, record=record)
            self.completed(attempt.token, failed)

    def _return_slot(self, machine: ActivityMachine, _: ReturnSlot) -> None:
        lane, machine.slot = machine.slot, None
        if lane is not None:
            lane.queue.give_back(lane)

    def _leave_open(self, machine: ActivityMachine, _: LeaveOpen) -> None:
        if not isinstance(machine.slot, AttemptExecution):
            self._execution(machine, None, Throttle())
            if machine.cancel_requested:
                machine.slot.request_cancel()

    def _write_row(self, machine: ActivityMachine, effect: WriteRow) -> None:
        machine.writes += 1
        mail_ids, machine.mail_ids = machine.mail_ids, ()
        commit = Commit(workflow_uuid=machine.run.workflow_uuid, activities=(effect.row,), consumed=mail_ids)
        self._submit(commit, lambda verdict: self._written(machine))

    def _written(self, machine: ActivityMachine) -> None:
        machine.writes -= 1
        then = machine.when_written
        if then is not None and machine.writes == 0:
            machine.when_written = None
            then()

    def _record(self, machine: ActivityMachine, effect: Record) -> None:
        commit = Commit(workflow_uuid=machine.run.workflow_uuid, activities=(effect.row,))
        self._submit(commit, lambda verdict: self._recorded(machine, verdict))

    def _recorded(self, machine: ActivityMachine, verdict: Verdict | BadCommit) -> None:
        lane: Lane = machine.slot
        if machine.state is not State.RECORDING or not (
            verdict is Verdict.COMMITTED or isinstance(verdict, BadCommit)
        ):  # the run is not ours any more
            machine.slot = None
            lane.queue.give_back(lane)
        elif isinstance(verdict, BadCommit):
            record = kernel_failure("BadCommit", f"The start of the attempt could not be recorded: {verdict}")
            failed = AttemptOutcome(kind=OutcomeKind.FAILED, record=record, error_type="BadCommit", non_retryable=True)
            self._return_slot(machine, ReturnSlot())
            self._act(machine, machine.ended(self._now_ms(), failed))
        else:
            self._act(machine, machine.recorded(self._now_ms()))

    def _delete_row(self, machine: ActivityMachine, _: DeleteRow) -> None:
        mail_ids, machine.mail_ids = machine.mail_ids, ()
        self._remove(machine)
        done = (machine.spec.seq,)
        self._submit(Commit(workflow_uuid=machine.run.workflow_uuid, activities_done=done, consumed=mail_ids))

    def _submit(self, commit: Commit, done: Callable[[Verdict | BadCommit], None] | None = None) -> None:
        """A fenced commit of our own. If the run is not ours any more, its owner hears of it."""

        def written(verdict: Verdict | BadCommit) -> None:
            if isinstance(verdict, BadCommit):
                logger.warning("the state of an activity of run %s was not stored: %s", commit.workflow_uuid, verdict)
            if done is not None:
                done(verdict)
            if verdict is Verdict.CLAIM_LOST and self._on_lost is not None:
                self._on_lost(commit.workflow_uuid)

        self._writer.submit(commit, written)

    def _withdraw(self, machine: ActivityMachine, effect: Withdraw) -> None:
        def ask() -> None:
            self.spawn(self._mail.withdraw(machine, effect.attempt), "withdraw activity")

        if machine.writes:
            machine.when_written = ask
        else:
            ask()

    def _flag_cancel(self, machine: ActivityMachine, effect: FlagCancel) -> None:
        self.spawn(self._mail.flag_cancel(machine, effect.attempt), "cancel activity elsewhere")

    def _deliver_cancel(self, machine: ActivityMachine, _: DeliverCancel) -> None:
        if isinstance(machine.slot, AttemptExecution):
            machine.slot.request_cancel()

    def _abort(self, machine: ActivityMachine, _: Abort) -> None:
        execution = machine.slot
        if isinstance(execution, AttemptExecution):
            execution.abort()
            if execution.lane is None:
                self._running.pop(execution.attempt.token, None)

    def _set_timer(self, machine: ActivityMachine, effect: SetTimer) -> None:
        if machine.handle is not None:
            machine.handle.cancel()
        machine.handle = self.clock.call_at(effect.when_ms, lambda: self._clock_rings(machine))

    def _clock_rings(self, machine: ActivityMachine) -> None:
        machine.handle = None
        if machine.state is State.CLOSED:
            return
        machine.served = self._serves(machine.spec.task_queue)
        self._act(machine, machine.clock(self._now_ms()))

    def _final(self, machine: ActivityMachine, effect: Final) -> None:
        machine.mail_ids = ()
        self._remove(machine)
        hit("activity.before_report")
        self._on_final(machine.run.workflow_uuid, effect.outcome)

    def _remove(self, machine: ActivityMachine) -> None:
        if machine.handle is not None:
            machine.handle.cancel()
            machine.handle = None
        run = self._runs.get(machine.run.workflow_uuid)
        if run is not None and run.machines.get(machine.spec.seq) is machine:
            del run.machines[machine.spec.seq]

    # -- home of the attempts of our own runs ------------------------------------------------------------------------

    def attempt_ended(self, execution: AttemptExecution, outcome: AttemptOutcome) -> None:
        machine: ActivityMachine = execution.subject
        if execution.lane is None:
            self._running.pop(execution.attempt.token, None)
        machine.slot = None
        if outcome.kind is not OutcomeKind.COMPLETED:
            machine.served = self._serves(machine.spec.task_queue)
        self._act(machine, machine.ended(self._now_ms(), outcome))

    def attempt_beat(self, execution: AttemptExecution, details: str | None) -> None:
        machine: ActivityMachine = execution.subject
        self._act(machine, machine.beat(self._now_ms(), details))

    # -- inside --------------------------------------------------------------------------------------------------------

    def _live(self, run: RunIdentity) -> _Run:
        live = self._runs.get(run.workflow_uuid)
        if live is None:
            live = self._runs[run.workflow_uuid] = _Run(run)
        return live

    def machine_of(self, workflow_uuid: str, seq: int) -> ActivityMachine | None:
        live = self._runs.get(workflow_uuid)
        return None if live is None else live.machines.get(seq)

    _machine = machine_of

    def act(self, machine: ActivityMachine, effects: Effects) -> None:
        """For ``owner_mail`` and ``claimed``: carry out what a machine asked for."""
        self._act(machine, effects)

    def submit(self, commit: Commit) -> None:
        self._submit(commit)

    def now_ms(self) -> int:
        return self._now_ms()

    def serves(self, queue: str) -> bool:
        return self._serves(queue)

    def _serves(self, name: str) -> bool:
        queue = self._queues.get(name)
        return queue is not None and self._has_place(queue)

    def _has_place(self, queue: TaskQueue) -> bool:
        """Shall an attempt wait here? Not if the line is long and others could take it."""
        return not (len(queue.backlog) >= queue.slots and self._shared is not None and self._shared(queue.name))

    async def until_available(self, call: Callable[[], Awaitable[T]]) -> T:
        """Ask the store, again and again while the database is away. Only for calls that are safe to repeat."""
        delay_ms = _RETRY_FIRST_MS
        while True:
            try:
                return await call()
            except StoreUnavailable:
                again: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                timer = self.clock.call_at(self._now_ms() + delay_ms, partial(_wake, again))
                try:
                    await again
                finally:
                    timer.cancel()
                delay_ms = min(delay_ms * 2, _RETRY_MAX_MS)

    def _spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s failed; only that activity is concerned", task.get_name(), exc_info=error)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


_HANDLERS: dict[type, Callable[[ActivityService, ActivityMachine, Any], None]] = {
    Enqueue: ActivityService._enqueue,
    Start: ActivityService._start,
    ReturnSlot: ActivityService._return_slot,
    LeaveOpen: ActivityService._leave_open,
    WriteRow: ActivityService._write_row,
    Record: ActivityService._record,
    DeleteRow: ActivityService._delete_row,
    Withdraw: ActivityService._withdraw,
    FlagCancel: ActivityService._flag_cancel,
    DeliverCancel: ActivityService._deliver_cancel,
    Abort: ActivityService._abort,
    SetTimer: ActivityService._set_timer,
    Final: ActivityService._final,
}
