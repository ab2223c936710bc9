"""Watch: what must hold of a schedule at each moment of rest, and at its end."""

from __future__ import annotations

import inspect
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from temporalio.client import WorkflowHistory
from temporalio.workflow import UnfinishedSignalHandlersWarning, UnfinishedUpdateHandlersWarning

from dbos_compat.convert.payloads import loads
from dbos_compat.convert.records import close_record
from dbos_compat.history.events import events
from dbos_core.activities.attempt import Attempt
from dbos_core.activities.local import LocalSpec
from dbos_core.activities.moves import State
from dbos_core.activities.spec import AttemptOutcome
from dbos_core.commit import RunStatus
from dbos_core.errands.spec import ErrandKind, child_run_id
from dbos_core.mailbox import is_signal
from dbos_core.phase import Phase
from dbos_core.store.memory_tables import Run
from dbos_shadow.determinism.callers import Call
from dbos_shadow.determinism.clocks import MOMENT_MS
from dbos_shadow.determinism.failure import DeterminismError, Rule
from dbos_shadow.determinism.happenings import Kind
from dbos_shadow.determinism.journals import OWN_ENDS, Journal
from dbos_shadow.determinism.process import Process
from dbos_shadow.determinism.silence import said
from dbos_shadow.sources import journal as journal_source
from dbos_shadow.trace import Trace

if TYPE_CHECKING:
    from dbos_shadow.determinism.attempts import Running
    from dbos_shadow.determinism.schedule import Schedule

Key = tuple[str, int]

_ERRANDS = {
    ErrandKind.CHILD: "child {!r} to be started",
    ErrandKind.SIGNAL: "workflow {!r} to be signalled",
    ErrandKind.CANCEL: "workflow {!r} to be cancelled",
    ErrandKind.CHILD_CANCEL: "child {!r} to be cancelled",
}


def key_of(attempt: Attempt) -> Key:
    return ("local" if isinstance(attempt.spec, LocalSpec) else "activity", attempt.spec.seq)


