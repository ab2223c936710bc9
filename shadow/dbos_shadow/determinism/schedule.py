"""Schedule: one life of a workflow, in which a source of decisions plays the world.

Things happen one at a time. After each the processes run until they have nothing to do (unless the decision was to cut in
earlier), the journals are read, and what must hold is asserted. With nothing but zeros the life is a plain one: each
attempt answers at once, oldest first; then messages come, one by one; time passes when nothing else is to be done.
"""

from __future__ import annotations

import contextlib
import functools
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from temporalio.workflow import UnfinishedSignalHandlersWarning, UnfinishedUpdateHandlersWarning

from dbos_core import failpoints
from dbos_core.activities.spec import OutcomeKind
from dbos_core.runner import Interpreter
from dbos_shadow.determinism.attempts import Attempts
from dbos_shadow.determinism.callers import Call, Callers
from dbos_shadow.determinism.clocks import MOMENT_MS, START_MS
from dbos_shadow.determinism.crew import Crew
from dbos_shadow.determinism.decisions import Decisions, trimmed
from dbos_shadow.determinism.failure import BadPlan, DeterminismError, Rule
from dbos_shadow.determinism.happenings import FAULTS, Happening, Kind
from dbos_shadow.determinism.journals import Journal
from dbos_shadow.determinism.plan import Message, Plan
from dbos_shadow.determinism.process import LEASE_MS, LEAVE_S, Hands, Process, Unevictable, World, let_go, runner_on
from dbos_shadow.determinism.questions import Questions
from dbos_shadow.determinism.silence import said
from dbos_shadow.determinism.stage import TASK_QUEUE
from dbos_shadow.determinism.straight import relive
from dbos_shadow.determinism.values import chosen
from dbos_shadow.determinism.watch import Watch

WORKFLOW_ID = "determinism"
TURNS_MAX = 100_000
"""Turns of the loop without any time passing: far more than anything that makes progress needs."""


class Over(Exception):
    """Nothing is left to happen."""


@dataclass(slots=True)
class Limits:
    """How long a schedule may be."""

    actions: int = 160
    """Things that the world does."""
    then_boring: int = 80
    """Of these, how many may be anything but boring."""


