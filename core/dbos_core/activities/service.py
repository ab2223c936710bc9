"""ActivityService: the acting part of activities in one process.

Three parties meet here. *Owners* (``LiveRun``) schedule, release, cancel and forget activities of runs that this
process owns; each has a pure :class:`~dbos_core.activities.machine.ActivityMachine`, whose effects ``carrier`` carries
out. *Executors* serve task queues with slots (``lanes``) and report how attempts end. *Other processes* run what is
offered to them, and we run what they offer (``claimed``, ``owner_mail``).

Everything happens on the event loop. Calls return at once; ``on_final`` may be called from within them.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from typing import NamedTuple

from dbos_core.activities.attempt import Executor, RunIdentity
from dbos_core.activities.carrier import Carrier, wake
from dbos_core.activities.execution import AttemptExecution, Throttle
from dbos_core.activities.lanes import Lane, RateLimit, TaskQueue
from dbos_core.activities.machine import ActivityMachine
from dbos_core.activities.moves import State
from dbos_core.activities.operating import OperatorCommand
from dbos_core.activities.spec import (
    ActivityRow,
    ActivitySpec,
    AttemptOutcome,
    OutcomeKind,
)
from dbos_core.commit import Commit, Mail
from dbos_core.failpoints import hit


class Answer(enum.Enum):
    """To somebody outside who completes an attempt or sends its heartbeat."""

    OK = "ok"
    NOT_FOUND = "not found"
    """No such attempt is open (any more)."""
    MOVED = "moved"
    """The run is on its way to another process."""
    NOT_REQUESTED = "not requested"
    """It cannot end as canceled, for nobody requested its cancellation."""


class Signs(NamedTuple):
    """What a heartbeat from outside learns."""

    cancel: bool = False
    paused: bool = False
    reset: bool = False


class ActivityService(Carrier):
    """See the module. One per kernel."""

    # -- for owners: live runs -------------------------------------------------------------------------------------

    def schedule(self, run: RunIdentity, spec: ActivitySpec) -> list[ActivityRow]:
        """Plan an activity; the answer are the rows for the commit that journals it. Nothing starts before ``release``."""
        live = self._live(run)
        before = live.machines.get(spec.seq)
        if before is not None:
            self.act(before, before.forget(self._now_ms()))
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
        self.act(machine, machine.release(self._now_ms()))
        self._released(machine, through=True)

    def request_cancel(self, run: RunIdentity, seq: int) -> None:
        """The workflow wants it cancelled. One that has not started ends at once."""
        machine = self.machine_of(run.workflow_uuid, seq)
        if machine is not None:
            self.act(machine, machine.cancel(self._now_ms()))

    def forget(self, run: RunIdentity, seq: int) -> None:
        """Its outcome shall reach nobody (cancellation types TRY_CANCEL, after ``request_cancel``, and ABANDON), or its
        scheduling commit did not happen."""
        machine = self.machine_of(run.workflow_uuid, seq)
        if machine is not None:
            planned = machine.state is State.PLANNED
            self.act(machine, machine.forget(self._now_ms()))
            if planned:
                del self._runs[run.workflow_uuid].machines[seq]
                self._released(machine, through=False)

    def restore(
        self,
        run: RunIdentity,
        specs: Iterable[ActivitySpec],
        rows: Iterable[ActivityRow],
        *,
        cancel_requested: Collection[int] = (),
        mail: Iterable[Mail] = (),
    ) -> None:
        """Go on with the open activities of a run that was loaded. ``cancel_requested``: seqs whose cancellation the
        journal requests. ``mail``: the run's, in which operators may have left commands while nobody had the run.
        Rows that belong to no open activity are deleted."""
        live = self._live(run)
        left = {row.seq: row for row in rows}
        commands = self._mail.commands(mail)
        now = self._now_ms()
        for spec in specs:
            machine = ActivityMachine(run, spec, self.process_id)
            live.machines[spec.seq] = machine
            machine.served = self.serves(spec.task_queue)
            row = left.pop(spec.seq, None)
            if row is not None and row.worker == self.process_id and not self._claimed.has(row):
                row.offered = False  # taken by us, and nothing of it is left
            given = commands.pop(spec.seq, ())
            counted = self._mail.recall(machine, row, given)
            self._mail.ran(machine, row)
            self.act(machine, machine.restore(now, row))
            for mail_id, command in given:
                self._mail.carry_out(machine, mail_id, command, recalled=counted)
            if spec.seq in cancel_requested:
                self.act(machine, machine.cancel(now))
        if left:
            done = tuple(left)
            self.submit(Commit(workflow_uuid=run.workflow_uuid, activities_done=done))

    def hand_over(self, run: RunIdentity) -> None:
        """The run is about to leave this process in good order (``drop_run`` follows when that is written)."""
        live = self._runs.get(run.workflow_uuid)
        if live is None:
            return
        for machine in live.machines.values():
            row = machine.hand_over()
            if row is not None:
                machine.void()
                if machine.handle is not None:
                    machine.handle.cancel()
                self.submit(Commit(workflow_uuid=run.workflow_uuid, activities=(row,)))

    def drop_run(self, run: RunIdentity) -> None:
        """The run closed, was evicted or is owned elsewhere now."""
        live = self._runs.pop(run.workflow_uuid, None)
        if live is None:
            return
        for machine in live.machines.values():
            state, slot = machine.state, machine.slot
            machine.void()
            self._released(machine, through=False)
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

    @staticmethod
    def worker_of(machine: ActivityMachine) -> str:
        """Identity of the worker that runs its current attempt, or else ran the one before; empty if nobody here knows
        (then ``ran_in`` may be the process)."""
        slot = machine.slot
        running = slot.executor.identity if isinstance(slot, Lane) else slot.worker if slot is not None else ""
        return running or machine.ran_by

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
        """Serve a task queue. ``max_queue_per_second`` is the queue's limit, whoever serves it: here, and in the other
        processes that say the same (:meth:`share_rates`)."""
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

    @property
    def limited_queues(self) -> list[str]:
        """The task queues that have a limit of their own."""
        return sorted(name for name, queue in self._queues.items() if queue.limit is not None)

    def share_rates(self, sharers: Mapping[str, int]) -> None:
        """So many live processes, this one among them, hold each of these queues to its limit."""
        for name, number in sharers.items():
            served = self._queues.get(name)
            if served is not None and served.limit is not None:
                served.limit.share(max(1, number), self._now_ms())

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
                self.act(machine, machine.unserved(now))
        served.backlog.clear()

    def shut_down(self, executor: Executor) -> None:
        """The grace period is over: tell everything that still runs there."""
        for execution in list(self._running.values()):
            if execution.lane is not None and execution.lane.executor is executor:
                execution.shut_down()

    def running(self, executor: Executor) -> int:
        """How many of its slots are in use."""
        return sum(1 for e in self._running.values() if e.lane is not None and e.lane.executor is executor)

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
        worker = execution.worker
        execution.leave_open()
        home = execution.home
        if home is self:
            machine: ActivityMachine = execution.subject
            machine.ran_by = worker
            self.act(machine, machine.leave_open(self._now_ms()))
        else:
            del self._running[token]
            if home is not None:
                self._claimed.left_open(execution, worker)
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

    async def released(self, workflow_uuid: str, seq: int) -> None:
        """An offer is seen by all as soon as it is committed, and whoever takes it may be heard of before the answer to
        that commit is. Whoever means to do something with an activity waits here first."""
        machine = self.machine_of(workflow_uuid, seq)
        if machine is not None and machine.state is State.PLANNED:
            known: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.when_released(machine, lambda _: wake(known))
            await known

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
            machine.ran_by = execution.worker or machine.ran_by
            if execution.lane is None:
                self._running.pop(execution.attempt.token, None)
            if outcome.heartbeat is None and outcome.kind is not OutcomeKind.COMPLETED:
                outcome.heartbeat = execution.details
        self.act(machine, machine.ended(self._now_ms(), outcome))
        return Answer.OK

    def heartbeat_outside(
        self, workflow_uuid: str, seq: int, attempt: int | None, details: str | None
    ) -> tuple[Answer, Signs]:
        """A heartbeat from outside, and what it learns."""
        machine = self._open_attempt(workflow_uuid, seq, attempt)
        if machine is None:
            return Answer.NOT_FOUND, Signs()
        execution = machine.slot
        if isinstance(execution, AttemptExecution):
            execution.beat_outside(details)
        reset = machine.operated is not None and machine.operated.reset
        return Answer.OK, Signs(machine.cancel_requested, machine.paused, reset)

    async def operate(self, workflow_uuid: str, seq: int, command: OperatorCommand) -> Answer:
        """Carry out an operator's command; the answer comes when that is durable."""
        await self.released(workflow_uuid, seq)
        machine = self.machine_of(workflow_uuid, seq)
        if machine is None or machine.forgotten or machine.state is State.PLANNED:
            return Answer.NOT_FOUND
        machine.refused = False
        hit("operator.before")
        self.carry_out(machine, command)
        while machine.writes or machine.asking:
            rests: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            machine.watchers = machine.watchers or []
            machine.watchers.append(partial(wake, rests))
            await rests
        hit("operator.after")
        return Answer.MOVED if machine.refused else Answer.OK

    def _open_attempt(self, workflow_uuid: str, seq: int, attempt: int | None) -> ActivityMachine | None:
        machine = self.machine_of(workflow_uuid, seq)
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
