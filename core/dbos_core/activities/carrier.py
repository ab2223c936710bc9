"""The acting half of activities: carries out what machines ask for, and is home to the attempts of our own runs.

``service.py`` is its public face; ``claimed.py`` and ``owner_mail.py`` are its dealings with other processes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Protocol, TypeVar

from dbos_core.activities.attempt import Attempt, Executor, RunIdentity, make_token
from dbos_core.activities.claimed import ActivityStore, ClaimedAttempts
from dbos_core.activities.deadlines import Deadlines
from dbos_core.activities.effects import (
    Abort,
    DeleteRow,
    DeliverCancel,
    Dequeue,
    Effects,
    Enqueue,
    Final,
    Flag,
    LeaveOpen,
    Record,
    ReturnSlot,
    SetTimer,
    Start,
    Tell,
    Withdraw,
    WriteRow,
)
from dbos_core.activities.execution import AttemptExecution, Throttle
from dbos_core.activities.lanes import Lane, TaskQueue
from dbos_core.activities.local import LocalLane
from dbos_core.activities.machine import ActivityMachine
from dbos_core.activities.moves import State
from dbos_core.activities.operating import OperatorCommand
from dbos_core.activities.owner_mail import OwnerMail
from dbos_core.activities.spec import (
    ActivityRow,
    AttemptOutcome,
    FinalOutcome,
    OutcomeKind,
    kernel_failure,
)
from dbos_core.clock import Clock, Entropy
from dbos_core.commit import Commit, Verdict
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


class LiveActivities:
    """The open activities of one run that this process owns."""

    __slots__ = ("identity", "machines")

    def __init__(self, identity: RunIdentity) -> None:
        self.identity = identity
        self.machines: dict[int, ActivityMachine] = {}


def _always() -> bool:
    return True


class Carrier:
    """State and effects of an :class:`~dbos_core.activities.service.ActivityService`."""

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
        self._nonce = entropy.uuid()[-12:]
        self._tokens = 0
        self._on_final = on_final
        self._on_lost = on_lost
        self._shared = shared
        self._runs: dict[str, LiveActivities] = {}
        self._queues: dict[str, TaskQueue] = {}
        self._running: dict[bytes, AttemptExecution] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self.spawn: Spawn = spawn or self._spawn
        self.may_start: Callable[[], bool] = _always
        """False while this process cannot be sure that its runs are still its own: nothing is started then."""
        self._held: list[AttemptExecution] = []
        self.local_lanes: list[LocalLane] = []
        """Of the workers in this process."""
        self._claimed = ClaimedAttempts(self, store, writer)
        self._mail = OwnerMail(self, store)

    # -- effects -----------------------------------------------------------------------------------------------------

    def act(self, machine: ActivityMachine, effects: Effects) -> None:
        for effect in effects:
            _HANDLERS[type(effect)](self, machine, effect)

    def _enqueue(self, machine: ActivityMachine, _: Enqueue) -> None:
        queue = self._queues.get(machine.spec.task_queue)
        if queue is None:  # unserved within this very turn
            machine.served = False
            self.act(machine, machine.unserved(self._now_ms()))
            return
        queue.enqueue(machine)

    def _dequeue(self, machine: ActivityMachine, effect: Dequeue) -> None:
        queue = self._queues.get(effect.task_queue)
        if queue is not None:
            queue.dequeue(machine)

    def _slot_free(self, machine: ActivityMachine, lane: Lane) -> None:
        machine.slot = lane
        self.act(machine, machine.slot_free(self._now_ms()))

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
            if not self.may_start():
                self._held.append(execution)
                return
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

    def serve_local(self, lane: LocalLane, executor: Executor) -> None:
        """A worker of this process begins to run local activities: as the others, only while our runs are surely ours."""
        lane.may_start = lambda: self.may_start()
        self.local_lanes.append(lane)
        lane.open(executor)

    def start_held(self) -> None:
        """What is ours is known again: start what was held back and is still wanted."""
        held, self._held = self._held, []
        for execution in held:
            if execution.home is None:  # its run went on elsewhere meanwhile
                self.completed(execution.attempt.token, AttemptOutcome(kind=OutcomeKind.FAILED))
            else:
                self.start_execution(execution)
        for lane in self.local_lanes:
            lane.pump()

    def _return_slot(self, machine: ActivityMachine, _: ReturnSlot) -> None:
        lane, machine.slot = machine.slot, None
        if lane is not None:
            lane.queue.give_back(lane)

    def _leave_open(self, machine: ActivityMachine, _: LeaveOpen) -> None:
        if not isinstance(machine.slot, AttemptExecution):
            self._execution(machine, None, Throttle())
            if machine.operated is not None:
                self._tell(machine, Tell())
            if machine.cancel_requested:
                machine.slot.request_cancel()

    def _write_row(self, machine: ActivityMachine, effect: WriteRow) -> None:
        self.write_row(machine, effect.row)

    def write_row(self, machine: ActivityMachine, row: ActivityRow) -> None:
        """Make a row durable, and the mail that led to it consumed."""
        machine.writes += 1
        mail_ids, machine.mail_ids = machine.mail_ids, ()
        commit = Commit(workflow_uuid=machine.run.workflow_uuid, activities=(row,), consumed=mail_ids)
        self.submit(commit, lambda verdict: self._written(machine, verdict))

    def _written(self, machine: ActivityMachine, verdict: Verdict | BadCommit) -> None:
        machine.writes -= 1
        if verdict is not Verdict.COMMITTED:
            machine.refused = True
        self._rests(machine)
        then = machine.when_written
        if then is not None and machine.writes == 0:
            machine.when_written = None
            then()

    def _rests(self, machine: ActivityMachine) -> None:
        """Tell whoever waits for it that nothing of it is on its way to the store."""
        if machine.watchers is not None and not machine.writes and not machine.asking:
            watchers, machine.watchers = machine.watchers, None
            for watcher in watchers:
                watcher()

    def _ask(self, machine: ActivityMachine, work: Coroutine[Any, Any, None], name: str) -> None:
        async def asked() -> None:
            try:
                await work
            finally:
                machine.asking -= 1
                self._rests(machine)

        machine.asking += 1
        self.spawn(asked(), name)

    def _record(self, machine: ActivityMachine, effect: Record) -> None:
        commit = Commit(workflow_uuid=machine.run.workflow_uuid, activities=(effect.row,))
        self.submit(commit, lambda verdict: self._recorded(machine, verdict))

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
            self.act(machine, machine.ended(self._now_ms(), failed))
        else:
            self.act(machine, machine.recorded(self._now_ms()))

    def _delete_row(self, machine: ActivityMachine, _: DeleteRow) -> None:
        mail_ids, machine.mail_ids = machine.mail_ids, ()
        self._remove(machine)
        done = (machine.spec.seq,)
        self.submit(Commit(workflow_uuid=machine.run.workflow_uuid, activities_done=done, consumed=mail_ids))

    def submit(self, commit: Commit, done: Callable[[Verdict | BadCommit], None] | None = None) -> None:
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
            self._ask(machine, self._mail.withdraw(machine, effect.attempt, keep=effect.keep), "withdraw activity")

        if machine.writes:
            machine.when_written = ask
        else:
            ask()

    def _flag(self, machine: ActivityMachine, effect: Flag) -> None:
        self._ask(machine, self._mail.flag(machine, effect.attempt), "tell an activity elsewhere")

    def _tell(self, machine: ActivityMachine, _: Tell) -> None:
        if isinstance(machine.slot, AttemptExecution):
            reset = machine.operated is not None and machine.operated.reset
            machine.slot.operated(machine.spec, paused=machine.paused, reset=reset)

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
        machine.served = self.serves(machine.spec.task_queue)
        try:
            self.act(machine, machine.clock(self._now_ms()))
        except Exception:
            self._broken(machine.run, machine.spec.activity_id)

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

    def completed(self, token: bytes, outcome: AttemptOutcome) -> bool:
        """An attempt that was started here has ended. False: no such attempt (any more)."""
        execution = self._running.pop(token, None)
        if execution is None:
            return False
        hit("activity.after_run")
        lane, execution.lane = execution.lane, None
        try:
            execution.completed(outcome)
        except Exception:
            self._broken(execution.attempt.run, execution.attempt.spec.activity_id)
        finally:
            if lane is not None:
                lane.release()
        return True

    def _broken(self, run: RunIdentity, activity_id: str) -> None:
        """What happened to an activity could not be acted on: its run goes on from the store, and with it the activity,
        which would wait for ever here."""
        logger.exception(
            "activity %r of workflow %r is broken; its run is taken up again", activity_id, run.workflow_id
        )
        if self._on_lost is not None and run.workflow_uuid in self._runs:
            self._on_lost(run.workflow_uuid)

    # -- home of the attempts of our own runs ------------------------------------------------------------------------

    def attempt_ended(self, execution: AttemptExecution, outcome: AttemptOutcome) -> None:
        machine: ActivityMachine = execution.subject
        if execution.lane is None:
            self._running.pop(execution.attempt.token, None)
        machine.slot = None
        if outcome.kind is not OutcomeKind.COMPLETED:
            machine.ran_by = execution.worker or machine.ran_by
            machine.served = self.serves(machine.spec.task_queue) and not outcome.unknown
        self.act(machine, machine.ended(self._now_ms(), outcome))

    def attempt_beat(self, execution: AttemptExecution, details: str | None) -> None:
        machine: ActivityMachine = execution.subject
        self.act(machine, machine.beat(self._now_ms(), details))

    def carry_out(self, machine: ActivityMachine, command: OperatorCommand) -> None:
        """An operator wants something of it."""
        machine.served = self.serves(machine.queue_after(command))
        self.act(machine, machine.operate(self._now_ms(), command))

    # -- inside --------------------------------------------------------------------------------------------------------

    def _live(self, run: RunIdentity) -> LiveActivities:
        live = self._runs.get(run.workflow_uuid)
        if live is None:
            live = self._runs[run.workflow_uuid] = LiveActivities(run)
        return live

    def when_released(self, machine: ActivityMachine, then: Callable[[bool], None]) -> None:
        """Do it when the commit that schedules the activity is known to be through, or never to come (False)."""
        machine.when_released = [*(machine.when_released or ()), then]

    def _released(self, machine: ActivityMachine, *, through: bool) -> None:
        if machine.when_released is not None:
            waiting, machine.when_released = machine.when_released, None
            for then in waiting:
                then(through)

    def machine_of(self, workflow_uuid: str, seq: int) -> ActivityMachine | None:
        live = self._runs.get(workflow_uuid)
        return None if live is None else live.machines.get(seq)

    def now_ms(self) -> int:
        return self._now_ms()

    def serves(self, name: str) -> bool:
        """Has this process a worker for that queue, and room in the line?"""
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
                timer = self.clock.call_at(self._now_ms() + delay_ms, partial(wake, again))
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


def wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


_HANDLERS: dict[type, Callable[[Carrier, ActivityMachine, Any], None]] = {
    Enqueue: Carrier._enqueue,
    Start: Carrier._start,
    ReturnSlot: Carrier._return_slot,
    LeaveOpen: Carrier._leave_open,
    WriteRow: Carrier._write_row,
    Record: Carrier._record,
    DeleteRow: Carrier._delete_row,
    Withdraw: Carrier._withdraw,
    Flag: Carrier._flag,
    Tell: Carrier._tell,
    Dequeue: Carrier._dequeue,
    DeliverCancel: Carrier._deliver_cancel,
    Abort: Carrier._abort,
    SetTimer: Carrier._set_timer,
    Final: Carrier._final,
}