class Schedule:
    """One life. :meth:`run` lives it, once."""

    def __init__(
        self, crew: Crew, decisions: Decisions, limits: Limits | None = None, *, followed: bool = True
    ) -> None:
        """``followed``: what the workflow asks for is replayed step by step, and lived once more without a crash."""
        self.crew = crew
        self.followed = followed
        self.plan: Plan = crew.plan
        self.decisions = decisions
        self.limits = limits or Limits()
        self.world = World()
        self._noted: list[tuple[Any, ...]] = []
        """What happened, as ``happenings`` tells it: hardly any schedule is told."""
        self.journals: dict[str, Journal] = {}
        self.processes: list[Process] = []
        """Those that are not dead; the last one is the one that works."""
        self.callers = Callers(self._told)
        self.left: dict[int, int] = {i: m.at_most for i, m in enumerate(self.plan.messages)}
        self.sent: set[int] = set()
        self.incarnations = 0
        self.turns_max: int | None = None
        """The next thing gets only so many turns of the loop."""
        self.holds = False
        """What happens now is not seen before what comes next."""
        self.new_code = False
        self.world_id = WORKFLOW_ID
        self.stalls = 0
        self.memory_lost = False
        """Some instance has not lived through it all."""
        self.busy = 0
        """Nobody takes activities: for so many more alarms at most."""
        self.canceled_at: int | None = None
        self.actions = 0
        self.attempts = Attempts(self)
        self.watch = Watch(self)
        self.questions = Questions(self)
        self._chosen: int | None = None

    # -- the whole ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Live it.

        Raises:
            DeterminismError: a rule does not hold.
        """
        from dbos_shadow.determinism import actions  # which acts on a schedule

        failpoints.disarm()
        said.clear()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore")
            for category in (UnfinishedSignalHandlersWarning, UnfinishedUpdateHandlersWarning):
                warnings.simplefilter("always", category)
            try:
                try:
                    actions.begin(self)
                    while self.actions < self.limits.actions or self.ending:
                        self.actions += 1
                        actions.act(self)
                except Over:
                    pass
                actions.end(self)
                self.watch.finally_(caught)
                self._relive()
                self._tear_down()
            except Unevictable as stuck:
                self.broken(
                    Rule.EVICTION, f"an instance of {str(stuck)!r} goes on when its worker drops it from memory."
                )
            finally:
                with contextlib.suppress(Unevictable):
                    self._tear_down()
                self.world.bury()

    def _relive(self) -> None:
        """Without whatever befell its processes the workflow asks for the same."""
        if self.new_code or not self.memory_lost or not self.followed:
            return
        stage = self.crew.stage("straight")
        stage.steady_ms = self.world.time.steady_ms
        for journal in self.journals.values():
            if self.plan.definition.name == journal.run.row.workflow_type:
                work = relive(journal, self.world.notes, runner_on(stage, self.world).open, self.broken)
                if not let_go(stage.loop, stage.loop.run(work)):
                    raise Unevictable(journal.run.row.workflow_type)

    def _tear_down(self) -> None:
        """All instances leave memory.

        Raises:
            Unevictable: one does not.
        """
        failpoints.disarm()
        stuck: list[str] = []
        for journal in self.journals.values():
            if not self._leave(journal.leave()):
                stuck.append(journal.run.row.workflow_type)
        processes, self.processes = self.processes, []
        for process in processes:
            try:
                process.kill()
            except Unevictable as error:
                stuck.append(str(error))
        if stuck:
            raise Unevictable(stuck[0])

    def forget(self) -> None:
        """Nobody will ask again. What it is made of is one knot of cycles: cut here, that goes at once."""
        self.__dict__.clear()

    def broken(self, rule: Rule, what: str) -> NoReturn:
        """A rule does not hold."""
        self.note(Kind.BROKEN, text=f"{rule.value}: {what}")
        raise DeterminismError(
            rule,
            what,
            workflow=self.plan.name,
            decisions=trimmed(self.decisions.made),
            happenings=self.happenings,
            history=self.watch.history(),
        )

    # -- what is told ------------------------------------------------------------------------------------------------

    def choose(self, count: int, meaning: int | None = None) -> int:
        """Ask for a decision."""
        chosen = self.decisions.choose(count, meaning)
        if chosen:
            self._chosen = len(self.decisions.made) - 1
        return chosen

    def note(
        self,
        kind: Kind,
        name: str = "",
        text: str = "",
        *,
        fault: bool | None = None,
        process: int | None = None,
        **more: Any,
    ) -> None:
        """Something happened."""
        in_process = self.incarnations if process is None else process
        self._noted.append((kind, self.world.time.now_ms(), name, text, fault, in_process, self._chosen, more))
        self._chosen = None

    @property
    def happenings(self) -> list[Happening]:
        """What happened, in order."""
        return _happenings(self._noted)

    def tells(self) -> Callable[[], list[Happening]]:
        """What tells that, when the schedule is forgotten."""
        return functools.partial(_happenings, self._noted)

    def _told(self, call: Call) -> None:
        name = call.name or call.kind
        if call.unsent or (call.kind == "start" and call.error is not None and not call.duplicate):
            raise BadPlan(_nobody_can(self.plan.name, call))
        if call.error is None:
            if call.kind in ("update", "query"):
                self.note(Kind.ANSWERED, name, call.kind)
        else:
            self.note(Kind.REFUSED, name, call.error.splitlines()[0] if call.error else "", fault=False)
        self.watch.answered(call)

    # -- processes ---------------------------------------------------------------------------------------------------

    @property
    def process(self) -> Process:
        return self.processes[-1]

    def open(self, *, serve: bool = True) -> Process:
        """A new incarnation, on a stage where nobody lives."""
        taken = {process.stage for process in self.processes}
        first = self.crew.stage("first", new_code=self.new_code)
        stage = first if first not in taken else self.crew.stage("second", new_code=self.new_code)
        self.incarnations += 1
        process = Process(
            self.world, stage, Hands(self.attempts.started, self.attempts.asked_to_stop), number=self.incarnations
        )
        self.processes.append(process)
        if serve:
            process.serve()
        self.busy = 0
        self.callers.again(process)
        return process

    def kill(self, process: Process) -> None:
        """It dies here and now, and its lease passes."""
        self.memory_lost = True
        self.processes.remove(process)
        self.attempts.died_with(process)
        process.kill()
        self.pass_lease()

    def evict(self) -> None:
        """Instances leave memory.

        Raises:
            Unevictable: one does not.
        """
        process, self.memory_lost = self.process, True
        begun_s = time.thread_time()
        for run in list(process.kernel.live_runs.values()):
            process.loop.call_soon(run.evict)
        process.loop.settle()
        raised, process.loop.raised = process.loop.raised, None
        if process.kernel.evicting or raised is not None or time.thread_time() - begun_s > LEAVE_S:
            raise Unevictable(self.plan.name)

    def pass_lease(self) -> None:
        """Time goes by until nobody believes a silent process alive."""
        self._pass(LEASE_MS + 1)

    # -- time --------------------------------------------------------------------------------------------------------

    @property
    def awake(self) -> list[Process]:
        """Processes that run."""
        return [process for process in self.processes if not process.frozen]

    @property
    def next_alarm_ms(self) -> int | None:
        """When the next alarm of a process rings, or a run that nobody has in memory is to wake."""
        alarms = [due for p in self.awake if (due := p.clock.next_ms) is not None]
        return min([*alarms, *self._wakes()], default=None)

    def _wakes(self) -> list[int]:
        """When runs that wait in the store alone go on."""
        if not self.process.serving:
            return []
        runs = self.world.tables.runs.values()
        return [run.row.wake_at_ms for run in runs if run.open and run.row.wake_at_ms is not None]

    def pass_time(self) -> None:
        """Until the next alarm; what is due before rings before."""
        alarms = [(due, index) for index, p in enumerate(self.awake) if (due := p.clock.next_ms) is not None]
        wakes_ms = min(self._wakes(), default=None)
        if wakes_ms is not None and (not alarms or wakes_ms < min(alarms)[0]):
            self._pass(max(wakes_ms + 1 - self.world.time.now_ms(), MOMENT_MS))
            return
        if not alarms:
            return
        when_ms, index = min(alarms)
        process = self.awake[index]
        if when_ms > self.world.time.now_ms():
            self._pass(when_ms - self.world.time.now_ms())
        process.loop.call_soon(process.clock.ring_next)

    def _pass(self, ms: int) -> None:
        """The time is another one. Nobody dies of it: on the way everybody gave signs of life."""
        self.world.time.pass_ms(ms)
        for process in self.awake:
            process.renew()
            process.loop.ring()
        self.settle_fully()

    def jump(self, ms: int) -> None:
        """Somebody sets the wall clock, and a moment goes by in which processes look around."""
        self.world.time.set_to(max(self.world.time.now_ms() + ms, START_MS))
        self._pass(MOMENT_MS)
        for process in self.awake:
            if process.clock.next_ms is not None and process.clock.next_ms <= self.world.time.now_ms():
                process.loop.call_soon(process.clock.ring_due)

    # -- running -----------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Let the processes run: to where nothing is to be done, or for as many turns as were decided."""
        if self.holds:
            self.holds = False
            return
        turns, self.turns_max = self.turns_max, None
        if turns is None:
            self.settle_fully()
            self.observe()
        else:
            self.process.loop.settle(turns)
            self.callers.listen()
            self.watch.raise_later()

    def settle_fully(self) -> None:
        """Until nobody has anything to do."""
        turns, awake = 0, self.awake
        while taken := sum([process.loop.settle(TURNS_MAX) for process in awake]):
            turns += taken
            if turns > TURNS_MAX:
                self.broken(Rule.ENGINE, "a process is busy for ever without any time passing.")
        cut_off = False
        for process in awake:
            if process.loop.raised is not None:
                raise process.loop.raised
            cut_off = cut_off or not process.kernel.writer.available
        if cut_off:
            self._pass(3_000)  # the next try to reach the database

    def observe(self) -> None:
        """Everybody rests: look at what came of it."""
        self.callers.listen()
        self.watch.look()

    def journal(self, workflow_uuid: str) -> Journal | None:
        """Of a run, brought up to date."""
        run = self.world.tables.runs.get(workflow_uuid)
        if run is None:
            return None
        found = self.journals.get(workflow_uuid)
        if found is None or found.run is not run:
            found = self.journals[workflow_uuid] = Journal(run, self.broken, self.crew.codec)
        for record in found.read():
            self._tell_step(found, record)
        return found

    def _tell_step(self, journal: Journal, record: Any) -> None:
        for event in record["ev"]:
            if event["k"] == "activity" and event["o"] == OutcomeKind.TIMED_OUT.value:
                self.attempts.tell_timeout(journal, event)
        asked = [c["type"] if "type" in c else c["k"].replace("_", " ") for c in record["cmds"]]
        for queue in [c["queue"] for c in record["cmds"] if c.get("queue")]:
            if queue not in self.world.queues:
                self.world.queues.append(queue)
                for process in self.processes:
                    process.serve_too(queue)
        position = journal.records.index(record) + 1
        row = journal.run.row
        self.note(
            Kind.STEP,
            row.workflow_type,
            ", ".join(asked),
            position=position,
            workflow_id="" if row.workflow_id == WORKFLOW_ID else row.workflow_id,
        )

    def follow(self, journal: Journal) -> None:
        """The follower replays what is new."""
        if not self.followed:
            return
        stage = self.crew.stage("follower", new_code=self.new_code)
        stage.steady_ms = self.world.time.steady_ms

        if journal.followed == len(journal.records):
            return
        if self.crew.proving:  # that it can be replayed, and torn down, at each of its first suspensions
            self.crew.proving -= 1
            if not self._leave(journal.leave()):
                raise Unevictable(journal.run.row.workflow_type)
        try:
            stage.loop.run(journal.follow(runner_on(stage, self.world).open))
        except DeterminismError as error:
            query = self.questions.to_blame(journal) if error.rule is Rule.REPLAY else None
            if query is None:
                raise
            self._noted.pop()  # that it is broken is told otherwise
            self.broken(
                Rule.QUERY,
                f"after query {query!r} the workflow asks for something that it does not ask for without it.",
            )

    def take_new_code(self) -> None:
        """From now on workers have the code that takes over; followers as well."""
        for journal in self.journals.values():
            if not self._leave(journal.leave()):
                raise Unevictable(journal.run.row.workflow_type)
        self.world.asked.clear()  # of the code that was there before
        self.new_code = True

    def _leave(self, follower: Interpreter | None) -> bool:
        return follower is None or let_go(self.crew.stage("follower", new_code=self.new_code).loop, follower)

    # -- calls -------------------------------------------------------------------------------------------------------

    def call(self, kind: str, name: str, ask: Callable[[Any, str], Any]) -> Call:
        """Somebody calls."""
        number = len(self.callers.calls) + 1
        call_id = f"{kind}-{number}"
        call = Call(kind, name, call_id, lambda client: ask(client, call_id))
        self.callers.send(call, self.process)
        return call

    def send(self, index: int, *, plain: bool = False) -> None:
        """One of the messages of the plan. ``plain``: with boring values."""
        message: Message = self.plan.messages[index]
        self.left[index] -= 1
        self.sent.add(index)
        values = chosen(self.crew.values(message), _boring if plain else self.choose)
        kind = Kind(message.kind)
        self.note(kind, message.name)
        self.call(message.kind, message.name, _asking(message, values))

    @property
    def expected(self) -> list[int]:
        """Messages that come on a plain day, and have not."""
        return [i for i, m in enumerate(self.plan.messages) if m.expected and i not in self.sent]

    def cancel(self) -> None:
        """Somebody requests the workflow's cancellation."""
        self.note(Kind.CANCEL)
        if self.canceled_at is None:
            self.canceled_at = self.actions
        self.cancel_call()

    @property
    def ending(self) -> bool:
        """It was cancelled, and has to come to an end now."""
        return self.canceled_at is not None and self.open_run

    def repeat(self, call: Call) -> None:
        """The same request once more."""
        self.callers.send(Call(call.kind, call.name, call.id, call.ask, duplicate=True), self.process)

    def cancel_call(self) -> None:
        self.call("cancel", "", lambda client, _: client.get_workflow_handle(WORKFLOW_ID).cancel())

    def start(self, values: list[Any]) -> None:
        """Start the workflow."""
        self.note(Kind.STARTED, self.plan.name)
        options = dict(self.plan.start_options)

        def ask(client: Any, _: str) -> Any:
            return client.start_workflow(self.plan.name, args=values, id=WORKFLOW_ID, task_queue=TASK_QUEUE, **options)

        self.call("start", self.plan.name, ask)

    @property
    def open_run(self) -> bool:
        """The workflow has been started and has not ended."""
        run = self.world.tables.current.get(WORKFLOW_ID)
        return run is not None and run.open


