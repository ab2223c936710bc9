"""Operators' commands through the service: durable before they are answered, known after a crash."""

from __future__ import annotations

import pytest

from dbos_core import mailbox
from dbos_core.activities.operating import Deed, OperatorCommand
from dbos_core.activities.service import Answer
from dbos_core.activities.wire import command_mail
from dbos_core.commit import Commit, Mail
from dbos_core.retry import RetryPolicy
from dbos_core.testing.clock import settle
from tests.unit.activities.support import LEASE_MS, RUN, Notes, bounded, failed, spec, world

UUID = RUN.workflow_uuid
HOUR_MS = 3_600_000


def command(do: Deed, **more) -> OperatorCommand:
    return OperatorCommand(do=do, at_ms=1, **more)


async def test_a_pause_is_written_before_it_is_answered():
    async with world() as w:
        here, notes = await w.process("here"), Notes()
        await here.start_run()
        here.service.serve("payments", notes, 1)
        await here.schedule(spec(1), spec(2))
        assert notes.seqs() == [1]

        assert await here.service.operate(UUID, 2, command(Deed.PAUSE)) is Answer.OK

        (row,) = [row for row in await here.rows() if row.seq == 2]
        assert "pause" in (row.operator or "")
        here.service.completed(notes.last.token, failed())
        await settle()
        assert notes.seqs() == [1]
        assert await here.service.operate(UUID, 2, command(Deed.UNPAUSE)) is Answer.OK
        assert notes.seqs() == [1, 2]


async def test_whoever_waits_for_a_slot_waits_once():
    async with world() as w:
        here, notes = await w.process("here"), Notes()
        await here.start_run()
        here.service.serve("payments", notes, 1)
        await here.schedule(spec(1), spec(2))
        for deed in (Deed.PAUSE, Deed.UNPAUSE, Deed.RESET, Deed.PAUSE, Deed.UNPAUSE):
            await here.service.operate(UUID, 2, command(deed))
        here.service.serve("payments", Notes(), 5)
        await settle()
        assert len([m for m in here.service.pending(UUID) if m.started]) == 2


async def test_unknown_and_unscheduled_activities_are_not_found():
    async with world() as w:
        here = await w.process("here")
        await here.start_run()
        assert await here.service.operate(UUID, 9, command(Deed.PAUSE)) is Answer.NOT_FOUND


async def test_a_pause_is_known_after_the_owner_died():
    async with world() as w:
        here, there, notes = await w.process("here"), await w.process("there"), Notes()
        await here.start_run()
        here.service.serve("payments", Notes(), 1)
        one = spec(1, retry=bounded(3))
        await here.schedule(one)
        await here.service.operate(UUID, 1, command(Deed.PAUSE))
        await here.die()
        await w.clock.advance(LEASE_MS + 1)
        there.service.serve("payments", notes, 1)
        await there.beat()
        await there.take_over(here, one)
        assert notes.started == []
        await there.service.operate(UUID, 1, command(Deed.UNPAUSE, reset_attempts=True))
        await settle()
        assert [attempt.attempt for attempt in notes.started] == [1]


async def test_a_command_that_comes_by_mail_to_a_paused_activity_is_carried_out():
    async with world() as w:
        here, notes = await w.process("here"), Notes()
        await here.start_run()
        here.service.serve("payments", notes, 1)
        await here.schedule(spec(1), spec(2))
        assert await here.service.operate(UUID, 2, command(Deed.PAUSE)) is Answer.OK
        here.service.completed(notes.last.token, failed())
        await settle()
        assert notes.seqs() == [1]
        left = Mail(
            mail_id=f"{mailbox.OWN_ID}left",
            workflow_uuid=UUID,
            topic=mailbox.ACTIVITY,
            message=command_mail(2, command(Deed.UNPAUSE)),
        )
        await here.writer.write(Commit(workflow_uuid=UUID, fenced=False, mail=(left,)))
        await settle()
        assert notes.seqs() == [1, 2]
        assert await here.store.mail([UUID]) == []


async def test_a_command_in_the_mailbox_comes_before_the_first_start():
    async with world() as w:
        here, there, notes = await w.process("here"), await w.process("there"), Notes()
        await here.start_run()
        one = spec(1)
        await here.journal()
        mail = Mail(
            mail_id=f"{mailbox.OWN_ID}test", workflow_uuid=UUID, topic=mailbox.ACTIVITY,
            message=command_mail(1, command(Deed.PAUSE)),
        )  # fmt: skip
        await here.writer.write(Commit(workflow_uuid=UUID, fenced=False, mail=(mail,)))
        await here.die()
        await w.clock.advance(LEASE_MS + 1)
        there.service.serve("payments", notes, 1)
        await there.beat()
        await there.take_over(here, one)
        assert notes.started == []
        (row,) = await there.rows()
        assert "pause" in (row.operator or "")
        assert await there.store.mail([UUID]) == []


@pytest.mark.parametrize("before", [[Deed.PAUSE], []], ids=["paused in its row", "paused by mail"])
async def test_the_last_word_in_the_mailbox_holds(before):
    """What was paused, and unpaused while nobody had its run, goes on at once."""
    async with world() as w:
        here, there, notes = await w.process("here"), await w.process("there"), Notes()
        await here.start_run()
        here.service.serve("payments", notes, 1)
        one = spec(1, retry=RetryPolicy(initial_ms=HOUR_MS, maximum_interval_ms=HOUR_MS))
        await here.schedule(one)
        here.service.completed(notes.last.token, failed())
        await settle()
        for deed in before:
            assert await here.service.operate(UUID, 1, command(deed)) is Answer.OK
        await here.die()
        for number, deed in enumerate([Deed.PAUSE, Deed.UNPAUSE, Deed.PAUSE, Deed.UNPAUSE, Deed.RESET]):
            mail = Mail(
                mail_id=f"{mailbox.OWN_ID}{number}", workflow_uuid=UUID, topic=mailbox.ACTIVITY,
                message=command_mail(1, command(deed)),
            )  # fmt: skip
            await there.writer.write(Commit(workflow_uuid=UUID, fenced=False, mail=(mail,)))
            if deed is Deed.UNPAUSE and before:
                break  # the reset would hide that nothing has happened
        await w.clock.advance(LEASE_MS + 1)
        there.service.serve("payments", notes, 1)
        await there.beat()
        await there.take_over(here, one)
        assert len(notes.started) == 2
        assert await there.store.mail([UUID]) == []


async def test_another_process_learns_by_its_heartbeat_and_stops_its_clocks():
    async with world() as w:
        here, there, notes = await w.process("here"), await w.process("there"), Notes()
        await here.start_run()
        await here.schedule(spec(1, start_to_close_ms=60_000))
        there.service.serve("payments", notes, 1)
        await settle()
        assert await here.service.operate(UUID, 1, command(Deed.PAUSE)) is Answer.OK
        there.service.heartbeat(notes.last.token, '["x"]')
        await settle()
        assert [reason.name for _, reason in notes.cancels] == ["PAUSED"]
        await w.clock.advance(120_000)
        await settle()
        assert here.finals == []
        there.service.completed(notes.last.token, failed())
        await settle()
        (machine,) = here.service.pending(UUID)
        assert (machine.state.name, machine.attempt) == ("PAUSED", 2)
