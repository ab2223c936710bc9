"""Commit: all that one step of one run changes, as one value; and every answer a store may give.

Nothing in here does I/O. A :class:`Commit` is built by the acting part (``live_run``, ``kernel``), gathered by
``writer`` and applied by a store: on Postgres as one statement together with its neighbours, in memory as one
assignment. Units are in the names: ``_ms`` is milliseconds since the epoch on a wall clock.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any

from dbos_core.activities.spec import ActivityRow


class RunStatus(enum.IntEnum):
    """The status of one run. Numbers are Temporal's ``WorkflowExecutionStatus``, so that no table translates them."""

    RUNNING = 1
    COMPLETED = 2
    FAILED = 3
    CANCELED = 4
    TERMINATED = 5
    CONTINUED_AS_NEW = 6
    TIMED_OUT = 7

    @property
    def dbos(self) -> str:
        """What a stock DBOS tool sees for a closed run of this status."""
        return _DBOS_STATUS[self]


_DBOS_STATUS = {
    RunStatus.RUNNING: "PENDING",
    RunStatus.COMPLETED: "SUCCESS",
    RunStatus.FAILED: "ERROR",
    RunStatus.CANCELED: "CANCELLED",
    RunStatus.TERMINATED: "CANCELLED",
    RunStatus.CONTINUED_AS_NEW: "SUCCESS",
    RunStatus.TIMED_OUT: "ERROR",
}


class IdReuse(enum.IntEnum):
    """May a closed workflow's id be used again? Numbers are Temporal's ``WorkflowIdReusePolicy``."""

    ALLOW_DUPLICATE = 1
    ALLOW_DUPLICATE_FAILED_ONLY = 2
    REJECT_DUPLICATE = 3
    TERMINATE_IF_RUNNING = 4


class IdConflict(enum.IntEnum):
    """What if a run with this id is open? Numbers are Temporal's ``WorkflowIdConflictPolicy``."""

    FAIL = 1
    USE_EXISTING = 2
    TERMINATE_EXISTING = 3


class ParentClosePolicy(enum.IntEnum):
    """What becomes of an open child when its parent closes. Numbers are Temporal's ``ParentClosePolicy``."""

    TERMINATE = 1
    ABANDON = 2
    REQUEST_CANCEL = 3


@dataclass(slots=True, frozen=True, kw_only=True)
class ParentLink:
    """Who started a run as its child. All runs of the child's chain have the same."""

    workflow_uuid: str
    workflow_id: str
    run_id: str
    seq: int
    """The number by which the parent's journal knows the child."""
    policy: ParentClosePolicy
    root_workflow_id: str
    """The topmost ancestor."""
    root_run_id: str


@dataclass(slots=True, kw_only=True)
class NewRun:
    """A run that shall begin. Id policies travel inside and are applied by the database, not by a look beforehand."""

    workflow_uuid: str
    """Key of the DBOS row. The first run of a workflow id has the id itself, later ones ``<id>~<run id>``."""
    workflow_id: str
    run_id: str
    first_run_id: str
    workflow_type: str
    task_queue: str
    inputs: str
    """JSON text for ``workflow_input``: ``positionalArgs``, ``namedArgs`` and the runner's own start record."""
    start_ms: int
    execution_ms: int
    """When the first activation may happen: ``start_ms`` plus the start delay."""
    claimed: bool
    """True: this process owns the run from its first row on. False: any process that serves the queue may claim it."""
    request_id: str | None = None
    reuse: IdReuse = IdReuse.ALLOW_DUPLICATE
    conflict: IdConflict = IdConflict.FAIL
    deadline_ms: int | None = None
    """When the run times out by itself (the smaller of run and execution timeout)."""
    memo: str | None = None
    """JSON text, opaque to the kernel."""
    search_attributes: str | None = None
    """JSON object text, name → value; the store filters on it."""
    metadata: str | None = None
    """JSON text, opaque to the kernel: what describe shows besides (summary, details ...)."""
    parent: ParentLink | None = None
    """It is a child: unless its policy is ABANDON it begins only while that parent is open."""
    native: Any = field(default=None, compare=False, repr=False)
    """The runner side's own form of ``inputs``, as long as the start has not left this process. Never stored."""


@dataclass(slots=True, kw_only=True)
class JournalRow:
    """One checkpoint: what happened to the run and what it asked for then. Position 1 is the first activation."""

    position: int
    name: str
    """What a stock DBOS tool shows as the step's name."""
    record: str
    """JSON text, written and read by the runner only."""
    started_ms: int
    completed_ms: int


