"""What operators do to activities, move by move: pause, unpause, reset and other options, in every state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import pytest

from dbos_core.activities import effects as fx
from dbos_core.activities.moves import State
from dbos_core.activities.operating import NO_DETAILS, Deed, Operated, OperatorCommand, Pause
from dbos_core.activities.spec import OutcomeKind, RetryState, TimeoutKind
from dbos_core.retry import RetryPolicy
from tests.unit.activities.lives import (
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
)  # fmt: skip
from tests.unit.activities.support import START, bounded, completed, failed, spec

LATER = START + 10_000


def pause(**more) -> OperatorCommand:
    return OperatorCommand(do=Deed.PAUSE, identity="ops", reason="why", at_ms=START + 50, **more)


def unpause(**more) -> OperatorCommand:
    return OperatorCommand(do=Deed.UNPAUSE, **more)


def reset(**more) -> OperatorCommand:
    return OperatorCommand(do=Deed.RESET, **more)


def options(**changes) -> OperatorCommand:
    return OperatorCommand(do=Deed.OPTIONS, changes=changes)


def paused(life: Life | None = None) -> Life:
    life = life or backoff()
    assert "WriteRow" in kinds(life.operate(START + 200, pause()))
    assert life.state is State.PAUSED
    return life


# -- nothing runs ----------------------------------------------------------------------------------------------------


def ready_is_paused():
    life = ready()
    effects = life.operate(START + 200, pause())
    assert kinds(effects) == ["Dequeue", "WriteRow"]
    assert Operated.read(row(effects).operator).pause == Pause(START + 50, "ops", "why")
    assert life.state is State.PAUSED


def ready_is_reset():
    assert kinds(ready().operate(START + 200, reset())) == ["Dequeue", "WriteRow", "Enqueue"]
    assert kinds(ready().operate(START + 200, reset(delay_ms=500))) == ["Dequeue", "WriteRow"]


def ready_moves_to_a_queue_that_is_not_served():
    life = ready()
    life.served = False
    effects = life.operate(START + 200, options(task_queue="elsewhere"))
    assert kinds(effects) == ["Dequeue", "WriteRow"]
    assert (row(effects).task_queue, row(effects).offered) == ("elsewhere", True)


def ready_has_no_time_left_with_its_new_options():
    assert final(ready().operate(LATER, options(schedule_to_close_ms=1_000))).timeout is TimeoutKind.SCHEDULE_TO_CLOSE


def backoff_is_paused_and_its_clocks_stand_still():
    life = backoff(spec(schedule_to_close_ms=5_000))
    life.operate(START + 200, pause())
    assert kinds(life.clock(LATER)) == []
    assert life.state is State.PAUSED
    assert final(life.operate(LATER, unpause())).timeout is TimeoutKind.SCHEDULE_TO_CLOSE


def backoff_is_reset():
    life = backoff()
    life.heartbeat = "[1]"
    effects = life.operate(START + 200, reset(reset_heartbeat=True))
    assert kinds(effects) == ["WriteRow", "Enqueue"]
    assert (life.attempt, row(effects).heartbeat, life.last_failure) == (1, NO_DETAILS, None)


def backoff_is_reset_with_a_delay():
    life = backoff()
    effects = life.operate(START + 200, reset(delay_ms=700))
    assert timer(effects) == START + 900
    assert life.state is State.BACKOFF


def backoff_is_reset_where_nobody_serves_its_queue():
    life = backoff()
    life.served = False
    life.operate(START + 200, reset())
    assert life.state is State.OFFERED


def backoff_is_counted_anew_with_other_options():
    life = backoff(spec(retry=RetryPolicy(initial_ms=8_000)))
    changes = {"retry": asdict(RetryPolicy(initial_ms=2_000))}
    assert timer(life.operate(START + 200, options(**changes))) == START + 2_100
    assert life.attempt == 2


def backoff_has_no_time_left_with_its_new_options():
    life = backoff()
    assert final(life.operate(LATER, options(schedule_to_close_ms=1_000))).timeout is TimeoutKind.SCHEDULE_TO_CLOSE


# -- paused ----------------------------------------------------------------------------------------------------------


def paused_goes_on_at_once():
    life = paused()
    assert kinds(life.operate(START + 300, unpause())) == ["WriteRow", "Enqueue"]
    assert (life.attempt, life.operator) == (2, None)


def paused_goes_on_from_the_first_attempt():
    life = paused()
    life.operate(START + 300, unpause(reset_attempts=True))
    assert life.attempt == 1


def paused_goes_on_after_a_while():
    life = paused()
    assert timer(life.operate(START + 300, unpause(delay_ms=60_000))) == START + 60_300
    assert life.state is State.BACKOFF


def paused_goes_on_elsewhere():
    life = paused()
    life.served = False
    assert row(life.operate(START + 300, unpause())).offered
    assert life.state is State.OFFERED


def paused_is_out_of_time_when_it_may_go_on():
    life = paused(backoff(spec(schedule_to_close_ms=5_000)))
    assert final(life.operate(LATER, unpause())).timeout is TimeoutKind.SCHEDULE_TO_CLOSE


def paused_twice_is_paused_once():
    assert kinds(paused().operate(START + 300, pause())) == []


def paused_is_reset_and_stays_paused():
    life = paused()
    effects = life.operate(START + 300, reset(keep_paused=True))
    assert (row(effects).attempt, life.state) == (1, State.PAUSED)
    assert kinds(life.operate(START + 400, reset())) == ["WriteRow", "Enqueue"]


def paused_gets_other_options_and_its_own_ones_back():
    life = paused()
    life.operate(START + 300, options(start_to_close_ms=7))
    assert (life.spec.start_to_close_ms, life.state) == (7, State.PAUSED)
    life.operate(START + 400, reset(restore=True, keep_paused=True))
    assert life.spec == life.asked


def paused_is_cancelled():
    assert final(paused().cancel(START + 300)).retry_state is RetryState.CANCEL_REQUESTED


def paused_is_forgotten():
    life = paused()
    assert kinds(life.forget(START + 300)) == []
    assert kinds(life.cancel(START + 400)) == ["DeleteRow"]


# -- an attempt runs -------------------------------------------------------------------------------------------------


def started_is_paused_and_fails():
    life = started()
    assert kinds(life.operate(START + 200, pause())) == ["WriteRow", "Tell"]
    effects = life.ended(START + 300, failed())
    assert kinds(effects) == ["WriteRow"]
    assert (life.state, life.attempt, row(effects).ended_ms) == (State.PAUSED, 2, START + 300)


def started_is_paused_and_completes():
    life = started()
    life.operate(START + 200, pause())
    assert final(life.ended(START + 300, completed())).kind is OutcomeKind.COMPLETED


def started_is_paused_and_its_last_attempt_fails():
    life = recording(spec(retry=bounded(1)))
    life.recorded(START)
    life.operate(START + 200, pause())
    assert kinds(life.ended(START + 300, failed())) == ["WriteRow"]
    assert (life.state, life.attempt) == (State.PAUSED, 2)


def started_is_paused_and_its_failure_is_final_all_the_same():
    life = started()
    life.operate(START + 200, pause())
    assert final(life.ended(START + 300, failed(non_retryable=True))).retry_state is RetryState.NON_RETRYABLE_FAILURE


def started_is_paused_past_its_deadline():
    life = started(spec(schedule_to_close_ms=5_000))
    life.operate(START + 200, pause())
    assert kinds(life.clock(LATER)) == []
    assert timer(life.operate(LATER, unpause())) == START + 5_000
    assert kinds(life.clock(LATER)) == ["Abort", "Final"]


def started_is_reset_and_fails():
    life = backoff()
    life.clock(START + 1_100)
    life.slot_free(START + 1_100)
    life.heartbeat = "[1]"
    assert (life.attempt, life.state) == (2, State.STARTED)
    effects = life.operate(START + 1_200, reset(reset_heartbeat=True))
    assert (kinds(effects), row(effects).attempt, life.counted) == (["WriteRow", "Tell"], 2, 1)
    life.ended(START + 1_300, failed())
    assert (life.attempt, life.heartbeat, life.operator) == (2, NO_DETAILS, None)


def started_gets_other_options():
    life = started()
    effects = life.operate(START + 200, options(start_to_close_ms=7))
    assert Operated.read(row(effects).operator).changes == {"start_to_close_ms": 7}


def started_is_not_unpaused_again():
    assert kinds(started().operate(START + 200, unpause())) == []


def recording_is_paused():
    life = recording()
    assert kinds(life.operate(START + 1, pause())) == []
    effects = life.recorded(START + 2)
    assert kinds(effects) == ["ReturnSlot", "WriteRow"]
    assert (row(effects).started_ms, life.state) == (None, State.PAUSED)


def recording_is_paused_and_refused_by_the_store():
    life = recording()
    life.operate(START + 1, pause())
    life.ended(START + 2, failed())
    assert life.state is State.PAUSED


def recording_is_reset():
    life = recording()
    life.operate(START + 1, reset())
    assert kinds(life.operate(START + 1, unpause())) == []
    assert (kinds(life.recorded(START + 2)), life.counted) == (["Start"], 1)


# -- offered ---------------------------------------------------------------------------------------------------------


def offered_is_taken_back_and_paused():
    life = offered()
    effects = life.operate(START + 1, pause())
    assert isinstance(effects[-1], fx.Withdraw)
    assert effects[-1].keep
    assert kinds(life.operate(START + 2, reset(keep_paused=True))) == []
    assert kinds(life.operate(START + 2, pause())) == []
    effects = life.withdrawn(START + 3, success=True)
    assert (kinds(effects), row(effects).offered, life.state) == (["WriteRow"], False, State.PAUSED)


def offered_is_taken_back_and_offered_anew():
    life = offered()
    life.operate(START + 1, options(start_to_close_ms=7))
    effects = life.withdrawn(START + 2, success=True)
    assert (row(effects).offered, life.state) == (True, State.OFFERED)
    assert '"start_to_close_ms": 7' in (row(effects).spec or "")


def offered_is_taken_back_for_a_worker_of_ours():
    life = offered()
    life.operate(START + 1, options(task_queue="ours"))
    life.served = True
    assert kinds(life.withdrawn(START + 2, success=True)) == ["WriteRow", "Enqueue"]


def offered_is_taken_back_and_waits():
    life = offered()
    life.operate(START + 1, reset(delay_ms=5_000))
    life.withdrawn(START + 2, success=True)
    assert life.state is State.BACKOFF


def offered_is_not_unpaused_again():
    assert kinds(offered().operate(START + 1, unpause())) == []


def offered_was_taken_already():
    life = offered()
    life.operate(START + 1, reset())
    assert kinds(life.withdrawn(START + 2, success=False)) == ["Flag"]
    assert life.counted == 1
    assert kinds(life.operate(START + 3, pause())) == ["Flag"]
    life.ended(START + 4, failed())
    assert life.state is State.PAUSED


def offered_was_taken_by_ourselves():
    life = offered()
    life.operate(START + 1, pause())
    assert kinds(life.taken(START + 2, taken_row())) == ["Start", "WriteRow", "Tell"]


def offered_is_lost_while_paused():
    life = offered()
    life.elsewhere = True
    life.operate(START + 1, pause())
    life.lost(START + 2, a_row(started_ms=START + 1, worker="dead", offered=True))
    assert life.state is State.PAUSED


def withdrawing_for_a_pause_while_its_process_died():
    life = offered()
    life.operate(START + 1, pause())
    life.ended(START + 2, failed())
    assert life.state is State.PAUSED
    life = offered()
    life.operate(START + 1, pause())
    life.lost(START + 2, a_row(started_ms=START + 1, worker="dead", offered=True))
    assert life.state is State.PAUSED


# -- its process died ------------------------------------------------------------------------------------------------


def spent_gets_another_attempt_by_a_reset():
    life = spent()
    assert kinds(life.operate(START + 6_000, reset())) == ["WriteRow"]
    life.asked = life.spec = spec(retry=bounded(2))
    assert kinds(life.clock(START + 61_000)) == ["WriteRow"]
    assert (life.state, life.attempt) == (State.BACKOFF, 2)


def spent_gets_another_attempt_at_once():
    for served, state in ((True, State.READY), (False, State.OFFERED)):
        life = spent()
        life.operate(START + 6_000, options(retry=asdict(bounded(5, initial_ms=0))))
        life.served = served
        life.clock(START + 61_000)
        assert life.state is state


def spent_is_paused():
    life = spent()
    life.operate(START + 6_000, pause())
    assert kinds(life.clock(START + 61_000)) == []
    assert kinds(life.operate(START + 62_000, pause())) == []
    life.ended(START + 63_000, failed())
    assert life.state is State.PAUSED


def restored_is_paused_still():
    life = Life()
    life.recall(Operated.read(started_row().operator))
    effects = life.restore(LATER, started_row())
    assert (kinds(effects), life.state, life.attempt) == (["WriteRow"], State.PAUSED, 2)


def restored_is_paused_before_the_attempt_that_was_due():
    before = paused()
    (write,) = before.operate(START + 300, reset(keep_paused=True))
    assert isinstance(write, fx.WriteRow)
    life = Life()
    life.recall(Operated.read(write.row.operator))
    life.restore(LATER, write.row)
    assert (life.state, life.attempt) == (State.PAUSED, 1)


def restored_offer_that_was_paused_meanwhile():
    life = Life()
    life.recall(Operated(pause=Pause(START, "ops", "")))
    assert kinds(life.restore(LATER, a_row(offered=True))) == ["Withdraw"]
    assert kinds(life.withdrawn(LATER, success=True)) == ["WriteRow"]
    assert life.state is State.PAUSED


def restored_keeps_its_changed_options():
    life = Life()
    life.recall(Operated(changes={"start_to_close_ms": 7}))
    life.restore(START + 1, a_row())
    assert (life.spec.start_to_close_ms, life.asked.start_to_close_ms) == (7, 60_000)


def started_row():
    life = started()
    return row(life.operate(START + 200, pause()))


def closed_is_left_alone():
    life = started()
    life.ended(START + 1, completed())
    for command in (pause(), unpause(), reset(), options()):
        assert kinds(life.operate(START + 2, command)) == []


STORIES: list[Callable[[], None]] = [
    value
    for name, value in list(globals().items())
    if callable(value) and getattr(value, "__module__", "") == __name__ and "_" in name and name.split("_")[0]
    in {"ready", "recording", "started", "backoff", "offered", "withdrawing", "spent", "closed", "restored", "paused"}
    and name != "started_row"
]  # fmt: skip


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_story(story):
    story()


def test_a_command_travels_as_json():
    command = reset(delay_ms=5, reset_heartbeat=True)
    assert OperatorCommand.read(command.fields()) == command


def test_nothing_is_written_where_an_operator_wants_nothing():
    assert Operated().text() is None
