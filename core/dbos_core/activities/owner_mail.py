"""Owner's side of attempts that run elsewhere: their mail, taking offers back, telling them of a cancel."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dbos_core.activities.effects import Effects
from dbos_core.activities.machine import ActivityMachine
from dbos_core.activities.moves import State
from dbos_core.activities.operating import Deed, Operated, OperatorCommand
from dbos_core.activities.spec import ASYNC_WORKER, ActivityRow
from dbos_core.activities.wire import offer, read_command, read_outcome
from dbos_core.commit import Commit, Mail
from dbos_core.mailbox import ACTIVITY

if TYPE_CHECKING:
    from dbos_core.activities.carrier import Carrier
    from dbos_core.activities.claimed import ActivityStore

logger = logging.getLogger(__name__)


_WRITES_ITSELF = (State.CLOSED, State.WITHDRAWING)


class OwnerMail:
    """Part of an :class:`~dbos_core.activities.service.ActivityService`."""

    def __init__(self, service: Carrier, store: ActivityStore) -> None:
        self._service = service
        self._store = store
        self._done: dict[str, None] = {}
        """Commands that were carried out when their run was restored, before their mail was handed over."""

    def commands(self, mail: Iterable[Mail]) -> dict[int, list[tuple[str, OperatorCommand]]]:
        """By seq: what operators left in the mailbox, with its mail's id. What cannot be read waits for ``arrived``."""
        found: dict[int, list[tuple[str, OperatorCommand]]] = {}
        for one in mail:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                if one.topic == ACTIVITY and (command := read_command(one.message)) is not None:
                    found.setdefault(command[0], []).append((one.mail_id, command[1]))
        return found

    def recall(
        self, machine: ActivityMachine, row: ActivityRow | None, given: Iterable[tuple[str, OperatorCommand]]
    ) -> bool:
        """What holds before it is restored: nothing that is paused by now shall start. One that was paused before waits
        for whatever is said to it, so the commands given are not counted yet; True: they are."""
        operated = Operated.read(None if row is None else row.operator)
        counted = operated.pause is None
        for _, command in given if counted else ():
            operated.note(command)
        machine.recall(operated)
        machine.served = self._service.serves(machine.spec.task_queue)
        return counted

    def carry_out(self, machine: ActivityMachine, mail_id: str, command: OperatorCommand, *, recalled: bool) -> None:
        """A command that came by mail; what it leads to consumes the mail, and only then it is forgotten. One that was
        counted when its run was restored (``recalled``) has had its say in whether the activity is paused."""
        self._done[mail_id] = None
        pauses = command.do is Deed.PAUSE
        if machine.state is not State.CLOSED:
            machine.mail_ids = (*machine.mail_ids, mail_id)
            if not recalled or command.do is Deed.RESET or (machine.state is not State.PAUSED and not pauses):
                self._service.carry_out(machine, command)
            if machine.mail_ids and machine.state not in _WRITES_ITSELF:
                self._service.write_row(machine, machine.as_row())

    def arrived(self, workflow_uuid: str, mail: Mail) -> None:
        """How an attempt ended elsewhere. Mail about an attempt that nobody waits for is only consumed."""
        if self._done.pop(mail.mail_id, mail) is None:
            return
        try:
            command = read_command(mail.message)
            if command is not None:
                machine = self._service.machine_of(workflow_uuid, command[0])
                if machine is None:
                    self._service.submit(Commit(workflow_uuid=workflow_uuid, consumed=(mail.mail_id,)))
                elif machine.state is State.PLANNED:
                    self._later(machine, workflow_uuid, mail)
                else:
                    self.carry_out(machine, mail.mail_id, command[1], recalled=False)
                    self._done.pop(mail.mail_id)
                return
            message: dict[str, Any] = json.loads(mail.message)
            seq, attempt = int(message["seq"]), int(message["attempt"])
            outcome = read_outcome(message["outcome"]) if "outcome" in message else None
        except (ValueError, KeyError, TypeError) as error:
            logger.warning("run %s has activity mail %s that cannot be read: %r", workflow_uuid, mail.mail_id, error)
            self._service.submit(Commit(workflow_uuid=workflow_uuid, consumed=(mail.mail_id,)))
            return
        machine = self._service.machine_of(workflow_uuid, seq)
        if machine is not None and machine.state is State.PLANNED:
            self._later(machine, workflow_uuid, mail)
        elif machine is None or not machine.expects(attempt):
            self._service.submit(Commit(workflow_uuid=workflow_uuid, consumed=(mail.mail_id,)))
        elif outcome is not None:
            machine.served = self._service.serves(machine.spec.task_queue) and not outcome.unknown
            machine.ran_by, machine.ran_in = outcome.identity, ""
            self._by_mail(machine, mail, lambda now: machine.ended(now, outcome))
        elif message.get("left_open"):
            machine.ran_by, machine.ran_in = message.get("by", ""), ""
            self._by_mail(machine, mail, lambda now: machine.leave_open(now, message.get("started_ms")))
        else:
            self._service.spawn(self._lost(machine, attempt, mail), "lost activity")

    def _later(self, machine: ActivityMachine, workflow_uuid: str, mail: Mail) -> None:
        """The offer was quicker than the answer to its commit. If that never comes, the mail stays for the next owner."""
        self._service.when_released(machine, lambda through: self.arrived(workflow_uuid, mail) if through else None)

    def _by_mail(self, machine: ActivityMachine, mail: Mail, move: Callable[[int], Effects]) -> None:
        """An input that came by mail: the commit that follows from it consumes the mail."""
        machine.mail_ids, machine.mail_ms = (mail.mail_id,), mail.created_ms
        self._service.act(machine, move(self._service.now_ms()))
        if machine.mail_ids:  # nothing had to be written
            machine.mail_ids = ()
            self._service.submit(Commit(workflow_uuid=machine.run.workflow_uuid, consumed=(mail.mail_id,)))

    async def _lost(self, machine: ActivityMachine, attempt: int, mail: Mail) -> None:
        """The process that ran it died. What it left behind (start, heartbeat) is in the row."""
        row = await self._row(machine)
        if machine.expects(attempt):
            machine.served = self._service.serves(machine.spec.task_queue)
            self.ran(machine, row)
            self._by_mail(machine, mail, lambda now: machine.lost(now, row))
        else:
            self._service.submit(Commit(workflow_uuid=machine.run.workflow_uuid, consumed=(mail.mail_id,)))

    async def withdraw(self, machine: ActivityMachine, attempt: int, *, keep: bool) -> None:
        """Take an offer back unless somebody has taken it."""
        spec, run = machine.spec, machine.run.workflow_uuid
        success = await self._service.until_available(
            lambda: self._store.withdraw_activity(run, spec.seq, attempt, keep=keep)
        )
        if machine.state is State.WITHDRAWING and machine.attempt == attempt:
            self._service.act(machine, machine.withdrawn(self._service.now_ms(), success=success))

    async def flag(self, machine: ActivityMachine, attempt: int) -> None:
        """Let the next heartbeat in the process that runs it learn of a cancel, a pause or a reset."""
        row = await self._row(machine)
        if row is not None and row.attempt == attempt and row.worker is not None and machine.expects(attempt):
            flagged = replace(row, cancel_requested=machine.cancel_requested, operator=machine.operator)
            flagged.spec = offer(machine.spec) if row.offered else None
            self._service.write_row(machine, flagged)

    @staticmethod
    def ran(machine: ActivityMachine, row: ActivityRow | None) -> None:
        """All that a dead process has left of its worker is its own name."""
        if row is not None and row.worker is not None and row.worker != ASYNC_WORKER:
            machine.ran_by, machine.ran_in = "", row.worker

    async def _row(self, machine: ActivityMachine) -> ActivityRow | None:
        run, seq = machine.run.workflow_uuid, machine.spec.seq
        loaded = await self._service.until_available(lambda: self._store.load([run]))
        rows = [row for one in loaded for row in one.activities if row.seq == seq]
        return rows[0] if rows else None
