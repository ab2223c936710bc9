"""Activities of a run whose owner died, as the next owner finds them."""

from __future__ import annotations

import pytest

from dbos_core.activities.effects import NOT_STARTED
from dbos_core.activities.spec import OutcomeKind, RetryState, TimeoutKind
from dbos_core.testing.clock import settle
from tests.unit.activities.support import (
    LEASE_MS,
    RUN,
    START,
    Notes,
    Process,
    World,
    bounded,
    completed,
    failed,
    spec,
    world,
)


class Succession:
    """A process that owns and runs things, and the one that comes after it."""

    def __init__(self, world: World, first: Process) -> None:
        self.world, self.first, self.clock = world, first, world.clock
        self.before, self.after = Notes(), Notes()

    async def crash(self, *specs, serve: bool = True, cancel_requested: tuple[int, ...] = ()) -> Process:
        await self.first.die()
        await self.clock.advance(LEASE_MS + 1)
        heir = await self.world.process("heir")
        if serve:
            heir.service.serve("payments", self.after, 10)
            await settle()
        await heir.take_over(self.first, *specs, cancel_requested=cancel_requested)
        return heir


@pytest.fixture
async def over():
    async with world() as made:
        first = await made.process("first")
        await first.start_run()
        succession = Succession(made, first)
        first.service.serve("payments", succession.before, 2)
        await settle()
        yield succession


async def test_an_unbounded_attempt_runs_again_under_the_next_number(over):
    await over.first.schedule(spec())
    heir = await over.crash(spec())
    assert over.after.last.attempt == 2
    heir.service.completed(over.after.last.token, completed())
    assert heir.finals[-1].kind is OutcomeKind.COMPLETED


async def test_heartbeat_details_reach_the_attempt_after_a_crash(over):
    await over.first.schedule(spec())
    over.first.service.heartbeat(over.before.last.token, '"page 7"')
    await settle()
    await over.crash(spec())
    assert (over.after.last.attempt, over.after.last.heartbeat) == (2, '"page 7"')


async def test_a_backoff_goes_on_where_it_was(over):
    await over.first.schedule(spec(retry=bounded(5, initial_ms=30_000)))
    over.first.service.completed(over.before.last.token, failed())
    await settle()
    await over.crash(spec(retry=bounded(5, initial_ms=30_000)))
    assert over.after.started == []
    await over.clock.advance(30_000 - LEASE_MS - 2)
    assert over.after.started == []
    await over.clock.advance(1)
    assert (over.after.last.attempt, over.after.last.due_ms) == (2, START + 30_000)


async def test_the_last_bounded_attempt_does_not_run_again(over):
    await over.first.schedule(spec(retry=bounded(1), start_to_close_ms=30_000))
    heir = await over.crash(spec(retry=bounded(1), start_to_close_ms=30_000))
    assert heir.finals == []
    await over.clock.advance(30_000 - LEASE_MS - 1)
    outcome = heir.finals[-1]
    assert (outcome.timeout, outcome.retry_state, outcome.attempt, outcome.started_ms) == (
        TimeoutKind.START_TO_CLOSE, RetryState.MAXIMUM_ATTEMPTS_REACHED, 1, START,
    )  # fmt: skip
    assert over.after.started == []


async def test_the_last_bounded_attempt_that_beat_ends_by_its_heartbeat_clock(over):
    what = spec(retry=bounded(1), heartbeat_ms=15_000)
    await over.first.schedule(what)
    await over.clock.advance(3_000)
    over.first.service.heartbeat(over.before.last.token, '"h"')
    await settle()
    heir = await over.crash(what)
    await over.clock.advance(15_000 + 3_000 - (3_000 + LEASE_MS + 1))
    assert (heir.finals[-1].timeout, heir.finals[-1].heartbeat) == (TimeoutKind.HEARTBEAT, '"h"')


async def test_the_last_bounded_attempt_whose_clock_has_run_out_ends_at_once(over):
    await over.first.schedule(spec(retry=bounded(1), start_to_close_ms=5_000))
    heir = await over.crash(spec(retry=bounded(1), start_to_close_ms=5_000))
    assert heir.finals[-1].timeout is TimeoutKind.START_TO_CLOSE


async def test_a_bounded_attempt_that_waited_for_a_slot_was_not_used_up(over):
    what = spec(3, retry=bounded(1))
    await over.first.schedule(spec(1), spec(2))
    await over.first.schedule(what)
    await over.crash(what)
    assert [(a.spec.seq, a.attempt) for a in over.after.started] == [(3, 1)]


async def test_a_bounded_attempt_with_one_left_is_tried_at_once(over):
    await over.first.schedule(spec(retry=bounded(2)))
    await over.crash(spec(retry=bounded(2)))
    assert over.after.last.attempt == 2


async def test_an_attempt_that_kills_every_process_backs_off(over):
    await over.first.schedule(spec(retry=bounded(9, initial_ms=60_000)))
    await over.crash(spec(retry=bounded(9, initial_ms=60_000)))
    assert over.after.started == []
    await over.clock.advance(60_000 - LEASE_MS - 1)
    assert over.after.last.attempt == 2


async def test_without_a_worker_here_it_is_offered(over):
    await over.first.schedule(spec())
    heir = await over.crash(spec(), serve=False)
    assert [(row.attempt, row.offered) for row in await heir.rows()] == [(2, True)]


async def test_a_cancel_that_the_journal_requests_reaches_the_next_attempts_place(over):
    await over.first.schedule(spec())
    over.first.service.request_cancel(RUN, 1)
    over.first.service.completed(over.before.last.token, failed())
    over.first.finals.clear()  # the journal never heard of it
    heir = await over.crash(spec(), cancel_requested=(1,), serve=False)
    await settle()
    assert heir.finals[-1].record == NOT_STARTED


async def test_time_ran_out_while_nobody_owned_the_run(over):
    what = spec(schedule_to_close_ms=5_000, schedule_to_start_ms=5_000)
    await over.first.schedule(what)
    heir = await over.crash(what)
    assert heir.finals[-1].kind is OutcomeKind.TIMED_OUT
    assert over.after.started == []


async def test_rows_of_activities_that_the_journal_has_ended_go_away(over):
    await over.first.schedule(spec(1), spec(2))
    over.first.service.heartbeat(over.before.started[0].token, '"h"')
    await settle()
    assert len(await over.first.rows()) == 1
    heir = await over.crash(spec(2))
    assert [(row.seq, row.attempt) for row in await heir.rows()] == [(2, 2)], "of the other one only what goes on"


async def test_a_run_that_comes_back_to_the_process_that_ran_its_attempt(over):
    await over.first.schedule(spec(retry=bounded(3)))
    over.first.service.drop_run(RUN)
    await over.first.restore(spec(retry=bounded(3)))
    await over.clock.advance(1_000)
    assert [a.attempt for a in over.before.started] == [1, 2]
    over.first.service.completed(over.before.started[0].token, completed('"stale"'))
    over.first.service.completed(over.before.started[1].token, completed('"fresh"'))
    assert [o.record for o in over.first.finals] == ['"fresh"']
