"""Attempts: those of activities that are under way in a schedule, and all the ways in which one may end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dbos_core.activities.attempt import Attempt, CancelReason
from dbos_core.activities.moves import State
from dbos_core.activities.spec import TimeoutKind
from dbos_shadow.determinism.crew import BEATS, HANGS, HOPELESS, ReadyEnding
from dbos_shadow.determinism.failure import Rule
from dbos_shadow.determinism.happenings import Kind
from dbos_shadow.determinism.journals import Journal
from dbos_shadow.determinism.process import Process
from dbos_shadow.determinism.watch import Key, key_of

if TYPE_CHECKING:
    from dbos_shadow.determinism.schedule import Schedule

TRIES_MAX = 20
"""An activity that may be tried more often than that does not hang at each attempt."""
_WAIT = frozenset({State.READY, State.OFFERED, State.WITHDRAWING, State.BACKOFF})
_CLOCKS = {
    TimeoutKind.START_TO_CLOSE: "start-to-close",
    TimeoutKind.SCHEDULE_TO_START: "schedule-to-start (no worker took it)",
    TimeoutKind.SCHEDULE_TO_CLOSE: "schedule-to-close",
    TimeoutKind.HEARTBEAT: "heartbeat",
}


@dataclass(slots=True, eq=False)
class Running:
    """An attempt that has been started and has not reported."""

    attempt: Attempt
    process: Process
    endings: tuple[ReadyEnding, ...]
    asked_to_stop: bool = False
    hangs: bool = False

    @property
    def heartbeats(self) -> bool:
        """Its workflow expects signs of life from it, so it gives some."""
        return self.attempt.spec.heartbeat_ms is not None

    def further_ways_to_hang(self) -> list[ReadyEnding]:
        """Beside silence: with heartbeats; and together with all attempts that follow, if there is an end to them."""
        spec = self.attempt.spec
        clocks = spec.start_to_close_ms, spec.heartbeat_ms, spec.schedule_to_close_ms
        each_ms = min((ms for ms in clocks if ms is not None), default=0)
        most, whole_ms = spec.retry.maximum_attempts, spec.schedule_to_close_ms
        in_time = whole_ms is not None and each_ms < whole_ms <= TRIES_MAX * each_ms
        ends = 1 < most <= TRIES_MAX or (not most and in_time)
        return [BEATS] * self.heartbeats + [HOPELESS] * ends

    @property
    def name(self) -> str:
        return self.attempt.spec.activity_type


class Attempts:
    """Of one schedule."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self.running: list[Running] = []
        self.width = 0
        """The most that were under way at once."""
        self._hopeless: set[tuple[str, Key]] = set()
        """Activities of which no attempt will report."""

    # -- as the kernel has it --------------------------------------------------------------------------------------------

    def started(self, attempt: Attempt, process: Process) -> None:
        try:
            self._begun(attempt, process)
        except Exception as error:  # the kernel would take it for a failure of the activity
            self._schedule.watch.failed(error)

    def _begun(self, attempt: Attempt, process: Process) -> None:
        spec = attempt.spec
        endings = self._schedule.crew.endings(spec.activity_type)
        self._schedule.note(Kind.ACTIVITY_STARTED, spec.activity_type, attempt=attempt.attempt, process=process.number)
        self._schedule.watch.started(attempt, process)
        if endings is None:
            self._schedule.watch.later(
                Rule.STUBS, f"the workflow starts activity {spec.activity_type!r}, for which the test has no stub."
            )
            return
        running = Running(attempt, process, endings)
        if HANGS in endings:
            place = endings.index(HANGS) + 1
            running.endings = (*endings[:place], *running.further_ways_to_hang(), *endings[place:])
        running.hangs = (attempt.run.workflow_uuid, key_of(attempt)) in self._hopeless
        self.running.append(running)
        self.width = max(self.width, len(self.running))

    def asked_to_stop(self, token: bytes, reason: CancelReason) -> None:
        for running in self.running:
            if running.attempt.token == token:
                if reason is CancelReason.CANCELLED:
                    running.asked_to_stop = True
                    self._schedule.note(Kind.ACTIVITY_ASKED_TO_STOP, running.name, attempt=running.attempt.attempt)
                else:  # nobody waits for it
                    self.running.remove(running)
                    if reason is CancelReason.TIMED_OUT:
                        self._timed_out(running)
                return

    def _timed_out(self, running: Running) -> None:
        attempt, now_ms = running.attempt, self._schedule.world.time.now_ms()
        spec = attempt.spec
        kind = TimeoutKind.HEARTBEAT
        if spec.start_to_close_ms is not None and now_ms >= attempt.started_ms + spec.start_to_close_ms:
            kind = TimeoutKind.START_TO_CLOSE
        elif spec.schedule_to_close_ms is not None and now_ms >= spec.scheduled_ms + spec.schedule_to_close_ms:
            kind = TimeoutKind.SCHEDULE_TO_CLOSE
        self._schedule.watch.timed_out.add((attempt.run.workflow_uuid, key_of(attempt)))
        self._schedule.note(Kind.ACTIVITY_TIMED_OUT, running.name, _CLOCKS[kind], attempt=attempt.attempt)

    @property
    def reporting(self) -> list[Running]:
        """Attempts that can report now, oldest first."""
        return [r for r in self.running if not r.hangs and not r.process.frozen]

    def boring(self, running: Running) -> ReadyEnding:
        """How the attempt ends on a plain day."""
        if running.asked_to_stop:
            return self._schedule.crew.canceled
        return running.endings[0]

    def boring_or_else(self, running: Running) -> tuple[ReadyEnding, ...]:
        """All ways in which the attempt may end, the boring one first."""
        return (self._schedule.crew.canceled, *running.endings) if running.asked_to_stop else running.endings

    def report(self, running: Running, ending: ReadyEnding) -> None:
        """An attempt ends."""
        number = running.attempt.attempt
        if ending.hangs:
            running.hangs = True
            self._schedule.note(Kind.ACTIVITY_HANGS, running.name, ending.text, attempt=number)
            if ending is BEATS:
                self._beat_for_ever(running)
            elif ending is HOPELESS:
                self._hopeless.add((running.attempt.run.workflow_uuid, key_of(running.attempt)))
            return
        self.running.remove(running)
        outcome = ending.fresh()
        if outcome.kind.value == "completed":
            kind = Kind.ACTIVITY_COMPLETED
        elif outcome.kind.value == "canceled":
            kind = Kind.ACTIVITY_CANCELED
        else:
            kind = Kind.ACTIVITY_FAILED
        self._schedule.note(kind, running.name, ending.text, attempt=number)
        self._schedule.watch.reported(running, outcome)
        running.process.loop.call_soon(running.process.ended, running.attempt.token, outcome)

    def does_not_know(self, running: Running) -> bool:
        """Its cancellation was requested, and its next heartbeat will tell it so."""
        if running.asked_to_stop or not running.heartbeats:
            return False
        attempt = running.attempt
        machines = running.process.kernel.activities.pending(attempt.run.workflow_uuid)
        return any(m.spec.seq == attempt.spec.seq and m.cancel_requested for m in machines)

    def beat(self, running: Running) -> None:
        """An attempt heartbeats."""
        process = running.process
        process.loop.call_soon(process.kernel.activities.heartbeat, running.attempt.token, None)

    def _beat_for_ever(self, running: Running) -> None:
        """An attempt gives signs of life until another of its clocks rings. All of them are given now, with one that has the
        time of the last."""
        process, attempt, time_ = running.process, running.attempt, self._schedule.world.time
        spec = attempt.spec
        ends = [] if spec.start_to_close_ms is None else [attempt.started_ms + spec.start_to_close_ms]
        ends += [] if spec.schedule_to_close_ms is None else [spec.scheduled_ms + spec.schedule_to_close_ms]

        def beats() -> None:
            now_ms = time_.now_ms()
            time_.set_to(max(min(ends), now_ms))
            try:
                process.kernel.activities.heartbeat(attempt.token, None)
            finally:
                time_.set_to(now_ms)

        process.loop.call_soon(beats)

    @property
    def starving(self) -> bool:
        """An activity waits for a worker, and not for ever."""
        for process in self._schedule.awake:
            for uuid in process.kernel.live_runs:
                for machine in process.kernel.activities.pending(uuid):
                    spec = machine.spec
                    limited = spec.schedule_to_start_ms is not None or spec.schedule_to_close_ms is not None
                    if machine.state in _WAIT and limited and not machine.elsewhere:
                        return True
        return False

    def died_with(self, process: Process) -> None:
        """What ran in a process is gone with it."""
        self.running = [running for running in self.running if running.process is not process]

    def tell_timeout(self, journal: Journal, event: Any) -> None:
        key = "activity", event["seq"]
        uuid = journal.run.row.workflow_uuid
        if (
            uuid,
            key,
        ) not in self._schedule.watch.timed_out and "t" in event:  # else somebody ran it then, and it was told
            name = journal.scheduled[key]["type"]
            self._schedule.note(Kind.ACTIVITY_TIMED_OUT, name, _CLOCKS[TimeoutKind(event["t"])], attempt=event["att"])
