"""Every move of the machine's table is made at least once, and each leads where it should with the right effects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from dbos_core.activities import effects as fx
from dbos_core.activities.machine import AWAITS_OUTCOME
from dbos_core.activities.moves import MOVES, Input, State
from dbos_core.activities.spec import (
    ASYNC_WORKER,
    AttemptOutcome,
    OutcomeKind,
    RetryState,
    TimeoutKind,
)
from dbos_core.errors import Ours
from tests.unit.activities import test_operated_machine
from tests.unit.activities.lives import (
    WALKED,
    Life,
    a_row,
    backoff,
    final,
    kinds,
    offered,
    ready,
    recording,
    row,
    spent,
    started,
    taken_row,
    timer,
    withdrawing,
)
from tests.unit.activities.support import START, bounded, canceled, completed, failed, spec

LOST = AttemptOutcome(kind=OutcomeKind.TIMED_OUT, timeout=TimeoutKind.START_TO_CLOSE)

# -- one story per line of the table ----------------------------------------------------------------------------------


def planned_attempt_starts_once_its_recorded_start_is_committed():
    life = Life(spec(retry=bounded(1)))
    first = life.plan(START + 3, slot_held=True)
    assert first is not None
    assert (first.attempt, first.started_ms, first.worker, first.offered) == (1, START + 3, "us", False)
    assert kinds(life.release(START + 5)) == ["Start"]
    assert life.started_ms == START + 3


def planned_attempt_without_a_slot_leaves_no_row_that_would_use_it_up():
    assert Life(spec(retry=bounded(1))).plan(START, slot_held=False) is None
    ready(spec(retry=bounded(1)))


def planned_unbounded_attempt_leaves_no_row():
    assert Life().plan(START, slot_held=False) is None


def planned_attempt_is_offered():
    offered()


def planned_attempt_waits_while_a_clock_that_was_set_back_says_that_it_is_not_due():
    life = Life()
    assert timer(life.release(START - 5_000)) == START
    assert life.state is State.BACKOFF
    assert kinds(life.clock(START)) == ["Enqueue"]


def planned_attempt_whose_queue_was_just_left_is_offered_by_a_row_of_its_own():
    life = Life(served=False)
    effects = life.release(START)
    assert kinds(effects) == ["WriteRow"]
    assert row(effects).offered


def planned_attempt_is_given_up():
    life = Life()
    assert kinds(life.forget(START)) == ["ReturnSlot"]
    assert life.state is State.CLOSED


def ready_attempt_starts():
    assert started().started_ms == START


def ready_bounded_attempt_is_recorded_before_it_starts():
    life = recording()
    assert life.state is State.RECORDING
    assert kinds(life.recorded(START + 2)) == ["Start"]


def ready_attempt_waits_too_long_for_its_start():
    life = Life(spec(schedule_to_start_ms=1_000, schedule_to_close_ms=1_000))
    assert timer(life.release(START)) == START + 1_000
    assert kinds(life.clock(START + 999)) == []
    outcome = final(life.clock(START + 1_000))
    assert (outcome.timeout, outcome.retry_state, outcome.attempt) == (
        TimeoutKind.SCHEDULE_TO_START, RetryState.TIMEOUT, 0,
    )  # fmt: skip


def ready_attempt_is_cancelled_before_its_start():
    outcome = final(ready().cancel(START + 9))
    assert (outcome.kind, outcome.record, outcome.retry_state) == (
        OutcomeKind.CANCELED, fx.NOT_STARTED, RetryState.CANCEL_REQUESTED,
    )  # fmt: skip
    assert outcome.started_ms is None


def ready_attempt_is_offered_when_the_last_worker_leaves():
    life = ready()
    effects = life.unserved(START + 1)
    assert row(effects).offered
    assert row(effects).started_ms is None


def ready_attempt_is_forgotten_and_goes_on():
    life = ready()
    assert kinds(life.forget(START)) == []
    assert kinds(life.slot_free(START)) == ["Start"]
    assert kinds(life.ended(START, completed())) == []
    assert life.state is State.CLOSED


def recording_is_cancelled_meanwhile_and_never_starts():
    life = recording()
    assert kinds(life.cancel(START)) == []
    effects = life.recorded(START + 1)
    assert kinds(effects) == ["ReturnSlot", "Final"]
    assert final(effects).record == fx.NOT_STARTED
    assert final(effects).has_row


def recording_takes_longer_than_there_is_time():
    life = ready(spec(retry=bounded(2), schedule_to_close_ms=1_000))
    life.slot_free(START)
    assert timer(life.clock(START + 1_000)) is None, "no timer in the past over and over again"
    outcome = final(life.recorded(START + 1_500))
    assert (outcome.timeout, outcome.started_ms) == (TimeoutKind.SCHEDULE_TO_CLOSE, None)


def recording_is_refused_by_the_store():
    life = recording()
    assert final(life.ended(START, failed(non_retryable=True))).retry_state is RetryState.NON_RETRYABLE_FAILURE


def recording_is_refused_and_tried_again():
    life = recording()
    life.ended(START, failed())
    assert life.state is State.BACKOFF


def recording_is_forgotten():
    life = recording()
    assert kinds(life.forget(START)) == []


def started_attempt_completes():
    outcome = final(started().ended(START + 5, completed('"yes"')))
    assert (outcome.kind, outcome.record, outcome.attempt, outcome.started_ms, outcome.identity, outcome.has_row) == (
        OutcomeKind.COMPLETED, '"yes"', 1, START, "worker-1", False,
    )  # fmt: skip


def started_attempt_fails_and_is_tried_again_later():
    life = started()
    effects = life.ended(START + 100, failed(heartbeat='"half"'))
    assert kinds(effects) == ["WriteRow"]
    written = row(effects)
    assert (written.attempt, written.due_ms, written.started_ms, written.last_failure, written.heartbeat) == (
        2, START + 1_100, None, '"boom"', '"half"',
    )  # fmt: skip
    assert timer(effects) == START + 1_100


def started_attempt_leaves_the_time_of_its_last_heartbeat_to_the_next():
    life = started(spec(heartbeat_ms=4_000))
    life.beat(START + 40, '"half"')
    assert row(life.ended(START + 100, failed())).heartbeat_at_ms == START + 40
    held_back = started(spec(heartbeat_ms=4_000))
    assert row(held_back.ended(START + 100, failed(heartbeat='"half"'))).heartbeat_at_ms == START + 100


def started_attempt_ends_as_canceled():
    life = started()
    assert kinds(life.cancel(START)) == ["DeliverCancel"]
    assert kinds(life.cancel(START)) == [], "once"
    outcome = final(life.ended(START, canceled()))
    assert (outcome.kind, outcome.record, outcome.retry_state) == (
        OutcomeKind.CANCELED, '"stopped"', RetryState.CANCEL_REQUESTED,
    )  # fmt: skip


def started_attempt_heartbeats():
    life = started()
    effects = life.beat(START + 40, '"page 3"')
    written = row(effects)
    assert (written.heartbeat, written.heartbeat_at_ms, written.started_ms, written.worker) == (
        '"page 3"', START + 40, START, "us",
    )  # fmt: skip
    assert kinds(started().beat(START, None)) == [], "nothing that a later attempt could miss"


def started_attempt_is_left_open():
    effects = started().leave_open(START + 5)
    assert kinds(effects) == ["WriteRow", "LeaveOpen"]
    assert row(effects).worker == ASYNC_WORKER


def started_attempt_runs_out_of_time():
    life = Life(spec(schedule_to_close_ms=2_000))
    life.release(START)
    life.slot_free(START)
    assert kinds(life.clock(START + 1_999)) == []
    effects = life.clock(START + 2_000)
    assert kinds(effects) == ["Abort", "Final"]
    assert (final(effects).timeout, final(effects).retry_state) == (TimeoutKind.SCHEDULE_TO_CLOSE, RetryState.TIMEOUT)
    assert final(effects).started_ms == START


def started_and_cancelled_attempt_runs_out_of_time():
    life = started(spec(schedule_to_close_ms=2_000))
    life.cancel(START)
    assert final(life.clock(START + 2_000)).retry_state is RetryState.CANCEL_REQUESTED


def started_attempt_outlives_the_news_that_its_process_died():
    life = offered()
    life.leave_open(START + 30, START + 12)
    assert kinds(life.lost(START + 10_000, None)) == []


def started_attempt_is_forgotten():
    life = started()
    life.cancel(START)
    life.forget(START)
    assert kinds(life.ended(START, failed())) == [], "no retry after a cancel, and nobody to tell"


def forgotten_activity_takes_its_row_along():
    life = backoff()
    life.forget(START)
    life.clock(START + 1_100)
    life.slot_free(START + 1_100)
    assert kinds(life.ended(START + 1_200, completed())) == ["DeleteRow"]


def backoff_ends():
    life = backoff()
    assert kinds(life.clock(START + 1_099)) == []
    assert kinds(life.clock(START + 1_100)) == ["Enqueue"]
    life.slot_free(START + 1_100)
    assert final(life.ended(START + 1_101, completed())).has_row


def backoff_ends_where_nobody_serves():
    life = backoff()
    life.served = False
    effects = life.clock(START + 1_100)
    assert (row(effects).offered, row(effects).attempt) == (True, 2)


def backoff_outlasts_the_time_there_is():
    life = backoff(spec(schedule_to_close_ms=1_500))
    outcome = final(life.clock(START + 1_500))  # the process stood still
    assert (outcome.timeout, outcome.last_failure, outcome.attempt) == (TimeoutKind.SCHEDULE_TO_CLOSE, '"boom"', 0)


def backoff_is_cancelled():
    outcome = final(backoff().cancel(START + 500))
    assert (outcome.record, outcome.has_row) == (fx.NOT_STARTED, True)


def backoff_is_forgotten():
    backoff().forget(START)


def offered_attempt_completes_elsewhere():
    life = offered()
    life.mail_ids = ("mail-1",)
    outcome = final(life.ended(START + 50, replace(completed(), started_ms=START + 20)))
    assert (outcome.started_ms, outcome.has_row, outcome.mail_ids) == (START + 20, True, ("mail-1",))


def offered_attempt_fails_elsewhere():
    effects = offered().ended(START + 50, failed())
    assert row(effects).attempt == 2
    assert not row(effects).offered, "offered when it is due, so that the offer wakes somebody"


def offered_attempt_is_lost_elsewhere():
    life = offered()
    effects = life.lost(START + 9_000, a_row(started_ms=START + 30, heartbeat='"half"', heartbeat_at_ms=START + 60))
    assert row(effects).heartbeat == '"half"'
    assert row(effects).offered
    early = offered()  # the backoff counts from its start
    early.lost(START + 10, None)
    assert early.state is State.BACKOFF
    here = offered()
    here.served = True
    here.lost(START + 9_000, None)
    assert here.state is State.READY
    last = offered(spec(retry=bounded(1)))
    last.lost(START + 10, None)
    assert last.state is State.SPENT
    late = offered(spec(retry=bounded(1)))
    assert final(late.lost(START + 60_000, None)).retry_state is RetryState.MAXIMUM_ATTEMPTS_REACHED


def offered_attempt_hears_a_heartbeat_from_outside():
    assert kinds(offered().beat(START, '"x"')) == []


def offered_attempt_is_left_open_elsewhere():
    effects = offered().leave_open(START + 30, START + 12)
    assert kinds(effects) == ["WriteRow", "LeaveOpen"]
    assert (row(effects).started_ms, row(effects).offered) == (START + 12, False)


def offered_attempt_is_taken_by_ourselves():
    life = offered()
    assert kinds(life.taken(START + 8, taken_row())) == ["Start"]
    assert life.started_ms == START + 7


def offered_attempt_waits_too_long():
    life = offered(spec(schedule_to_start_ms=1_000))
    assert kinds(life.clock(START + 999)) == []
    assert kinds(life.clock(START + 1_000)) == ["Withdraw"]
    outcome = final(life.withdrawn(START + 1_001, success=True))
    assert (outcome.timeout, outcome.has_row) == (TimeoutKind.SCHEDULE_TO_START, False)


def offered_attempt_was_taken_in_time():
    life = offered(spec(schedule_to_start_ms=1_000))
    life.clock(START + 1_000)
    assert kinds(life.withdrawn(START + 1_001, success=False)) == []
    assert life.state is State.OFFERED
    assert timer(life.clock(START + 2_000)) is None, "that clock stopped when it was taken"
    assert kinds(life.cancel(START + 2_000)) == ["Flag"]
    assert kinds(life.cancel(START + 2_000)) == []


def offered_attempt_runs_out_of_time():
    life = offered(spec(schedule_to_start_ms=5_000, schedule_to_close_ms=2_000))
    outcome = final(life.clock(START + 2_000))
    assert (outcome.timeout, outcome.started_ms) == (TimeoutKind.SCHEDULE_TO_CLOSE, None)


def offered_attempt_is_cancelled_before_its_start():
    assert final(withdrawing().withdrawn(START + 1, success=True)).record == fx.NOT_STARTED


def offered_attempt_is_cancelled_while_it_runs_elsewhere():
    assert kinds(withdrawing().withdrawn(START + 1, success=False)) == ["Flag"]


def offered_attempt_is_forgotten():
    offered().forget(START)


def withdrawing_crosses_an_outcome():
    assert final(withdrawing().ended(START, completed())).kind is OutcomeKind.COMPLETED
    late = offered(spec(schedule_to_start_ms=1_000))
    late.clock(START + 1_000)
    late.ended(START + 1_001, failed())
    assert late.state is State.BACKOFF


def withdrawing_crosses_a_loss():
    assert kinds(withdrawing().lost(START + 10, None)) == []
    assert final(withdrawing().lost(START + 60_000, None)).retry_state is RetryState.CANCEL_REQUESTED
    for served, at_ms, expected in (
        (True, START + 1_002, State.BACKOFF),
        (True, START + 9_000, State.READY),
        (False, START + 9_000, State.OFFERED),
    ):
        life = offered(spec(schedule_to_start_ms=1_000))
        life.clock(START + 1_000)
        life.served = served
        life.lost(at_ms, a_row(started_ms=START + 900))
        assert life.state is expected


def withdrawing_crosses_everything_else():
    life = withdrawing()
    assert kinds(life.beat(START, None)) == []
    assert kinds(life.forget(START)) == []
    assert kinds(life.cancel(START)) == []
    assert kinds(life.leave_open(START, START)) == ["WriteRow", "LeaveOpen"]
    assert kinds(withdrawing().taken(START + 8, taken_row())) == ["Start", "DeliverCancel"]


def withdrawing_takes_longer_than_there_is_time():
    life = withdrawing(spec(schedule_to_close_ms=2_000))
    assert timer(life.clock(START + 2_000)) is None, "no timer in the past over and over again"
    assert timer(life.withdrawn(START + 2_001, success=False)) == START + 2_000
    outcome = final(life.clock(START + 2_001))
    assert (outcome.timeout, outcome.retry_state) == (TimeoutKind.SCHEDULE_TO_CLOSE, RetryState.CANCEL_REQUESTED)
    assert kinds(life.withdrawn(START + 2_001, success=True)) == [], "its end is told already"


def withdrawing_at_the_moment_when_both_clocks_ring():
    life = offered(spec(schedule_to_start_ms=2_000, schedule_to_close_ms=2_000))
    assert kinds(life.clock(START + 2_000)) == ["Withdraw"]
    assert final(life.withdrawn(START + 2_004, success=True)).timeout is TimeoutKind.SCHEDULE_TO_START


def spent_attempt_ends_when_its_clock_would_have_ended_it():
    life = spent()
    assert kinds(life.clock(START + 60_999)) == []
    outcome = final(life.clock(START + 61_000))
    assert (outcome.timeout, outcome.retry_state, outcome.started_ms, outcome.attempt) == (
        TimeoutKind.START_TO_CLOSE, RetryState.MAXIMUM_ATTEMPTS_REACHED, START + 1_000, 1,
    )  # fmt: skip


def spent_attempt_ends_by_its_heartbeat_clock():
    life = Life(spec(retry=bounded(1), heartbeat_ms=4_000))
    life.restore(START + 5_000, a_row(started_ms=START + 1_000, heartbeat='"h"', heartbeat_at_ms=START + 3_000))
    outcome = final(life.clock(START + 7_000))
    assert (outcome.timeout, outcome.heartbeat) == (TimeoutKind.HEARTBEAT, '"h"')


def spent_attempt_is_not_ended_by_the_heartbeat_of_an_earlier_one():
    life = Life(spec(retry=bounded(1), heartbeat_ms=4_000))
    life.restore(START + 5_000, a_row(started_ms=START + 4_500, heartbeat='"h"', heartbeat_at_ms=START + 500))
    assert kinds(life.clock(START + 8_499)) == []
    assert final(life.clock(START + 8_500)).timeout is TimeoutKind.HEARTBEAT


def spent_attempt_runs_out_of_time_first():
    life = spent(schedule_to_close_ms=30_000)
    outcome = final(life.clock(START + 30_000))
    assert (outcome.timeout, outcome.retry_state) == (TimeoutKind.SCHEDULE_TO_CLOSE, RetryState.TIMEOUT)


def spent_attempt_is_cancelled():
    life = spent()
    assert kinds(life.cancel(START + 6_000)) == [], "as far as anybody knows it runs"
    assert final(life.clock(START + 61_000)).retry_state is RetryState.CANCEL_REQUESTED


def spent_attempt_is_completed_from_outside():
    assert final(spent().ended(START + 6_000, completed())).kind is OutcomeKind.COMPLETED
    assert final(spent().ended(START + 6_000, failed())).retry_state is RetryState.MAXIMUM_ATTEMPTS_REACHED
    life = Life(spec(retry=bounded(2, non_retryable_types=("TemporalTimeout:StartToClose",))))
    life.restore(START + 500, a_row(started_ms=START))
    assert life.state is State.SPENT, "only its timeout was not to be retried"
    assert row(life.ended(START + 600, failed())).attempt == 2


def spent_attempt_was_left_open_before_its_process_died():
    life = spent()
    assert kinds(life.leave_open(START + 6_000, START + 1_000)) == ["WriteRow", "LeaveOpen"]
    assert kinds(life.clock(START + 61_000)) == [], "its clocks run where it is watched"


def spent_attempt_hears_of_its_loss_again():
    life = spent()
    assert kinds(life.lost(START + 6_000, None)) == []
    assert kinds(life.beat(START + 6_000, None)) == []
    assert kinds(life.forget(START + 6_000)) == []


def closed_activity_ignores_what_comes_late():
    life = started()
    life.ended(START, completed())
    assert life.ended(START, failed()) == []
    assert life.lost(START, None) == []
    assert life.beat(START, None) == []
    assert life.leave_open(START) == []
    assert life.clock(START) == []
    assert life.cancel(START) == []
    assert life.recorded(START) == []
    assert life.withdrawn(START, success=False) == []
    assert life.forget(START) == []


def restored_unbounded_attempt_may_have_started():
    life = Life()
    effects = life.restore(START + 3_000, None)
    assert kinds(effects) == ["WriteRow", "Enqueue"]
    assert (row(effects).attempt, row(effects).due_ms, row(effects).started_ms) == (2, START + 3_000, None)


def restored_unbounded_attempt_that_kills_every_process_backs_off():
    life = Life()
    effects = life.restore(START + 3_000, a_row(attempt=4))
    assert kinds(effects) == ["WriteRow"]
    assert (life.state, life.attempt, life.due_ms) == (State.BACKOFF, 5, START + 8_000)


def restored_unbounded_attempt_had_beaten():
    life = Life()
    effects = life.restore(START + 9_000, a_row(attempt=3, started_ms=START + 1, heartbeat='"h"', worker="dead"))
    assert kinds(effects) == ["WriteRow", "Enqueue"]
    assert (row(effects).attempt, row(effects).heartbeat, row(effects).started_ms) == (4, '"h"', None)


def restored_unbounded_backoff_waits_on():
    life = Life()
    assert timer(life.restore(START + 3_000, a_row(attempt=2, due_ms=START + 4_000))) == START + 4_000
    assert (life.state, life.attempt) == (State.BACKOFF, 2)


def restored_bounded_activity_without_a_row_never_started():
    life = Life(spec(retry=bounded(1)))
    assert kinds(life.restore(START + 3_000, None)) == ["Enqueue"]
    assert life.attempt == 1


def restored_bounded_attempt_had_not_started():
    life = Life(spec(retry=bounded(2)))
    assert kinds(life.restore(START + 3_000, a_row(attempt=2, due_ms=START + 1_000))) == ["Enqueue"]
    assert life.attempt == 2


def restored_bounded_attempt_is_used_up():
    life = Life(spec(retry=bounded(2)))
    effects = life.restore(START + 3_000, a_row(started_ms=START + 1))
    assert kinds(effects) == ["WriteRow", "Enqueue"]
    assert row(effects).attempt == 2


def restored_offer_is_still_open():
    life = Life()
    assert kinds(life.restore(START + 1, a_row(offered=True))) == []
    assert (life.state, life.elsewhere, life.attempt) == (State.OFFERED, False, 1)
    assert kinds(life.cancel(START + 2)) == ["Withdraw"]


def restored_offer_runs_elsewhere():
    life = Life()
    life.restore(START + 1, a_row(offered=True, worker="other", started_ms=START))
    assert life.elsewhere
    assert kinds(life.cancel(START + 2)) == ["Flag"]


def restored_offer_has_waited_too_long():
    life = Life(spec(schedule_to_start_ms=1_000))
    assert kinds(life.restore(START + 1_000, a_row(offered=True))) == ["Withdraw"]


def restored_attempt_without_a_worker_here_is_offered():
    life = Life(served=False)
    effects = life.restore(START + 3_000, None)
    assert (row(effects).offered, row(effects).attempt) == (True, 2)


def restored_attempt_is_open_outside():
    life = Life()
    effects = life.restore(START + 3_000, a_row(started_ms=START, worker=ASYNC_WORKER, attempt=2))
    assert kinds(effects) == ["LeaveOpen"]
    assert (life.state, life.attempt) == (State.STARTED, 2)


def restored_attempt_that_was_open_outside_is_out_of_time():
    life = Life(spec(schedule_to_close_ms=2_000))
    effects = life.restore(START + 3_000, a_row(started_ms=START, worker=ASYNC_WORKER))
    assert final(effects).timeout is TimeoutKind.SCHEDULE_TO_CLOSE


def restored_activity_is_out_of_time():
    life = Life(spec(schedule_to_close_ms=2_000))
    assert final(life.restore(START + 3_000, None)).timeout is TimeoutKind.SCHEDULE_TO_CLOSE
    life = Life(spec(schedule_to_start_ms=1_000, retry=bounded(1)))
    assert final(life.restore(START + 3_000, None)).timeout is TimeoutKind.SCHEDULE_TO_START


def restored_last_attempt_waits_for_its_clock():
    spent()


STORIES: list[Callable[[], None]] = [
    value
    for name, value in list(globals().items())
    if callable(value) and getattr(value, "__module__", "") == __name__ and "_" in name and name.split("_")[0]
    in {"planned", "ready", "recording", "started", "backoff", "offered", "withdrawing", "spent", "closed", "restored",
        "forgotten"}
]  # fmt: skip


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_story(story):
    story()


def test_every_move_of_the_table_is_walked():
    WALKED.clear()
    for story in [*STORIES, *test_operated_machine.STORIES]:
        story()
    table = {(state, what, to) for state, moves in MOVES.items() for what, move in moves.items() for to in move.to}
    missing = table - WALKED
    assert not missing, sorted(f"{a.name} --{b.name}--> {c.name}" for a, b, c in missing)


def test_whatever_may_come_from_outside_is_in_the_table():
    for state in AWAITS_OUTCOME:
        assert {Input.OUTCOME, Input.LOST, Input.HEARTBEAT, Input.LEFT_OPEN, Input.CANCEL, Input.FORGET} <= set(
            MOVES[state]
        )


def test_what_is_not_in_the_table_is_an_error_that_names_the_activity():
    with pytest.raises(Ours, match=r"order-42.*RECORDED"):
        ready().recorded(START)
