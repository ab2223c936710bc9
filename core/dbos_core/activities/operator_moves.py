"""Moves of an activity that an operator causes: pause, unpause, reset, other options (part of ``machine.py``).

As Temporal does it: an attempt that runs is left alone and told by its next heartbeat; what it ends in, unless it is
final, leads to a paused activity. While an activity is paused, none of its clocks runs.
"""

from __future__ import annotations

from dbos_core.activities.activity_state import ActivityState
from dbos_core.activities.effects import Dequeue, Effects, Flag, Tell, WriteRow
from dbos_core.activities.moves import State
from dbos_core.activities.operating import NO_DETAILS, Deed, Operated, OperatorCommand, changed


class OperatorMoves(ActivityState):
    """The methods of ``moves.MOVES`` for the input OPERATE."""

    __slots__ = ()

    def recall(self, operated: Operated) -> None:
        """What operators did so far, before ``restore``."""
        self.operated = operated
        self.spec = changed(self.asked, operated.changes)

    def queue_after(self, command: OperatorCommand) -> str:
        """The task queue that it is on once the command is carried out."""
        if command.do is Deed.OPTIONS:
            queue: str = command.changes.get("task_queue", self.asked.task_queue)
            return queue
        return self.asked.task_queue if command.do is Deed.RESET and command.restore else self.spec.task_queue

    # -- moves -----------------------------------------------------------------------------------------------------

    def _operate_waiting(self, now_ms: int, command: OperatorCommand) -> Effects:
        queue, ready = self.spec.task_queue, self.state is State.READY
        if not self._note(command):
            return []
        return [*([Dequeue(queue)] if ready else []), *self._go_on(now_ms, (command,))]

    def _operate_started(self, now_ms: int, command: OperatorCommand) -> Effects:
        if not self._note(command):
            return []
        self._reset_running(command)
        return [WriteRow(self._row()), Tell()]

    def _operate_recording(self, now_ms: int, command: OperatorCommand) -> Effects:
        if self._note(command):  # looked at when its start is recorded
            self._reset_running(command)
        return []

    def _operate_offered(self, now_ms: int, command: OperatorCommand) -> Effects:
        if not self._note(command):
            return []
        if self.elsewhere:
            self._reset_running(command)
            return [Flag(self.attempt)]
        self._commands = (command,)
        return self._take_back()

    def _operate_withdrawing(self, now_ms: int, command: OperatorCommand) -> Effects:
        if self._note(command):
            self._commands = (*self._commands, command)
        return []

    def _operate_spent(self, now_ms: int, command: OperatorCommand) -> Effects:
        """Its process died; should there be another attempt now, it comes when the clock of the lost one rings."""
        if not self._note(command):
            return []
        self._reset_running(command)
        return [WriteRow(self._row())]

    # -- parts of moves ----------------------------------------------------------------------------------------------

    def _note(self, command: OperatorCommand) -> bool:
        """False: there is nothing to do."""
        before = self.paused
        if before if command.do is Deed.PAUSE else command.do is Deed.UNPAUSE and not before:
            return False
        operated = self.operated = self.operated or Operated()
        operated.note(command)
        self.spec = changed(self.asked, operated.changes)
        return True

    def _reset_running(self, command: OperatorCommand) -> None:
        if command.do is Deed.RESET and self.operated is not None:
            self.operated.reset = True
            self.operated.reset_heartbeat |= command.reset_heartbeat

    def _go_on(self, now_ms: int, commands: tuple[OperatorCommand, ...]) -> Effects:
        """No attempt runs: what do these commands, which are noted, lead to?"""
        for command in commands:
            anew = command.do in (Deed.RESET, Deed.UNPAUSE)
            if command.do is Deed.RESET or command.reset_attempts:
                self.attempt = 1
            if command.reset_heartbeat:
                self.heartbeat = NO_DETAILS
            if anew and not self.paused:
                self.due_ms = now_ms + command.delay_ms
                self.last_failure = None  # as on Temporal: nothing is left to say why it is tried (observed)
            elif command.do is Deed.OPTIONS and self.ended_ms is not None and self.attempt > 1:
                self.due_ms = self.ended_ms + self.spec.retry.delay_ms(self.attempt - 1)
                self.last_failure = None
        if self.paused:
            self.state = State.PAUSED
            return [WriteRow(self._row())]
        return self._resume(now_ms, write=True)

    def _withdrawn_for_operator(self, now_ms: int) -> Effects:
        commands, self._commands = self._commands, ()
        return self._go_on(now_ms, commands)

    def _runs_elsewhere(self) -> Effects:
        """An offer could not be taken back: whoever runs it shall know what was asked for meanwhile."""
        commands, self._commands = self._commands, ()
        for command in commands:
            self._reset_running(command)
        return [Flag(self.attempt)] if commands else []