@dataclass(slots=True, kw_only=True)
class Close:
    """The end of a run."""

    status: RunStatus
    close_ms: int
    record: str
    """JSON text: everything the closing event carries; written and read by the runner's side only."""
    output: str | None = None
    """JSON text for ``workflow_output.output`` (stock ``get_result``)."""
    error: str | None = None
    """JSON text ``{"name", "message", ...}`` for ``workflow_output.error``."""
    mail_seen_ms: int | None = 0
    """The newest mail (its ``created_ms``) that the run has journalled. If newer mail waits the close is refused with
    ``MAIL_WAITING`` (Temporal's UNHANDLED_COMMAND). ``None``: close whatever waits (terminate, timeout)."""
    successor: NewRun | None = None
    """The next run of the workflow id. It begins in the very moment in which this one ends: an id never has no current
    run in between, nor two. Its id policies do not apply."""
    reaches_others: bool = False
    """Other runs must hear of it (a parent, children): the same commit puts the run into the outbox, under the name of
    this process, which sees to it afterwards (``errands.aftermath``)."""


@dataclass(slots=True, kw_only=True)
class Mail:
    """A durable message to a run: a row of ``notifications``, delivered exactly once, in order of ``created_ms``."""

    mail_id: str
    """Primary key; the same id again is the same message (request-id deduplication)."""
    workflow_uuid: str
    topic: str
    """The signal's name; kernel messages have topics that begin with ``__dbos_compat_`` (see ``mailbox``)."""
    message: str
    """JSON text."""
    created_ms: int = 0
    """Given by the store: strictly increasing per run. 0 until then."""
    serialization: str | None = "portable_json"
    follows_ms: int | None = field(default=None, compare=False)
    """Told by the store to the sender, with ``created_ms``: nothing waits for the run that is older than this message and
    newer than this time. None: not known."""


@dataclass(slots=True, kw_only=True)
class UpdateRow:
    """The durable life of one update request. Keyed by run and update id."""

    update_id: str
    stage: int
    """Temporal's ``UpdateWorkflowExecutionLifecycleStage``: 1 admitted, 2 accepted, 3 completed. 0 deletes the row
    (a rejected update leaves no trace)."""
    outcome: str | None = None
    """JSON text, from stage 3 on."""


@dataclass(slots=True, kw_only=True)
class Commit:
    """All that one step of one run changes. Applied as a whole or not at all.

    Fenced (``fenced=True``): applied only while this process owns the run (``workflow_status.owner_xid`` is its token
    and the status is PENDING); used for everything that an owner writes. Unfenced: a start, or mail from outside.
    """

    workflow_uuid: str
    fenced: bool = True
    start: NewRun | None = None
    entry: JournalRow | None = None
    consumed: tuple[str, ...] = ()
    """Ids of the mail that ``entry`` journals (or that is done with, when there is no entry)."""
    close: Close | None = None
    park_until_ms: int | None = None
    """Let go of the run, which waits: runnable again at this time (``PARK_FOREVER``: only mail wakes it).
    Refused with ``MAIL_WAITING`` when mail newer than ``mail_seen_ms`` waits."""
    mail_seen_ms: int = 0
    mail_left: tuple[str, ...] = ()
    """Ids of messages that are known and stay in the mailbox. (With ``park_until_ms`` and ``close`` a message of a stock tool
    that is neither among them nor ``consumed`` counts as newer, whatever its time.)"""
    memo: str | None = None
    search_attributes: str | None = None
    """The full new value (JSON text) when it changed, else None."""
    history_length: int | None = None
    """Written with ``close`` and ``park_until_ms``, for listings."""
    mail: tuple[Mail, ...] = ()
    """Messages to this very run, inserted whoever owns it: in unfenced commits of their own, or together with ``start``
    (signal-with-start). Those whose id is also in ``consumed`` are inserted as consumed already. The store sets
    ``created_ms`` on these very objects before it answers COMMITTED."""
    activities: tuple[ActivityRow, ...] = ()
    """Rows to insert or overwrite (keyed by run and seq)."""
    activities_done: tuple[int, ...] = ()
    """Seqs whose rows go away."""
    updates: tuple[UpdateRow, ...] = ()
    settled: tuple[str, ...] = ()
    """Closed runs (workflow_uuids) to take out of the outbox, unless there is mail and the verdict is RUN_CLOSED."""


PARK_FOREVER = 2**62


