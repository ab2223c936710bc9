"""Cron schedules as Temporal reads them (the dialect of robfig/cron): five fields, ``@hourly`` …, ``@every 90s``,
``CRON_TZ=Europe/Berlin`` in front. Pure.

What sets the dialect apart from other crons: Sunday is 0 and never 7, ``?`` is ``*``, there are no seconds, no ``L``,
``W`` or ``#``. A time that a change of the clocks skips does not come; one that it repeats comes twice.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

_MINUTE, _DAY = timedelta(minutes=1), timedelta(days=1)
_YEARS_MAX = 5
"""A time that does not come within so many years (the 30th of February) never comes."""
_SECONDS_MAX = 1e11
"""Of a distance: longer than anybody waits, and still a time."""

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
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")


class BadCronSchedule(ValueError):
    """The text is no schedule in this dialect."""


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

    def after(self, moment: datetime) -> datetime | None:
        """The first time after this moment; None if there is none in years."""
        at = moment.astimezone(UTC).replace(second=0, microsecond=0) + _MINUTE
        last_year = at.year + _YEARS_MAX
        while at.year <= last_year:
            local = at.astimezone(self.zone)
            if local.month not in self.month.values:
                following = local.replace(day=1, hour=0, minute=0, fold=0) + 32 * _DAY
                at = following.replace(day=1).astimezone(UTC)
            elif not self._on(local):
                at = (local.replace(hour=0, minute=0, fold=0) + _DAY).astimezone(UTC)
            elif local.hour not in self.hour.values:
                at += (60 - local.minute) * _MINUTE
            elif local.minute not in self.minute.values:
                at += _MINUTE
            else:
                return at
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

    def after(self, moment: datetime) -> datetime:
        return moment.replace(microsecond=0) + timedelta(seconds=self.seconds)


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
            zone = ZoneInfo(name)
        except (ValueError, OSError, KeyError):  # what ZoneInfo raises for an unknown one is a KeyError
            raise BadCronSchedule(f"unknown time zone {name!r}") from None
        rest = rest.strip()
    if rest.startswith("@every "):
        return Every(max(1, int(min(_seconds(rest.removeprefix("@every ")), _SECONDS_MAX))))
    if rest.startswith("@"):
        if rest not in _DESCRIPTORS:
            raise BadCronSchedule(f"unknown descriptor {rest!r}")
        rest = _DESCRIPTORS[rest]
    fields = rest.split()
    if len(fields) != 5:
        raise BadCronSchedule(f"{len(fields)} fields in {rest!r}, not 5")
    return Calendar(
        minute=_field(fields[0], 0, 59),
        hour=_field(fields[1], 0, 23),
        day=_field(fields[2], 1, 31),
        month=_field(fields[3], 1, 12, _MONTHS),
        weekday=_field(fields[4], 0, 6, _DAYS),
        zone=zone,
    )


def backoff_ms(text: str, begun_ms: int, now_ms: int) -> int | None:
    """How long after now the next run begins, in whole seconds as on Temporal; None: there is no next time.

    ``begun_ms``: when the run that ends now began (a schedule of distances counts from there); now, for the first run.
    """
    try:
        return _backoff_ms(parse(text), _moment(begun_ms), _moment(now_ms))
    except OverflowError:  # beyond all calendars
        return None


def _backoff_ms(schedule: Calendar | Every, begun: datetime, now: datetime) -> int | None:
    following = schedule.after(begun)
    if following is not None and following < now:
        if isinstance(schedule, Every):
            missed = math.ceil((now - following).total_seconds() / schedule.seconds)
            following += timedelta(seconds=missed * schedule.seconds)
        else:
            following = schedule.after(now - timedelta(microseconds=1))
    if following is None:
        return None
    return math.ceil((following - now).total_seconds()) * 1000


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms // 1000, UTC) + timedelta(milliseconds=ms % 1000)


def _field(text: str, low: int, high: int, names: dict[str, int] | None = None) -> Field:
    values: set[int] = set()
    star = False
    for part in text.split(","):
        found, open_ = _range(part, low, high, names or {})
        values |= found
        star = star or open_
    return Field(frozenset(values), star)


def _range(text: str, low: int, high: int, names: dict[str, int]) -> tuple[set[int], bool]:
    span, slash, step_text = text.partition("/")
    first_text, dash, last_text = span.partition("-")
    star = first_text in ("*", "?")
    if star:
        if dash:
            raise BadCronSchedule(f"{text!r} is no range")
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
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise BadCronSchedule(f"{text!r} is no number")
    return int(text)


def _seconds(text: str) -> float:
    """A duration as Go writes it: ``1h30m``."""
    body = text.removeprefix("-") if text.startswith("-") else text.removeprefix("+")
    parts = _PART.findall(body)
    if body != "0" and (not parts or "".join(number + unit for number, unit in parts) != body):
        raise BadCronSchedule(f"{text!r} is no duration")
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in parts)
    return -seconds if text.startswith("-") else seconds
