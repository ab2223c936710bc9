"""The life of one activity as the owner of its run sees it. Pure: what happened and when in, effects as values out.

``moves.py`` has the table that it follows: what may happen in which state, which method here decides, and where it may
lead. ``carrier.py`` acts on the effects; ``execution.py`` runs single attempts.

Two rules keep the promise about bounded attempts (``maximum_attempts``), whatever line the process dies on: the start
of such an attempt is in its row before the attempt starts, and a row with a start in it counts as an attempt used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dbos_core.activities.effects import (
    NOT_STARTED,
    DeliverCancel,
    Effects,
    Flag,
    LeaveOpen,
    Record,
    ReturnSlot,
    SetTimer,
    Start,
    Tell,
    WriteRow,
)
from dbos_core.activities.moves import MOVES, Input, State
from dbos_core.activities.operating import OperatorCommand
from dbos_core.activities.recovery_moves import RecoveryMoves
from dbos_core.activities.spec import (
    ActivityRow,
    AttemptOutcome,
    OutcomeKind,
    RetryState,
    TimeoutKind,
)
from dbos_core.errors import Ours
from dbos_core.retry import GiveUp


class ActivityMachine(RecoveryMoves):
    """One activity. Every public method is one input and returns what shall be done."""

    __slots__ = ()

    # -- inputs ----------------------------------------------------------------------------------------------------

    def plan(self, now_ms: int, *, slot_held: bool) -> ActivityRow | None:
        """The row that the scheduling commit must carry, if any. With a slot held, a bounded attempt's start is in it."""
        if not self.served:
            return self._row(offered=True)
        if slot_held and self.spec.retry.bounded:
            self.recorded_start = True
            self.started_ms = now_ms
            return self._row()
        return None

    def release(self, now_ms: int) -> Effects:
        """The scheduling commit is through."""
        return self._move(Input.RELEASE, now_ms)

    def restore(self, now_ms: int, row: ActivityRow | None) -> Effects:
        """Another process (or this one, earlier) scheduled it; ``row`` is what it left behind."""
        return self._move(Input.RESTORE, now_ms, row)

    def slot_free(self, now_ms: int) -> Effects:
        """A slot is held for it."""
        return self._move(Input.SLOT, now_ms)

    def recorded(self, now_ms: int) -> Effects:
        return self._move(Input.RECORDED, now_ms)

    def ended(self, now_ms: int, outcome: AttemptOutcome) -> Effects:
        """The current attempt has ended."""
        return self._move(Input.OUTCOME, now_ms, outcome)

    def lost(self, now_ms: int, row: ActivityRow | None) -> Effects:
        """The process that ran the current attempt died; ``row`` is what it left behind."""
        return self._move(Input.LOST, now_ms, row)

    def beat(self, now_ms: int, details: str | None) -> Effects:
        return self._move(Input.HEARTBEAT, now_ms, details)

    def leave_open(self, now_ms: int, started_ms: int | None = None) -> Effects:
        """Its function returned and said that it will be completed from outside."""
        return self._move(Input.LEFT_OPEN, now_ms, started_ms)

    def clock(self, now_ms: int) -> Effects:
        """The timer that was set last rings."""
        self._timer_ms = None
        return self._move(Input.CLOCK, now_ms)

    def cancel(self, now_ms: int) -> Effects:
        return self._move(Input.CANCEL, now_ms)

    def unserved(self, now_ms: int) -> Effects:
        """The last worker of its queue in this process is gone."""
        return self._move(Input.UNSERVED, now_ms)

    def taken(self, now_ms: int, row: ActivityRow) -> Effects:
        """This very process has taken the offer."""
        return self._move(Input.TAKEN, now_ms, row)

    def withdrawn(self, now_ms: int, *, success: bool) -> Effects:
        return self._move(Input.WITHDRAWN, now_ms, success)

    def forget(self, now_ms: int) -> Effects:
        """Its outcome shall reach nobody."""
        return self._move(Input.FORGET, now_ms)

    def operate(self, now_ms: int, command: OperatorCommand) -> Effects:
        """An operator wants something of it."""
        return self._move(Input.OPERATE, now_ms, command)

    def hand_over(self) -> ActivityRow | None:
        """Its run leaves this process in good order. An attempt that has not started becomes an offer, so that nobody
        has to guess whether it had; the row is for the caller to write. None: there is nothing to hand over."""
        if self.state not in (State.READY, State.BACKOFF) or self.forgotten:
            return None
        return self._row(offered=True)

    def void(self) -> None:
        """Its run is in this process no more. Whatever is still under way finds it closed."""
        self.forgotten = True
        self.state = State.CLOSED

    def expects(self, attempt: int) -> bool:
        """Is this the attempt whose outcome is awaited?"""
        return attempt == self.attempt and self.state in AWAITS_OUTCOME

    @property
    def started(self) -> bool:
        """As far as this process knows."""
        return self.state in (State.STARTED, State.SPENT) or self.elsewhere

    # -- moves -----------------------------------------------------------------------------------------------------

    def _move(self, what: Input, now_ms: int, argument: Any = None) -> Effects:
        before = self.state
        move = _METHODS[before].get(what)
        if move is None:
            raise Ours(f"{self!r} was told {what.name}, which cannot happen in this state; please report it")
        effects = move[0](self, now_ms, argument)
        state = self.state
        if state not in move[1]:
            raise Ours(
                f"{self!r} went from {before.name} to {state.name} on {what.name}, which cannot be; please report it"
            )
        if state is not State.CLOSED:
            when_ms = self._next_clock_ms()
            if when_ms is not None and when_ms != self._timer_ms:
                self._timer_ms = when_ms
                effects.insert(0, SetTimer(when_ms))  # first, since what follows may lead to a nearer one
        return effects

    def _next_clock_ms(self) -> int | None:
        """The earliest of the clocks that run in this state."""
        if self.operated is not None and self.operated.pause is not None:
            return None
        spec = self.spec
        when = None if spec.schedule_to_close_ms is None else spec.scheduled_ms + spec.schedule_to_close_ms
        state = self.state
        if state is State.STARTED:
            return when
        if state is State.RECORDING or state is State.WITHDRAWING:
            return None  # looked at when the store has answered
        if state is State.BACKOFF:
            other: int | None = self.due_ms
        elif state is State.SPENT:
            other = self._spent_ms
        else:
            other = self._start_deadline_ms()
        if other is None or (when is not None and when < other):
            return when
        return other

    def _release(self, now_ms: int, _: None) -> Effects:
        if self.recorded_start:
            self.state = State.STARTED
            return [Start()]
        if self.row_exists:
            self.state = State.OFFERED
            return []
        return self._schedule(now_ms)

    def _slot(self, now_ms: int, _: None) -> Effects:
        self.started_ms = now_ms
        if self.spec.retry.bounded:
            self.state = State.RECORDING
            return [Record(self._row())]
        self.state = State.STARTED
        return [Start()]

    def _recorded(self, now_ms: int, _: None) -> Effects:
        if self.cancel_requested:
            return [ReturnSlot(), *self._cancel_unstarted(now_ms, None)]
        if self.paused:
            self._over()
            self.started_ms = None
            self.state = State.PAUSED
            return [ReturnSlot(), WriteRow(self._row())]
        if self._past_close(now_ms):
            self.started_ms = None
            return [ReturnSlot(), *self._timed_out(now_ms, TimeoutKind.SCHEDULE_TO_CLOSE)]
        self.state = State.STARTED
        return [Start()]

    def _taken(self, now_ms: int, row: ActivityRow) -> Effects:
        self.started_ms = row.started_ms or now_ms
        self.elsewhere = False
        self.state = State.STARTED
        effects: Effects = [Start()]
        if self._commands:  # meant for the offer that was just taken
            self._runs_elsewhere()
            effects += [WriteRow(self._row()), Tell()]
        return [*effects, DeliverCancel()] if self.cancel_requested else effects

    def _ended(self, now_ms: int, outcome: AttemptOutcome) -> Effects:
        self.identity = outcome.identity
        if outcome.heartbeat is not None and outcome.heartbeat != self.heartbeat:  # held back until now
            self.heartbeat, self.heartbeat_at_ms = outcome.heartbeat, now_ms
        if outcome.started_ms is not None:
            self.started_ms = outcome.started_ms
        kind = outcome.kind
        if kind is OutcomeKind.COMPLETED:
            return self._final(kind, outcome.record, RetryState.UNSPECIFIED)
        if kind is OutcomeKind.CANCELED:
            return self._final(kind, outcome.record, RetryState.CANCEL_REQUESTED)
        decision = self._decide(now_ms, outcome)
        if isinstance(decision, GiveUp):
            timeout = outcome.timeout
            if timeout is not None and decision.state is RetryState.TIMEOUT and timeout in _RETRIED_TIMEOUTS:
                timeout = TimeoutKind.SCHEDULE_TO_CLOSE  # there would be another attempt if there were time (observed)
            return self._final(kind, outcome.record, decision.state, timeout)
        return self._again(now_ms, decision.due_ms, outcome)

    def _heartbeat(self, now_ms: int, details: str | None) -> Effects:
        if details is not None:
            self.heartbeat = details
        self.heartbeat_at_ms = now_ms
        # Without details there is nothing that a later attempt could miss, unless a row exists whose time matters.
        return [WriteRow(self._row())] if details is not None or self.row_exists else []

    def _left_open(self, now_ms: int, started_ms: int | None) -> Effects:
        if started_ms is not None:
            self.started_ms = started_ms
        self.left_open = True
        self.elsewhere = False
        self.state = State.STARTED
        return [WriteRow(self._row()), LeaveOpen()]

    # -- clocks ----------------------------------------------------------------------------------------------------

    def _clock_unstarted(self, now_ms: int, _: None) -> Effects:
        if self._past_start(now_ms):
            return self._timed_out(now_ms, TimeoutKind.SCHEDULE_TO_START)
        return self._clock_started(now_ms, None)

    def _clock_backoff(self, now_ms: int, _: None) -> Effects:
        if self._past_close(now_ms):
            return self._timed_out(now_ms, TimeoutKind.SCHEDULE_TO_CLOSE)
        return [] if now_ms < self.due_ms else self._schedule(now_ms)

    # -- cancel ----------------------------------------------------------------------------------------------------

    def _cancel_unstarted(self, now_ms: int, _: None) -> Effects:
        self.cancel_requested = True
        self.started_ms = None
        return self._final(OutcomeKind.CANCELED, NOT_STARTED, RetryState.CANCEL_REQUESTED)

    def _cancel_started(self, now_ms: int, _: None) -> Effects:
        if self.cancel_requested:
            return []
        self.cancel_requested = True
        return [DeliverCancel()]

    def _note_cancel(self, now_ms: int, _: None) -> Effects:
        self.cancel_requested = True
        return []

    def _withdrawn(self, now_ms: int, success: bool) -> Effects:
        if success:
            self.row_exists = self._withdraw_keeps
            if self.cancel_requested:
                return self._cancel_unstarted(now_ms, None)
            if self._commands or self.paused:
                return self._withdrawn_for_operator(now_ms)
            return self._timed_out(now_ms, self._withdraw_for or TimeoutKind.SCHEDULE_TO_START)
        self.state = State.OFFERED
        self.elsewhere = True
        return self._runs_elsewhere() or ([Flag(self.attempt)] if self.cancel_requested else [])

    def _give_up_plan(self, now_ms: int, _: None) -> Effects:
        self.state = State.CLOSED
        return [ReturnSlot()]

    def _forget(self, now_ms: int, _: None) -> Effects:
        self.forgotten = True
        return []

    def _stay(self, now_ms: int, _: Any) -> Effects:
        return []

    _nothing = _stay

    # -- after a crash ---------------------------------------------------------------------------------------------

    # -- what comes out --------------------------------------------------------------------------------------------


AWAITS_OUTCOME = frozenset({State.STARTED, State.OFFERED, State.WITHDRAWING, State.SPENT})
_RETRIED_TIMEOUTS = (TimeoutKind.START_TO_CLOSE, TimeoutKind.HEARTBEAT)

_Method = Callable[[ActivityMachine, int, Any], Effects]
_METHODS: dict[State, dict[Input, tuple[_Method, frozenset[State]]]] = {
    state: {what: (getattr(ActivityMachine, move.method), frozenset(move.to)) for what, move in moves.items()}
    for state, moves in MOVES.items()
}
