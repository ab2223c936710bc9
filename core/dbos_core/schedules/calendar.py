"""Calendar: which seconds of a time zone's wall clock match, and which is the next one.

A second matches when each of the seven fields that a clock on the wall would show is in its set. So a time that a
change to summer time leaves out never comes, and one that the change back repeats comes twice; both are Temporal's
rules too. Seconds are seconds since the epoch, and so is everything that this module returns.
"""

from __future__ import annotations

import calendar as gregorian
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo

YEAR_MIN = 2000
YEAR_MAX = 2100
"""The years that a calendar may name; nothing is found beyond."""
FIRST_S = int(datetime(2, 1, 1, tzinfo=UTC).timestamp())
END_S = int(datetime(YEAR_MAX + 1, 1, 2, tzinfo=UTC).timestamp())
"""Beyond these nothing is looked at: in no time zone it is a year that counts, and soon none that Python knows."""
COMMENT_CHARACTERS_MAX = 200

_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Range:
    """``start`` to ``end`` in steps, as it was written: an ``end`` below ``start`` means ``start``, step 0 means 1."""

    start: int
    end: int = 0
    step: int = 0

    def values(self) -> range:
        return range(self.start, max(self.start, self.end) + 1, self.step or 1)


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


@dataclass(slots=True)
class Clock:
    """A calendar on the wall of a time zone, ready to be asked."""

    calendar: Calendar
    zone: tzinfo
    _seconds: list[int] = field(init=False)
    _minutes: list[int] = field(init=False)
    _hours: frozenset[int] = field(init=False)
    _days: frozenset[int] = field(init=False)
    _months: frozenset[int] = field(init=False)
    _weekdays: frozenset[int] = field(init=False)
    _years: frozenset[int] | None = field(init=False)

    def __post_init__(self) -> None:
        of = self.calendar
        self._seconds = sorted(_values(of.second))
        self._minutes = sorted(_values(of.minute))
        self._hours = _values(of.hour)
        self._days = _values(of.day_of_month)
        self._months = _values(of.month)
        self._weekdays = _values(of.day_of_week)
        self._years = _values(of.year) if of.year else None

    def matches(self, second: int) -> bool:
        local = self._local(second)
        return (
            local.second in self._seconds
            and local.minute in self._minutes
            and local.hour in self._hours
            and self._has_day(local.date())
        )

    def next(self, after: int) -> int | None:
        """The first matching second after this one; None if there is none up to the end of ``YEAR_MAX``."""
        if not (self._seconds and self._minutes and self._hours and self._days and self._weekdays):
            return None
        now = max(after + 1, FIRST_S)
        while now < END_S:
            local = self._local(now)
            if local.year > YEAR_MAX:
                return None
            if not self._has_day(local.date()):
                day = self._next_day(local.date())
                if day is None:
                    return None
                now = self._walk(now, self._midnight(day, now))
            elif local.hour not in self._hours:
                now = self._walk(now, now + 3600 - 60 * local.minute - local.second)
            elif local.minute not in self._minutes:
                minute = next((value for value in self._minutes if value > local.minute), 60)
                now = self._walk(now, now + 60 * (minute - local.minute) - local.second)
            elif local.second not in self._seconds:
                second = next((value for value in self._seconds if value > local.second), 60)
                now = self._walk(now, now + second - local.second)
            else:
                return now
        return None

    def last_of_block(self, second: int) -> int:
        """The end of the stretch around a matching second that matches without a gap for a reason that can be seen at
        once: the day, the hour or the minute is included as a whole. Makes long exclusions quick."""
        if len(self._seconds) < 60:
            return second
        local = self._local(second)
        if len(self._minutes) < 60:
            end = second + 60 - local.second
        elif len(self._hours) < 24:
            end = second + 3600 - 60 * local.minute - local.second
        else:
            end = self._midnight(local.date() + timedelta(days=1), second)
        return max(second, self._walk(second, end) - 1)

    # -- days --------------------------------------------------------------------------------------------------------

    def _has_day(self, day: date) -> bool:
        return (
            day.day in self._days
            and day.month in self._months
            and day.isoweekday() % 7 in self._weekdays
            and (self._years is None or day.year in self._years)
        )

    def _next_day(self, day: date) -> date | None:
        """The first matching day after this one."""
        first = day + timedelta(days=1)
        for year in range(first.year, YEAR_MAX + 1):
            if self._years is not None and year not in self._years:
                continue
            for month in range(first.month if year == first.year else 1, 13):
                if month not in self._months:
                    continue
                begin = first.day if (year, month) == (first.year, first.month) else 1
                for number in range(begin, gregorian.monthrange(year, month)[1] + 1):
                    if number in self._days and self._has_day(found := date(year, month, number)):
                        return found
        return None

    # -- the zone ----------------------------------------------------------------------------------------------------

    def _local(self, second: int) -> datetime:
        return datetime.fromtimestamp(second, self.zone)

    def _offset(self, second: int) -> timedelta:
        offset = self._local(second).utcoffset()
        return timedelta() if offset is None else offset

    def _midnight(self, day: date, now: int) -> int:
        """The next beginning of a day to come: a midnight that clocks put back repeat has two, and one may be past."""
        both = [int(datetime(day.year, day.month, day.day, tzinfo=self.zone, fold=fold).timestamp()) for fold in (0, 1)]
        return next((second for second in sorted(both) if second > now), now + 1)

    def _walk(self, now: int, target: int) -> int:
        """``target``, or where the zone's clocks are changed if that comes first within a day: the wall clock may jump
        back there, to fields that match."""
        near = min(target, now + _DAY_S)
        before = self._offset(now)
        if self._offset(near) == before:
            return target
        low, high = now, near
        while high - low > 1:
            middle = (low + high) // 2
            if self._offset(middle) == before:
                low = middle
            else:
                high = middle
        return high


def _values(ranges: Iterable[Range]) -> frozenset[int]:
    return frozenset(value for item in ranges for value in item.values())


def utc(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)
