"""Calendar: which seconds of a time zone's wall clock match, and which is the next one.

A time matches when each of its seven fields is in its set. Where clocks change, the next one is found as Temporal's
server finds it, step by step through the fields. A time that is left out does not come. One that is repeated comes twice
west of Greenwich; elsewhere only the second time, and a time in the hour before comes again an hour later instead. Whoever
moves from Temporal keeps their times, so none of this is put right here.

Seconds are seconds since the epoch, and so is everything that this module returns.
"""

from __future__ import annotations

import calendar as gregorian
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo

from dbos_core.schedules.wall import HOUR_S, Wall

YEAR_MIN = 2000
YEAR_MAX = 2100
"""The years that a calendar may name; nothing is found beyond."""
FIRST_S = int(datetime(2, 1, 1, tzinfo=UTC).timestamp())
END_S = int(datetime(YEAR_MAX + 1, 1, 2, tzinfo=UTC).timestamp())
"""Beyond these nothing is looked at: in no time zone it is a year that counts, and soon none that Python knows."""
COMMENT_CHARACTERS_MAX = 200
NEAR_S = 3 * HOUR_S
"""A change of clocks that is farther away plays no part in which time is next."""


@dataclass(frozen=True, slots=True)
class Range:
    """``start`` to ``end`` in steps, as it was written: an ``end`` below ``start`` means ``start``, step 0 means 1."""

    start: int
    end: int = 0
    step: int = 0

    def values(self, low: int, high: int) -> Iterator[int]:
        """Those that a field can have at all."""
        every = range(self.start, min(max(self.start, self.end), high) + 1, self.step or 1)
        return (value for value in every if value >= low)


