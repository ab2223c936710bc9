"""Locals: the local activities that one live run waits for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from dbos_core.activities.attempt import CancelReason
from dbos_core.activities.local import LocalActivity, LocalLane, LocalOutcome, LocalSpec
from dbos_core.runner import Decision, Event, EventKind

if TYPE_CHECKING:
    from dbos_core.kernel import Kernel
    from dbos_core.live_run import LiveRun


class Locals:
    """Made with its run, and gone with it. It does not hold the run: nothing that is let go may need the cycle
    collector."""

    __slots__ = ("_kernel", "_open")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._open: dict[int, LocalActivity] = {}

    def __len__(self) -> int:
        return len(self._open)

    @property
    def under_way(self) -> int:
        """How many of them run or wait for a slot, and not for their next attempt."""
        return sum(activity.under_way for activity in self._open.values())

    def release(self, run: LiveRun, decision: Decision) -> None:
        """What the run asked for, now that the journal has it."""
        for spec in decision.schedule_local:
            self._begin(run, spec)
        for seq in decision.cancel_local:
            if (activity := self._open.get(seq)) is not None:
                activity.cancel()
        for seq in decision.try_cancel_local:
            self._drop(run, seq, CancelReason.CANCELLED)
        for seq in decision.abandon_local:
            if (activity := self._open.get(seq)) is not None:
                activity.abandoned = True
            _unhear(run, seq)

    def restore(self, run: LiveRun, specs: Iterable[LocalSpec], cancel_requested: Iterable[int]) -> None:
        """Nothing is known of what the owner before us did: they begin anew, unless they are to end."""
        wanted = set(cancel_requested)
        for spec in specs:
            if spec.seq in wanted:
                self._make(run, spec).cancel()
            else:
                self._begin(run, spec)

    def drop(self, run: LiveRun) -> None:
        """The run closed or went elsewhere: what runs is told to stop, as on Temporal, also what was abandoned."""
        for seq in list(self._open):
            self._drop(run, seq, CancelReason.CANCELLED)

    def _begin(self, run: LiveRun, spec: LocalSpec) -> None:
        self._make(run, spec).begin()

    def _make(self, run: LiveRun, spec: LocalSpec) -> LocalActivity:
        lane = run.runner.local_lane or LocalLane(0)
        clock = self._kernel.activities.clock
        activity = LocalActivity(run.row, spec, lane, clock, lambda outcome: self._ended(run, outcome))
        self._open[spec.seq] = activity
        return activity

    def _drop(self, run: LiveRun, seq: int, reason: CancelReason) -> None:
        activity = self._open.pop(seq, None)
        if activity is not None:
            activity.drop(reason)
        _unhear(run, seq)

    def _ended(self, run: LiveRun, outcome: LocalOutcome) -> None:
        activity = self._open.pop(outcome.spec.seq, None)
        if activity is not None and not activity.abandoned:
            run.deliver(Event(EventKind.LOCAL, local=outcome))


def _unhear(run: LiveRun, seq: int) -> None:
    """The workflow was told of its end already: an outcome that has come meanwhile must not reach it."""
    run.inbox = [e for e in run.inbox if e.local is None or e.local.spec.seq != seq]
