"""Spec: all the times of a schedule together, and the next of them.

Times between the stores and the machine are milliseconds; a spec's own limits keep their microseconds, since they are
shown again as they were given.
"""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import tzinfo
from zoneinfo import ZoneInfo

from dbos_core.schedules.calendar import END_S, YEAR_MAX, Calendar, Clock, is_absurd, problems, utc
from dbos_core.schedules.text import BadSpec, Interval, cron
from dbos_core.schedules.wall import UnknownZone, zone_named

EXCLUDED_MAX = 30_000
"""How many stretches of excluded times are passed over in search of the next time; then there is none."""
JITTER_MAX_MS = 2**32 - 1
_SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """When a schedule is due: at what any calendar or interval says, less what is excluded."""

    calendars: tuple[Calendar, ...] = ()
    intervals: tuple[Interval, ...] = ()
    excluded: tuple[Calendar, ...] = ()
    start_us: int | None = None
    end_us: int | None = None
    jitter_us: int = 0
    zone: str = ""
    """Name of the time zone of calendars and exclusions; UTC if empty."""
    zone_data: bytes | None = None
    """The zone itself, in TZif form; its name is only a name then."""


@dataclass(frozen=True, slots=True)
class Time:
    """One time of a schedule."""

    nominal_ms: int
    """What the spec says."""
    due_ms: int
    """With its jitter: when the action happens."""


def with_cron(spec: Spec, strings: list[str]) -> Spec:
    """The spec with the times of cron strings added to it. Raises :class:`BadSpec`."""
    read = [cron(text) for text in strings]
    zones = {item.zone for item in read}
    if len(zones) > 1:
        raise BadSpec("conflicting timezone names")
    zone = zones.pop() if zones else ""
    if zone and ((spec.zone and spec.zone != zone) or spec.zone_data is not None):
        raise BadSpec("conflicting timezone names")
    return Spec(
        calendars=(*spec.calendars, *(item.times for item in read if isinstance(item.times, Calendar))),
        intervals=(*spec.intervals, *(item.times for item in read if isinstance(item.times, Interval))),
        excluded=spec.excluded,
        start_us=spec.start_us,
        end_us=spec.end_us,
        jitter_us=spec.jitter_us,
        zone=spec.zone or zone,
        zone_data=spec.zone_data,
    )


def check(spec: Spec) -> None:
    """Raise :class:`BadSpec` for a spec that cannot be kept."""
    for calendar in (*spec.calendars, *filter(is_absurd, spec.excluded)):
        if wrong := problems(calendar):
            raise BadSpec("invalid calendar spec: " + ", ".join(wrong))
    for interval in spec.intervals:
        if interval.every_us < _SECOND_US:
            raise BadSpec("interval is too small")
        if interval.phase_us < 0:
            raise BadSpec("phase is negative")
        if interval.phase_us >= interval.every_us:
            raise BadSpec("phase cannot be greater than Interval")
    zone_of(spec)


def zone_of(spec: Spec) -> tzinfo:
    """The time zone. Raises :class:`BadSpec` if this machine does not know it."""
    if spec.zone_data is not None:
        try:
            return ZoneInfo.from_file(io.BytesIO(spec.zone_data), key=spec.zone or None)
        except (ValueError, IndexError, EOFError, OSError) as error:
            raise BadSpec("malformed time zone information") from error
        except Exception as error:  # the readers of the standard library raise struct.error and others, unlisted
            raise BadSpec("malformed time zone information") from error
    try:
        return zone_named(spec.zone)
    except UnknownZone as error:
        raise BadSpec(str(error)) from error


class Times:
    """A spec, ready to be asked. Raises :class:`BadSpec` when its zone is not known here."""

    def __init__(self, spec: Spec, seed: str) -> None:
        zone = zone_of(spec)
        self._spec = spec
        self._seed = seed
        self._clocks = [Clock(calendar, zone) for calendar in spec.calendars]
        self._excluded = [Clock(calendar, zone) for calendar in spec.excluded]
        self._intervals = [
            (max(interval.every_us // _SECOND_US, 1), max(interval.phase_us // _SECOND_US, 0))
            for interval in spec.intervals
        ]

    def next(self, after_ms: int) -> Time | None:
        """The first time after this one; None if there is none."""
        start_us = self._spec.start_us or 0  # no time is before the epoch, unless the spec says that it starts there
        after = max(after_ms // 1000, (start_us - _SECOND_US) // _SECOND_US)
        for _ in range(EXCLUDED_MAX):
            nominal = self._raw(after)
            if nominal is None or self._past_end(nominal):
                return None
            after = max((clock.last_of_block(nominal) for clock in self._excluded if clock.matches(nominal)), default=0)
            if not after:
                return Time(nominal * 1000, nominal * 1000 + self._jitter_ms(nominal))
        return None

    def after(self, after_ms: int) -> Iterator[Time]:
        """All times after this one, in order."""
        while (found := self.next(after_ms)) is not None:
            yield found
            after_ms = found.due_ms

    def _raw(self, after: int) -> int | None:
        found = [clock.next(after) for clock in self._clocks]
        found += [((after - phase) // every + 1) * every + phase for every, phase in self._intervals]
        return min((second for second in found if second is not None), default=None)

    def _past_end(self, nominal: int) -> bool:
        end = self._spec.end_us
        return (end is not None and nominal * _SECOND_US > end) or nominal >= END_S or utc(nominal).year > YEAR_MAX

    def _jitter_ms(self, nominal: int) -> int:
        """The same for the same time of the same schedule, and never as far as the time that follows."""
        most_ms = min(max(self._spec.jitter_us // 1000, 0), JITTER_MAX_MS)
        if not most_ms:
            return 0
        following = self._raw(nominal)
        if following is not None:
            most_ms = min(most_ms, (following - nominal) * 1000)
        chance = int.from_bytes(hashlib.blake2s(f"{nominal}|{self._seed}".encode(), digest_size=4).digest())
        return chance * most_ms >> 32


@functools.lru_cache(maxsize=1000)
def times(spec: Spec, seed: str) -> Times:
    """The times of a spec; those that were asked for lately are kept."""
    return Times(spec, seed)


__all__ = [
    "BadSpec",
    "Calendar",
    "Interval",
    "Spec",
    "Time",
    "Times",
    "check",
    "times",
    "with_cron",
    "zone_of",
]
