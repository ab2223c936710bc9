"""Outbox: notes on their way to the ledger. Putting one in costs a caller a microsecond and cannot fail."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import OrderedDict, deque
from dataclasses import dataclass

from dbos_core.errors import BadCommit, StoreUnavailable
from dbos_shadow.mirror.ledger import Ledger
from dbos_shadow.mirror.notes import Note

__all__ = ["Outbox", "Sent"]

logger = logging.getLogger("dbos_shadow")

NOTES_MAX = 10_000
"""Notes that wait while the ledger does not answer; what comes on top is counted and not mirrored."""
SEEN_MAX = 20_000
"""Runs and workflow ids that were noted lately: messages to them need no note."""
TYPES_MAX = 1_000
"""Workflow types that are counted by name when they are not mirrored."""
BATCH = 500
SEND_EVERY_S = 0.25
"""Looked at, not signalled: waking the sender would be work for the caller."""
AWAY_MAX_S = 5.0
OTHERS = "(others)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What an outbox has done so far."""

    noted: int
    """Runs that calls have brought."""
    sent: int
    """Of these, those that are in the ledger."""
    dropped: int
    """Of these, those that are not: the queue was full, or the process ended while the ledger was away. Another message to
    such a run brings it again."""
    failures: int
    """Attempts to write to the ledger that failed."""


class Outbox:
    """A bounded queue in front of a ledger, emptied by one task. ``put`` may be called on any thread."""

    def __init__(self, ledger: Ledger, *, notes_max: int = NOTES_MAX, send_every_s: float = SEND_EVERY_S) -> None:
        self._ledger = ledger
        self._notes_max = notes_max
        self._send_every_s = send_every_s
        self._waiting: deque[Note] = deque()
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()
        self._lost: dict[str, int] = {}
        self._noted = self._sent = self._dropped = self._failures = 0
        self._batch = BATCH
        self._opened = False
        self._away = False
        self._task: asyncio.Task[None] | None = None

    @property
    def sent(self) -> Sent:
        return Sent(noted=self._noted, sent=self._sent, dropped=self._dropped, failures=self._failures)

    def put(self, note: Note) -> None:
        """Remember a run. Never blocks, never raises."""
        with self._lock:
            if not self._is_new(note):
                return
            self._noted += 1
            if len(self._waiting) < self._notes_max:
                self._waiting.append(note)
            else:
                self._drop(note)

    def _is_new(self, note: Note) -> bool:
        """A message to a run that was noted is not news; a start is, unless it found the very run."""
        keys = [key for key in (note.run_id, note.workflow_id) if key]
        known = note.run_id in self._seen if note.run_id else note.workflow_id in self._seen
        for key in keys:
            self._seen.pop(key, None)
            self._seen[key] = None
        while len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)
        return not known

    def _drop(self, note: Note) -> None:
        self._dropped += 1
        name = note.workflow_type if note.workflow_type in self._lost or len(self._lost) < TYPES_MAX else OTHERS
        self._lost[name] = self._lost.get(name, 0) + 1
        self._seen.pop(note.run_id, None)
        self._seen.pop(note.workflow_id, None)  # perhaps the next message to it finds room

    def _refused(self, note: Note) -> None:
        logger.warning(
            "workflow %r cannot be noted (the database refuses its id): it is not mirrored", note.workflow_id
        )
        with self._lock:
            self._waiting.popleft()
            self._dropped += 1
            self._lost[OTHERS] = self._lost.get(OTHERS, 0) + 1

    # -- sending ---------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        self._task = asyncio.create_task(self._run(), name="dbos_shadow outbox")

    async def end(self, timeout_s: float) -> None:
        """Send what waits, for so long at most; count the rest as not mirrored."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        with contextlib.suppress(Exception):  # what is left waiting is counted below
            async with asyncio.timeout(timeout_s):
                await self._send_all()
        if self._waiting:
            logger.warning("%d runs were not noted before the mirror ended: they are not mirrored", len(self._waiting))
            with self._lock:
                while self._waiting:
                    self._drop(self._waiting.popleft())

    async def _run(self) -> None:
        pause_s = self._send_every_s
        while True:
            try:
                await self._send_all()
                pause_s = self._send_every_s
                if self._away:
                    logger.warning("the mirror's ledger is back; %d runs were not mirrored meanwhile", self._dropped)
                    self._away = False
            except Exception as error:
                self._failures += 1
                if not self._away:
                    known = isinstance(error, StoreUnavailable)
                    logger.warning("the mirror's ledger is away: %s", error, exc_info=None if known else error)
                self._away = True
                pause_s = min(max(0.25, pause_s * 2), AWAY_MAX_S)
            await asyncio.sleep(pause_s)

    async def _send_all(self) -> None:
        if not self._opened:
            await self._ledger.open()
            self._opened = True
        while self._waiting:
            batch = [self._waiting[i] for i in range(min(self._batch, len(self._waiting)))]
            try:
                await self._ledger.note(batch)
            except BadCommit:
                if len(batch) > 1:
                    self._batch = 1  # until it has been found which of them it is
                    continue
                self._refused(batch[0])
                continue
            with self._lock:
                for _ in batch:
                    self._waiting.popleft()
            self._sent += len(batch)
        self._batch = BATCH
        with self._lock:
            lost, self._lost = self._lost, {}
        if lost:
            try:
                await self._ledger.lost(lost)
            except BaseException:
                with self._lock:
                    for name, count in lost.items():
                        self._lost[name] = self._lost.get(name, 0) + count
                raise
