"""Times of schedules against two oracles: one looks at every second of days without a change of clocks, the other walks
through the fields as Temporal's server does, on days with one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import example, given, settings
from hypothesis import strategies as st

from dbos_core.schedules.calendar import Calendar, Clock, Range
from dbos_core.schedules.spec import Spec, Times
from dbos_core.schedules.text import Interval, cron

HOURS = 60
"""How far the oracle looks: over a change of clocks, and over two midnights."""

# Days on which the clocks of a zone were changed: by an hour at night, at midnight, by half an hour, by a day.
CHANGES = [
    ("America/New_York", date(2026, 3, 8)),
    ("America/New_York", date(2026, 11, 1)),
    ("Europe/Berlin", date(2026, 10, 25)),
    ("America/Sao_Paulo", date(2018, 11, 4)),
    ("America/Sao_Paulo", date(2018, 2, 18)),
    ("Australia/Lord_Howe", date(2026, 4, 5)),
    ("Australia/Lord_Howe", date(2026, 10, 4)),
    ("America/St_Johns", date(2010, 11, 7)),
    ("Africa/Cairo", date(2026, 4, 24)),
    ("Pacific/Apia", date(2011, 12, 30)),
    ("Asia/Kathmandu", date(2026, 6, 1)),
    ("UTC", date(2028, 2, 29)),
]


def values(low: int, high: int) -> st.SearchStrategy[tuple[Range, ...]]:
    """Some values of a field, often all of them."""
    single = st.integers(low, high).map(lambda value: Range(value))
    stretch = st.tuples(st.integers(low, high), st.integers(low, high), st.integers(0, 7)).map(
        lambda parts: Range(min(parts[:2]), max(parts[:2]), parts[2])
    )
    return st.one_of(
        st.just((Range(low, high),)), st.lists(st.one_of(single, stretch), min_size=1, max_size=3).map(tuple)
    )


CALENDARS = st.builds(
    Calendar,
    second=values(0, 59),
    minute=values(0, 59),
    hour=values(0, 23),
    day_of_month=values(1, 31),
    month=st.just((Range(1, 12),)),
    day_of_week=values(0, 6),
    year=st.just(()),
)
HOURLY = Calendar(
    second=(Range(0),),
    minute=(Range(30),),
    hour=(Range(0, 23),),
    day_of_month=(Range(1, 31),),
    month=(Range(1, 12),),
    day_of_week=(Range(0, 6),),
)
LATE = Calendar(
    second=(Range(0),),
    minute=(Range(30),),
    hour=(Range(23),),
    day_of_month=(Range(1, 31),),
    month=(Range(1, 12),),
    day_of_week=(Range(0, 6),),
)


def midnight(day: date, zone: ZoneInfo) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp())


def has(ranges: tuple[Range, ...], value: int) -> bool:
    """Is the value in one of the ranges? Written from the words of the documentation, not from the code."""
    for item in ranges:
        end = item.end if item.end > item.start else item.start
        step = item.step if item.step else 1
        if item.start <= value <= end and (value - item.start) % step == 0:
            return True
    return False


def shows(calendar: Calendar, local: datetime) -> bool:
    """Does the clock on the wall show a time of the calendar?"""
    return (
        has(calendar.second, local.second)
        and has(calendar.minute, local.minute)
        and has(calendar.hour, local.hour)
        and has(calendar.day_of_month, local.day)
        and has(calendar.month, local.month)
        and has(calendar.day_of_week, (local.weekday() + 1) % 7)
        and (not calendar.year or has(calendar.year, local.year))
    )


def first_by_looking(calendar: Calendar, zone: ZoneInfo, after: int) -> int | None:
    """The oracle where no clock changes: minute by minute, then second by second."""
    start = after + 1
    for minute in range(start // 60, (start + HOURS * 3600) // 60):
        local = datetime.fromtimestamp(minute * 60, zone)
        if not (has(calendar.minute, local.minute) and has(calendar.hour, local.hour)):
            continue  # all zones here differ from UTC by whole minutes
        for second in range(max(start, minute * 60), minute * 60 + 60):
            if shows(calendar, datetime.fromtimestamp(second, zone)):
                return second
    return None


def set_to(zone: ZoneInfo, year: int, month: int, day: int, hour: int, minute: int, second: int) -> int:
    """Go's ``time.Date``, with Python's means."""
    naive = datetime(year, month, day, tzinfo=UTC) + timedelta(hours=hour, minutes=minute, seconds=second)
    guess = naive.astimezone(zone).utcoffset() or timedelta()
    if guess:
        guess = (naive - guess).astimezone(zone).utcoffset() or timedelta()
    return int((naive - guess).timestamp())


def first_by_walking(calendar: Calendar, zone: ZoneInfo, after: int) -> int | None:
    """The oracle where clocks change: one step in one field, and then all over again. For a few days, any weekday."""
    local = datetime.fromtimestamp(after, zone)
    day, hour, minute, second = local.date(), local.hour, local.minute, local.second + 1
    last_day = day + timedelta(days=HOURS // 24 + 1)
    shift = 3600 if datetime.fromtimestamp(after - 3600, zone).hour == hour else 0
    while True:
        if second == 60:
            minute, second = minute + 1, 0
        if minute == 60:
            full, next_full = (set_to(zone, day.year, day.month, day.day, at, 0, 0) for at in (hour, hour + 1))
            minute, again = 0, not shift and next_full - full > 3600
            hour, shift = (hour, 3600) if again else (hour + 1, 0)
        if hour == 24:
            day, hour = day + timedelta(days=1), 0
        if day > last_day:
            return None
        if not has(calendar.day_of_month, day.day):
            day, hour, minute, second, shift = day + timedelta(days=1), 0, 0, 0, 0
        elif not has(calendar.hour, hour):
            hour, minute, second, shift = hour + 1, 0, 0, 0
        elif not has(calendar.minute, minute):
            minute, second = minute + 1, 0
        elif not has(calendar.second, second):
            second += 1
        else:
            found = set_to(zone, day.year, day.month, day.day, hour, minute, second)
            if datetime.fromtimestamp(found, zone).hour == hour and found + shift > after:
                return found + shift
            hour, minute, second = hour + 1, 0, 0


@settings(max_examples=60, deadline=None)
@given(calendar=CALENDARS, change=st.sampled_from(CHANGES), shift_s=st.integers(-30 * 3600, 30 * 3600))
def test_the_next_time_is_the_first_second_that_the_clock_shows(
    calendar: Calendar, change: tuple[str, date], shift_s: int
) -> None:
    zone = ZoneInfo(change[0])
    after = midnight(change[1], zone) + 10 * 86_400 + shift_s
    expected = first_by_looking(calendar, zone, after)
    found = Clock(calendar, zone).next(after)
    if expected is not None:
        assert found == expected
    else:
        assert found is None or found > after + (HOURS - 1) * 3600


@settings(max_examples=300, deadline=None)
@given(calendar=CALENDARS, change=st.sampled_from(CHANGES), shift_s=st.integers(-30 * 3600, 30 * 3600))
@example(calendar=HOURLY, change=("America/New_York", date(2026, 11, 1)), shift_s=5 * 3600 + 1800)
@example(calendar=HOURLY, change=("Europe/Berlin", date(2026, 10, 25)), shift_s=2 * 3600)
@example(calendar=HOURLY, change=("Australia/Lord_Howe", date(2026, 4, 5)), shift_s=-10 * 3600)
@example(calendar=LATE, change=("America/Sao_Paulo", date(2018, 2, 18)), shift_s=2 * 3600)
@example(calendar=LATE, change=("America/St_Johns", date(2010, 11, 7)), shift_s=2 * 3600)
@example(calendar=LATE, change=("Pacific/Apia", date(2011, 12, 30)), shift_s=0)
def test_where_clocks_change_the_next_time_is_that_of_temporals_walk(
    calendar: Calendar, change: tuple[str, date], shift_s: int
) -> None:
    zone = ZoneInfo(change[0])
    after = midnight(change[1], zone) + shift_s
    calendar = replace(calendar, day_of_week=(Range(0, 6),))
    expected = first_by_walking(calendar, zone, after)
    found = Clock(calendar, zone).next(after)
    if expected is not None:
        assert found == expected
        assert found > after
    else:
        assert found is None or found > after + (HOURS - 12) * 3600


@settings(max_examples=50, deadline=None)
@given(calendar=CALENDARS, change=st.sampled_from(CHANGES), shift_s=st.integers(-30 * 3600, 30 * 3600))
def test_a_time_matches_when_the_clock_shows_it_and_its_block_does_throughout(
    calendar: Calendar, change: tuple[str, date], shift_s: int
) -> None:
    zone = ZoneInfo(change[0])
    second = midnight(change[1], zone) + shift_s
    clock = Clock(calendar, zone)
    assert clock.matches(second) == shows(calendar, datetime.fromtimestamp(second, zone))
    found = clock.next(second)
    if found is not None:
        last = clock.last_of_block(found)
        assert found <= last <= found + 26 * 3600
        if last == found:
            return
        step = max((last - found) // 500, 1)
        assert all(shows(calendar, datetime.fromtimestamp(each, zone)) for each in range(found, last + 1, step))
        assert shows(calendar, datetime.fromtimestamp(last, zone))


@settings(max_examples=50, deadline=None)
@given(
    calendars=st.lists(CALENDARS, max_size=2),
    excluded=st.lists(CALENDARS, max_size=2),
    every_s=st.integers(60, 40_000),
    phase_s=st.integers(0, 59),
    jitter_s=st.integers(0, 7200),
    window_s=st.tuples(st.integers(-86_400, 86_400), st.integers(0, 86_400)),
)
def test_a_spec_is_the_union_of_its_parts_without_what_is_excluded(
    calendars: list[Calendar],
    excluded: list[Calendar],
    every_s: int,
    phase_s: int,
    jitter_s: int,
    window_s: tuple[int, int],
) -> None:
    zone = ZoneInfo("Europe/Berlin")
    origin = int(datetime(2026, 10, 20, 20, tzinfo=UTC).timestamp())
    start, end = origin + window_s[0], origin + window_s[0] + window_s[1]
    spec = Spec(
        calendars=tuple(calendars),
        intervals=(Interval(every_s * 1_000_000, phase_s * 1_000_000),),
        excluded=tuple(excluded),
        start_us=start * 1_000_000,
        end_us=end * 1_000_000,
        jitter_us=jitter_s * 1_000_000,
        zone="Europe/Berlin",
    )
    times = Times(spec, "seed")
    found: list[int] = []
    after_ms = (origin - 3600) * 1000
    while len(found) < 20 and (time := times.next(after_ms)) is not None:
        assert time.nominal_ms <= time.due_ms <= time.nominal_ms + jitter_s * 1000
        assert time.due_ms > after_ms
        found.append(time.nominal_ms // 1000)
        after_ms = time.due_ms
    if not found:
        return
    expected = (
        [
            second
            for second in range(max(start, origin - 3599), min(end, found[-1]) + 1)
            if (
                (second - phase_s) % every_s == 0
                or any(shows(calendar, datetime.fromtimestamp(second, zone)) for calendar in calendars)
            )
            and not any(shows(calendar, datetime.fromtimestamp(second, zone)) for calendar in excluded)
        ]
        if found[-1] - origin < 20_000
        else None
    )
    if expected is not None:
        assert found == expected[: len(found)]
    assert found == sorted(set(found))
    assert all(start <= second <= end for second in found)


@settings(max_examples=50, deadline=None)
@given(
    minute=st.integers(0, 59),
    hour=st.integers(0, 23),
    weekday=st.integers(0, 7),
    day=st.integers(1, 28),
    after=st.integers(1_577_836_800, 1_893_456_000),
)
def test_cron_fields_all_have_to_match(minute: int, hour: int, weekday: int, day: int, after: int) -> None:
    read = cron(f"{minute} {hour} {day}-{day + 3} * {weekday}").times
    assert isinstance(read, Calendar)
    found = Clock(read, UTC).next(after)
    assert found is not None
    moment = datetime.fromtimestamp(found, UTC)
    assert (moment.minute, moment.hour, moment.second) == (minute, hour, 0)
    assert day <= moment.day <= day + 3
    assert moment.isoweekday() % 7 == weekday % 7
    assert found - after < 400 * 86_400
