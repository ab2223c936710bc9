"""Parking: a run that only waits leaves memory, and comes back.

Two steps, cheap one first: an idle run loses its interpreter when more than ``max_cached`` of its runner are in memory
(the next event rebuilds it); and it is parked when it rests for a while and nothing is due soon: its row says when to
wake, its owner lets go, and any worker picks it up. So sleeping workflows cost rows, not processes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from dbos_core.commit import Commit, Verdict
from dbos_core.errors import BadCommit
from dbos_core.live_run import LiveRun
from dbos_core.phase import Phase

if TYPE_CHECKING:
    from dbos_core.kernel import Kernel

PARK_AFTER_MS = 5_000
"""Rest before parking when the process is not crowded."""
PARK_AHEAD_MS = 10_000
"""A run that is due sooner than this stays: parking costs a commit, coming back costs a load."""
CROWDED_RUNS = 2_000
"""From this many resting runs on, they are parked at once."""


class Parking:
    """Resting runs of one kernel, oldest first."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._resting: dict[str, LiveRun] = {}
        self._cached: dict[str, LiveRun] = {}

    def rests(self, run: LiveRun) -> None:
        uuid = run.row.workflow_uuid
        self._resting.pop(uuid, None)
        self._resting[uuid] = run
        if run.interpreter is not None:
            self._cached.pop(uuid, None)
            self._cached[uuid] = run
            if len(self._cached) > run.runner.max_cached:
                self._evict_oldest()
        if len(self._resting) > CROWDED_RUNS:
            self._park_oldest()

    def forget(self, run: LiveRun) -> None:
        for runs in (self._resting, self._cached):
            if runs.get(run.row.workflow_uuid) is run:
                del runs[run.row.workflow_uuid]

    def sweep(self) -> None:
        """Once a second: park who has rested long enough."""
        now_ms = self._kernel.clock.now_ms()
        while self._resting:
            uuid, run = next(iter(self._resting.items()))
            if now_ms - run.idle_since_ms < PARK_AFTER_MS:
                break
            del self._resting[uuid]
            self._park(run, now_ms)

    def _park_oldest(self) -> None:
        uuid, run = next(iter(self._resting.items()))
        del self._resting[uuid]
        self._park(run, self._kernel.clock.now_ms())

    def _park(self, run: LiveRun, now_ms: int) -> None:
        if run.parkable and run.next_due_ms - now_ms > PARK_AHEAD_MS:
            self._let_go(run)

    def _let_go(self, run: LiveRun) -> None:
        """Park a run that only waits."""
        kernel = self._kernel
        run.phase = Phase.COMMITTING
        commit = Commit(
            workflow_uuid=run.row.workflow_uuid,
            park_until_ms=run.next_due_ms,
            mail_seen_ms=run.mail_seen_ms,
            history_length=run.history_length,
        )

        def done(verdict: Verdict | BadCommit) -> None:
            if run.phase is Phase.GONE:
                return
            run.phase = Phase.READY
            if verdict is Verdict.MAIL_WAITING:
                kernel.check_mail(run.row.workflow_uuid)
                if run.inbox:
                    run.poke()
                return
            waiting = run.inbox
            run.gone()
            if verdict is Verdict.COMMITTED:
                kernel.run_parked(run, bool(waiting))
            else:
                kernel.run_lost(run, cast(Verdict, verdict))

        kernel.writer.submit(commit, done)

    def _evict_oldest(self) -> None:
        uuid, run = next(iter(self._cached.items()))
        del self._cached[uuid]
        run.evict()