def _nobody_can(workflow: str, call: Call) -> str:
    what = "start_options= of the test" if call.kind == "start" else f"values that the test sends to {call.name!r}"
    why = (call.error or "").rstrip(".")
    return (
        f"workflow {workflow!r}: a {call.kind} cannot be sent, so there is nothing to try: {why}. Look at the {what}."
    )


def _happenings(noted: Sequence[tuple[Any, ...]]) -> list[Happening]:
    return [
        Happening(
            kind=kind,
            at_ms=at_ms,
            name=name,
            text=text,
            fault=kind in FAULTS if fault is None else fault,
            process=process,
            chosen=chosen,
            **more,
        )
        for kind, at_ms, name, text, fault, process, chosen, more in noted
    ]


def _boring(count: int) -> int:
    return 0


def _asking(message: Message, values: list[Any]) -> Callable[[Any, str], Any]:
    def ask(client: Any, call_id: str) -> Any:
        handle = client.get_workflow_handle(WORKFLOW_ID)
        if message.kind == "signal":
            return handle.signal(message.name, args=values)
        if message.kind == "query":
            return handle.query(message.name, args=values)
        return handle.execute_update(message.name, args=values, id=call_id)

    return ask


__all__ = ["Limits", "Over", "Schedule", "WORKFLOW_ID"]
