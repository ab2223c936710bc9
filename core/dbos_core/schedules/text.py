"""Calendar text: cron strings and the fields of a textual calendar → ranges. Temporal's dialect.

Five fields (minute, hour, day of month, month, day of week), six (a year behind) or seven (seconds in front as well);
``@yearly`` … ``@hourly``; ``@every 90m`` and ``@every 1d/6h`` (with a phase); ``TZ=…`` or ``CRON_TZ=…`` in front; a
comment behind ``#``. Day of month and day of week must *both* match, unlike in Unix cron.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from dbos_core.schedules.calendar import YEAR_MAX, YEAR_MIN, Calendar, Range, Ranges


class BadSpec(ValueError):
    """A schedule's times cannot be read; the text is Temporal's."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Every so often since the epoch, shifted by the phase. Microseconds, of which whole seconds count."""

    every_us: int
    phase_us: int = 0


@dataclass(frozen=True, slots=True)
class Cron:
    """What a cron string says: times by the calendar, or an interval; and perhaps a time zone."""

    times: Calendar | Interval
    zone: str = ""


_MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
_DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_ORDERS = {
    5: ("minute", "hour", "day_of_month", "month", "day_of_week"),
    6: ("minute", "hour", "day_of_month", "month", "day_of_week", "year"),
    7: ("second", "minute", "hour", "day_of_month", "month", "day_of_week", "year"),
}
_TEXT_FIELDS: tuple[tuple[str, str, str, int, int], ...] = (
    ("second", "Second", "0", 0, 59),
    ("minute", "Minute", "0", 0, 59),
    ("hour", "Hour", "0", 0, 23),
    ("day_of_week", "DayOfWeek", "*", 0, 7),
    ("day_of_month", "DayOfMonth", "*", 1, 31),
    ("month", "Month", "*", 1, 12),
    ("year", "Year", "*", YEAR_MIN, YEAR_MAX),
)
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_UNITS_US = {
    "ns": 0.001,
    "us": 1.0,
    "µs": 1.0,
    "μs": 1.0,
    "ms": 1e3,
    "s": 1e6,
    "m": 60e6,
    "h": 3600e6,
    "d": 86400e6,
}
_DURATION_END_US = 2.0**63 / 1000
"""In Go's nanoseconds there is no longer one."""
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h|d)")


def cron(text: str) -> Cron:
    """Read a cron string. Raises :class:`BadSpec`."""
    rest, zone = text.strip(), ""
    if rest.startswith(("TZ=", "CRON_TZ=")):
        front, space, rest = rest.partition(" ")
        if not space:
            raise BadSpec("CronString has time zone but missing fields")
        zone = front.partition("=")[2]
    rest, _, comment = rest.partition("#")
    rest = rest.strip()
    if rest.startswith("@every"):
        return Cron(_every(rest))
    fields = _NAMED.get(rest, rest).split()
    order = _ORDERS.get(len(fields))
    if order is None:
        raise BadSpec("CronString does not have 5-7 fields")
    return Cron(calendar(dict(zip(order, fields, strict=True)), comment=comment.strip()), zone)


def calendar(fields: Mapping[str, str], *, comment: str = "") -> Calendar:
    """Read a textual calendar; fields that are missing or empty have their defaults. Raises :class:`BadSpec`."""
    found: dict[str, Ranges] = {}
    wrong: list[str] = []
    for attribute, name, default, low, high in _TEXT_FIELDS:
        try:
            found[attribute] = _ranges(fields.get(attribute, "").strip() or default, attribute, name, low, high)
        except BadSpec as error:
            wrong.append(str(error))
    if wrong:
        raise BadSpec(", ".join(wrong))
    return Calendar(**found, comment=comment)


def _ranges(text: str, attribute: str, name: str, low: int, high: int) -> Ranges:
    if text == "*" and attribute == "year":
        return ()
    found: list[Range] = []
    for part in text.split(","):
        values, slash, step_text = part.partition("/")
        step = 1
        if slash:
            if "/" in step_text:
                raise BadSpec(f"{name} has too many slashes")
            if not step_text:
                raise BadSpec(f"{name} missing step value")
            if not _INTEGER.fullmatch(step_text):
                raise BadSpec(f'strconv.Atoi: parsing "{step_text}": invalid syntax')
            step = int(step_text)
            if step < 1:
                raise BadSpec(f"{name} has invalid Step")
        start, end = _bounds(values, bool(slash), attribute, name, low, high)
        if attribute == "day_of_week" and end == 7:
            # Sunday is 7 here and 0 in a calendar; a range that reaches it is cut, and Sunday named apart if need be.
            if (7 - start) % step == 0 and (step > 1 or start > 1):
                found.append(Range(0))
                if start == 7:
                    continue
            end = 6
        found.append(Range(start, 0 if end == start else end, 0 if step == 1 else step))
    return tuple(found)


def _bounds(values: str, stepped: bool, attribute: str, name: str, low: int, high: int) -> tuple[int, int]:
    if values == "*":
        return low, high
    first, dash, last = values.partition("-")
    if not dash:
        start = _value(first, attribute, low, high)
        if start is None:
            raise BadSpec(f"{name} is not in range [{low}-{high}]")
        return start, high if stepped else start
    if "-" in last:
        raise BadSpec(f"{name} has too many dashes")
    start = _value(first, attribute, low, high)
    if start is None:
        raise BadSpec(f"{name} Start is not in range [{low}-{high}]")
    end = _value(last, attribute, start, high)
    if end is None:
        raise BadSpec(f"{name} End is before Start or not in range [{low}-{high}]")
    return start, end


def _value(text: str, attribute: str, low: int, high: int) -> int | None:
    """A number, or (the beginning of) the name of a month or day; None if it is neither or out of range."""
    value: int | None = None
    if attribute == "month" and len(text) >= 3:
        value = next((i for i, name in enumerate(_MONTHS, 1) if name.startswith(text.lower())), None)
    elif attribute == "day_of_week" and len(text) >= 2:
        value = next((i for i, name in enumerate(_DAYS) if name.startswith(text.lower())), None)
    if value is None and _INTEGER.fullmatch(text):
        value = int(text)
    return value if value is not None and low <= value <= high else None


def _every(text: str) -> Interval:
    _, space, rest = text.partition(" ")
    if not space:
        raise BadSpec("CronString does not have interval after @every")
    every, _, phase = rest.partition("/")
    return Interval(_duration_us(every), _duration_us(phase) if phase else 0)


def _duration_us(text: str) -> int:
    """A duration as Go writes it (``1h30m``), with ``d`` for days."""
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if digits == "0":
        return 0
    parts = _DURATION.findall(digits)
    if not parts or "".join(number + unit for number, unit in parts) != digits:
        unitless = re.fullmatch(r"[0-9]+(\.[0-9]*)?|\.[0-9]+", digits)
        raise BadSpec(f'time: {"missing unit in" if unitless else "invalid"} duration "{text}"')
    length_us = sum(float(number) * _UNITS_US[unit] for number, unit in parts)
    if length_us >= _DURATION_END_US:
        raise BadSpec(f'time: invalid duration "{text[:40]}"')
    return sign * round(length_us)
