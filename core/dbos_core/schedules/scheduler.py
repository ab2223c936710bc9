"""Scheduler: takes schedules that are due, carries out what the machine decides, writes down what became of it.

Exactly once, by three writes of one row, each refused if somebody else has written it meanwhile:

1. *taken*: due again after ``HOLD_MS``, in case that we die;
2. *decided*: the ids of the runs to start are in the row, before any is started;
3. *told*: the starts that were carried out leave the list.

Who finds a list in the row, ours or that of a process that died, starts what is in it. A run that is there already, by
its run id, is not started again. The clock is the store's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from dbos_core.clock import TimerHandle
from dbos_core.commit import RunRow, RunStatus
from dbos_core.errors import StoreUnavailable, Theirs
from dbos_core.failpoints import hit
from dbos_core.schedules import machine, record
from dbos_core.schedules.machine import Decision, Outcome
from dbos_core.schedules.rows import ScheduleRow
from dbos_core.schedules.state import Action, Schedule, Start

if TYPE_CHECKING:
    from dbos_core.kernel import Kernel

logger = logging.getLogger(__name__)

HOLD_MS = 5_000
"""How long a schedule is left to the process that took it."""
TAKE_MAX = 50
"""Schedules taken in one statement."""
AWAY_AGAIN_MS = 1_000
"""When to look again after the database was away."""
SETTLE_S = 5.0
"""How long a process that ends waits for its starts to be written down."""


class Refused(Theirs):
    """A start cannot succeed, however often it is tried."""

    code = "DC209"


class Starter(Protocol):
    """Whoever knows how to start what a schedule starts. Calls may come twice for the same start."""

    async def start(self, schedule: Schedule, start: Start) -> int:
        """Start the run, unless it has been started; returns when it started (in milliseconds).

        Raises:
            Refused: it never will be.
        """
        ...

    async def cancel(self, schedule: Schedule, action: Action) -> None: ...

    async def terminate(self, schedule: Schedule, action: Action) -> None: ...

    def outcome(self, run: RunRow) -> Outcome:
        """What a closed run leaves behind."""
        ...


class Scheduler:
    """The scheduling side of one kernel. Idle until ``activate``: by serving a queue, or by changing a schedule."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.starter: Starter | None = None
        self._wakeup = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._alarm: TimerHandle | None = None
        self._alarm_at_ms = 0

    # -- life ------------------------------------------------------------------------------------------------------

    def activate(self) -> None:
        """From now on this process acts on schedules."""
        if self._task is None and self.starter is not None and not self._kernel.closing:
            self._task = self._kernel.loop.create_task(self._run(), name="dbos_core scheduler")
            self.wake()

    async def stop(self) -> None:
        """Take no more, and finish what is under way."""
        if self._alarm is not None:
            self._alarm.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._busy:
            await asyncio.wait(self._busy.values(), timeout=SETTLE_S)

    def wake(self) -> None:
        """Some schedule may be due."""
        self._wakeup.set()

    def due_in(self, after_ms: int) -> None:
        """The next schedule is due so soon."""
        clock = self._kernel.clock
        at_ms = clock.now_ms() + max(after_ms, 0)
        if self._task is None or (self._alarm is not None and self._alarm_at_ms <= at_ms):
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at_ms = at_ms
        self._alarm = clock.call_at(at_ms, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self.wake()

    async def _run(self) -> None:
        while True:
            await self._wakeup.wait()
            self._wakeup.clear()
            try:
                await self._take()
            except StoreUnavailable:
                self.due_in(AWAY_AGAIN_MS)
            except Exception:
                logger.exception("looking for schedules that are due failed and is tried again")
                self.due_in(AWAY_AGAIN_MS)

    async def _take(self) -> None:
        while True:
            taken = await self._kernel.store.take_schedules(TAKE_MAX, HOLD_MS)
            if taken.rows:
                hit("schedule.taken")
            await asyncio.gather(*(self._attend(row, taken.now_ms) for row in taken.rows))
            if len(taken.rows) < TAKE_MAX:
                if taken.next_due_in_ms is not None:
                    self.due_in(taken.next_due_in_ms)
                return

    # -- one schedule ----------------------------------------------------------------------------------------------

    async def attend(self, schedule_id: str) -> None:
        """Do what is due for one schedule now, for somebody who waits for it."""
        self.activate()
        kernel = self._kernel
        row = await kernel.store.find_schedule(schedule_id)
        if row is not None and self.starter is not None:
            await self._attend(row, await kernel.store.now_ms())

    async def _attend(self, row: ScheduleRow, now_ms: int) -> None:
        """One at a time for each schedule; a failure ends here, and the schedule is due again when its hold ends."""
        while (busy := self._busy.get(row.schedule_id)) is not None:
            await asyncio.wait([busy])
        task = self._kernel.loop.create_task(self._rounds(row, now_ms), name=f"schedule {row.schedule_id}")
        self._busy[row.schedule_id] = task
        task.add_done_callback(lambda _: self._done(row.schedule_id, task))
        await asyncio.wait([task])

    def _done(self, schedule_id: str, task: asyncio.Task[None]) -> None:
        if self._busy.get(schedule_id) is task:
            del self._busy[schedule_id]

    async def _rounds(self, row: ScheduleRow, now_ms: int) -> None:
        begun = self._kernel.clock.now_ms()
        try:
            told: set[str] = set()
            backfill = True
            while True:
                if await self._round(row, now_ms + self._kernel.clock.now_ms() - begun, told, backfill=backfill):
                    return
                backfill = False
                fresh = await self._kernel.store.find_schedule(row.schedule_id)
                if fresh is None:
                    return
                row = fresh
        except StoreUnavailable as error:
            logger.info("schedule %r waits for the database: %s", row.schedule_id, error)
            self.due_in(AWAY_AGAIN_MS)
        except Exception:
            logger.exception("schedule %r could not be attended to; it is tried again", row.schedule_id)
            self.due_in(HOLD_MS)

    async def _round(self, row: ScheduleRow, now_ms: int, told: set[str], *, backfill: bool) -> bool:
        """Decide, write down, act, write down. True: nothing is left to do now."""
        store = self._kernel.store
        schedule = record.schedule(row.schedule_id, row.record)
        await self.look(schedule)
        machine.advance(schedule, now_ms, backfill=backfill)
        decision = machine.decide(schedule)
        acts = self._to_end(decision, told)
        if not schedule.starting and not acts:
            expires_ms = machine.expires_ms(schedule)
            if expires_ms is not None and expires_ms <= now_ms:
                return await store.delete_schedule(row.schedule_id, row.version)
            row.wake_at_ms = machine.wake_ms(schedule, now_ms)
            row.record = record.text(schedule)
            if not await store.save_schedule(row):
                return False
            if row.wake_at_ms is not None:
                self.due_in(row.wake_at_ms - now_ms)
            return True
        row.wake_at_ms = now_ms + HOLD_MS
        row.record = record.text(schedule)
        if not await store.save_schedule(row):
            return False
        hit("schedule.decided")
        for action, terminate in acts:
            told.add(action.run_id)
            await self._end(schedule, action, terminate)
        await asyncio.gather(*(self._start(schedule, start) for start in list(schedule.starting)))
        hit("schedule.started")
        row.record = record.text(schedule)
        await store.save_schedule(row)  # if somebody else has written it: they carry out the same list
        hit("schedule.told")
        return False

    async def look(self, schedule: Schedule) -> None:
        """Which of the runs that it started have ended? A chain has when its last run has."""
        if not schedule.running or self.starter is None:
            return
        store = self._kernel.store
        current = {run.workflow_id: run for run in await store.current_runs([a.workflow_id for a in schedule.running])}
        for action in list(schedule.running):
            run = current.get(action.workflow_id)
            if run is not None and run.first_run_id != action.run_id:
                run = await store.find(action.workflow_id, action.run_id)  # its id has been used again since
            if run is None:
                machine.closed(schedule, action.run_id, Outcome(status=RunStatus.TERMINATED))
            elif run.status is not RunStatus.RUNNING:
                machine.closed(schedule, action.run_id, self.starter.outcome(run))

    @staticmethod
    def _to_end(decision: Decision, told: Iterable[str]) -> list[tuple[Action, bool]]:
        acts = [(action, True) for action in decision.terminate] or [(action, False) for action in decision.cancel]
        return [(action, terminate) for action, terminate in acts if action.run_id not in told]

    async def _end(self, schedule: Schedule, action: Action, terminate: bool) -> None:
        """If it cannot be done, the next start that is due asks again."""
        assert self.starter is not None
        try:
            await (self.starter.terminate if terminate else self.starter.cancel)(schedule, action)
        except StoreUnavailable:
            raise
        except Exception:
            logger.exception("schedule %r could not end its run %r", schedule.schedule_id, action.workflow_id)

    async def _start(self, schedule: Schedule, start: Start) -> None:
        assert self.starter is not None
        try:
            started_ms = await self.starter.start(schedule, start)
        except Refused as error:
            logger.warning("schedule %r cannot start %r: %s", schedule.schedule_id, start.workflow_id, error)
            machine.not_started(schedule, start.run_id)
        else:
            machine.started(schedule, start.run_id, started_ms)


__all__ = ["HOLD_MS", "Refused", "Scheduler", "Starter"]
