"""Claims and leases: which runs are ours, and taking over from a process that lives no more.

One loop per process, and only while it serves a queue: a pulse every second renews the lease and looks around in the
same statement (an idle process sends nothing else); notifications wake the claiming part in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from dbos_core.broken import unbroken
from dbos_core.clock import SystemClock, TimerHandle
from dbos_core.commit import LoadedRun, RunStatus, Verdict
from dbos_core.errors import StoreUnavailable
from dbos_core.lease_guard import LeaseGuard
from dbos_core.live_run import LiveRun
from dbos_core.phase import Phase
from dbos_core.rebuild import restore
from dbos_core.runner import TaskFailure
from dbos_core.store.base import Pulse

if TYPE_CHECKING:
    from dbos_core.kernel import Kernel

logger = logging.getLogger(__name__)

PULSE_EVERY_S = 1.5
"""An idle process sends less than one statement a second."""
AGAIN_S = 0.5
"""While the database is away."""
AFTER_A_BUG_S = 5.0
CLAIM_AGAIN_MS = 50
"""Where some runs were due others may follow: look again so soon, as long as there are any."""
CLAIM_RUNS_MAX = 200
"""Runs taken in one statement: bounds what a process takes away from its peers at once."""
OUTBOX_MAX = 10_000
"""Closed runs of which others have to be told that are looked at when it is in doubt what we have told."""
CLAIM_BELOW_RUNS = 5_000
"""No further claims above this many runs in memory."""


class Claims:
    """The claiming side of one kernel."""

    def __init__(self, kernel: Kernel, *, lease_ms: int) -> None:
        self._kernel = kernel
        self._lease_ms = lease_ms
        self._registered = False
        self._wakeup = asyncio.Event()
        self._more = False
        self._tasks: list[asyncio.Task[None]] = []
        self._away = False
        self._in_doubt = True
        """Some answer was lost: runs may be ours without our knowing."""
        self._alarm: TimerHandle | None = None
        self.arriving: Counter[str] = Counter()
        """Runs that are being loaded, and by how many."""
        self._mail_came: set[str] = set()
        self._expiring = False
        self._sure_until_s = 0.0
        """Until then (the loop's clock, which runs on while a process is stopped) our lease holds for certain."""
        self._guard: LeaseGuard | None = None

    # -- life ------------------------------------------------------------------------------------------------------

    def queues_changed(self) -> None:
        kernel = self._kernel
        queues = {*kernel.queues, *kernel.activities.queues}
        kernel.process.task_queues = tuple(sorted(queues))
        kernel.process.limited_queues = tuple(kernel.activities.limited_queues)
        if queues and not self._tasks:
            self._tasks = [
                kernel.loop.create_task(self._pulse_loop(), name="dbos_core pulse"),
                kernel.loop.create_task(self._claim_loop(), name="dbos_core claims"),
            ]
        if queues:
            kernel.scheduler.activate()
        kernel.given_back.forget()
        self.wake()

    async def registered(self) -> None:
        """Make sure that our lease exists before we own anything."""
        if not self._registered:
            begun = self._kernel.loop.time()
            await self._kernel.store.register(self._kernel.process, self._lease_ms)
            self._sure_until_s = begun + self._lease_ms / 1000
            self._registered = True
            self._be_guarded()

    def _be_guarded(self) -> None:
        """Where time is real."""
        if not isinstance(self._kernel.clock, SystemClock):
            return
        store, process_id, lease_ms = self._kernel.store, self._kernel.process_id, self._lease_ms

        def kept(begun: float) -> None:
            self._sure_until_s = begun + lease_ms / 1000

        self._guard = LeaseGuard(lambda: store.keep_lease(process_id, lease_ms), kept, lease_s=lease_ms / 1000)
        self._guard.start()

    def sure(self) -> bool:
        """False when our lease may have lapsed: others may run what we believe to be ours."""
        return not self._registered or self._kernel.loop.time() < self._sure_until_s

    async def stop(self) -> None:
        """Stop claiming and give the lease back."""
        if self._alarm is not None:
            self._alarm.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.give_back()

    async def give_back(self) -> None:
        """End our lease: what we own is claimable at once."""
        if self._guard is not None:
            self._guard.stop()
        if self._registered:
            try:
                await self._kernel.store.unregister(self._kernel.process_id)
            except StoreUnavailable:
                logger.warning("the lease could not be given back; it lapses in %d ms", self._lease_ms)

    def doubt(self) -> None:
        """An answer about our runs was lost: ask with the next pulse."""
        self._in_doubt = True

    @contextlib.contextmanager
    def doubting(self) -> Iterator[None]:
        """Around calls by which a run may become ours, or we may have to tell others of its end: the answer may be lost,
        and the caller may give up before it has acted on it."""
        try:
            yield
        except BaseException:
            self.doubt()
            raise

    def wake(self) -> None:
        """Some run may be there for us."""
        self._wakeup.set()

    def _look_again(self, after_ms: int) -> None:
        """Claim once more in a moment: one alarm, the latest counts."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._kernel.clock.call_at(self._kernel.clock.now_ms() + after_ms, self.wake)

    def room_made(self) -> None:
        if self._more:
            self._wakeup.set()

    async def look_around(self) -> None:
        """One pulse now, for a clock that has jumped."""
        pulse = await self._kernel.store.pulse(self._kernel.process, self._lease_ms)
        await self._heed(pulse)
        await self._act_on(pulse)

    # -- loops -----------------------------------------------------------------------------------------------------

    async def _pulse_loop(self) -> None:
        kernel = self._kernel
        while True:
            try:
                await self.registered()
                begun, asked_ms = kernel.loop.time(), kernel.clock.now_ms()
                pulse = await kernel.store.pulse(kernel.process, self._lease_ms)
                if isinstance(kernel.clock, SystemClock):
                    kernel.clock.compare(pulse.now_ms, asked_ms, kernel.clock.now_ms())
                await self._heed(pulse)
                self._sure_until_s = begun + self._lease_ms / 1000
                kernel.activities.start_held()
                await self._act_on(pulse)
                if self._away:
                    logger.warning("the database is back")
                    self._away = False
            except StoreUnavailable as error:
                if not self._away:
                    logger.warning("the database is away (%s); leases cannot be renewed", error)
                self._away = self._in_doubt = True
            except Exception:
                self._in_doubt = True
                logger.exception("the pulse failed and beats again")
            kernel.parking.sweep()
            await asyncio.sleep(PULSE_EVERY_S)

    async def _heed(self, pulse: Pulse) -> None:
        """Are we still believed alive? Before anything that rests on it."""
        # Our own clock may know it better: that of the database can have been set back since others took over.
        if not (pulse.alive and self.sure()):
            logger.warning(
                "this process (%s) was silent for longer than its lease; runs that others took over are dropped here",
                self._kernel.identity,
            )
            await self._drop_taken()

    async def _act_on(self, pulse: Pulse) -> None:
        kernel = self._kernel
        if pulse.lapsed:
            await self._take_over(pulse.lapsed)
        if pulse.touched:
            for uuid in await kernel.store.reopened(kernel.process_id, kernel.queues, CLAIM_RUNS_MAX):
                self._drop(uuid)
                await kernel.waiting.look([uuid])
                await kernel.errands.aftermath.reopened([uuid])
        if pulse.expired and not self._expiring:
            self._expiring = True
            kernel.spawn(self._time_out_expired(), "time out runs that nobody owns")
        if self._in_doubt:
            self._in_doubt = False
            owned = await kernel.store.owned(kernel.process_id)
            await self.adopt([uuid for uuid in owned if not kernel.knows(uuid)])
            own = [kernel.process_id]
            await kernel.errands.aftermath.look(await kernel.store.take_outbox(kernel.process_id, own, OUTBOX_MAX))
        if pulse.runnable:
            self.wake()
        elif pulse.next_due_in_ms is not None and pulse.next_due_in_ms < PULSE_EVERY_S * 1000:
            # Due before the next look: be on time.
            self._look_again(pulse.next_due_in_ms)
        if pulse.schedule_due_in_ms is not None and pulse.schedule_due_in_ms < PULSE_EVERY_S * 1000:
            kernel.scheduler.due_in(pulse.schedule_due_in_ms)
        if pulse.sharers:
            kernel.activities.share_rates(pulse.sharers)
        if pulse.offered:
            kernel.activities.poll()
        if pulse.requests:
            kernel.questions.wake()
        if pulse.jobs:
            kernel.jobs.look()

    async def _take_over(self, lapsed: Sequence[str]) -> None:
        """Go on with what dead processes owned: all of it, as long as there is room and our own lease is not at risk."""
        kernel = self._kernel
        enough_s = kernel.loop.time() + PULSE_EVERY_S
        while True:
            taken = await kernel.store.take_over(kernel.process_id, lapsed, kernel.queues, CLAIM_RUNS_MAX)
            told = await kernel.store.take_outbox(kernel.process_id, lapsed, CLAIM_RUNS_MAX)
            await kernel.errands.aftermath.look(told)
            if taken:
                logger.warning("taking over %d runs of %d processes that are gone", len(taken), len(lapsed))
                await self.adopt(taken)
            if max(len(taken), len(told)) < CLAIM_RUNS_MAX or len(kernel.live_runs) >= CLAIM_BELOW_RUNS:
                return
            if kernel.loop.time() > enough_s:
                return  # the rest after the next beat

    async def _claim_loop(self) -> None:
        kernel = self._kernel
        while True:
            await self._wakeup.wait()
            self._wakeup.clear()
            try:
                await self.registered()
                while True:
                    queues = kernel.queues
                    room = min(CLAIM_RUNS_MAX, CLAIM_BELOW_RUNS - len(kernel.live_runs))
                    self._more = room <= 0
                    if not queues or room <= 0:
                        break
                    claimed = await kernel.store.claim(kernel.process_id, queues, room, kernel.given_back.still())
                    if claimed:
                        await self.adopt(claimed)
                        self._look_again(CLAIM_AGAIN_MS)
                    if len(claimed) < room:
                        break
            except StoreUnavailable:
                self._in_doubt = True
                await asyncio.sleep(0.2)  # the pulse says it aloud and wakes us again
            except Exception:
                self._in_doubt = True
                logger.exception("claiming failed and is tried again")
                await asyncio.sleep(1)

    # -- taking runs up --------------------------------------------------------------------------------------------

    async def adopt(self, workflow_uuids: list[str]) -> None:
        """Load runs that the store says are ours, and bring them to life."""
        kernel = self._kernel
        fresh = [uuid for uuid in workflow_uuids if uuid not in kernel.live_runs]
        homeless: list[str] = []
        found, mail_came = await self._load(fresh)
        for loaded in found:
            row = loaded.run
            if row.workflow_uuid in kernel.live_runs or row.owner != kernel.process_id:
                continue
            if row.status is not RunStatus.RUNNING:
                continue
            runner = kernel.runner_for(row.task_queue, row.workflow_type)
            if runner is None or kernel.closing:
                homeless.append(row.workflow_uuid)
                continue
            run = LiveRun(kernel, runner, row, loaded.inputs)
            run.phase = Phase.LOADING  # nobody else may begin to rebuild it
            run.early_mail = []
            kernel.live_runs[row.workflow_uuid] = run
            self.watch_deadline(run)
            kernel.spawn(unbroken(kernel, run, restore(kernel, run, loaded)), f"restore {row.workflow_uuid}")
            if row.workflow_uuid in mail_came:
                kernel.check_mail(row.workflow_uuid)
        if homeless:
            await kernel.store.release(kernel.process_id, homeless)

    async def _load(self, workflow_uuids: list[str]) -> tuple[list[LoadedRun], set[str]]:
        """Runs, and those of them whose mail may have come too late for this look at them."""
        self.arriving.update(workflow_uuids)
        try:
            found = await self._kernel.store.load(workflow_uuids)
        finally:
            self.arriving -= Counter(workflow_uuids)
            mail_came = self._mail_came.intersection(workflow_uuids)
            self._mail_came = {uuid for uuid in self._mail_came if uuid in self.arriving}
        return found, mail_came

    def mail_came(self, *workflow_uuids: str) -> None:
        """Mail was announced for runs that do not live here. If they are on their way, they must not miss it."""
        self._mail_came.update(uuid for uuid in workflow_uuids if uuid in self.arriving)

    async def retake(
        self, workflow_uuid: str, attempt: int, failure: TaskFailure | None, *, closed: bool = False
    ) -> None:
        """After a copy was dropped, or somebody says that its run is ``closed``: is the run still ours?"""
        while True:
            try:
                if closed:
                    rows = await self._kernel.store.rows([workflow_uuid], watch=False)
                    run = self._kernel.live_runs.get(workflow_uuid)
                    if run is not None and run.new is None and (not rows or rows[0].owner != self._kernel.process_id):
                        self._drop(workflow_uuid)
                else:
                    await self.adopt([workflow_uuid])
                break
            except StoreUnavailable:
                self._in_doubt = True
                await asyncio.sleep(AGAIN_S)
        run = self._kernel.live_runs.get(workflow_uuid)
        if run is None:
            await self._kernel.waiting.look([workflow_uuid])
        elif failure is not None:
            run.fails_still(attempt, failure)

    def _drop(self, workflow_uuid: str) -> None:
        run = self._kernel.live_runs.pop(workflow_uuid, None)
        if run is not None:
            run.gone()

    async def _drop_taken(self) -> None:
        kernel = self._kernel
        uuids = list(kernel.live_runs)
        for row in await kernel.store.rows(uuids, watch=False):
            if row.owner != kernel.process_id:
                self._drop(row.workflow_uuid)

    # -- deadlines -------------------------------------------------------------------------------------------------

    def watch_deadline(self, run: LiveRun) -> None:
        """Arm the run's own timeout while it lives here."""
        if run.row.deadline_ms is None or run.deadline is not None:
            return
        uuid = run.row.workflow_uuid

        def ring() -> None:
            self._kernel.spawn(self._until_timed_out(uuid), f"time out {uuid}")

        run.deadline = self._kernel.clock.call_at(run.row.deadline_ms, ring)

    async def _until_timed_out(self, workflow_uuid: str) -> None:
        """Its alarm rings once, and nobody else watches over a run that we own."""
        while workflow_uuid in self._kernel.live_runs:
            try:
                await self.time_out(workflow_uuid)
                return
            except StoreUnavailable:
                await asyncio.sleep(AGAIN_S)
            except Exception:
                logger.exception("run %s could not be timed out; it is tried again", workflow_uuid)
                await asyncio.sleep(AFTER_A_BUG_S)

    async def let_go(self, workflow_uuids: Sequence[str]) -> None:
        """Release runs that are not live here, now or as soon as the database is back."""
        with self.doubting():
            await self._kernel.store.release(self._kernel.process_id, workflow_uuids)

    async def _time_out_expired(self) -> None:
        """Beside the pulse: there may be thousands, and the lease does not wait."""
        kernel, before = self._kernel, list[str]()
        try:
            while (uuids := await kernel.store.expired(CLAIM_RUNS_MAX)) and uuids != before:
                for uuid in uuids:
                    try:
                        await self.time_out(uuid)
                    except StoreUnavailable:
                        raise
                    except Exception:
                        logger.exception("run %s could not be timed out; the others are", uuid)
                before = uuids
        except StoreUnavailable:
            logger.debug("expired runs are looked for again with the next pulse")
        finally:
            self._expiring = False

    async def time_out(self, workflow_uuid: str) -> None:
        """The run's deadline has passed: it ends, and perhaps another one follows it."""
        kernel = self._kernel
        loaded = await kernel.load(workflow_uuid)
        if loaded is None or loaded.run.status is not RunStatus.RUNNING:
            return
        close = kernel.timeout_close(loaded, kernel.clock.now_ms())
        verdict = await kernel.terminate(workflow_uuid, close)
        if verdict is not Verdict.COMMITTED:
            logger.debug("run %s was closed before it could time out", workflow_uuid)
        elif close.successor is not None:
            kernel.succession.due(close.successor)

    # -- runs that become ours by a commit ---------------------------------------------------------------------------

    def expect(self, workflow_uuid: str) -> None:
        """A run is about to be ours by a commit of ours: it must not miss the mail that comes as soon as it is there."""
        self.arriving[workflow_uuid] += 1

    def arrived(self, workflow_uuid: str) -> bool:
        """The commit was answered. Has mail come meanwhile?"""
        self.arriving -= Counter([workflow_uuid])
        came = workflow_uuid in self._mail_came
        if workflow_uuid not in self.arriving:
            self._mail_came.discard(workflow_uuid)
        return came
