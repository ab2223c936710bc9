"""State: what is known of one schedule, all of it: what its user said, and how far it has come."""

from __future__ import annotations

from dataclasses import dataclass, field

from dbos_core.commit import RunStatus
from dbos_core.schedules.policy import Overlap
from dbos_core.schedules.spec import Spec

CATCHUP_WINDOW_MS = 365 * 86_400_000
CATCHUP_WINDOW_MIN_MS = 10_000


@dataclass(slots=True, kw_only=True)
class Policies:
    overlap: Overlap = Overlap.SKIP
    catchup_window_ms: int = CATCHUP_WINDOW_MS
    """A time that was missed by more than that is missed for good."""
    pause_on_failure: bool = False
    keep_original_workflow_id: bool = False
    """Kept and shown; what it asks for is not done (nor on Temporal)."""


@dataclass(slots=True, kw_only=True)
class Definition:
    """What the user said; replaced as a whole by an update."""

    spec: Spec = field(default_factory=Spec)
    policies: Policies = field(default_factory=Policies)
    action: str | None = None
    """What to start: JSON text, written and read by whoever starts it. None: nothing."""
    workflow_id: str = ""
    """The runs' workflow id, before the time is appended."""
    paused: bool = False
    notes: str = ""
    limited: bool = False
    remaining: int = 0
    """With ``limited``: how many actions are left."""


@dataclass(slots=True, kw_only=True)
class Start:
    """A run that is due. Its ids are fixed when it becomes due, so that starting it twice starts it once."""

    nominal_ms: int
    due_ms: int
    overlap: Overlap
    manual: bool
    """Triggered or backfilled: not subject to pause, limit and catch-up window."""
    workflow_id: str
    run_id: str
    alone: bool = True
    """Not ALLOW_ALL: later starts heed it, and results are handed on through it. Set when it begins."""


@dataclass(slots=True, kw_only=True)
class Action:
    """A run that was started."""

    due_ms: int
    started_ms: int
    workflow_id: str
    run_id: str
    """Of the first run of its chain."""
    status: RunStatus = RunStatus.RUNNING


@dataclass(slots=True, kw_only=True)
class Backfill:
    """A stretch of the past that is still to be gone through: after ``after_ms``, up to ``end_ms``."""

    after_ms: int
    end_ms: int
    overlap: Overlap
    number: int


@dataclass(slots=True, kw_only=True)
class Schedule:
    """One schedule."""

    schedule_id: str
    uid: str
    """Of this creation: a schedule that is made again under its old id starts runs of its own."""
    definition: Definition
    created_ms: int
    processed_ms: int
    """Up to here its times have been dealt with."""
    updated_ms: int | None = None
    token: int = 1
    """Grows with every change that an update must not overwrite unseen."""
    triggers: int = 0
    """Triggers and backfills so far."""
    actions: int = 0
    missed: int = 0
    skipped: int = 0
    dropped: int = 0
    invalid: str = ""
    """Why its times cannot be computed here."""
    waiting: list[Start] = field(default_factory=list)
    starting: list[Start] = field(default_factory=list)
    """Decided and written down, so to be started by whoever holds the schedule, as often as it takes."""
    running: list[Action] = field(default_factory=list)
    """Not known to be closed, without those that may overlap."""
    recent: list[Action] = field(default_factory=list)
    backfills: list[Backfill] = field(default_factory=list)
    last_result: str | None = None
    """Result of the last run that completed: JSON text, of whoever starts runs."""
    requests: list[str] = field(default_factory=list)
    """Ids of the latest requests that changed it: one that comes twice is done once."""
    last_failure: str | None = None
    """Failure of the run after that, if it failed."""
