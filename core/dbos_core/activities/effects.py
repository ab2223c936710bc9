"""What a decision about an activity asks for, as values. ``machine.py`` makes them, ``carrier.py`` carries them out."""

from __future__ import annotations

from dataclasses import dataclass

from dbos_core.activities.spec import ActivityRow, FinalOutcome


@dataclass(slots=True)
class Enqueue:
    """It wants a slot of this process."""


@dataclass(slots=True)
class Start:
    """Run the current attempt here, now. Its slot is held already."""


@dataclass(slots=True)
class ReturnSlot:
    """The slot that was held for it is free."""


@dataclass(slots=True)
class LeaveOpen:
    """The current attempt is open in no process: watch its clocks."""


@dataclass(slots=True)
class WriteRow:
    row: ActivityRow


@dataclass(slots=True)
class Record:
    """Write the row, then say ``recorded``."""

    row: ActivityRow


@dataclass(slots=True)
class DeleteRow:
    """Nobody will journal the outcome, so the row goes by itself."""


@dataclass(slots=True)
class Dequeue:
    """It does not want a slot any more."""

    task_queue: str


@dataclass(slots=True)
class Withdraw:
    """Take the offer back if nobody has taken it, then say ``withdrawn``."""

    attempt: int
    keep: bool = False
    """Its row stays: it is only paused or changed."""


@dataclass(slots=True)
class Flag:
    """It runs elsewhere: let its next heartbeat there learn of a cancel, a pause or a reset."""

    attempt: int


@dataclass(slots=True)
class DeliverCancel:
    """It runs here: its next heartbeat learns that a cancel was requested."""


@dataclass(slots=True)
class Tell:
    """It runs here, and an operator wants something of it: its clocks and its next heartbeat."""


@dataclass(slots=True)
class Abort:
    """It runs here and nobody waits for it any more, since its time is up."""


@dataclass(slots=True)
class SetTimer:
    """Say ``clock`` then. Replaces the timer before."""

    when_ms: int


@dataclass(slots=True)
class Final:
    """The last effect of all."""

    outcome: FinalOutcome


Effect = (
    Enqueue | Dequeue | Start | ReturnSlot | LeaveOpen | WriteRow | Record | DeleteRow | Withdraw | Flag | DeliverCancel
    | Tell | Abort | SetTimer | Final
)  # fmt: skip
Effects = list[Effect]

NOT_STARTED = '[{"j":"ACTIVITY_ID_NOT_STARTED"}]'
"""Details of a cancellation that came before the start, in the shape in which executors report cancel details: a list
of payloads, of which ``{"j": value}`` is plain JSON."""
