"""Event ids: the cases that a server does not produce on demand."""

from __future__ import annotations

import pytest

from dbos_compat.history.numbering import ABANDON, SCHEDULE_TO_START, EventIds, ran, started_event_id
from tests.unit.compat.history.journals import START, activity, outcome, rung, signal, timer, update


def test_a_task_that_is_not_committed_has_no_ids() -> None:
    ids = EventIds()
    first = ids.begin_task([START])
    again = ids.begin_task([START, signal("late")])
    assert (first.scheduled, first.started, first.completed) == (2, 3, 4)
    assert (again.events, again.scheduled) == ([1, 2], 3)
    assert ids.last == 0
    ids.end_task(again, [])
    assert ids.last == 5


def test_several_events_and_commands_in_one_task() -> None:
    ids = EventIds()
    assert ids.end_task(ids.begin_task([START]), [activity(1), timer(1, 5), activity(2)]) == [5, 6, 7]
    task = ids.begin_task([signal("a"), update("u", "do"), outcome(1, "completed"), rung(1)])
    assert task.events == [8, 8, 10, 11]
    assert task.started == 13
    assert ids.end_task(task, [{"k": "update_accepted", "id": "u"}, {"k": "complete"}]) == [15, 16]
    assert (ids.activity_scheduled(1), ids.activity_scheduled(2), ids.timer_started(1)) == (5, 7, 6)
    assert ids.update_accepted("u") == 15


@pytest.mark.parametrize(
    ("ended", "has_started"),
    [
        (outcome(1, "completed"), True),
        (outcome(1, "canceled", st=None, att=0), False),
        (outcome(1, "timed_out", t=SCHEDULE_TO_START), False),
        (outcome(1, "failed", retry=3), True),
    ],
)
def test_only_an_attempt_that_began_has_a_started_event(ended: dict[str, object], has_started: bool) -> None:
    assert ran(ended) is has_started
    assert started_event_id(ended, 9) == (8 if has_started else 0)
    ids = EventIds()
    ids.end_task(ids.begin_task([START]), [activity(1)])
    assert ids.begin_task([ended]).events == [7 if has_started else 6]


def test_an_abandoned_activity_is_never_told() -> None:
    ids = EventIds()
    ids.end_task(ids.begin_task([START]), [activity(1, cancellation_type=ABANDON), timer(1, 5)])
    task = ids.begin_task([rung(1)])
    assert ids.end_task(task, [{"k": "cancel_activity", "seq": 1}, timer(2, 5)]) == [0, task.completed + 1]
    assert ids.activity_cancel_requested(1) == 0


def test_a_second_request_to_cancel_is_no_event() -> None:
    ids = EventIds()
    ids.end_task(ids.begin_task([START]), [activity(1, cancellation_type=1)])
    assert ids.end_task(ids.begin_task([signal("stop")]), [{"k": "cancel_activity", "seq": 1}]) == [10]
    assert ids.end_task(ids.begin_task([signal("stop")]), [{"k": "cancel_activity", "seq": 1}]) == [0]
    assert ids.activity_cancel_requested(1) == 10
    assert ids.last == 14


def test_a_timer_that_rings_after_it_was_cancelled_is_no_event() -> None:
    ids = EventIds()
    ids.end_task(ids.begin_task([START]), [timer(1, 5)])
    ids.end_task(ids.begin_task([signal("stop")]), [{"k": "cancel_timer", "seq": 1}])
    assert ids.timer_stopped(1)
    assert ids.begin_task([rung(1)]).scheduled == ids.last + 1


def test_a_record_of_a_newer_version_is_named() -> None:
    ids = EventIds()
    with pytest.raises(ValueError, match=r"holds event 'nexus'.*newer version"):
        ids.begin_task([{"k": "nexus", "seq": 1}])
    with pytest.raises(ValueError, match=r"holds command 'nexus'.*newer version"):
        ids.end_task(ids.begin_task([START]), [{"k": "nexus", "seq": 1}])
