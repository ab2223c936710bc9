"""Runner: what an interpreter of journals must offer the kernel (a Protocol).

The kernel stores and orders checkpoints and decides who runs what and when. What a checkpoint *means* is the runner's
business: it turns events into decisions, deterministically, and reads back its own records on replay. The Temporal
runner lives in ``dbos_compat.bridge``.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, Protocol

from dbos_core.activities.local import LocalLane, LocalOutcome, LocalSpec
from dbos_core.activities.spec import ActivitySpec, FinalOutcome
from dbos_core.commit import Close, Entry, Mail, RunRow, UpdateRow
from dbos_core.errands.spec import Errand, ErrandKey, Reply


class EventKind(enum.StrEnum):
    START = "start"
    SIGNAL = "signal"
    CANCEL = "cancel"
    UPDATE = "update"
    ACTIVITY = "activity"
    TIMER = "timer"
    ERRAND = "errand"
    """How something that the run asked to be done to another run went."""
    CHILD = "child"
    """A child closed."""
    LOCAL = "local"
    RESUME = "resume"
    """What the last journal entry brought is to be handled now (``Decision.unfinished``)."""


@dataclass(slots=True)
class Event:
    """Something that happened to a run. Exactly one of the others says what, except for START."""

    kind: EventKind
    mail: Mail | None = None
    outcome: FinalOutcome | None = None
    timer: int = 0
    reply: Reply | None = None
    local: LocalOutcome | None = None


@dataclass(slots=True)
class Activation:
    """Events that go in together, live."""

    position: int
    at_ms: int
    """Wall clock of this activation; never goes back within a run."""
    events: list[Event]


@dataclass(slots=True)
class TaskFailure:
    """The activation failed: nothing of it happened. It is tried again later, perhaps with mended code."""

    message: str
    cause: str
    """Temporal's ``WorkflowTaskFailedCause`` by name."""
    record: str | None = None
    """JSON text, written and read by the runner's side only: the failure, and what had happened to the run."""
    misfit: Misfit | None = None
    """On replay: the run shall not be tried again, but fail with its next task."""
    close: Close | None = None
    """The run is not tried again, but ended so."""


@dataclass(slots=True)
class Decision:
    """What the workflow asked for in one activation, live or replayed."""

    record: str | None
    """JSON text to journal. None: nothing happened that a replay must know (only rejected updates came)."""
    name: str
    """What stock tools show as the step."""
    schedule: list[ActivitySpec] = field(default_factory=list)
    cancel_activities: list[int] = field(default_factory=list)
    """Seqs whose cancellation is requested and whose outcome is still awaited."""
    try_cancel_activities: list[int] = field(default_factory=list)
    """Seqs whose cancellation is requested and whose outcome is dropped (the workflow was told already)."""
    abandon_activities: list[int] = field(default_factory=list)
    """Seqs whose outcome is dropped; the activity goes on."""
    schedule_local: list[LocalSpec] = field(default_factory=list)
    cancel_local: list[int] = field(default_factory=list)
    """Seqs of local activities, as above: their outcome is awaited, ..."""
    try_cancel_local: list[int] = field(default_factory=list)
    """... is dropped, ..."""
    abandon_local: list[int] = field(default_factory=list)
    """... is dropped, and the activity goes on."""
    start_timers: list[tuple[int, int]] = field(default_factory=list)
    """(seq, due_ms)."""
    cancel_timers: list[int] = field(default_factory=list)
    errands: list[Errand] = field(default_factory=list)
    """What shall be done to other runs, after the commit. Of a decision that closes the run nothing is."""
    open_children: bool = False
    """Some child has been asked for and has not closed, and is to meet a policy when the run closes."""
    updates: list[UpdateRow] = field(default_factory=list)
    memo: str | None = None
    search_attributes: str | None = None
    close: Close | None = None
    history_length: int = 0
    at_ms: int = 0
    """The activation's wall clock, live or recorded."""
    consumed_timers: list[int] = field(default_factory=list)
    """On replay: timers that had rung in this entry."""
    consumed_activities: list[int] = field(default_factory=list)
    """On replay: activities that had ended in this entry."""
    consumed_errands: list[ErrandKey] = field(default_factory=list)
    """On replay: errands whose replies had come in this entry."""
    consumed_locals: list[int] = field(default_factory=list)
    """On replay: local activities that had ended in this entry."""
    unfinished: bool = False
    """On replay: what this entry brought has not been handled in it. If it is the last entry, the run is to be activated
    though nothing else happens."""
    failure: TaskFailure | None = None
    """Set: the rest is void."""


class Misfit(Protocol):
    """A journal that the code does not follow any more, where that is to fail the run: as soon as something happens to it,
    not before."""

    def recorded(self, entry: Entry) -> Decision:
        """What an entry says by itself. It is asked of all of them, in order, before ``end``."""
        ...

    def end(self, activation: Activation) -> Decision:
        """The activation that takes these events up, and fails the run."""
        ...


class Interpreter(Protocol):
    """One run in memory."""

    def activate(self, activation: Activation) -> Decision | Awaitable[Decision]:
        """Feed events; returns at once where it can, so that the hot path has no hop through the event loop."""
        ...

    def replay(self, entry: Entry) -> Decision | Awaitable[Decision]:
        """Feed a journalled entry again. ``Decision.failure`` is set when the code decides differently now."""
        ...

    async def query(self, payload: str) -> str:
        """Answer a question about the state between activations. Request and response are the runner's JSON."""
        ...

    def evict(self) -> Awaitable[None] | None:
        """Tear the instance down. Called once; nothing follows."""
        ...


class Runner(Protocol):
    """Interprets the runs of one task queue."""

    task_queue: str
    identity: str
    max_cached: int
    """How many idle interpreters to keep in memory (0: none survives its activation)."""
    local_lane: LocalLane | None
    """Who runs the local activities of these runs; None: nobody does."""

    def knows(self, workflow_type: str) -> bool: ...

    def open(self, run: RunRow, inputs: str, native: Any = None) -> Interpreter:
        """A fresh interpreter that has seen nothing. Must not raise: an unknown type fails its first activation.

        ``native`` is ``NewRun.native`` where the run starts here: it spares reading ``inputs`` back.
        """
        ...

    def why_unreadable(self, message: Mail) -> str | None:
        """Why a message that a stock tool sent cannot become a signal, in words for its sender; None: it can."""
        ...

    def prepare(self, run: RunRow, spec: ActivitySpec) -> None:
        """An activity of the run will start here as soon as it is journalled. Until then there is time to make ready
        what its start will need (``ActivitySpec.prepared``)."""
        ...
