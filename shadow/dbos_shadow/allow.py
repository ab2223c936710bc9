"""Accepted differences: what a person has looked at, and says is all right, until a day.

They live in a TOML file that is reviewed like code::

    [[accepted]]
    fingerprint = "0c1f5ab2d9e87744"
    reason = "The port rounds the total to cents; agreed with billing"
    owner = "ada@example.com"
    expires = 2027-03-31

Every entry needs all four. An entry is good on its last day, and does nothing from the next day on: the difference counts
again, and ``Allowances.expired`` names the entry, so that its owner is asked.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from datetime import date, datetime

__all__ = ["Accepted", "Allowances", "AllowancesUnreadable", "read"]

_FIELDS = ("fingerprint", "reason", "owner", "expires")


class AllowancesUnreadable(ValueError):
    """The file of accepted differences is not what it should be. The message says which entry, and what to write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """One accepted difference."""

    fingerprint: str
    reason: str
    owner: str
    expires: date
    """The last day on which it holds."""

    def holds(self, today: date) -> bool:
        return today <= self.expires


@dataclass(frozen=True, slots=True)
class Allowances:
    """All accepted differences, and the day on which they are asked."""

    accepted: tuple[Accepted, ...] = ()
    today: date = date.min
    _by_fingerprint: dict[str, Accepted] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._by_fingerprint.update({entry.fingerprint: entry for entry in self.accepted})

    def get(self, fingerprint: str) -> Accepted | None:
        """The entry for a fingerprint, expired or not."""
        return self._by_fingerprint.get(fingerprint)

    @property
    def expired(self) -> tuple[Accepted, ...]:
        """Entries whose day is over. One is enough to fail a check, met or not."""
        return tuple(entry for entry in self.accepted if not entry.holds(self.today))


def read(text: str, *, today: date) -> Allowances:
    """The allowances that a file holds.

    Raises:
        AllowancesUnreadable: it is not TOML, or an entry lacks something, has something unknown, or is there twice.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise AllowancesUnreadable(f"The file of accepted differences is not TOML: {error}") from error
    unknown = sorted(set(document) - {"accepted"})
    entries = document.get("accepted", [])
    if unknown or not isinstance(entries, list):
        raise AllowancesUnreadable(
            "The file of accepted differences may hold [[accepted]] entries only; it has "
            f"{', '.join(unknown) or 'another shape'}."
        )
    found: dict[str, Accepted] = {}
    for number, entry in enumerate(entries, 1):
        accepted = _entry(number, entry)
        if accepted.fingerprint in found:
            raise AllowancesUnreadable(f"Entry {number}: {accepted.fingerprint} is accepted twice. Keep one of them.")
        found[accepted.fingerprint] = accepted
    return Allowances(tuple(found.values()), today)


def _entry(number: int, entry: object) -> Accepted:
    if not isinstance(entry, dict):
        raise AllowancesUnreadable(f"Entry {number} of accepted is not a table. Begin it with [[accepted]].")
    if wrong := sorted(set(entry) - set(_FIELDS)):
        raise AllowancesUnreadable(f"Entry {number} has {', '.join(wrong)}; known are {', '.join(_FIELDS)}.")
    for name in ("fingerprint", "reason", "owner"):
        if not isinstance(entry.get(name), str) or not entry[name].strip():
            raise AllowancesUnreadable(f'Entry {number} needs {name} = "...".')
    expires = entry.get("expires")
    if not isinstance(expires, date) or isinstance(expires, datetime):
        raise AllowancesUnreadable(f"Entry {number} needs expires = a day, written without quotes: 2027-03-31.")
    return Accepted(
        fingerprint=entry["fingerprint"].strip(), reason=entry["reason"], owner=entry["owner"], expires=expires
    )
