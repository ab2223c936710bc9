"""Cron walk: robfig/cron's way to the next time, as Temporal's server goes it. Pure.

Field by field, each counted on until it fits or begins anew; only when it begins anew are the fields before it looked at
again. The clock is set once, when a field is first left, and hours and minutes are then counted as they pass. Most of
the time any other way leads to the same place. It shows where clocks change: by half an hour, so that hours are counted
from one half to the next, or at midnight, so that a day goes unseen whose first hour does not come.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from dbos_core.schedules.wall import DAY_S, HOUR_S, Wall


class Walk:
    """Where we stand, in seconds since the epoch and on the wall. Each step says whether its field fits now; otherwise
    it has begun anew, and so does the walk."""

    def __init__(self, wall: Wall, at: int) -> None:
        self.at = at
        self.local = wall.local(at)
        self._wall = wall
        self._set = False

    def months(self, values: frozenset[int]) -> bool:
        while self.local.month not in values:
            self._set_back(self.local.replace(day=1, hour=0))
            now = self.local
            year, month = (now.year, now.month + 1) if now.month < 12 else (now.year + 1, 1)
            self._go(self._wall.at(year, month, now.day, now.hour, now.minute, now.second))
            if self.local.month == 1:
                return False
        return True

    def days(self, fit: Callable[[datetime], bool]) -> bool:
        while not fit(self.local):
            self._set_back(self.local.replace(hour=0))
            now = self.local
            morrow = self._wall.at(now.year, now.month, now.day + 1, now.hour, now.minute, now.second)
            # A day that is left out as a whole is the one before, and robfig/cron stays there for ever.
            self._go(morrow if morrow > self.at else self.at + DAY_S)
            if hour := self.local.hour:  # there is no midnight, or there was none
                self._go(self.at + HOUR_S * (24 - hour if hour > 12 else -hour))
            if self.local.day == 1:
                return False
        return True

    def hours(self, values: frozenset[int]) -> bool:
        while self.local.hour not in values:
            self._set_back(self.local)
            self._go(self.at + HOUR_S)
            if self.local.hour == 0:
                return False
        return True

    def minutes(self, values: frozenset[int]) -> bool:
        while self.local.minute not in values:
            self._go((self.at if self._set else self.at - self.at % 60) + 60)
            self._set = True
            if self.local.minute == 0:
                return False
        return True

    def seconds(self) -> bool:
        if not self.local.second:
            return True
        self._set = True
        self._go(self.at + 60 - self.local.second)
        return False

    def _set_back(self, to: datetime) -> None:
        """To the beginning of an hour, unless the clock has been set."""
        if not self._set:
            self._set = True
            self._go(self._wall.at(to.year, to.month, to.day, to.hour))

    def _go(self, at: int) -> None:
        self.at = at
        self.local = self._wall.local(at)
