"""LiveRun: one run in memory. Event → position → runner → commit → release of effects.

The optimistic rule of the kernel lives here: an event is fed to the in-memory interpreter at once, its database effects
commit in the same statement as the journal row, and only after that commit are outside effects released (activities
started, callers answered, timers armed). If the commit loses, the interpreter is thrown away and rebuilt.

There is no task per run: everything happens in callbacks, one activation or commit at a time, so a run costs memory
only while something happens to it. Methods with a leading underscore are steps of that machine.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from dbos_core import kept, letting_go, mailbox
from dbos_core.activities.spec import ActivityRow, ActivitySpec, FinalOutcome
from dbos_core.broken import begin_without_activation, broken, unbroken
from dbos_core.checkpoint import checkpoint, failure_of, newest_mail, raised
from dbos_core.clock import TimerHandle
from dbos_core.commit import PARK_FOREVER, Close, Mail, NewRun, RunRow, UpdateRow, Verdict
from dbos_core.errands.spec import Errand, ErrandKey
from dbos_core.errors import BadCommit
from dbos_core.failing import REFUSE_FROM, Failing, TaskKeepsFailing
from dbos_core.failpoints import hit
from dbos_core.locals import Locals
from dbos_core.phase import Phase
from dbos_core.rebuild import rebuild
from dbos_core.runner import Activation, Decision, Event, EventKind, Interpreter, Runner, TaskFailure

if TYPE_CHECKING:
    from dbos_core.kernel import Kernel

logger = logging.getLogger(__name__)

_KINDS = {mailbox.CANCEL: EventKind.CANCEL, mailbox.UPDATE: EventKind.UPDATE}


class LiveRun:
    """One run that this process owns. Made by the kernel; ``deliver`` is how anything reaches it."""

    __slots__ = (
        "_kernel",
        "_retry",
        "_scheduled",
        "_settled",
        "activities",
        "admitted",
        "deadline",
        "early_mail",
        "errands",
        "failing",
        "history_length",
        "idle_since_ms",
        "inbox",
        "interpreter",
        "known_mail",
        "last_at_ms",
        "locals",
        "mail_high_ms",
        "mail_seen_ms",
        "new",
        "phase",
        "position",
        "row",
        "runner",
        "timers",
        "inputs",
    )

    def __init__(self, kernel: Kernel, runner: Runner, row: RunRow, inputs: str) -> None:
        self._kernel = kernel
        self.runner = runner
        self.row = row
        self.inputs = inputs
        self.phase = Phase.READY
        self.interpreter: Interpreter | None = None
        self.position = 0
        self.last_at_ms = 0
        self.history_length = 0
        self.mail_seen_ms = 0
        self.mail_high_ms = 0
        """Nothing that this copy of the run has yet to hear of is older: the time of the newest mail of ours that
        reached it, or that was there when it was loaded."""
        self.inbox: list[Event] = []
        self.known_mail: set[str] = set()
        self.early_mail: list[Mail] | None = None  # a list, as long as it is not known what the run waits for
        self.timers: dict[int, tuple[int, TimerHandle | None]] = {}
        self.activities: dict[int, ActivitySpec] = {}
        self.errands: dict[ErrandKey, Errand] = {}
        """Asked for, and without a reply."""
        self.locals = Locals(kernel)
        self.new: NewRun | None = None
        self.admitted: dict[str, UpdateRow] = {}
        self.failing = Failing(kernel, row) if row.task_failure is not None else None
        self.deadline: TimerHandle | None = None
        self.idle_since_ms = 0
        self._scheduled = False
        self._retry: TimerHandle | None = None
        self._settled: list[asyncio.Future[None]] = []

    def __repr__(self) -> str:
        return f"<LiveRun {self.row.workflow_id!r} run {self.row.run_id} {self.phase.value} at {self.position}>"

    # -- how things reach the run ----------------------------------------------------------------------------------

    def begin(self, new: NewRun, mail: Iterable[Mail], updates: Iterable[UpdateRow]) -> None:
        """The optimistic start: the first activation happens before the starting commit, and shares it."""
        self.new = new
        self.admitted = {row.update_id: row for row in updates}
        self.interpreter = self.runner.open(self.row, self.inputs, new.native)
        self.inbox.append(Event(EventKind.START))
        for message in mail:
            self.add_mail(message)
        self.poke()

    def deliver(self, event: Event) -> None:
        """Something happened to the run. What arrives in one turn of the event loop goes into one activation."""
        if self.phase is Phase.GONE:
            return
        self.inbox.append(event)
        self.poke()

    def deliver_mail(self, messages: Iterable[Mail]) -> None:
        """Mail from the store, in order; what is known already is skipped."""
        if self.phase is Phase.GONE:
            return
        if self.early_mail is not None:
            self.early_mail += messages
            return
        for message in messages:
            self.add_mail(message)
        if self.inbox:
            self.poke()

    def deliver_outcome(self, outcome: FinalOutcome) -> None:
        """An activity of this run has ended."""
        deadline = self.row.deadline_ms
        if deadline is not None and self._kernel.clock.now_ms() >= deadline:
            return  # the run itself times out in this very moment
        if outcome.seq not in self.activities:
            return
        event = Event(EventKind.ACTIVITY, outcome=outcome)
        if self._retry is not None and self.phase is Phase.READY:  # it will not be taken up soon
            self.inbox.append(event)
            kept.keep(self._kernel, self, [event], self.ready)
        else:
            self.deliver(event)

    def poke(self) -> None:
        if not self._scheduled and self.phase is Phase.READY:
            self._scheduled = True
            self._kernel.turns.add(self._scheduled_step)

    def _scheduled_step(self) -> None:
        self._scheduled = False
        self._step()

    def add_mail(self, message: Mail) -> None:
        """Put a message into the inbox, unless it has been there."""
        own = message.mail_id.startswith(mailbox.OWN_ID)
        # Mail is read in the order of its times, which only grow, so what is not newer has been here before, even if a
        # query that began before its consumption brings it once more. A stock tool's times are its own: by id alone.
        if message.mail_id in self.known_mail or (own and 0 < message.created_ms <= self.mail_high_ms):
            return
        hit("mail.received")
        self.known_mail.add(message.mail_id)
        if own:
            self.mail_high_ms = max(self.mail_high_ms, message.created_ms)
        elif kept.refused(self._kernel, self, message):
            return
        if message.topic == mailbox.ACTIVITY:
            self._kernel.activities.remote_outcome(self.row.workflow_uuid, message)
            return
        if message.topic == mailbox.OUTCOME:
            kept.take(self._kernel, self, message)
            return
        if message.topic == mailbox.CHILD:
            self._kernel.errands.child_closed(self, message)
            return
        self.inbox.append(Event(_KINDS.get(message.topic, EventKind.SIGNAL), mail=message))

    # -- activation ------------------------------------------------------------------------------------------------

    def _step(self) -> None:
        if self.phase is not Phase.READY or self._retry is not None:
            return
        if not self.inbox:
            self._rest()
            return
        if self.interpreter is None:
            self._load()
            return
        self.activate(self.interpreter.activate)

    def activate(self, feed: Callable[[Activation], Decision | Awaitable[Decision]]) -> None:
        """Everything that has happened goes into one activation."""
        events, self.inbox = self.inbox, []
        activation = Activation(self.position + 1, max(self._kernel.clock.now_ms(), self.last_at_ms), events)
        self.phase = Phase.ACTIVATING
        try:
            decision = feed(activation)
        except Exception as error:
            logger.exception("the runner raised on %r; its activation is tried again", self)
            decision = raised(error)
        if isinstance(decision, Decision):
            self._decided(activation, decision)
        else:
            self._kernel.spawn(self._await_decision(activation, decision), f"activation {self.row.workflow_uuid}")

    async def _await_decision(self, activation: Activation, pending: Awaitable[Decision]) -> None:
        try:
            decision = await pending
        except Exception as error:
            logger.exception("the runner raised on %r; its activation is tried again", self)
            decision = raised(error)
        if self.phase is Phase.ACTIVATING:
            self._decided(activation, decision)

    def _decided(self, activation: Activation, decision: Decision) -> None:
        try:
            self._act_on(activation, decision)
        except Exception as error:
            logger.exception("what %r decided cannot be carried out; its activation is tried again", self)
            self._cancel_planned(decision)
            self._task_failed(activation, failure_of(error))

    def _act_on(self, activation: Activation, decision: Decision) -> None:
        hit("live_run.after_activation")
        if decision.failure is not None:
            self._task_failed(activation, decision.failure)
            return
        if decision.close is not None and self.inbox:
            # Temporal's UNHANDLED_COMMAND: a run does not close over the head of what arrived meanwhile.
            self._undo(activation)
            return
        if (close := decision.close) is not None:
            told = self.row.parent is not None and close.successor is None
            close.reaches_others = told or decision.open_children
        mail_seen = newest_mail(activation.events, self.mail_seen_ms)
        rows: list[ActivityRow] = []
        if decision.close is None:
            for spec in decision.schedule:
                rows.extend(self._kernel.activities.schedule(self.row, spec))
        commit = checkpoint(
            activation,
            decision,
            workflow_uuid=self.row.workflow_uuid,
            completed_ms=self._kernel.clock.now_ms(),
            mail_seen_ms=mail_seen,
            activities=rows,
            new=self.new,
            admitted=self.admitted,
        )
        if commit is None:
            self._answered(activation, decision, mail_seen, Verdict.COMMITTED)
            return
        self.phase = Phase.COMMITTING
        self._kernel.succession.submit(commit, lambda verdict: self._answered(activation, decision, mail_seen, verdict))
        if decision.schedule and decision.close is None:
            self._kernel.loop.call_soon(self._prepare, decision)  # once the commit is on its way

    def _prepare(self, decision: Decision) -> None:
        if self.phase is Phase.COMMITTING:
            for spec in decision.schedule:
                if self._kernel.activities.serves(spec.task_queue):
                    self.runner.prepare(self.row, spec)

    # -- after the commit ------------------------------------------------------------------------------------------

    def _answered(
        self, activation: Activation, decision: Decision, mail_seen: int, verdict: Verdict | BadCommit
    ) -> None:
        try:
            self._committed(activation, decision, mail_seen, verdict)
        except Exception as error:
            if verdict is Verdict.COMMITTED:
                self._kernel.run_started(self)  # whoever waits for that, if it was the start
            broken(self._kernel, self, error)

    def _committed(
        self, activation: Activation, decision: Decision, mail_seen: int, verdict: Verdict | BadCommit
    ) -> None:
        if self.phase is Phase.GONE:
            if verdict is Verdict.COMMITTED:
                self._kernel.errands.aftermath.overheard(self.row, decision.close)
            if self.new is not None:
                self._kernel.start_overheard(self, verdict)
            return
        if verdict is not Verdict.COMMITTED:
            self._lost(activation, decision, verdict)
            return
        started, self.new, self.admitted = self.new, None, {}
        self.phase = Phase.READY
        self.mail_seen_ms = max([mail_seen, *[e.mail.created_ms for e in activation.events if e.mail is not None]])
        if decision.record is not None:
            self.position = activation.position
            self.last_at_ms = activation.at_ms
            self.history_length = self.row.history_length = decision.history_length
        self.fails_no_more()
        for event in activation.events:
            if event.mail is not None:
                if event.mail.mail_id.startswith(mailbox.OWN_ID):
                    self.mail_high_ms = max(self.mail_high_ms, event.mail.created_ms)
                    self.known_mail.discard(event.mail.mail_id)
            elif event.outcome is not None:
                self.activities.pop(event.outcome.seq, None)
            elif event.kind is EventKind.TIMER:
                self.timers.pop(event.timer, None)
        if decision.memo is not None:
            self.row.memo = decision.memo
        if decision.search_attributes is not None:
            self.row.search_attributes = decision.search_attributes
        if decision.close is not None:
            if started is not None:
                self._kernel.run_started(self)
            self.closed(decision.close, decision.history_length, decision.updates, children=decision.open_children)
            return
        self._release(decision)  # before the starter is answered: its activities are in nobody's way
        if started is not None:
            self._kernel.run_started(self)
        for update in decision.updates:
            self._kernel.updates.changed(self.row.workflow_uuid, update)
        if self.runner.max_cached == 0 and not self._settled:
            self.drop_interpreter()
        if self.inbox:
            self.poke()
        else:
            self._rest()

    def _release(self, decision: Decision) -> None:
        """Outside effects, now that the journal has them."""
        service, row = self._kernel.activities, self.row
        for spec in decision.schedule:
            self.activities[spec.seq] = spec
            service.release(row, spec.seq)
        self._kernel.errands.perform(self, decision.errands)
        for seq in decision.cancel_activities:
            service.request_cancel(row, seq)
        for seq in decision.try_cancel_activities:
            service.request_cancel(row, seq)
            self._forget(seq)
        for seq in decision.abandon_activities:
            self._forget(seq)
        self.locals.release(self, decision)
        for seq in decision.cancel_timers:
            timer = self.timers.pop(seq, None)
            if timer is not None and timer[1] is not None:
                timer[1].cancel()
            self.inbox = [e for e in self.inbox if e.kind is not EventKind.TIMER or e.timer != seq]
        for seq, due_ms in decision.start_timers:
            if seq not in decision.cancel_timers:
                self.arm(seq, due_ms)

    def _forget(self, seq: int) -> None:
        """The workflow was told of this activity's end: its real outcome must never reach it."""
        self._kernel.activities.forget(self.row, seq)
        self.activities.pop(seq, None)
        for event in [e for e in self.inbox if e.outcome is not None and e.outcome.seq == seq]:
            assert event.outcome is not None
            self.inbox.remove(event)
            kept.consume(self._kernel, self, event.outcome)

    def arm(self, seq: int, due_ms: int) -> None:
        """The timer rings at that time, as long as the run is here."""
        handle = self._kernel.timers.call_at(due_ms, lambda: self._ring(seq))
        self.timers[seq] = (due_ms, handle)

    def _ring(self, seq: int) -> None:
        if self.phase is Phase.GONE or seq not in self.timers:
            return
        hit("timer.ring")
        due_ms = self.timers[seq][0]
        self.timers[seq] = (due_ms, None)
        self.last_at_ms = max(self.last_at_ms, due_ms)  # the clock may be set back before the workflow hears of it
        self.deliver(Event(EventKind.TIMER, timer=seq))

    def closed(
        self, close: Close, history_length: int, updates: Iterable[UpdateRow] = (), *, children: bool = True
    ) -> None:
        """The run's end is committed. ``children`` False: it has none that its end concerns."""
        row = self.row
        row.status = close.status
        row.close = close.record
        row.close_ms = close.close_ms
        row.history_length = history_length
        row.owner = None
        self.gone()
        for update in updates:
            self._kernel.updates.changed(row.workflow_uuid, update)
        self._kernel.run_closed(self)
        if close.reaches_others:
            self._kernel.errands.aftermath.closed(row, children=children)

    def _lost(self, activation: Activation, decision: Decision, verdict: Verdict | BadCommit) -> None:
        if isinstance(verdict, BadCommit):
            if self.new is not None:
                self.gone()
                self._kernel.start_failed(self, verdict)
                return
            self.phase = Phase.ACTIVATING
            self._cancel_planned(decision)
            self._task_failed(activation, TaskFailure(str(verdict), "WORKFLOW_WORKER_UNHANDLED_FAILURE"))
            return
        self._cancel_planned(decision)
        if verdict is Verdict.MAIL_WAITING:
            self.phase = Phase.ACTIVATING
            self._undo(activation)
            return
        if self.new is not None:
            self.gone()
            self._kernel.start_failed(self, verdict)
            return
        logger.info(
            "%s of workflow %r run %s at position %d; this copy is dropped",
            verdict.value,
            self.row.workflow_id,
            self.row.run_id,
            activation.position,
        )
        self.gone()
        self._kernel.run_lost(self, verdict)

    def _cancel_planned(self, decision: Decision) -> None:
        for spec in decision.schedule:
            self._kernel.activities.forget(self.row, spec.seq)

    def _undo(self, activation: Activation) -> None:
        """Nothing of this activation happened: rebuild the interpreter, then go on with its events and newer ones."""
        self.drop_interpreter()
        self.inbox = activation.events + self.inbox
        self._load()

    def _load(self) -> None:
        self.phase = Phase.LOADING
        work = unbroken(self._kernel, self, rebuild(self._kernel, self))
        self._kernel.spawn(work, f"rebuild {self.row.workflow_uuid}")

    def ready(self) -> None:
        """The interpreter has been brought to where the journal ends."""
        self.phase = Phase.READY
        self._step()

    def _task_failed(self, activation: Activation, failure: TaskFailure) -> None:
        self.drop_interpreter()
        self.inbox = activation.events + self.inbox
        delay_ms = self.count_failure(failure, self.position, activation.at_ms)
        if self.new is not None:
            # The first activation failed before the start was durable: the start itself stands.
            begin_without_activation(self._kernel, self, self._retry_now)
            return
        kept.keep(self._kernel, self, activation.events, lambda: self.try_again(delay_ms, self._retry_now))

    def try_again(self, delay_ms: int, attempt: Callable[[], None]) -> None:
        """Nothing happens to the run until ``attempt`` is called; who asks it something is told why."""
        self.phase = Phase.READY
        due_ms = self._kernel.clock.now_ms() + delay_ms
        self._retry = self._kernel.clock.call_at(due_ms, attempt)
        self.tell_settled()
        letting_go.consider(self._kernel, self, delay_ms, due_ms)

    def count_failure(self, failure: TaskFailure, position: int, at_ms: int) -> int:
        """Make the failure known. When to try again: in so many milliseconds."""
        if self.failing is None:
            self.failing = Failing(self._kernel, self.row)
        return self.failing.failed(
            failure, position=position, at_ms=at_ms, identity=self.runner.identity, durable=self.new is None
        )

    def fails_still(self, attempt: int, failure: TaskFailure) -> None:
        """This copy follows one whose replay failed."""
        if self.failing is None:
            self.failing = Failing(self._kernel, self.row)
        self.failing.failure, self.row.task_attempt = failure, attempt

    def fails_no_more(self) -> None:
        """An activation went well."""
        failing, self.failing = self.failing, None
        if failing is not None:
            failing.over()

    def _retry_now(self) -> None:
        self._retry = None
        runner = self._kernel.runner_for(self.row.task_queue, self.row.workflow_type)
        if runner is not None:
            self.runner = runner
        self._step()

    # -- memory ----------------------------------------------------------------------------------------------------

    def _rest(self) -> None:
        """Nothing to do: let whoever waited for that go first, then the kernel, which may park us."""
        if self._settled:
            if self.interpreter is None:
                self._load()
                return
            self.tell_settled()
            self.poke()
            return
        self.idle_since_ms = self._kernel.clock.now_ms()
        self._kernel.run_rests(self)

    async def query(self, payload: str) -> str | None:
        """Ask the interpreter, once everything delivered so far is committed: a query sees what came before it.

        None: the run left this process.

        Raises:
            TaskKeepsFailing: its activations fail at the moment.
            DoesNotFit: its code does not follow its journal, and nothing has happened that it could fail with.
        """
        interpreter = await self._settle()
        if interpreter is None:
            return None
        self.phase = Phase.ASKED
        try:
            return await interpreter.query(payload)
        finally:
            if self.phase is Phase.ASKED:
                self.phase = Phase.READY
                self._step()

    async def _settle(self) -> Interpreter | None:
        while True:
            if self.phase is Phase.GONE:
                return None
            failing = self.failing
            if self._retry is not None and failing is not None and self.row.task_attempt >= REFUSE_FROM:
                raise TaskKeepsFailing(failing.failure.message if failing.failure is not None else "")
            if self.phase is Phase.READY and not self.inbox and self.interpreter is not None:
                return self.interpreter
            future: asyncio.Future[None] = self._kernel.loop.create_future()
            self._settled.append(future)
            if self.phase is Phase.READY and not self.inbox:
                self._rest()
            await future

    def tell_settled(self, error: Exception | None = None) -> None:
        """Who asks the run something may look at it now; or never, since there is nothing to look at."""
        waiting, self._settled = self._settled, []
        for future in waiting:
            if not future.done():
                future.set_result(None) if error is None else future.set_exception(error)

    @property
    def next_due_ms(self) -> int:
        """When the run must be awake again by itself; ``PARK_FOREVER`` if only messages can wake it."""
        due = min((due for due, _ in self.timers.values()), default=PARK_FOREVER)
        deadline = self.row.deadline_ms
        return due if deadline is None else min(due, deadline)

    @property
    def busy(self) -> bool:
        """Something that has happened to the run is not journalled yet, and is on its way."""
        if self.phase is Phase.GONE or self._retry is not None:
            return False
        return self.phase is not Phase.READY or bool(self.inbox) or self._scheduled

    @property
    def parkable(self) -> bool:
        return (
            self.phase is Phase.READY
            and not self.inbox
            and not self.activities
            and not self.errands
            and not self.locals
            and not self._settled
            and self._retry is None
            and not self._scheduled
        )

    def evict(self) -> None:
        """Drop the interpreter of a resting run; the next event rebuilds it."""
        if self.phase is Phase.READY and not self.inbox:
            self.drop_interpreter()

    def drop_interpreter(self) -> None:
        interpreter, self.interpreter = self.interpreter, None
        if interpreter is not None:
            self._kernel.tear_down(interpreter)

    def gone(self) -> None:
        """This process lets go of the run, for whatever reason. Nothing of it happens here any more."""
        if self.phase is Phase.GONE:
            return
        self.phase = Phase.GONE
        for handle in (self._retry, self.deadline, *[timer for _, timer in self.timers.values()]):
            if handle is not None:
                handle.cancel()
        self.timers = {}
        self._retry = self.deadline = None
        self._kernel.activities.drop_run(self.row)
        self._kernel.parking.forget(self)
        self.locals.drop(self)
        self.inbox = []
        self.drop_interpreter()
        self.tell_settled()