def _line(error: Exception) -> str:
    """Where it was raised."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


def _is_put_off(run: Run, journal: Journal) -> bool:
    """It begins at its time, whatever signals come before (as on Temporal; an update and a cancel request hasten it)."""
    waits = not journal.records and run.row.wake_at_ms == run.row.execution_ms
    return waits and all(is_signal(message.topic) for message in run.mail.values())


class Watch:
    """Of one schedule."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._starts: Counter[tuple[str, Key]] = Counter()
        self.timed_out: set[tuple[str, Key]] = set()
        """Activities of which some attempt was told that its time is up."""
        self._attempts: set[tuple[int, str, Key, int]] = set()
        self._reported: dict[tuple[str, Key], list[Any]] = {}
        self._seen: Counter[str] = Counter()
        """Rows looked at, by run."""
        self._error: Exception | None = None
        self._closed: dict[str, int] = {}
        """Runs that have closed, with the length of their journal then."""

    # -- what the world does, as it happens ----------------------------------------------------------------------------

    def later(self, rule: Rule, what: str) -> None:
        """A rule does not hold; it is said as soon as nobody's code would swallow it."""
        if self._error is None:
            try:
                self._schedule.broken(rule, what)
            except DeterminismError as error:
                self._error = error

    def failed(self, error: Exception) -> None:
        """Something that must not be swallowed."""
        self._error = self._error or error

    def raise_later(self) -> None:
        if self._error is not None:
            raise self._error

    def started(self, attempt: Attempt, process: Process) -> None:
        """An attempt begins: may it?"""
        schedule, uuid, key = self._schedule, attempt.run.workflow_uuid, key_of(attempt)
        journal = schedule.journal(uuid)
        spec = attempt.spec
        name = f"activity {spec.activity_type!r}"
        if journal is None or key not in journal.scheduled:
            self.later(Rule.AFTER_COMMIT, f"{name} starts, and no row of the journal asks for it.")
            return
        if key in journal.told:
            self.later(Rule.STEP_ONCE, f"{name} starts again, though the journal has how it ended.")
        self._starts[uuid, key] += 1
        if key[0] == "local":
            return
        most = spec.retry.maximum_attempts
        if spec.retry.bounded and self._starts[uuid, key] > most:
            self.later(Rule.ATTEMPTS, f"{name} starts for the {self._starts[uuid, key]}th time; it may {most} times.")
        this = (process.number, uuid, key, attempt.attempt)
        if this in self._attempts:
            self.later(Rule.STEP_ONCE, f"attempt {attempt.attempt} of {name} starts twice in one process.")
        self._attempts.add(this)

    def reported(self, running: Running, outcome: AttemptOutcome) -> None:
        """An attempt has said how it ended."""
        if outcome.kind.value == "completed":
            key = (running.attempt.run.workflow_uuid, key_of(running.attempt))
            record = None if outcome.record is None else loads(outcome.record)
            self._reported.setdefault(key, []).append(record)

    def answered(self, call: Call) -> None:
        """A caller has its answer: does the store know?"""
        if call.error is not None:
            return
        tables = self._schedule.world.tables
        if call.kind == "start" and not tables.runs:
            self.later(Rule.AFTER_COMMIT, "the start is acknowledged, and the store has no run.")
        if call.kind == "signal" and not any(id_.endswith(f":s:{call.id}") for id_ in tables.mail_ids):
            self.later(Rule.AFTER_COMMIT, f"signal {call.name!r} is acknowledged, and the store does not have it.")

    # -- at rest -------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Nobody has anything to do."""
        self.raise_later()
        schedule = self._schedule
        if said:
            schedule.broken(Rule.ENGINE, f"it logs an error: {said[0]}.")
        queues = 0
        while queues < len(schedule.world.queues):  # somebody asked for something on another queue: it is served now
            if queues:
                schedule.settle_fully()
            queues = len(schedule.world.queues)
            self._read()
        self._schedule.questions.look()
        for process in schedule.awake:
            if process.store.strange_writes:
                schedule.broken(
                    Rule.FENCE, f"process {process.number} writes to a run that another process has taken over."
                )
            self._failing(process)
        process = schedule.process
        if process.serving and not process.frozen and not schedule.busy and schedule.followed:
            self._wake_ups()

    def _read(self) -> None:
        """What the journals have by now."""
        schedule = self._schedule
        for uuid in list(schedule.world.tables.runs):
            journal = schedule.journal(uuid)
            assert journal is not None
            schedule.follow(journal)
            self._values(uuid, journal)
            self._closing(uuid, journal)

    def _values(self, uuid: str, journal: Journal) -> None:
        """What the workflow was told is what an attempt has reported."""
        for index in range(self._seen[uuid], len(journal.records)):
            for event in journal.records[index]["ev"]:
                if event["k"] not in ("activity", "local") or event["o"] != "completed":
                    continue
                key = (event["k"], event["seq"])
                if event.get("r") not in self._reported.get((uuid, key), ()):
                    self._schedule.broken(
                        Rule.CRASH_FREE,
                        f"row {index + 1} of the journal has a result of {journal.name(key)} that no attempt reported.",
                    )
        self._seen[uuid] = len(journal.records)

    def _closing(self, uuid: str, journal: Journal) -> None:
        schedule = self._schedule
        if not journal.closed:
            if uuid in self._closed:
                schedule.broken(Rule.PROGRESS, "a run that had closed is open again.")
            return
        length = self._closed.get(uuid)
        if length is None:
            self._closed[uuid] = len(journal.records)
            row = journal.run.row
            own = row.workflow_id == schedule.world_id
            schedule.note(
                Kind.CLOSED, row.workflow_type, row.status.name.lower(), workflow_id="" if own else row.workflow_id
            )
            if row.close is not None and "TMPRL1100" in row.close:
                schedule.broken(Rule.REPLAY, "the run has failed by Temporal's nondeterminism error.")
        elif length != len(journal.records):
            schedule.broken(Rule.PROGRESS, "the journal of a closed run has grown.")

    def _failing(self, process: Process) -> None:
        for run in process.kernel.live_runs.values():
            failure = None if run.failing is None else run.failing.failure
            if failure is None:
                continue
            if failure.cause == "NON_DETERMINISTIC_ERROR":
                self._schedule.broken(Rule.REPLAY, failure.message)
            if "task-failures" not in self._schedule.plan.allow:
                self._schedule.broken(
                    Rule.TASK_FAILS,
                    f"a workflow task fails ({failure.message}), and would be tried again until the code is mended.",
                )

    def _wake_ups(self) -> None:
        schedule = self._schedule
        owners = {process.kernel.process_id: process for process in schedule.processes}
        for uuid, run in schedule.world.tables.runs.items():
            process = owners.get(run.row.owner or "", schedule.process)
            if not run.open or process.frozen:
                continue
            kernel = process.kernel
            live, journal = kernel.live_runs.get(uuid), schedule.journals[uuid]
            if live is None:
                if run.mail and not _is_put_off(run, journal):
                    self._lost("mail waits for it", run.row.workflow_id)
                if run.row.owner == kernel.process_id:
                    self._lost("it belongs to a process that does not run it", run.row.workflow_id)
                due_ms = min(journal.rings(), default=None)
                wakes_ms = run.row.wake_at_ms
                begins_late = not journal.records and wakes_ms is None  # else a delay, or a schedule, says when
                late = wakes_ms is not None and wakes_ms + MOMENT_MS <= kernel.clock.now_ms()  # the next pulse finds it
                if begins_late or late:
                    self._lost("nobody runs it", run.row.workflow_id)
                if due_ms is not None and (wakes_ms is None or wakes_ms > due_ms):
                    self._lost("it left memory, and nobody will wake it in time for its timer", run.row.workflow_id)
                if journal.pending.activities or journal.pending.locals:
                    self._lost("it left memory, and waits for an activity", run.row.workflow_id)
                continue
            if live.failing is not None:
                continue
            if live.phase is not Phase.READY:
                self._lost(f"it stands still while {live.phase.value}", run.row.workflow_id)
            deadline_ms = live.row.deadline_ms
            if deadline_ms is not None and deadline_ms <= schedule.world.time.latest_ms:
                if live.deadline is None:
                    self._lost("its time is up, and no alarm ends it", run.row.workflow_id)
                continue  # it rings next (or when a clock that was set back is there again), and till then nothing comes
            if run.mail or live.inbox:
                self._lost("a message waits for it", run.row.workflow_id)
            self._pending(process, journal)
        for call in schedule.callers.waiting:
            done = self._has_completed(call.id)
            # One that asked a process which has lost the run meanwhile hears of it with that process's next look around.
            if call.kind == "update" and done and call.process is schedule.process:
                self._lost(f"update {call.name!r} has completed, and its caller waits", "")

    def _has_completed(self, update_id: str) -> bool:
        """In some run, and is under way in none: in the next run of a chain the same id is another update."""
        journals = self._schedule.journals.values()
        under_way = any(not j.closed and j.accepted[update_id] > j.completed[update_id] for j in journals)
        return not under_way and any(j.completed[update_id] for j in journals)

    def _pending(self, process: Process, journal: Journal) -> None:
        uuid, kernel = journal.run.row.workflow_uuid, process.kernel
        live = kernel.live_runs[uuid]
        machines = {m.spec.seq: m for m in kernel.activities.pending(uuid)}
        running = {key_of(r.attempt) for r in self._schedule.attempts.running if r.attempt.run.workflow_uuid == uuid}
        pending = journal.pending
        for seq in pending.activities:
            machine = machines.get(seq)
            name = journal.name(("activity", seq))
            if machine is None:
                self._lost(f"it waits for {name}, which nobody runs", live.row.workflow_id)
            elif machine.state is State.STARTED and not machine.elsewhere and ("activity", seq) not in running:
                self._lost(f"it waits for {name}, whose attempt has ended", live.row.workflow_id)
            elif machine.state is State.BACKOFF and machine.handle is None:
                self._lost(f"it waits for {name}, whose next attempt nobody begins", live.row.workflow_id)
            elif machine.state is State.READY:
                self._lost(f"it waits for {name}, which no worker takes", live.row.workflow_id)
        for seq in pending.timers:
            timer = live.timers.get(seq)
            if timer is None or timer[1] is None:
                self._lost(f"it waits for timer {seq}, which is not armed", live.row.workflow_id)
        for errand in pending.errands.values():
            if errand.key not in live.errands:
                what = _ERRANDS[errand.kind].format(errand.workflow_id)
                self._lost(f"it waits for {what}, and nobody sees to that", live.row.workflow_id)
        for seq in pending.children:
            child = self._ended_child(live.row.run_id, seq)
            if child is not None:
                self._lost(f"its child {child!r} has ended, and it has not heard of that", live.row.workflow_id)
        if len(pending.locals) > len(live.locals):
            self._lost("it waits for a local activity, which nobody runs", live.row.workflow_id)

    def _ended_child(self, parent_run_id: str, seq: int) -> str | None:
        """The workflow id of a child whose last run has ended."""
        tables = self._schedule.world.tables
        child = tables.by_run_id.get(child_run_id(parent_run_id, seq))
        if child is None:
            return None
        first = child.row.run_id
        if any(run.open for run in tables.runs.values() if run.row.first_run_id == first):
            return None
        return child.row.workflow_id

    def _lost(self, why: str, workflow_id: str) -> None:
        own = workflow_id in ("", self._schedule.world_id)
        whose = "the workflow" if own else f"workflow {workflow_id!r}"
        self._schedule.broken(Rule.WAKE_UP, f"{whose} rests though {why}.")

    # -- at the end ------------------------------------------------------------------------------------------------------

    def finally_(self, warned: Sequence[Any]) -> None:
        """Nothing more happens."""
        self.raise_later()
        self._read()  # who stood still may have had the last word
        schedule, allow = self._schedule, self._schedule.plan.allow
        for journal in schedule.journals.values():
            journal.check_end(allow)
        self._signals()
        own = (RunStatus.COMPLETED, RunStatus.CONTINUED_AS_NEW)  # what is cancelled or fails may leave them
        ended = any(journal.run.row.status in own for journal in schedule.journals.values())
        for warning in warned if ended and "unfinished-handlers" not in allow else ():
            if not issubclass(warning.category, (UnfinishedSignalHandlersWarning, UnfinishedUpdateHandlersWarning)):
                continue  # some library's own
            kind = "signal" if issubclass(warning.category, UnfinishedSignalHandlersWarning) else "update"
            schedule.broken(
                Rule.HANDLERS_FINISH,
                f"the workflow ended while a {kind} handler had not finished; wait for "
                "workflow.all_handlers_finished() before it ends.",
            )
        for trace in self.traces() if schedule.plan.invariants else ():
            for invariant in schedule.plan.invariants:
                self._invariant(invariant, trace)

    def _invariant(self, invariant: Any, trace: Trace) -> None:
        name = getattr(invariant, "__name__", repr(invariant))
        try:
            holds = invariant(trace)
        except AssertionError as error:
            self._schedule.broken(Rule.INVARIANT, f"{name} does not hold: {error}" if str(error) else f"{name} fails.")
        except Exception as error:  # it is the user's own code: what it stumbles over is as good as a no
            text = f": {error}" if str(error) else ""
            self._schedule.broken(Rule.INVARIANT, f"{name} raises {type(error).__name__}{text} ({_line(error)}).")
        if inspect.iscoroutine(holds):
            holds.close()
            self._schedule.broken(Rule.INVARIANT, f"{name} answers with a coroutine, for which nobody waits.")
        if holds is False:
            self._schedule.broken(Rule.INVARIANT, f"{name} does not hold.")

    def _signals(self) -> None:
        """Each acknowledged signal has been heard, once and in order, unless the workflow was ended from outside."""
        schedule = self._schedule
        for journal in schedule.journals.values():
            row = journal.run.row
            if row.workflow_id != schedule.world_id:
                continue
            place = {id_.removeprefix("signal "): index for index, id_ in enumerate(journal.heard)}
            for call in schedule.callers.calls:
                if call.kind != "signal" or call.error is not None or not call.answered or call.duplicate:
                    continue
                if call.id not in place:
                    mine = any(id_.endswith(f"{row.run_id}:s:{call.id}") for id_ in schedule.world.tables.mail_ids)
                    if mine and journal.closed and row.status in OWN_ENDS:
                        schedule.broken(
                            Rule.SIGNAL_ONCE,
                            f"signal {call.name!r} was acknowledged, and the workflow ended without it.",
                        )
                    continue
                if any(place.get(before, -1) > place[call.id] for before in call.acked_before):
                    schedule.broken(Rule.SIGNAL_ONCE, f"signal {call.name!r} overtook one that was sent before it.")

    # -- what is left of it --------------------------------------------------------------------------------------------

    def traces(self) -> list[Trace]:
        """Of the runs of the workflow under test that have ended, oldest first."""
        journals = self._schedule.journals
        return [
            journal_source.trace(run.loaded())
            for run in self._own_runs()
            if (journal := journals.get(run.row.workflow_uuid)) is not None and journal.closed
        ]

    def history(self) -> str | None:
        """Of the newest run, as JSON."""
        found = self.histories()
        return found[-1].to_json() if found else None

    def histories(self) -> list[WorkflowHistory]:
        """Of all runs of the workflow under test, oldest first."""
        return [WorkflowHistory(run.row.workflow_id, events(run.loaded())) for run in self._own_runs()]

    def _own_runs(self) -> list[Run]:
        """Of the workflow under test, each before the one that continues it; the store may have it the other way round."""
        runs = [r for r in self._schedule.world.tables.runs.values() if r.row.workflow_id == self._schedule.world_id]
        following = {r.row.run_id: close_record(r.row.close).new_run_id for r in runs if r.row.close}
        by_run_id, in_order = {r.row.run_id: r for r in runs}, list[Run]()
        for first in (r for r in runs if r.row.run_id not in following.values()):
            run: Run | None = first
            while run is not None:
                in_order.append(run)
                run = by_run_id.get(following.get(run.row.run_id, ""))
        return in_order