Ranges = tuple[Range, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """Sets of field values. A field without ranges never matches, except the year, where it means every year."""

    second: Ranges = ()
    minute: Ranges = ()
    hour: Ranges = ()
    day_of_month: Ranges = ()
    month: Ranges = ()
    year: Ranges = ()
    day_of_week: Ranges = ()
    """0 is Sunday."""
    comment: str = ""


FIELDS: tuple[tuple[str, str, int, int], ...] = (
    ("second", "Second", 0, 59),
    ("minute", "Minute", 0, 59),
    ("hour", "Hour", 0, 23),
    ("day_of_month", "DayOfMonth", 1, 31),
    ("month", "Month", 1, 12),
    ("year", "Year", YEAR_MIN, YEAR_MAX),
    ("day_of_week", "DayOfWeek", 0, 6),
)
"""Field, its name in messages, smallest and largest value."""


def problems(calendar: Calendar) -> list[str]:
    """What is wrong with a calendar, in Temporal's words."""
    found: list[str] = []
    for attribute, name, low, high in FIELDS:
        for item in getattr(calendar, attribute):
            if not low <= item.start <= high:
                found.append(f"{name} Start is not in range [{low}-{high}]")
            if item.end != 0 and not item.start <= item.end <= high:
                found.append(f"{name} End is before Start or not in range [{low}-{high}]")
            if item.step < 0:
                found.append(f"{name} has invalid Step")
    if len(calendar.comment.encode()) > COMMENT_CHARACTERS_MAX:
        found.append("comment is too long")
    return found


def is_absurd(calendar: Calendar) -> bool:
    """Is a number negative? Temporal lets exclusions pass that name values which do not exist, but cannot keep these."""
    return any(item.start < 0 or item.step < 0 for name, *_ in FIELDS for item in getattr(calendar, name))


@dataclass(slots=True)
class Clock:
    """A calendar on the wall of a time zone, ready to be asked."""

    calendar: Calendar
    zone: tzinfo
    _wall: Wall = field(init=False)
    _seconds: list[int] = field(init=False)
    _minutes: list[int] = field(init=False)
    _hours: list[int] = field(init=False)
    _days: frozenset[int] = field(init=False)
    _months: frozenset[int] = field(init=False)
    _weekdays: frozenset[int] = field(init=False)
    _years: frozenset[int] | None = field(init=False)

    def __post_init__(self) -> None:
        values = {
            name: frozenset(value for item in getattr(self.calendar, name) for value in item.values(low, high))
            for name, _, low, high in FIELDS
        }
        self._wall = Wall(self.zone)
        self._seconds = sorted(values["second"])
        self._minutes = sorted(values["minute"])
        self._hours = sorted(values["hour"])
        self._days = values["day_of_month"]
        self._months = values["month"]
        self._weekdays = values["day_of_week"]
        self._years = values["year"] if self.calendar.year else None

    def matches(self, second: int) -> bool:
        """Does the clock show a time of the calendar? So exclusions are meant, which see both of two equal hours."""
        local = self._wall.local(second)
        return (
            local.second in self._seconds
            and local.minute in self._minutes
            and local.hour in self._hours
            and local.day in self._days
            and local.month in self._months
            and local.isoweekday() % 7 in self._weekdays
            and (self._years is None or local.year in self._years)
        )

    def next(self, after: int) -> int | None:
        """The time after this one; None if there is none up to the end of ``YEAR_MAX``."""
        if not (self._seconds and self._minutes and self._hours and self._days and self._months and self._weekdays):
            return None
        if after >= END_S:
            return None
        wall = self._wall
        after = max(after, FIRST_S)
        local = wall.local(after)
        y, mo, d, h, m, s = local.year, local.month, local.day, local.hour, local.minute, local.second + 1
        # Is this the second of two equal hours? Then it is an hour later than the readings say ...
        later = HOUR_S if wall.local(after - HOUR_S).hour == h else 0
        while True:
            if s >= 60:
                m, s = m + 1, 0
            if m >= 60:
                # ... and so it is when the next full hour is two hours away: the one that we leave comes again.
                if not later and wall.at(y, mo, d, h + 1) - wall.at(y, mo, d, h) > HOUR_S:
                    m, later = 0, HOUR_S
                else:
                    h, m, later = h + 1, 0, 0
            if h >= 24:
                d, h = d + 1, 0
            if d > gregorian.monthrange(y, mo)[1]:
                mo, d = mo + 1, 1
                if mo > 12:
                    y, mo = y + 1, 1
            if y > YEAR_MAX:
                return None
            if self._years is not None and y not in self._years:
                y, mo, d, h, m, s, later = y + 1, 1, 1, 0, 0, 0, 0
                continue
            if mo not in self._months:
                mo, d, h, m, s, later = mo + 1, 1, 0, 0, 0, 0
                if mo > 12:
                    y, mo = y + 1, 1
                continue
            if d not in self._days or self._weekday(wall.at(y, mo, d, h, m, s)) not in self._weekdays:
                d, h, m, s, later = d + 1, 0, 0, 0, 0
                continue
            hour = _first(self._hours, h, 24)
            if hour != h:
                h, m, s, later = hour, 0, 0, 0
                if hour == 24:
                    continue
            minute = _first(self._minutes, m, 60)
            if minute != m:
                m, s = minute, 0
                if minute == 60:
                    continue
            s = _first(self._seconds, s, 60)
            if s == 60:
                continue
            found = wall.at(y, mo, d, h, m, s)
            # Another hour than was asked for: this one is left out today. In the past: the whole day is.
            if wall.local(found).hour != h or found + later <= after:
                h, m, s = h + 1, 0, 0
                continue
            return found + later

    def last_of_block(self, second: int) -> int:
        """The end of the stretch around a matching second that matches without a gap for a reason that can be seen at
        once: the day, the hour or the minute is included as a whole. Makes long exclusions quick. Not where clocks
        change nearby, since what comes next depends on where one stands there."""
        if len(self._seconds) < 60:
            return second
        local = self._wall.local(second)
        left = [60 - local.second]
        if len(self._minutes) == 60:
            left.append(left[-1] + 60 * (59 - local.minute))
            if len(self._hours) == 24:
                left.append(left[-1] + HOUR_S * (23 - local.hour))
        for length in reversed(left):
            end = second + length - 1
            if self._wall.offset_s(second - NEAR_S) == self._wall.offset_s(end + NEAR_S):
                return end
        return second

    def _weekday(self, second: int) -> int:
        return self._wall.local(second).isoweekday() % 7


def _first(values: list[int], least: int, none: int) -> int:
    """The first of sorted values that is not below ``least``."""
    at = bisect_left(values, least)
    return values[at] if at < len(values) else none


def utc(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)
