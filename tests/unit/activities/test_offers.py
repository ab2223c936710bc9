"""Attempts that run in a process that does not own their run."""

from __future__ import annotations

import asyncio

import pytest

from dbos_core.activities.attempt import CancelReason
from dbos_core.activities.effects import NOT_STARTED
from dbos_core.activities.service import Answer
from dbos_core.activities.spec import ASYNC_WORKER, OutcomeKind, RetryState, TimeoutKind
from dbos_core.errors import BadCommit
from dbos_core.testing.clock import settle
from tests.unit.activities.support import (
    LEASE_MS,
    RUN,
    START,
    Notes,
    Process,
    World,
    bounded,
    canceled,
    completed,
    failed,
    spec,
    world,
)


class Pair:
    """One process that owns the run, another that serves the activities' queue."""

    def __init__(self, world: World, owner: Process, worker: Process) -> None:
        self.world, self.owner, self.worker, self.notes = world, owner, worker, Notes()
        self.clock = world.clock

    async def serve(self, slots: int = 2) -> None:
        self.worker.service.serve("payments", self.notes, slots)
        await settle()

    async def lease_lapses(self) -> None:
        """The worker is silent for longer than its lease; the owner beats on and does what a kernel does then."""
        await self.clock.advance(LEASE_MS // 2)
        await self.owner.beat()
        await self.clock.advance(LEASE_MS // 2 + 1)
        await self.owner.store.take_over(self.owner.name, [self.worker.name], ["orders"], 10)
        await settle()


@pytest.fixture
async def pair():
    async with world() as made:
        owner, worker = await made.process("owner"), await made.process("worker")
        await owner.start_run()
        yield Pair(made, owner, worker)


async def test_it_runs_elsewhere_and_its_outcome_comes_by_mail(pair):
    await pair.serve()
    await pair.owner.schedule(spec(record='{"input": [1]}', heartbeat_ms=5_000))
    attempt = pair.notes.last
    assert attempt.spec == spec(record='{"input": [1]}', heartbeat_ms=5_000)
    assert (attempt.run.workflow_id, attempt.run.run_id, attempt.run.workflow_type) == (
        RUN.workflow_id, RUN.run_id, RUN.workflow_type,
    )  # fmt: skip
    pair.worker.service.completed(attempt.token, completed('"yes"'))
    await settle()
    outcome = pair.owner.finals[-1]
    assert (outcome.kind, outcome.record, outcome.started_ms, outcome.identity) == (
        OutcomeKind.COMPLETED, '"yes"', START, "worker-1",
    )  # fmt: skip
    await pair.owner.journal_final()
    assert await pair.owner.rows() == []
    assert await pair.owner.store.mail([RUN.workflow_uuid]) == []


async def test_what_ends_elsewhere_before_the_owner_knows_its_own_commit(pair):
    """The answer to the owner's commit is slower than the worker, its mail and whoever completes from outside."""
    await pair.serve()
    offered = [spec(1), spec(2), spec(3)]
    rows = [row for one in offered for row in pair.owner.service.schedule(RUN, one)]
    assert (await pair.owner.journal(activities=tuple(rows))).value == "committed"
    await settle()
    assert pair.notes.seqs() == [1, 2]
    pair.worker.service.completed(pair.notes.started[0].token, completed('"quick"'))
    pair.worker.service.will_complete_async(pair.notes.started[1].token)
    await settle()
    known = asyncio.ensure_future(pair.owner.service.released(RUN.workflow_uuid, 2))
    await settle()
    assert pair.owner.finals == []
    assert not known.done()
    for one in offered:
        pair.owner.service.release(RUN, one.seq)
    await known
    assert [outcome.record for outcome in pair.owner.finals] == ['"quick"']
    assert pair.owner.service.complete_outside(RUN.workflow_uuid, 2, None, completed('"outside"')) is Answer.OK
    assert [outcome.record for outcome in pair.owner.finals] == ['"quick"', '"outside"']


async def test_mail_about_a_commit_whose_answer_never_comes_is_for_the_next_owner(pair):
    await pair.serve()
    rows = pair.owner.service.schedule(RUN, spec())
    assert (await pair.owner.journal(activities=tuple(rows))).value == "committed"
    await settle()
    pair.worker.service.completed(pair.notes.last.token, completed('"kept"'))
    await settle()
    known = asyncio.ensure_future(pair.owner.service.released(RUN.workflow_uuid, 1))
    await settle()
    pair.owner.service.drop_run(RUN)
    await known
    assert len(await pair.owner.store.mail([RUN.workflow_uuid])) == 1
    await pair.owner.restore(spec())
    assert [outcome.record for outcome in pair.owner.finals] == ['"kept"']


async def test_an_offer_waits_for_a_worker(pair):
    await pair.owner.schedule(spec())
    await pair.clock.advance(30_000)
    await pair.serve()
    assert pair.notes.last.attempt == 1
    assert pair.notes.last.due_ms == START


async def test_the_owner_takes_its_own_offer_without_mail(pair):
    await pair.owner.schedule(spec())
    notes = Notes()
    pair.owner.service.serve("payments", notes, 1)
    await settle()
    pair.owner.service.completed(notes.last.token, completed())
    await settle()
    assert pair.owner.finals[-1].kind is OutcomeKind.COMPLETED
    assert pair.owner.finals[-1].mail_ids == ()
    await pair.owner.journal_final()
    assert await pair.owner.rows() == []


async def test_a_failure_elsewhere_is_offered_again_when_it_is_due(pair):
    await pair.serve()
    await pair.owner.schedule(spec())
    pair.worker.service.heartbeat(pair.notes.last.token, '"a"')
    pair.worker.service.heartbeat(pair.notes.last.token, '"b"')
    pair.worker.service.completed(pair.notes.last.token, failed())
    await settle()
    assert await pair.owner.store.mail([RUN.workflow_uuid]) == [], "consumed with the row of the next attempt"
    await pair.clock.advance(999)
    assert len(pair.notes.started) == 1
    await pair.clock.advance(1)
    assert (pair.notes.last.attempt, pair.notes.last.heartbeat) == (2, '"b"')


async def test_slots_limit_what_is_taken(pair):
    await pair.serve(slots=2)
    await pair.owner.schedule(*[spec(seq) for seq in range(1, 8)])
    assert len(pair.notes.started) == 2
    for index in range(7):
        assert len(pair.notes.started) > index
        pair.worker.service.completed(pair.notes.started[index].token, completed())
        await settle()
    assert sorted(pair.notes.seqs()) == list(range(1, 8))
    assert len(pair.owner.finals) == 7


async def test_a_cancel_before_anybody_took_it(pair):
    await pair.owner.schedule(spec())
    pair.owner.service.request_cancel(RUN, 1)
    await settle()
    assert pair.owner.finals[-1].record == NOT_STARTED
    await pair.serve()
    assert pair.notes.started == []


async def test_a_cancel_right_after_an_offer_that_is_still_being_written(pair):
    pair.owner.service.schedule(RUN, spec())
    notes = Notes()
    pair.owner.service.serve("payments", notes, 1)
    await settle()
    pair.owner.service.unserve("payments", notes)
    machine = pair.owner.service.find(RUN.workflow_uuid, "1")
    assert machine is not None
    machine.row_exists = False  # as if it had been planned while the queue was served
    pair.owner.service.release(RUN, 1)
    pair.owner.service.request_cancel(RUN, 1)
    await settle()
    assert pair.owner.finals[-1].record == NOT_STARTED
    assert await pair.owner.rows() == []


async def test_a_cancel_reaches_it_by_its_heartbeat(pair):
    await pair.serve()
    await pair.owner.schedule(spec(heartbeat_ms=1_000))
    pair.owner.service.request_cancel(RUN, 1)
    await settle()
    assert pair.notes.cancels == []
    pair.worker.service.heartbeat(pair.notes.last.token, '"x"')
    await settle()
    assert pair.notes.cancels == [(1, CancelReason.CANCELLED)]
    pair.worker.service.completed(pair.notes.last.token, canceled())
    await settle()
    assert pair.owner.finals[-1].kind is OutcomeKind.CANCELED


async def test_it_waits_too_long_for_a_worker(pair):
    await pair.owner.schedule(spec(schedule_to_start_ms=2_000))
    await pair.clock.advance(2_000)
    assert (pair.owner.finals[-1].timeout, pair.owner.finals[-1].has_row) == (TimeoutKind.SCHEDULE_TO_START, False)
    assert await pair.owner.rows() == []


async def test_one_that_was_taken_in_time_does_not_time_out(pair):
    await pair.serve()
    await pair.owner.schedule(spec(schedule_to_start_ms=2_000))
    await pair.clock.advance(5_000)
    assert pair.owner.finals == []
    pair.worker.service.completed(pair.notes.last.token, completed())
    await settle()
    assert pair.owner.finals[-1].kind is OutcomeKind.COMPLETED


async def test_its_clocks_run_where_it_runs(pair):
    await pair.serve()
    await pair.owner.schedule(spec(start_to_close_ms=3_000, retry=bounded(1)))
    await pair.clock.advance(3_000)
    assert pair.notes.cancels == [(1, CancelReason.TIMED_OUT)]
    assert pair.owner.finals[-1].timeout is TimeoutKind.START_TO_CLOSE


async def test_time_runs_out_while_it_runs_elsewhere(pair):
    await pair.serve()
    await pair.owner.schedule(spec(schedule_to_close_ms=3_000))
    await pair.clock.advance(3_000)
    assert pair.owner.finals[-1].timeout is TimeoutKind.SCHEDULE_TO_CLOSE
    await pair.owner.journal_final()
    pair.worker.service.heartbeat(pair.notes.last.token, None)
    await settle()
    assert pair.notes.cancels == [(1, CancelReason.NOT_FOUND)]
    pair.worker.service.completed(pair.notes.last.token, completed())
    await settle()
    assert len(pair.owner.finals) == 1


async def test_late_mail_is_consumed_and_does_nothing(pair):
    await pair.serve()
    await pair.owner.schedule(spec(schedule_to_close_ms=3_000))
    await pair.clock.advance(2_999)
    pair.worker.service.completed(pair.notes.last.token, completed())
    await pair.clock.advance(1)
    await settle()
    assert len(pair.owner.finals) == 1
    await pair.owner.journal_final()
    await pair.owner.read_mail()
    await settle()
    assert await pair.owner.store.mail([RUN.workflow_uuid]) == []


async def test_the_process_that_ran_it_dies(pair):
    await pair.serve()
    await pair.owner.schedule(spec())
    pair.worker.service.heartbeat(pair.notes.last.token, '"half"')
    await settle()
    await pair.worker.die()
    await pair.lease_lapses()
    (row,) = await pair.owner.rows()
    assert (row.attempt, row.offered, row.heartbeat) == (2, True, '"half"')
    assert await pair.owner.store.mail([RUN.workflow_uuid]) == []
    rescuer, notes = await pair.world.process("rescuer"), Notes()
    rescuer.service.serve("payments", notes, 1)
    await settle()
    assert (notes.last.attempt, notes.last.heartbeat) == (2, '"half"')


async def test_the_process_that_ran_the_last_attempt_dies(pair):
    await pair.serve()
    await pair.owner.schedule(spec(retry=bounded(1), start_to_close_ms=30_000))
    await pair.worker.die()
    await pair.lease_lapses()
    assert pair.owner.finals == [], "as on a server: its clock has to run out"
    await pair.clock.advance(30_000 - LEASE_MS - 1)
    outcome = pair.owner.finals[-1]
    assert (outcome.timeout, outcome.retry_state) == (TimeoutKind.START_TO_CLOSE, RetryState.MAXIMUM_ATTEMPTS_REACHED)


async def test_it_is_left_open_elsewhere_and_survives_both_processes(pair):
    await pair.serve()
    await pair.owner.schedule(spec())
    pair.worker.service.will_complete_async(pair.notes.last.token)
    await settle()
    assert [(row.worker, row.offered) for row in await pair.owner.rows()] == [(ASYNC_WORKER, False)]
    assert await pair.owner.store.mail([RUN.workflow_uuid]) == []
    await pair.worker.die()
    await pair.owner.die()
    await pair.clock.advance(LEASE_MS + 1)
    heir = await pair.world.process("heir")
    await heir.take_over(pair.owner, spec())
    assert heir.service.complete_outside(RUN.workflow_uuid, 1, 1, completed('"late"')) is Answer.OK
    assert (heir.finals[-1].record, heir.finals[-1].attempt) == ('"late"', 1)


async def test_the_owner_dies_while_it_runs_elsewhere(pair):
    await pair.serve()
    await pair.owner.schedule(spec())
    await pair.owner.die()
    await pair.clock.advance(LEASE_MS // 2)
    await pair.worker.beat()
    await pair.clock.advance(LEASE_MS // 2 + 1)
    heir = await pair.world.process("heir")
    await heir.take_over(pair.owner, spec())
    pair.worker.service.completed(pair.notes.last.token, completed('"yes"'))
    await settle()
    assert [o.record for o in heir.finals] == ['"yes"']
    assert len(pair.notes.started) == 1, "it did not run twice"


async def test_a_worker_takes_over_the_run_whose_attempt_it_runs(pair):
    await pair.serve()
    await pair.owner.schedule(spec())
    await pair.owner.die()
    await pair.clock.advance(LEASE_MS // 2)
    await pair.worker.beat()
    await pair.clock.advance(LEASE_MS // 2 + 1)
    await pair.worker.take_over(pair.owner, spec())
    pair.worker.service.completed(pair.notes.last.token, completed('"yes"'))
    await settle()
    assert [o.record for o in pair.worker.finals] == ['"yes"']
    assert len(pair.notes.started) == 1


async def test_an_outcome_that_the_database_refuses_becomes_a_failure_that_says_so(pair, monkeypatch):
    await pair.serve()
    await pair.owner.schedule(spec())
    submit = pair.worker.writer.submit

    def refuse_large(commit, done):
        if any(len(mail.message) > 10_000 for mail in commit.mail):
            done(BadCommit("the row is too large"))
        else:
            submit(commit, done)

    monkeypatch.setattr(pair.worker.writer, "submit", refuse_large)
    pair.worker.service.completed(pair.notes.last.token, completed("x" * 20_000))
    await settle()
    outcome = pair.owner.finals[-1]
    assert (outcome.kind, outcome.retry_state) == (OutcomeKind.FAILED, RetryState.NON_RETRYABLE_FAILURE)
    assert "could not be stored" in (outcome.record or "")


async def test_a_forgotten_activity_elsewhere_leaves_nothing_behind(pair):
    await pair.serve()
    await pair.owner.schedule(spec())
    pair.owner.service.request_cancel(RUN, 1)
    pair.owner.service.forget(RUN, 1)
    pair.worker.service.heartbeat(pair.notes.last.token, None)
    await settle()
    pair.worker.service.completed(pair.notes.last.token, canceled())
    await settle()
    assert pair.owner.finals == []
    assert await pair.owner.rows() == []
    assert await pair.owner.store.mail([RUN.workflow_uuid]) == []


async def test_mail_that_cannot_be_read_is_put_away(pair, caplog):
    from dbos_core import mailbox
    from dbos_core.commit import Commit, Mail

    junk = Mail(mail_id="dc1:junk", workflow_uuid=RUN.workflow_uuid, topic=mailbox.ACTIVITY, message='{"seq": "x"}')
    await pair.worker.writer.write(Commit(workflow_uuid=RUN.workflow_uuid, fenced=False, mail=(junk,)))
    await settle()
    assert await pair.owner.store.mail([RUN.workflow_uuid]) == []
    assert "cannot be read" in caplog.text


async def test_a_long_line_is_shared_with_others_who_serve_the_queue():
    async with world() as made:
        owner = await made.process("owner", shared=lambda queue: queue == "payments")
        worker = await made.process("worker")
        await owner.start_run()
        mine, theirs = Notes(), Notes()
        owner.service.serve("payments", mine, 2)
        worker.service.serve("payments", theirs, 10)
        await settle()
        for seq in range(1, 9):
            await owner.schedule(spec(seq))
        assert mine.seqs() == [1, 2]
        assert theirs.seqs() == [5, 6, 7, 8], "two run here, two wait here, the rest is for whoever has room"


async def test_offers_of_others_get_their_turn_beside_a_long_line_of_ones_own():
    async with world() as made:
        owner, worker = await made.process("owner"), await made.process("worker")
        await owner.start_run()
        notes = Notes()
        # The worker has a long line of its own: attempts of a run that it owns.
        worker.service.serve("payments", notes, 1)
        await settle()
        own = [spec(seq) for seq in range(1, 13)]
        for one in own:
            worker.service.schedule(RUN, one)
            worker.service.release(RUN, one.seq)
        await owner.schedule(spec(50))
        for _ in range(6):
            worker.service.completed(notes.last.token, completed())
            await settle()
        assert 50 in notes.seqs()
