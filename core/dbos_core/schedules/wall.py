"""Wall: the clock on the wall of a time zone, read and set as Go does it, in which Temporal's server is written.

Setting it matters where clocks change. A reading that comes twice means the first time west of Greenwich and the second
time elsewhere; one that does not come at all is taken for another, mostly an hour away. Python has other rules. Seconds are
seconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

HOUR_S = 3600
DAY_S = 86_400

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_NONE = timedelta()
_SECOND = timedelta(seconds=1)


class UnknownZone(ValueError):
    """No time zone has this name here; the text is Go's."""


@dataclass(frozen=True, slots=True)
class Wall:
    zone: tzinfo

    def local(self, second: int) -> datetime:
        """What the clock shows."""
        return datetime.fromtimestamp(second, self.zone)

    def offset_s(self, second: int) -> int:
        """How far the clock is ahead of UTC's."""
        return (self.local(second).utcoffset() or _NONE) // _SECOND

    def at(self, year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> int:
        """When the clock shows this. The year and month exist; beyond the end of the month, the day or the hour counting
        goes on."""
        days = date(year, month, 1).toordinal() - _EPOCH_DAY + day - 1
        shown = days * DAY_S + hour * HOUR_S + minute * 60 + second
        # A first guess at the offset, as if the reading were UTC's, and a second one with the first: Go's way.
        guess_s = self.offset_s(shown)
        return shown - self.offset_s(shown - guess_s) if guess_s else shown


def zone_named(name: str) -> tzinfo:
    """The time zone of that name. None is UTC, and so is ``Local``: where a schedule is looked at next, nobody knows.
    Raises :class:`UnknownZone`."""
    if name in ("", "UTC", "Local"):
        return UTC
    if ".." in name or name[0] in "/\\":
        raise UnknownZone("time: invalid location name")
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UnknownZone(f"unknown time zone {name}") from error
