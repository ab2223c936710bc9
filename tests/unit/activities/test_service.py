"""Activities of runs that this process owns, run by executors of this process."""

from __future__ import annotations

from functools import partial

import pytest

from dbos_core import failpoints
from dbos_core.activities.attempt import CancelReason
from dbos_core.activities.effects import NOT_STARTED
from dbos_core.activities.execution import Throttle
from dbos_core.activities.service import Answer, Signs
from dbos_core.activities.spec import ASYNC_WORKER, OutcomeKind, RetryState, TimeoutKind, timeout_failure
from dbos_core.testing.clock import settle
from tests.unit.activities.support import (
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


@pytest.fixture
async def here():
    async with world() as made:
        process = await made.process("p1")
        await process.start_run()
        yield process


@pytest.fixture
async def notes(here: Process) -> Notes:
    executor = Notes()
    here.service.serve("payments", executor, 2)
    await settle()
    return executor


def clock_of(process: Process):
    return process.world.clock


async def test_an_activity_completes_without_a_write_or_a_clock(here, notes):
    await here.schedule(spec(start_to_close_ms=None))
    assert (notes.last.attempt, notes.last.started_ms, notes.last.run) == (1, START, RUN)
    assert here.service.completed(notes.last.token, completed('"yes"'))
    assert [(o.kind, o.record, o.has_row) for o in here.finals] == [(OutcomeKind.COMPLETED, '"yes"', False)]
    assert await here.rows() == []
    assert len(here.service.clock) == 0


async def test_nothing_starts_before_its_commit(here, notes):
    assert here.service.schedule(RUN, spec()) == []
    await settle()
    assert notes.started == []
    here.service.release(RUN, 1)
    assert notes.seqs() == [1]


async def test_slots_are_used_first_come_first_served(here, notes):
    await here.schedule(*[spec(seq) for seq in range(1, 6)])
    assert notes.seqs() == [1, 2]
    here.service.completed(notes.started[1].token, completed())
    assert notes.seqs() == [1, 2, 3]
    here.service.completed(notes.started[0].token, completed())
    here.service.completed(notes.started[2].token, completed())
    assert notes.seqs() == [1, 2, 3, 4, 5]
    assert here.service.running(notes) == 2


async def test_one_that_is_cancelled_in_the_line_never_starts(here, notes):
    await here.schedule(*[spec(seq) for seq in range(1, 5)])
    here.service.request_cancel(RUN, 3)
    assert (here.finals[-1].kind, here.finals[-1].record) == (OutcomeKind.CANCELED, NOT_STARTED)
    here.service.completed(notes.started[0].token, completed())
    assert notes.seqs() == [1, 2, 4]


async def test_executors_on_one_queue_take_turns(here, notes):
    other = Notes()
    here.service.serve("payments", other, 2)
    await here.schedule(*[spec(seq) for seq in range(1, 5)])
    assert (len(notes.started), len(other.started)) == (2, 2)


async def test_a_slot_is_held_until_the_function_returns(here, notes):
    await here.schedule(spec(1, start_to_close_ms=1_000, retry=bounded(1)), spec(2), spec(3))
    await clock_of(here).advance(1_000)
    assert here.finals[-1].timeout is TimeoutKind.START_TO_CLOSE
    assert notes.seqs() == [1, 2], "the function still runs, whatever its workflow was told"
    here.service.completed(notes.started[0].token, completed())
    assert notes.seqs() == [1, 2, 3]
    assert len(here.finals) == 1


async def test_a_failed_attempt_is_tried_again(here, notes):
    await here.schedule(spec())
    here.service.heartbeat(notes.last.token, '"half"')
    here.service.completed(notes.last.token, failed())
    await settle()
    (row,) = await here.rows()
    assert (row.attempt, row.due_ms, row.started_ms, row.heartbeat) == (2, START + 1_000, None, '"half"')
    await clock_of(here).advance(1_000)
    assert (notes.last.attempt, notes.last.due_ms, notes.last.heartbeat) == (2, START + 1_000, '"half"')
    here.service.completed(notes.last.token, completed())
    assert here.finals[-1].has_row
    await here.journal_final()
    assert await here.rows() == []


async def test_details_are_carried_on_until_they_are_overwritten(here, notes):
    await here.schedule(spec())
    here.service.heartbeat(notes.last.token, '"first"')
    here.service.completed(notes.last.token, failed())
    await clock_of(here).advance(1_000)
    here.service.completed(notes.last.token, failed())
    await clock_of(here).advance(2_000)
    assert (notes.last.attempt, notes.last.heartbeat) == (3, '"first"')


async def test_two_timeouts_in_a_row_are_each_others_cause(here, notes):
    await here.schedule(spec(start_to_close_ms=5_000, retry=bounded(2)))
    await clock_of(here).advance(5_000)
    here.service.completed(notes.last.token, canceled())
    await clock_of(here).advance(1_000)
    assert notes.last.attempt == 2
    await clock_of(here).advance(5_000)
    outcome = here.finals[-1]
    assert (outcome.timeout, outcome.retry_state) == (TimeoutKind.START_TO_CLOSE, RetryState.MAXIMUM_ATTEMPTS_REACHED)
    assert outcome.last_failure == timeout_failure(TimeoutKind.START_TO_CLOSE)


async def test_a_timeout_with_no_time_for_another_attempt_is_schedule_to_close(here, notes):
    await here.schedule(spec(start_to_close_ms=1_000, schedule_to_close_ms=1_500))
    await clock_of(here).advance(1_000)
    outcome = here.finals[-1]
    assert (outcome.timeout, outcome.retry_state) == (TimeoutKind.SCHEDULE_TO_CLOSE, RetryState.TIMEOUT)


async def test_time_runs_out_while_an_attempt_runs(here, notes):
    await here.schedule(spec(start_to_close_ms=5_000, schedule_to_close_ms=2_000))
    await clock_of(here).advance(2_000)
    assert here.finals[-1].timeout is TimeoutKind.SCHEDULE_TO_CLOSE
    assert notes.cancels == [(1, CancelReason.TIMED_OUT)]
    here.service.completed(notes.last.token, completed())
    assert len(here.finals) == 1


async def test_it_waits_too_long_for_a_slot(here, notes):
    await here.schedule(spec(1), spec(2), spec(3, schedule_to_start_ms=3_000))
    await clock_of(here).advance(3_000)
    assert here.finals[-1].timeout is TimeoutKind.SCHEDULE_TO_START


async def test_a_cancel_reaches_a_running_attempt_by_its_heartbeat(here, notes):
    await here.schedule(spec())
    here.service.request_cancel(RUN, 1)
    assert notes.cancels == []
    here.service.heartbeat(notes.last.token, None)
    assert notes.cancels == [(1, CancelReason.CANCELLED)]
    here.service.completed(notes.last.token, canceled())
    assert here.finals[-1].kind is OutcomeKind.CANCELED


async def test_a_forgotten_activity_is_cancelled_and_tells_nobody(here, notes):
    await here.schedule(spec())
    here.service.heartbeat(notes.last.token, '"x"')
    here.service.request_cancel(RUN, 1)
    here.service.forget(RUN, 1)
    here.service.heartbeat(notes.last.token, None)
    here.service.completed(notes.last.token, canceled())
    await settle()
    assert here.finals == []
    assert await here.rows() == []


async def test_an_abandoned_activity_goes_on_with_its_retries(here, notes):
    await here.schedule(spec())
    here.service.forget(RUN, 1)
    here.service.completed(notes.last.token, failed())
    await clock_of(here).advance(1_000)
    assert notes.last.attempt == 2
    here.service.completed(notes.last.token, completed())
    await settle()
    assert here.finals == []
    assert await here.rows() == []


async def test_a_dropped_run_lets_its_attempts_know_by_heartbeat(here, notes):
    await here.schedule(spec())
    here.service.drop_run(RUN)
    here.service.heartbeat(notes.last.token, None)
    assert notes.cancels == [(1, CancelReason.NOT_FOUND)]
    assert here.service.completed(notes.last.token, completed())
    assert here.finals == []
    assert here.service.running(notes) == 0


async def test_a_dropped_run_starts_nothing_more(here, notes):
    await here.schedule(*[spec(seq) for seq in range(1, 5)])
    here.service.drop_run(RUN)
    here.service.completed(notes.started[0].token, completed())
    await clock_of(here).advance(120_000)
    assert notes.seqs() == [1, 2]


async def test_a_plan_whose_commit_lost_gives_its_slot_back(here, notes):
    for seq in (1, 2):
        here.service.schedule(RUN, spec(seq, retry=bounded(1)))
    here.service.forget(RUN, 1)
    here.service.drop_run(RUN)
    await here.schedule(spec(1), spec(2))
    assert notes.seqs() == [1, 2]


async def test_a_broken_executor_fails_its_attempt_only(here, caplog):
    class Broken(Notes):
        def start(self, attempt):
            if attempt.spec.seq == 1:
                raise RuntimeError("no threads left")
            super().start(attempt)

    executor = Broken()
    here.service.serve("payments", executor, 1)
    await here.schedule(spec(1, retry=bounded(1)), spec(2))
    assert here.finals[-1].kind is OutcomeKind.FAILED
    assert "no threads left" in (here.finals[-1].record or "")
    assert executor.seqs() == [2]


async def test_heartbeats_are_written_throttled_by_the_lanes_settings(here):
    executor = Notes()
    here.service.serve("payments", executor, 1, throttle=Throttle(default_ms=1_000))
    await here.schedule(spec())
    for text in ("1", "2", "3"):
        here.service.heartbeat(executor.last.token, text)
    await settle()
    assert [row.heartbeat for row in await here.rows()] == ["1"]
    await clock_of(here).advance(1_000)
    assert [(row.heartbeat, row.started_ms) for row in await here.rows()] == [("3", START)]


# -- bounded attempts --------------------------------------------------------------------------------------------------


async def test_a_bounded_attempt_is_recorded_by_the_commit_that_schedules_it(here, notes):
    (row,) = here.service.schedule(RUN, spec(retry=bounded(1)))
    assert (row.attempt, row.started_ms, row.worker) == (1, START, "p1")
    here.service.release(RUN, 1)
    assert notes.last.attempt == 1, "at once: its start is in the database already"


async def test_a_bounded_attempt_that_waits_for_a_slot_is_recorded_when_it_gets_one(here, notes):
    await here.schedule(spec(1), spec(2))
    await here.schedule(spec(3, retry=bounded(1)))
    assert await here.rows() == []
    here.service.completed(notes.started[0].token, completed())
    assert notes.seqs() == [1, 2], "not before the row is there"
    await settle()
    assert notes.seqs() == [1, 2, 3]
    assert [(row.seq, row.attempt, row.started_ms) for row in await here.rows()] == [(3, 1, START)]


async def test_a_second_bounded_attempt_is_recorded_before_it_starts(here, notes):
    await here.schedule(spec(retry=bounded(2)))
    here.service.completed(notes.last.token, failed())
    await clock_of(here).advance(1_000)
    assert [(row.attempt, row.started_ms) for row in await here.rows()] == [(2, START + 1_000)]
    assert notes.last.attempt == 2
    here.service.completed(notes.last.token, failed())
    assert here.finals[-1].retry_state is RetryState.MAXIMUM_ATTEMPTS_REACHED


async def test_a_bounded_attempt_does_not_start_if_the_run_went_elsewhere(here, notes):
    await here.schedule(spec(retry=bounded(2)))
    here.service.completed(notes.last.token, failed())
    await settle()
    await here.store.release("p1", [RUN.workflow_uuid])
    assert await here.store.claim_one("p2", RUN.workflow_uuid)
    await clock_of(here).advance(1_000)
    assert len(notes.started) == 1
    assert here.lost == [RUN.workflow_uuid]
    assert here.service._queues["payments"].free == 2


async def test_a_row_that_the_database_refuses_ends_the_activity(here, notes):
    await here.schedule(spec(retry=bounded(3)))
    here.service.completed(notes.last.token, failed(record='"a NUL: \x00"'))
    await clock_of(here).advance(1_000)
    assert len(notes.started) == 1
    assert (here.finals[-1].retry_state, here.finals[-1].kind) == (
        RetryState.NON_RETRYABLE_FAILURE,
        OutcomeKind.FAILED,
    )
    assert here.service._queues["payments"].free == 2


# -- shutdown ----------------------------------------------------------------------------------------------------------


async def test_a_worker_that_shuts_down_hands_its_work_on(here, notes):
    await here.schedule(*[spec(seq) for seq in (1, 2, 3)])
    here.service.unserve("payments", notes)
    await settle()
    assert [(row.seq, row.offered) for row in await here.rows()] == [(3, True)], "what waited is for others"
    here.service.shut_down(notes)
    assert notes.cancels == [(1, CancelReason.WORKER_SHUTDOWN), (1, CancelReason.WORKER_SHUTDOWN)]
    for attempt in notes.started:
        here.service.completed(attempt.token, canceled())
    assert here.finals == []
    await clock_of(here).advance(1_000)
    assert [(row.seq, row.attempt, row.offered) for row in await here.rows()] == [
        (1, 2, True), (2, 2, True), (3, 1, True),
    ]  # fmt: skip
    again = Notes()
    here.service.serve("payments", again, 10)
    await settle()
    assert sorted((a.spec.seq, a.attempt) for a in again.started) == [(1, 2), (2, 2), (3, 1)]


async def test_another_worker_of_the_same_queue_keeps_the_line(here, notes):
    await here.schedule(*[spec(seq) for seq in (1, 2, 3)])
    other = Notes()
    here.service.unserve("payments", notes)
    here.service.serve("payments", other, 1)
    await settle()
    assert other.seqs() == [3]


async def test_a_recorded_attempt_whose_worker_left_is_tried_again(here, notes):
    rows = here.service.schedule(RUN, spec(retry=bounded(2)))
    here.service.unserve("payments", notes)
    assert (await here.journal(activities=tuple(rows))).value == "committed"
    here.service.release(RUN, 1)
    assert notes.started == []
    await clock_of(here).advance(1_000)
    assert [(row.attempt, row.offered) for row in await here.rows()] == [(2, True)]


# -- completion from outside -------------------------------------------------------------------------------------------


async def test_an_attempt_left_open_frees_its_slot_and_is_completed_from_outside(here, notes):
    await here.schedule(spec(1), spec(2), spec(3))
    assert here.service.will_complete_async(notes.started[0].token)
    assert notes.seqs() == [1, 2, 3]
    await settle()
    assert [(row.seq, row.worker) for row in await here.rows()] == [(1, ASYNC_WORKER)]
    assert here.service.complete_outside(RUN.workflow_uuid, 1, 1, completed('"late"')) is Answer.OK
    assert here.finals[-1].record == '"late"'
    assert here.service.complete_outside(RUN.workflow_uuid, 1, 1, completed()) is Answer.NOT_FOUND
    await here.journal_final()
    assert await here.rows() == []


async def test_an_attempt_left_open_is_completed_by_its_token(here, notes):
    await here.schedule(spec())
    here.service.will_complete_async(notes.last.token)
    assert here.service.completed(notes.last.token, completed())
    assert not here.service.completed(notes.last.token, completed())
    assert len(here.finals) == 1


async def test_an_attempt_left_open_still_times_out_and_beats(here, notes):
    await here.schedule(spec(heartbeat_ms=2_000, retry=bounded(1)))
    here.service.will_complete_async(notes.last.token)
    await clock_of(here).advance(1_500)
    assert here.service.heartbeat_outside(RUN.workflow_uuid, 1, None, '"alive"') == (Answer.OK, Signs())
    here.service.request_cancel(RUN, 1)
    assert here.service.heartbeat_outside(RUN.workflow_uuid, 1, 1, '"alive"') == (Answer.OK, Signs(cancel=True))
    await clock_of(here).advance(2_000)
    assert (here.finals[-1].timeout, here.finals[-1].heartbeat) == (TimeoutKind.HEARTBEAT, '"alive"')
    assert here.finals[-1].retry_state is RetryState.CANCEL_REQUESTED
    assert here.service.heartbeat_outside(RUN.workflow_uuid, 1, 1, None) == (Answer.NOT_FOUND, Signs())


async def test_it_ends_as_canceled_from_outside_only_if_that_was_requested(here, notes):
    await here.schedule(spec())
    here.service.will_complete_async(notes.last.token)
    assert here.service.complete_outside(RUN.workflow_uuid, 1, None, canceled()) is Answer.NOT_REQUESTED
    here.service.request_cancel(RUN, 1)
    assert here.service.complete_outside(RUN.workflow_uuid, 1, None, canceled()) is Answer.OK


async def test_a_failure_from_outside_is_tried_again_with_a_new_token(here, notes):
    await here.schedule(spec())
    first = notes.last.token
    here.service.will_complete_async(first)
    assert here.service.complete_outside(RUN.workflow_uuid, 1, 1, failed(heartbeat='"h"')) is Answer.OK
    await clock_of(here).advance(1_000)
    assert (notes.last.attempt, notes.last.heartbeat) == (2, '"h"')
    assert notes.last.token != first
    assert here.service.complete_outside(RUN.workflow_uuid, 1, 1, completed()) is Answer.NOT_FOUND


async def test_what_is_completed_from_outside_while_it_runs_is_dropped_when_it_returns(here, notes):
    await here.schedule(spec())
    assert here.service.find(RUN.workflow_uuid, "1") is not None
    assert here.service.complete_outside(RUN.workflow_uuid, 1, None, completed('"outside"')) is Answer.OK
    here.service.heartbeat(notes.last.token, None)
    assert notes.cancels == [(1, CancelReason.NOT_FOUND)]
    here.service.completed(notes.last.token, completed('"inside"'))
    assert [o.record for o in here.finals] == ['"outside"']
    assert here.service.running(notes) == 0


# -- rates -------------------------------------------------------------------------------------------------------------


async def test_starts_per_second_are_limited(here):
    executor = Notes()
    here.service.serve("payments", executor, 100, max_per_second=2)
    await here.schedule(*[spec(seq) for seq in range(1, 7)])
    assert len(executor.started) == 2
    await clock_of(here).advance(1_000)
    assert len(executor.started) == 4
    await clock_of(here).advance(1_100)
    assert executor.seqs() == [1, 2, 3, 4, 5, 6]


async def test_the_queues_limit_holds_for_all_its_executors(here):
    executors = [Notes(), Notes()]
    for executor in executors:
        here.service.serve("payments", executor, 100, max_queue_per_second=0.5)
    await here.schedule(*[spec(seq) for seq in range(1, 4)])
    assert sum(len(e.started) for e in executors) == 1
    await clock_of(here).advance(4_100)
    assert sum(len(e.started) for e in executors) == 3


@pytest.mark.parametrize("rate", [0, -1])
async def test_a_queue_without_a_rate_rests_until_it_has_one(here, rate):
    executor, other = Notes(), Notes()
    here.service.serve("payments", executor, 100, max_queue_per_second=rate)
    here.service.share_rates({"payments": 2})
    await here.schedule(*[spec(seq) for seq in range(1, 4)])
    await clock_of(here).advance(60_000)
    assert executor.started == []
    here.service.serve("payments", other, 100, max_queue_per_second=10)
    await clock_of(here).advance(0)
    assert len(executor.started) + len(other.started) == 3


async def test_a_queues_limit_is_shared_with_other_processes(here):
    executor = Notes()
    here.service.serve("payments", executor, 100, max_queue_per_second=4)
    here.service.serve("mail", Notes(), 100)
    assert here.service.limited_queues == ["payments"]
    here.service.share_rates({"payments": 2, "elsewhere": 3})
    await here.schedule(*[spec(seq) for seq in range(1, 13)])
    assert len(executor.started) == 2
    await clock_of(here).advance(1_000)
    assert len(executor.started) == 4
    here.service.share_rates({"payments": 1})
    await clock_of(here).advance(1_500)
    assert len(executor.started) in (9, 10), "half of a start may have been there already"


# -- failpoints --------------------------------------------------------------------------------------------------------


async def test_the_places_to_crash_are_passed_in_order(here, notes):
    passed: list[str] = []
    for name in ("activity.before_start", "activity.after_run", "activity.before_report"):
        failpoints.arm(name, partial(passed.append, name))
    try:
        await here.schedule(spec())
        assert passed == ["activity.before_start"]
        here.service.completed(notes.last.token, completed())
    finally:
        failpoints.disarm()
    assert passed == ["activity.before_start", "activity.after_run", "activity.before_report"]


async def test_two_services_know_nothing_of_each_other():
    async with world() as made:
        first, second = await made.process("a"), await made.process("b")
        notes = [Notes(), Notes()]
        first.service.serve("payments", notes[0], 1)
        second.service.serve("other", notes[1], 1)
        assert (set(first.service.queues), set(second.service.queues)) == ({"payments"}, {"other"})
    assert isinstance(made, World)
