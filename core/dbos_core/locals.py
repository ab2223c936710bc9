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
    """Made with its run, and gone with it."""

    __slots__ = ("_kernel", "_open", "_run")

    def __init__(self, kernel: Kernel, run: LiveRun) -> None:
        self._kernel = kernel
        self._run = run
        self._open: dict[int, LocalActivity] = {}

    def __len__(self) -> int:
        return len(self._open)

    @property
    def under_way(self) -> int:
        """How many of them run or wait for a slot, and not for their next attempt."""
        return sum(activity.under_way for activity in self._open.values())

    def release(self, decision: Decision) -> None:
        """What the run asked for, now that the journal has it."""
        for spec in decision.schedule_local:
            self._begin(spec)
        for seq in decision.cancel_local:
            if (activity := self._open.get(seq)) is not None:
                activity.cancel()
        for seq in decision.try_cancel_local:
            self._drop(seq, CancelReason.CANCELLED)
        for seq in decision.abandon_local:
            if (activity := self._open.get(seq)) is not None:
                activity.abandoned = True
            self._unhear(seq)

    def restore(self, specs: Iterable[LocalSpec], cancel_requested: Iterable[int]) -> None:
        """Nothing is known of what the owner before us did: they begin anew, unless they are to end."""
        wanted = set(cancel_requested)
        for spec in specs:
            if spec.seq in wanted:
                self._make(spec).cancel()
            else:
                self._begin(spec)

    def drop(self) -> None:
        """The run closed or went elsewhere: what runs is told to stop, as on Temporal, also what was abandoned."""
        for seq in list(self._open):
            self._drop(seq, CancelReason.CANCELLED)

    def _begin(self, spec: LocalSpec) -> None:
        self._make(spec).begin()

    def _make(self, spec: LocalSpec) -> LocalActivity:
        lane = self._run.runner.local_lane or LocalLane(0)
        activity = LocalActivity(self._run.row, spec, lane, self._kernel.activities.clock, self._ended)
        self._open[spec.seq] = activity
        return activity

    def _drop(self, seq: int, reason: CancelReason) -> None:
        activity = self._open.pop(seq, None)
        if activity is not None:
            activity.drop(reason)
        self._unhear(seq)

    def _unhear(self, seq: int) -> None:
        """The workflow was told of its end already: an outcome that has come meanwhile must not reach it."""
        run = self._run
        run.inbox = [e for e in run.inbox if e.local is None or e.local.spec.seq != seq]

    def _ended(self, outcome: LocalOutcome) -> None:
        activity = self._open.pop(outcome.spec.seq, None)
        if activity is not None and not activity.abandoned:
            self._run.deliver(Event(EventKind.LOCAL, local=outcome))
