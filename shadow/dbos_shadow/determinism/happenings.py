"""Happening: one thing that happened in a schedule, as a story would tell it. A schedule's record is a list of them."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Kind(enum.StrEnum):
    """What can happen. Most are the world's doing; ``STEP``, ``CLOSED`` and ``BROKEN`` tell what came of it."""

    STARTED = "started"
    """The workflow was started."""
    STEP = "step"
    """A workflow task was checkpointed; ``text`` has what the workflow asked for."""
    ACTIVITY_STARTED = "activity started"
    ACTIVITY_COMPLETED = "activity completed"
    ACTIVITY_FAILED = "activity failed"
    ACTIVITY_CANCELED = "activity canceled"
    ACTIVITY_HANGS = "activity hangs"
    """Its attempt will never report: some clock ends it, or a crash."""
    ACTIVITY_TIMED_OUT = "activity timed out"
    """One of its clocks has rung; ``text`` says which."""
    ACTIVITY_ASKED_TO_STOP = "activity asked to stop"
    CLOCK = "clock"
    """Time passed until the next timer, timeout or retry."""
    CLOCK_JUMP = "clock jump"
    """Somebody set the wall clock."""
    SIGNAL = "signal"
    UPDATE = "update"
    QUERY = "query"
    CANCEL = "cancel"
    ANSWERED = "answered"
    """A caller of the workflow got its answer."""
    REFUSED = "refused"
    """A caller of the workflow got an error, as it may."""
    DUPLICATE = "duplicate"
    """A request was sent once more, with the same request id."""
    WORKER_STARTED = "worker started"
    CRASH = "crash"
    STALL = "stall"
    """A process stands still for longer than its lease; another one takes over."""
    WAKE = "wake"
    """A process that stood still goes on."""
    EVICTION = "eviction"
    """A workflow's memory was dropped; what follows begins with a replay."""
    NEW_CODE = "new code"
    DATABASE = "database"
    """A statement or its answer was lost."""
    WORKERS_BUSY = "workers busy"
    """No worker takes activities for a while."""
    CLOSED = "closed"
    BROKEN = "broken"
    """The rule that does not hold. Always the last."""


FAULTS = frozenset(
    {
        Kind.ACTIVITY_FAILED,
        Kind.ACTIVITY_HANGS,
        Kind.CLOCK_JUMP,
        Kind.CRASH,
        Kind.DATABASE,
        Kind.DUPLICATE,
        Kind.EVICTION,
        Kind.NEW_CODE,
        Kind.STALL,
        Kind.WORKERS_BUSY,
    }
)
"""What does not happen on a good day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One thing. Values of payloads are not in it."""

    kind: Kind
    at_ms: int
    """Virtual wall clock, milliseconds since the epoch. A run begins near ``clocks.START_MS``."""
    name: str = ""
    """Of the activity, signal, update, query or workflow."""
    text: str = ""
    """The rest, for people."""
    fault: bool = False
    attempt: int = 0
    """Of an activity."""
    process: int = 1
    """Which incarnation of a worker process it concerns, counted from 1."""
    position: int = 0
    """Of a ``STEP``: its place in the journal."""
    workflow_id: str = ""
    """Of the run concerned, where it is not the one under test."""
    chosen: int | None = None
    """Index of the decision that made it happen; None: it followed by itself."""