class Verdict(enum.Enum):
    """What became of a commit."""

    COMMITTED = "committed"
    POSITION_LOST = "position lost"
    """Somebody else journalled that position. Drop the copy and reload."""
    CLAIM_LOST = "claim lost"
    """This process no longer owns the run (taken over, cancelled, resumed or deleted from outside)."""
    MAIL_WAITING = "mail waiting"
    """The close or the parking was refused since messages wait that the run has not seen. Nothing was written."""
    ID_TAKEN = "id taken"
    """A start met an existing row of that workflow id: ``Store.start_by_policy`` decides."""
    RUN_CLOSED = "run closed"
    """Mail for a run that is closed or does not exist. Nothing was written."""
    DUPLICATE = "duplicate"
    """Mail whose id was delivered before. Nothing was written; to its sender that is a success."""


class StartResult(enum.Enum):
    """How ``Store.start_by_policy`` ended."""

    STARTED = "started"
    SAME_REQUEST = "same request"
    """An earlier start with this request id made the run (idempotent retry)."""
    USED_EXISTING = "used existing"
    ALREADY_STARTED = "already started"
    """Refused. ``run`` is the run that stands in the way."""
    PARENT_CLOSED = "parent closed"
    """Refused: the run that wanted it as its child is closed. ``run`` is that run, or the latest of the wanted id."""


@dataclass(slots=True, kw_only=True)
class RunRow:
    """One row of ``runs``: what is known of a run without loading its journal."""

    workflow_uuid: str
    workflow_id: str
    run_id: str
    first_run_id: str
    workflow_type: str
    task_queue: str
    status: RunStatus
    start_ms: int
    execution_ms: int
    close_ms: int | None = None
    owner: str | None = None
    request_id: str | None = None
    wake_at_ms: int | None = None
    deadline_ms: int | None = None
    history_length: int = 0
    memo: str | None = None
    search_attributes: str | None = None
    metadata: str | None = None
    close: str | None = None
    """The close record (``Close.record``)."""
    last_mail_ms: int = 0
    parent: ParentLink | None = None
    task_attempt: int = 1
    """Over 1: the run's activations fail, and this is the number of the next try."""
    task_failure: str | None = None
    """What is known of the first failed try (text of ``failing.Note``)."""


def row_of(new: NewRun, owner: str | None) -> RunRow:
    """The row that a start makes; ``owner``: who has it then, if the start claims it."""
    return RunRow(
        workflow_uuid=new.workflow_uuid,
        workflow_id=new.workflow_id,
        run_id=new.run_id,
        first_run_id=new.first_run_id,
        workflow_type=new.workflow_type,
        task_queue=new.task_queue,
        status=RunStatus.RUNNING,
        start_ms=new.start_ms,
        execution_ms=new.execution_ms,
        owner=owner if new.claimed else None,
        request_id=new.request_id,
        deadline_ms=new.deadline_ms,
        memo=new.memo,
        search_attributes=new.search_attributes,
        metadata=new.metadata,
        parent=new.parent,
    )


@dataclass(slots=True, kw_only=True)
class StartAnswer:
    result: StartResult
    run: RunRow
    terminated: RunRow | None = None
    """The run that TERMINATE_EXISTING ended in the same transaction."""


@dataclass(slots=True, kw_only=True)
class Reset:
    """A workflow goes back to an earlier point: a new run with the first part of another run's journal, in the place of
    the current run."""

    new: NewRun
    base_uuid: str
    """The run whose journal is copied, below the position of ``entry``."""
    entry: JournalRow
    """What the runner wants to find there instead."""
    mail: tuple[Mail, ...]
    """Messages that shall reach the workflow once more."""
    updates: tuple[UpdateRow, ...]
    children: tuple[int, ...]
    """Children of ``base_uuid``, by number, that are the new run's from now on."""
    close: Close
    """How the current run ends if it is open. It reaches nobody: the new run goes on in its place."""
    base_metadata: str | None
    """The metadata of ``base_uuid`` from now on."""
    seen: tuple[str, int, int]
    """The current run as this was made from it: its workflow_uuid, newest position (0: none) and ``last_mail_ms``."""


@dataclass(slots=True, kw_only=True)
class Entry:
    """A journal row as it is read back."""

    position: int
    name: str
    record: str


@dataclass(slots=True, kw_only=True)
class LoadedRun:
    """Everything a process needs to go on with a run, from one round trip."""

    run: RunRow
    inputs: str
    entries: list[Entry]
    mail: list[Mail]
    """Unconsumed, in order."""
    activities: list[ActivityRow]
    updates: list[UpdateRow] = field(default_factory=list)
