"""Ledger: which runs are mirrored, and what was said of each. It is all that front and back of a mirror share.

The front (``Mirror``, in the processes of the application) writes notes; the back (``MirrorWorker``, in a process of its
own or in the same) reads them and writes verdicts. Neither waits for the other.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol

from dbos_shadow.mirror.notes import Note
from dbos_shadow.verdict import Reason, Verdict

__all__ = ["Entry", "Ledger", "MemoryLedger"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One run in the ledger."""

    number: int
    """Grows with every entry."""
    note: Note
    verdict: Verdict | None = None
    """None: the run is followed, or about to be."""
    reason: Reason | None = None
    said: str = ""
    """For people: what happened and what to do."""


class Ledger(Protocol):
    """Every call may raise ``StoreUnavailable``; all can be repeated."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def note(self, notes: Iterable[Note]) -> None:
        """Enter runs; those that are there stay as they are."""
        ...

    async def lost(self, runs: Mapping[str, int]) -> None:
        """So many calls, by workflow type, could not be noted: nobody will follow these runs."""
        ...

    async def never_noted(self) -> Mapping[str, int]:
        """All that ``lost`` was told, as far as it is not purged."""
        ...

    async def unjudged(self, after: int, limit: int) -> list[Entry]:
        """Entries without a verdict and with a number above ``after``, in order."""
        ...

    async def entries(self) -> list[Entry]:
        """All entries, in order."""
        ...

    async def judged(self, note: Note, verdict: Verdict, reason: Reason | None, said: str) -> None:
        """What is said of a run."""
        ...

    async def resolve(self, note: Note, run: Note | None) -> None:
        """The run that a note without run id means, which takes its place; None: there is none, forget the note."""
        ...

    async def purge(self, older_than: timedelta) -> int:
        """Delete what was said longer ago than that, and counts of what could not be noted since. How many entries."""
        ...

    async def lead(self) -> bool:
        """Become the one worker that follows the runs of this ledger. False: another one does."""
        ...


class MemoryLedger:
    """In this process; gone with it."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], Entry] = {}
        self._judged_at: dict[tuple[str, str], float] = {}
        self._lost: dict[str, int] = {}
        self._lost_at: dict[str, float] = {}
        self._numbers = 0

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def note(self, notes: Iterable[Note]) -> None:
        for note in notes:
            key = (note.workflow_id, note.run_id)
            if key not in self._entries:
                self._numbers += 1
                self._entries[key] = Entry(number=self._numbers, note=note)

    async def lost(self, runs: Mapping[str, int]) -> None:
        for workflow_type, count in runs.items():
            self._lost_at[workflow_type] = time.monotonic()
            self._lost[workflow_type] = self._lost.get(workflow_type, 0) + count

    async def never_noted(self) -> Mapping[str, int]:
        return dict(self._lost)

    async def unjudged(self, after: int, limit: int) -> list[Entry]:
        return [e for e in self._entries.values() if e.verdict is None and e.number > after][:limit]

    async def entries(self) -> list[Entry]:
        return list(self._entries.values())

    async def judged(self, note: Note, verdict: Verdict, reason: Reason | None, said: str) -> None:
        key = (note.workflow_id, note.run_id)
        self._judged_at[key] = time.monotonic()
        self._entries[key] = replace(self._entries[key], note=note, verdict=verdict, reason=reason, said=said)

    async def resolve(self, note: Note, run: Note | None) -> None:
        self._entries.pop((note.workflow_id, note.run_id), None)
        if run is not None:
            await self.note([run])

    async def purge(self, older_than: timedelta) -> int:
        before = time.monotonic() - older_than.total_seconds()
        old = [key for key, at in self._judged_at.items() if at < before]
        for key in old:
            del self._entries[key], self._judged_at[key]
        for name in [name for name, at in self._lost_at.items() if at < before]:
            del self._lost[name], self._lost_at[name]
        return len(old)

    async def lead(self) -> bool:
        return True
