"""The moves of a schedule, without a clock and without a database."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest

from dbos_core.commit import RunStatus
from dbos_core.schedules import machine, record
from dbos_core.schedules.calendar import Calendar, Range
from dbos_core.schedules.machine import Outcome, Patch
from dbos_core.schedules.policy import Overlap
from dbos_core.schedules.spec import BadSpec, Spec, Times, check, with_cron
from dbos_core.schedules.state import Definition, Policies, Schedule
from dbos_core.schedules.text import Interval, cron

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
DAY_MS = 24 * 60 * MINUTE_MS
NOON_MS = 1_767_268_800_000
"""2026-01-01T12:00:00Z."""


def every(seconds: int, **fields: object) -> Definition:
    spec = Spec(intervals=(Interval(seconds * 1_000_000),))
    return Definition(**({"spec": spec, "action": "{}", "workflow_id": "w"} | fields))  # type: ignore[arg-type]


def made(definition: Definition) -> Schedule:
    return machine.create("s", "uid", definition, NOON_MS)


def goes_on(schedule: Schedule, now_ms: int, *, ending: RunStatus | None = None) -> list[str]:
    """One round, in which every start succeeds; with ``ending`` what runs has ended before. Ids of what was started."""
    if ending is not None:
        for action in list(schedule.running):
            machine.closed(schedule, action.run_id, Outcome(status=ending, result='"r"'))
    machine.advance(schedule, now_ms, backfill=True)
    machine.decide(schedule)
    begun = list(schedule.starting)
    for start in begun:
        machine.started(schedule, start.run_id, now_ms)
    assert record.schedule("s", record.text(schedule)) == schedule, "it must survive being written down"
    return [start.workflow_id for start in begun]


def test_each_time_is_acted_on_once() -> None:
    schedule = made(every(60, policies=Policies(overlap=Overlap.ALLOW_ALL)))
    assert goes_on(schedule, NOON_MS) == []
    assert machine.wake_ms(schedule, NOON_MS) == NOON_MS + MINUTE_MS
    assert goes_on(schedule, NOON_MS + MINUTE_MS) == ["w-2026-01-01T12:01:00Z"]
    assert goes_on(schedule, NOON_MS + MINUTE_MS + 1) == []
    assert goes_on(schedule, NOON_MS + 3 * MINUTE_MS) == ["w-2026-01-01T12:02:00Z", "w-2026-01-01T12:03:00Z"]
    assert schedule.actions == 3
    assert not schedule.running, "runs that may overlap are not waited for"


def test_ids_do_not_depend_on_who_computes_them() -> None:
    definition = every(60, policies=Policies(overlap=Overlap.BUFFER_ALL))
    one, two = made(definition), record.schedule("s", record.text(made(definition)))
    for schedule in (one, two):
        machine.advance(schedule, NOON_MS + 5 * MINUTE_MS, backfill=True)
        machine.decide(schedule)
    assert one == two
    other = machine.create("s", "another uid", definition, NOON_MS)
    machine.advance(other, NOON_MS + MINUTE_MS, backfill=True)
    machine.decide(other)
    assert other.starting[0].workflow_id == one.starting[0].workflow_id
    assert other.starting[0].run_id != one.starting[0].run_id


@pytest.mark.parametrize(
    ("overlap", "started", "waiting", "skipped"),
    [
        (Overlap.SKIP, 1, 0, 3),
        (Overlap.BUFFER_ONE, 1, 1, 2),
        (Overlap.BUFFER_ALL, 1, 3, 0),
        (Overlap.ALLOW_ALL, 4, 0, 0),
        (Overlap.UNSPECIFIED, 1, 0, 3),
    ],
)
def test_what_is_due_while_one_runs(overlap: Overlap, started: int, waiting: int, skipped: int) -> None:
    schedule = made(every(60, policies=Policies(overlap=overlap)))
    for minute in range(1, 5):
        goes_on(schedule, NOON_MS + minute * MINUTE_MS)
    assert (schedule.actions, len(schedule.waiting), schedule.skipped) == (started, waiting, skipped)
    if waiting:
        assert goes_on(schedule, NOON_MS + 4 * MINUTE_MS + 1, ending=RunStatus.COMPLETED) == ["w-2026-01-01T12:02:00Z"]


@pytest.mark.parametrize("overlap", [Overlap.CANCEL_OTHER, Overlap.TERMINATE_OTHER])
def test_the_one_before_is_ended_and_only_then_the_next_begins(overlap: Overlap) -> None:
    schedule = made(every(60, policies=Policies(overlap=overlap)))
    goes_on(schedule, NOON_MS + MINUTE_MS)
    [running] = schedule.running
    machine.advance(schedule, NOON_MS + 3 * MINUTE_MS, backfill=True)
    decision = machine.decide(schedule)
    assert not schedule.starting
    ended = decision.terminate if overlap is Overlap.TERMINATE_OTHER else decision.cancel
    assert ended == [running]
    assert len(decision.terminate) + len(decision.cancel) == 1
    assert goes_on(schedule, NOON_MS + 3 * MINUTE_MS, ending=RunStatus.CANCELED) == ["w-2026-01-01T12:03:00Z"]


def test_nothing_is_decided_while_starts_are_under_way() -> None:
    schedule = made(every(60))
    machine.advance(schedule, NOON_MS + MINUTE_MS, backfill=True)
    machine.decide(schedule)
    [start] = schedule.starting
    machine.patch(schedule, Patch(trigger=Overlap.CANCEL_OTHER), NOON_MS + MINUTE_MS + 1)
    assert machine.decide(schedule) == machine.Decision()
    assert schedule.starting == [start]
    assert len(schedule.waiting) == 1
    machine.started(schedule, start.run_id, NOON_MS)
    machine.started(schedule, start.run_id, NOON_MS)
    assert schedule.actions == 1, "told twice, counted once"
    assert [action.run_id for action in machine.decide(schedule).cancel] == [start.run_id]


def test_a_start_that_is_refused_makes_room_for_the_next() -> None:
    schedule = made(every(60, policies=Policies(overlap=Overlap.BUFFER_ALL)))
    machine.advance(schedule, NOON_MS + 2 * MINUTE_MS, backfill=True)
    machine.decide(schedule)
    machine.not_started(schedule, schedule.starting[0].run_id)
    machine.decide(schedule)
    assert [start.workflow_id for start in schedule.starting] == ["w-2026-01-01T12:02:00Z"]
    assert schedule.actions == 0


def test_what_a_pause_covers_is_not_made_up_for() -> None:
    schedule = made(every(60))
    machine.patch(schedule, Patch(pause="lunch"), NOON_MS)
    assert (schedule.definition.paused, schedule.definition.notes, schedule.token) == (True, "lunch", 2)
    assert goes_on(schedule, NOON_MS + 5 * MINUTE_MS) == []
    assert machine.wake_ms(schedule, NOON_MS) is None
    assert machine.future_ms(schedule, NOON_MS + 5 * MINUTE_MS, 1) == [NOON_MS + 6 * MINUTE_MS]
    machine.patch(schedule, Patch(unpause="back"), NOON_MS + 5 * MINUTE_MS)
    assert goes_on(schedule, NOON_MS + 6 * MINUTE_MS) == ["w-2026-01-01T12:06:00Z"]
    assert schedule.missed == 0


def test_what_is_older_than_the_window_is_missed() -> None:
    policies = Policies(overlap=Overlap.ALLOW_ALL, catchup_window_ms=90 * SECOND_MS)
    schedule = made(every(60, policies=policies))
    assert goes_on(schedule, NOON_MS + 10 * MINUTE_MS) == ["w-2026-01-01T12:09:00Z", "w-2026-01-01T12:10:00Z"]
    assert schedule.missed == 8


def test_a_year_of_seconds_is_passed_over_in_a_moment() -> None:
    schedule = made(every(1, policies=Policies(overlap=Overlap.ALLOW_ALL, catchup_window_ms=10 * SECOND_MS)))
    now_ms = NOON_MS + 365 * DAY_MS
    machine.advance(schedule, now_ms, backfill=True)
    machine.advance(schedule, now_ms, backfill=True)
    assert [start.due_ms for start in schedule.waiting] == [now_ms - back * SECOND_MS for back in range(10, -1, -1)]
    assert schedule.missed >= 1000


def test_limited_actions_run_out_and_manual_ones_do_not_count() -> None:
    schedule = made(every(60, limited=True, remaining=2, policies=Policies(overlap=Overlap.ALLOW_ALL)))
    assert machine.future_ms(schedule, NOON_MS, 10) == [NOON_MS + MINUTE_MS, NOON_MS + 2 * MINUTE_MS]
    for minute in range(1, 5):
        goes_on(schedule, NOON_MS + minute * MINUTE_MS)
    assert (schedule.actions, schedule.definition.remaining, schedule.token) == (2, 0, 3)
    machine.patch(schedule, Patch(trigger=Overlap.UNSPECIFIED), NOON_MS + 5 * MINUTE_MS)
    assert len(goes_on(schedule, NOON_MS + 5 * MINUTE_MS)) == 1
    assert machine.future_ms(schedule, NOON_MS, 10) == []


def test_an_update_drops_times_before_it_and_keeps_what_runs() -> None:
    schedule = made(every(60))
    goes_on(schedule, NOON_MS + MINUTE_MS)
    now_ms = NOON_MS + 150 * SECOND_MS
    machine.update(schedule, every(30, policies=Policies(overlap=Overlap.BUFFER_ALL)), now_ms)
    assert (schedule.updated_ms, schedule.token, len(schedule.running)) == (now_ms, 2, 1)
    goes_on(schedule, now_ms + 30 * SECOND_MS)
    assert [start.workflow_id for start in schedule.waiting] == ["w-2026-01-01T12:02:30Z", "w-2026-01-01T12:03:00Z"]


def test_a_backfill_includes_both_ends_and_goes_in_portions() -> None:
    schedule = made(every(60, paused=True))
    machine.patch(
        schedule, Patch(backfills=[(NOON_MS - 14 * MINUTE_MS, NOON_MS, Overlap.ALLOW_ALL)]), NOON_MS + SECOND_MS
    )
    first = goes_on(schedule, NOON_MS + SECOND_MS)
    assert len(first) == machine.BACKFILL_TIMES_MAX
    assert machine.wake_ms(schedule, NOON_MS) == NOON_MS + machine.BACKFILL_EVERY_MS
    rest = goes_on(schedule, NOON_MS + 2 * SECOND_MS)
    assert (first[0], rest[-1]) == ("w-2026-01-01T11:46:00Z", "w-2026-01-01T12:00:00Z")
    assert len(set(first + rest)) == 15
    assert not schedule.backfills


def test_results_and_failures_are_handed_on() -> None:
    schedule = made(every(60))
    goes_on(schedule, NOON_MS + MINUTE_MS)
    machine.closed(schedule, schedule.running[0].run_id, Outcome(status=RunStatus.COMPLETED, result="[1]"))
    assert (schedule.last_result, schedule.last_failure) == ("[1]", None)
    goes_on(schedule, NOON_MS + 2 * MINUTE_MS)
    machine.closed(schedule, schedule.running[0].run_id, Outcome(status=RunStatus.FAILED, failure="{}", message="no"))
    assert (schedule.last_result, schedule.last_failure) == ("[1]", "{}")
    assert [action.status for action in schedule.recent] == [RunStatus.COMPLETED, RunStatus.FAILED]
    assert not schedule.definition.paused


@pytest.mark.parametrize(
    ("status", "note"),
    [
        (RunStatus.FAILED, "paused due to workflow failure: w-2026-01-01T12:01:00Z: no luck"),
        (RunStatus.TIMED_OUT, "paused due to workflow timeout: w-2026-01-01T12:01:00Z"),
        (RunStatus.TERMINATED, ""),
        (RunStatus.CANCELED, ""),
        (RunStatus.COMPLETED, ""),
    ],
)
def test_pause_on_failure(status: RunStatus, note: str) -> None:
    schedule = made(every(60, policies=Policies(pause_on_failure=True)))
    goes_on(schedule, NOON_MS + MINUTE_MS)
    machine.closed(schedule, schedule.running[0].run_id, Outcome(status=status, message="no luck"))
    assert (schedule.definition.paused, schedule.definition.notes) == (bool(note), note)


def test_recent_actions_are_the_last_ten_and_waiting_starts_have_a_limit() -> None:
    schedule = made(every(1, policies=Policies(overlap=Overlap.BUFFER_ALL)))
    now_ms = NOON_MS + 3000 * SECOND_MS
    for _ in range(4):
        machine.advance(schedule, now_ms, backfill=True)
    assert (len(schedule.waiting), schedule.dropped) == (machine.WAITING_MAX, 2000)
    for _ in range(15):
        goes_on(schedule, now_ms, ending=RunStatus.COMPLETED)
    assert len(schedule.recent) == 10


def test_a_schedule_that_is_done_goes_after_a_week_and_a_paused_one_stays() -> None:
    done = made(replace(every(60), spec=Spec()))
    assert machine.wake_ms(done, NOON_MS) == NOON_MS + machine.KEPT_WHEN_DONE_MS
    machine.patch(done, Patch(pause="keep"), NOON_MS)
    assert machine.wake_ms(done, NOON_MS) is None
    assert machine.expires_ms(made(every(60))) is None


def test_a_zone_that_is_not_known_here_stops_it_and_says_so() -> None:
    schedule = made(every(60))
    schedule.definition.spec = replace(schedule.definition.spec, zone="Mars/Phobos")
    assert goes_on(schedule, NOON_MS + MINUTE_MS) == []
    assert schedule.invalid == "unknown time zone Mars/Phobos"
    assert machine.future_ms(schedule, NOON_MS, 10) == []


def test_jitter_is_the_same_every_time_and_not_that_of_another_schedule() -> None:
    spec = Spec(intervals=(Interval(3600 * 1_000_000),), jitter_us=60_000_000)
    one = [time.due_ms - time.nominal_ms for time, _ in zip(Times(spec, "a").after(NOON_MS), range(50), strict=False)]
    again = [time.due_ms - time.nominal_ms for time, _ in zip(Times(spec, "a").after(NOON_MS), range(50), strict=False)]
    other = [time.due_ms - time.nominal_ms for time, _ in zip(Times(spec, "b").after(NOON_MS), range(50), strict=False)]
    assert one == again != other
    assert max(one) < 60_000
    assert len(set(one)) > 40


def test_a_time_whose_jitter_puts_it_after_an_update_is_not_lost() -> None:
    spec = Spec(intervals=(Interval(3600 * 1_000_000),), jitter_us=3000 * 1_000_000)
    schedule = made(every(60, spec=spec))
    [time, *_] = [time for time, _ in zip(Times(spec, "uid").after(NOON_MS), range(1), strict=False)]
    assert time.due_ms - time.nominal_ms > 2 * SECOND_MS
    between_ms = time.nominal_ms + SECOND_MS
    machine.advance(schedule, between_ms, backfill=True)
    machine.update(schedule, schedule.definition, between_ms)
    assert goes_on(schedule, time.due_ms) == ["w-2026-01-01T13:00:00Z"]


# -- text --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@daily", cron("0 0 * * *").times),
        ("@weekly", cron("0 0 * * sun").times),
        ("0 12 * * MON-Fri", cron("0 12 * * 1-5").times),
        ("0 0 * * 0-7", cron("0 0 * * *").times),
        ("*/15 * * * *", cron("0-59/15 * * * *").times),
        ("@every 1h30m", Interval(5_400_000_000)),
        ("@every 1d/6h", Interval(86_400_000_000, 21_600_000_000)),
        ("@every 1.5d", Interval(129_600_000_000)),
    ],
)
def test_ways_to_say_the_same(text: str, expected: Calendar | Interval) -> None:
    assert cron(text).times == expected


def test_sunday_has_two_numbers() -> None:
    def weekdays(text: str) -> set[int]:
        read = cron(f"0 0 * * {text}").times
        assert isinstance(read, Calendar)
        return {value for item in read.day_of_week for value in item.values(0, 6)}

    assert weekdays("7") == {0}
    assert weekdays("5-7") == {5, 6, 0}
    assert weekdays("5-7/2") == {5, 0}
    assert weekdays("4-7/2") == {4, 6}
    assert weekdays("0-7") == {0, 1, 2, 3, 4, 5, 6}


def test_zone_seconds_year_and_comment_of_a_cron_string() -> None:
    read = cron("CRON_TZ=Europe/Berlin 5 0 12 * jan * 2030 # new year's")
    assert read.zone == "Europe/Berlin"
    assert isinstance(read.times, Calendar)
    assert (read.times.second, read.times.year, read.times.comment) == ((Range(5),), (Range(2030),), "new year's")
    spec = with_cron(Spec(), ["TZ=Europe/Berlin 0 12 * * *", "TZ=Europe/Berlin @hourly"])
    assert spec.zone == "Europe/Berlin"
    with pytest.raises(BadSpec, match="conflicting timezone names"):
        with_cron(Spec(zone="UTC"), ["TZ=Europe/Berlin 0 12 * * *"])


def test_what_a_spec_may_not_be() -> None:
    with pytest.raises(BadSpec, match="Second Start is not in range"):
        check(Spec(calendars=(Calendar(second=(Range(60),)),)))
    with pytest.raises(BadSpec, match="Second Start is not in range"):
        check(Spec(excluded=(Calendar(second=(Range(-1),)),)))
    with pytest.raises(BadSpec, match="Hour has invalid Step"):
        check(Spec(excluded=(Calendar(hour=(Range(1, 3, -1),)),)))
    with pytest.raises(BadSpec, match="unknown time zone etc/passwd"):
        check(Spec(zone="etc/passwd"))
    with pytest.raises(BadSpec, match="time: invalid location name"):
        check(Spec(zone="../etc/passwd"))
    with pytest.raises(BadSpec, match="malformed time zone information"):
        check(Spec(zone_data=b"TZif" + bytes(50)))


def test_exclusions_may_name_values_that_do_not_exist() -> None:
    """They exclude nothing, and among others they do not count."""
    odd = Calendar(
        second=(Range(50, 2_000_000_000),),
        minute=(Range(0, 59),),
        hour=(Range(24), Range(5)),
        day_of_month=(Range(0, 31),),
        month=(Range(1, 13),),
        day_of_week=(Range(0, 7),),
    )
    spec = with_cron(Spec(excluded=(odd,)), ["10 * 4,5 * * * *"])
    check(spec)
    found = [time.nominal_ms // 1000 for time in islice(Times(spec, "").after(4 * 3_600_000), 70)]
    assert found[60:62] == [5 * 3600 + 10, 5 * 3600 + 70]


def test_nothing_comes_before_the_epoch_unless_the_spec_says_so() -> None:
    spec = with_cron(Spec(), ["0 0 * * *"])
    first = Times(spec, "").next(-(10**12))
    assert first is not None
    assert first.nominal_ms == 0
    early = Times(replace(spec, start_us=-(10**12)), "").next(-(10**12))
    assert early is not None
    assert early.nominal_ms == -11 * 86_400_000


def test_a_spec_that_excludes_everything_has_no_times_and_says_so_soon() -> None:
    always = Calendar(
        second=(Range(0, 59),),
        minute=(Range(0, 59),),
        hour=(Range(0, 23),),
        day_of_month=(Range(1, 31),),
        month=(Range(1, 12),),
        day_of_week=(Range(0, 6),),
    )
    spec = Spec(intervals=(Interval(1_000_000),), excluded=(always,))
    assert Times(spec, "").next(NOON_MS) is None
