"""Cron schedules as Temporal reads them (the dialect of robfig/cron): five fields, ``@hourly`` …, ``@every 90s``,
``CRON_TZ=Europe/Berlin`` in front. Pure.

What sets the dialect apart from other crons: Sunday is 0 and never 7, ``?`` is ``*``, there are no seconds, no ``L``,
``W`` or ``#``. A time that a change of the clocks skips does not come; one that it repeats comes twice. (Schedules read
cron strings in another way, see ``dbos_core.schedules``.)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import lru_cache

from dbos_compat.chains.cron_walk import Walk
from dbos_core.schedules.wall import DAY_S, UnknownZone, Wall, zone_named

_YEARS_MAX = 5
"""A time that does not come within so many years (the 30th of February) never comes."""
_SECONDS_END = 2.0**63 / 1e9
"""In Go's nanoseconds there is no longer distance."""

_MONTHS = {"jan": 1, "feb": 2, "mar": 3, "apr": 4, "may": 5, "jun": 6, "jul": 7, "aug": 8, "sep": 9, "oct": 10}
_MONTHS |= {"nov": 11, "dec": 12}
_DAYS = {"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}
_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER = re.compile(r"\+?[0-9]{1,18}")
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")


class BadCronSchedule(ValueError):
    """The text is no schedule in this dialect."""


class NeverComes(BadCronSchedule):
    """It is one without a time."""


@dataclass(frozen=True, slots=True)
class Field:
    """The values of one field; ``star``: it was left open."""

    values: frozenset[int]
    star: bool


@dataclass(frozen=True, slots=True)
class Calendar:
    """A schedule of five fields in a time zone."""

    minute: Field
    hour: Field
    day: Field
    month: Field
    weekday: Field
    zone: tzinfo

    def after(self, moment: int) -> int | None:
        """The first time after this second; None if there is none in years."""
        if not all(field.values for field in (self.minute, self.hour, self.day, self.month, self.weekday)):
            return None
        walk = Walk(Wall(self.zone), moment + 1)
        last_year = walk.local.year + _YEARS_MAX
        while walk.local.year <= last_year:
            if (
                walk.months(self.month.values)
                and walk.days(self._on)
                and walk.hours(self.hour.values)
                and walk.minutes(self.minute.values)
                and walk.seconds()
            ):
                return walk.at
        return None

    def _on(self, local: datetime) -> bool:
        """Does the day fit? Where both kinds of day are restricted, one of them is enough."""
        by_date = local.day in self.day.values
        by_weekday = local.isoweekday() % 7 in self.weekday.values
        return by_date and by_weekday if self.day.star or self.weekday.star else by_date or by_weekday


@dataclass(frozen=True, slots=True)
class Every:
    """A fixed distance, in whole seconds."""

    seconds: int

    def after(self, moment: int) -> int:
        return moment + self.seconds


@lru_cache(maxsize=512)
def parse(text: str) -> Calendar | Every:
    """
    Raises:
        BadCronSchedule: with what is wrong.
    """
    zone: tzinfo = UTC
    rest = text
    if text.startswith(("TZ=", "CRON_TZ=")):
        name, _, rest = text.partition("=")[2].partition(" ")
        try:
            zone = zone_named(name)
        except UnknownZone as error:
            raise BadCronSchedule(str(error)) from None
        rest = rest.strip()
    if rest.startswith("@every "):
        return Every(max(1, int(_seconds(rest.removeprefix("@every ")))))
    if rest.startswith("@"):
        if rest not in _DESCRIPTORS:
            raise BadCronSchedule(f"unknown descriptor {rest!r}")
        rest = _DESCRIPTORS[rest]
    fields = rest.split()
    if len(fields) != 5:
        raise BadCronSchedule(f"{len(fields)} fields in {rest!r}, not 5")
    calendar = Calendar(
        minute=_field(fields[0], 0, 59),
        hour=_field(fields[1], 0, 23),
        day=_field(fields[2], 1, 31),
        month=_field(fields[3], 1, 12, _MONTHS),
        weekday=_field(fields[4], 0, 6, _DAYS),
        zone=zone,
    )
    if calendar.after(0) is None:  # such a one has no time from any moment on
        raise NeverComes(f"{text!r} never comes")
    return calendar


def backoff_ms(text: str, begun_ms: int, now_ms: int) -> int | None:
    """How long after now the next run begins, in whole seconds as on Temporal; None: there is no next time.

    ``begun_ms``: when the run that ends now began (a schedule of distances counts from there); now, for the first run.
    """
    if now_ms < begun_ms:
        return _up(begun_ms - now_ms) * 1000
    try:
        following = _following(parse(text), begun_ms // 1000, _up(now_ms))
    except (OverflowError, ValueError):  # beyond all calendars
        return None
    return None if following is None else _up(following * 1000 - now_ms) * 1000


def _following(schedule: Calendar | Every, begun: int, now: int) -> int | None:
    """The first time from now on, counted from time to time since the run began."""
    following = schedule.after(begun)
    if following is None or following >= now:
        return following
    if isinstance(schedule, Every):
        return now + (following - now) % schedule.seconds
    following = max(following, now - DAY_S)  # farther back no change of clocks plays a part
    while following is not None and following < now:
        following = schedule.after(following)
    return following


def _up(ms: int) -> int:
    """Seconds, rounded up."""
    return -(-ms // 1000)


def _field(text: str, low: int, high: int, names: dict[str, int] | None = None) -> Field:
    values: set[int] = set()
    star = False
    for part in filter(None, text.split(",")):
        found, open_ = _range(part, low, high, names or {})
        values |= found
        star = star or open_
    return Field(frozenset(values), star)


def _range(text: str, low: int, high: int, names: dict[str, int]) -> tuple[set[int], bool]:
    span, slash, step_text = text.partition("/")
    first_text, dash, last_text = span.partition("-")
    star = first_text in ("*", "?")
    if star:  # with or without an end: it says nothing then
        first, last = low, high
    else:
        first = _number(first_text, names)
        last = _number(last_text, names) if dash else high if slash else first
    step = _number(step_text, {}) if slash else 1
    if step == 0 or not low <= first <= last <= high:
        raise BadCronSchedule(f"{text!r} is not within {low}-{high}")
    return set(range(first, last + 1, step)), star and step == 1


def _number(text: str, names: dict[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not _NUMBER.fullmatch(text):
        raise BadCronSchedule(f"{text!r} is no number")
    return int(text)


def _seconds(text: str) -> float:
    """A duration as Go writes it: ``1h30m``."""
    body = text.removeprefix("-") if text.startswith("-") else text.removeprefix("+")
    parts = _PART.findall(body)
    if body != "0" and (not parts or "".join(number + unit for number, unit in parts) != body):
        raise BadCronSchedule(f"{text!r} is no duration")
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in parts)
    if seconds >= _SECONDS_END:
        raise BadCronSchedule("too long a duration")
    return -seconds if text.startswith("-") else seconds
