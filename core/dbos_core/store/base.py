"""Store: the calls that the kernel makes on durable state (a Protocol; ``memory`` and ``postgres`` keep its promises).

One suite (``tests/store``) holds every implementation to this page. All calls may raise ``StoreUnavailable`` (the
database is away; safe to repeat) — ``flush`` included: see its docstring for what a repeat must do.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from dbos_core.activities.spec import ActivityRow
from dbos_core.commit import (
    Close,
    Commit,
    LoadedRun,
    Mail,
    NewRun,
    Reset,
    RunRow,
    StartAnswer,
    UpdateRow,
    Verdict,
)
from dbos_core.jobs import JobRow
from dbos_core.schedules.rows import ScheduleStore
from dbos_core.search import Count, Page, Query


class WakeKind(enum.Enum):
    MAIL = "mail"
    """``key`` is a workflow_uuid: new mail for it (from any process, stock tools included)."""
    WORK = "work"
    """``key`` is a task queue: an unowned run became runnable."""
    ACTIVITY = "activity"
    """``key`` is a task queue: an activity was offered."""
    CLOSED = "closed"
    """``key`` is a workflow_uuid that somebody watched and that closed."""
    UPDATE = "update"
    """``key`` is ``<workflow_uuid>|<update_id>`` that somebody watched and whose stage changed."""
    REQUEST = "request"
    """``key`` is a task queue: a request (query ...) waits for a process that serves it."""
    ANSWER = "answer"
    """``key`` is a request id that was answered."""
    SCHEDULE = "schedule"
    """Some schedule became due: it was made or changed, or a run that it started has closed. ``key`` is empty."""
    RESYNC = "resync"
    """The listening connection was lost and is back: anything may have been missed. ``key`` is empty."""


@dataclass(slots=True, frozen=True)
class Wake:
    kind: WakeKind
    key: str


@dataclass(slots=True, kw_only=True)
class ProcessInfo:
    """This process as its lease row shows it."""

    process_id: str
    """UUID of this incarnation: executor id, owner token and lease key in one."""
    identity: str
    application_version: str
    task_queues: tuple[str, ...] = ()
    limited_queues: tuple[str, ...] = ()
    """Those of which activities are started under a rate that all processes share."""


class KnownProcess(NamedTuple):
    """What a lease row tells about a process."""

    identity: str
    alive: bool


@dataclass(slots=True, kw_only=True)
class Pulse:
    """What one beat of the lease found."""

    alive: bool
    """False: our own lease had lapsed before this beat (we were stopped): others may have taken our runs."""
    lapsed: tuple[str, ...] = ()
    """Processes whose leases have lapsed and that still own runs or activities, or have rows in the outbox."""
    runnable: bool = False
    """Some unowned run of our queues is due (poll fallback for lost notifications)."""
    offered: bool = False
    """Some activity of our queues is due and free."""
    requests: bool = False
    """Some unanswered request waits for one of our queues."""
    expired: bool = False
    """Some open, unowned run on any queue is past its ``deadline_ms``."""
    schedule_due_in_ms: int | None = None
    """When the next schedule is due; 0 when one is, None if there is none."""
    jobs: bool = False
    """Some running job is held by nobody."""
    sharers: dict[str, int] = field(default_factory=dict)
    """Of each of our limited queues: how many live processes share its rate, with us."""
    next_due_in_ms: int | None = None
    """When the next unowned run of our queues becomes due; None if there is none."""
    now_ms: int = 0
    """The database's clock."""
    touched: tuple[str, ...] = ()
    """workflow_uuids of runs that we own (``runs.owner``) but whose ``workflow_status`` row was changed under us by
    somebody else (stock cancel, resume): their owner_xid is no longer ours. Now and then also what stock tools did to
    runs that nobody owns (cancel, resume, fork): ``reopened`` acts on all of it."""


@dataclass(slots=True, kw_only=True)
class RequestRow:
    """A question to whichever process can answer it (query, activity completion by id ...)."""

    request_id: str
    workflow_uuid: str
    task_queue: str
    kind: str
    payload: str
    deadline_ms: int
    response: str | None = None


@dataclass(slots=True, kw_only=True)
class OfferedActivity:
    """An activity attempt that this process has just taken from another run owner's offer."""

    row: ActivityRow
    workflow_id: str
    run_id: str
    workflow_type: str


class HeartbeatAnswer(NamedTuple):
    """What an attempt learns by its heartbeat."""

    wanted: bool
    """False: nobody waits for it any more."""
    cancel: bool = False
    operator: str | None = None
    """As ``ActivityRow.operator``."""


class JobStore(Protocol):
    """The jobs of ``dbos_core.jobs``: work about many runs, held by one process at a time."""

    async def add(self, process_id: str, job: JobRow, lease_ms: int) -> bool:
        """Insert a job that this process holds. False: there is one of this id."""
        ...

    async def take(self, process_id: str, lease_ms: int, limit: int) -> list[JobRow]:
        """Take running jobs whose lease has lapsed (SKIP LOCKED)."""
        ...

    async def save(self, process_id: str, job: JobRow, lease_ms: int) -> bool:
        """Write progress or the end, and renew the lease. False: the job was stopped, or somebody else holds it."""
        ...

    async def stop(self, job_id: str, close_ms: int) -> bool:
        """End a running job whoever holds it (FAILED). False: it does not run."""
        ...

    async def one(self, job_id: str) -> JobRow | None: ...

    async def page(self, limit: int, after: tuple[int, str] | None) -> list[JobRow]:
        """Jobs, newest first, those behind ``after`` (start time and id of the last one seen)."""
        ...

    async def release(self, process_id: str) -> None:
        """Let go of the jobs of this process at once."""
        ...


class Store(ScheduleStore, Protocol):
    """Durable state. Times are compared on the store's own clock (``now_ms``)."""

    @property
    def jobs(self) -> JobStore:
        """The table of jobs."""
        ...

    async def open(self) -> None:
        """Connect, create or check the schema."""
        ...

    async def close(self) -> None: ...

    async def now_ms(self) -> int:
        """The store's clock (the database's, which tests can set)."""
        ...

    # -- processes -----------------------------------------------------------------------------------------------

    async def register(self, process: ProcessInfo, lease_ms: int) -> None:
        """Insert the lease row; also registers the application version for stock DBOS."""
        ...

    async def pulse(self, process: ProcessInfo, lease_ms: int) -> Pulse:
        """Renew the lease and look around, in one statement. The only thing an idle process does repeatedly."""
        ...

    async def served_elsewhere(self, process_id: str, task_queue: str) -> bool:
        """Does another live process serve this queue?"""
        ...

    async def known_processes(self, process_ids: Sequence[str]) -> dict[str, KnownProcess]:
        """Those of these processes whose lease rows are there still, lapsed or not."""
        ...

    async def keep_lease(self, process_id: str, lease_ms: int) -> bool:
        """Renew a lease that has not lapsed; False: it has. May be awaited on another event loop than all other calls."""
        ...

    async def unregister(self, process_id: str) -> None:
        """Give the lease back at a clean shutdown: its runs become claimable at once."""
        ...

    async def take_over(self, process_id: str, lapsed: Sequence[str], queues: Sequence[str], limit: int) -> list[str]:
        """Claim up to ``limit`` open runs (on our ``queues``) of processes whose lease has lapsed (re-checked inside
        the statement). Activities that a lapsed process was running for runs owned by others are given back: mail
        ``__dbos_compat_activity`` of kind ``lost`` goes to their run (see ``mailbox``). Returns workflow_uuids."""
        ...

    # -- runs ----------------------------------------------------------------------------------------------------

    async def flush(self, process_id: str, commits: Sequence[Commit], *, again: bool) -> list[Verdict]:
        """Apply all commits in one transaction, each as a whole or not at all, and say what became of each.

        One commit's conflict never fails its neighbours. At most one fenced commit per run is in ``commits``.
        Raises ``StoreUnavailable`` when the answer was lost; the caller then repeats with ``again=True``, and commits
        that did land the first time are recognised (start: ``creator_xid``; entry: same text at that position; the
        rest is idempotent) and reported COMMITTED. Raises ``BadCommit`` when the database refuses the values (a NUL
        byte ...): nothing was applied; the caller splits the batch.

        Order of verdicts for a fenced commit: not owned → CLAIM_LOST; entry exists already → POSITION_LOST; mail
        newer than seen with close/park → MAIL_WAITING; else COMMITTED. Mail commits: run closed or missing →
        RUN_CLOSED, known mail id → DUPLICATE. A start whose id row exists → ID_TAKEN.
        On COMMITTED the wakes of ``WakeKind`` are sent (WORK for unclaimed starts and for mail to unowned runs, which
        also makes them runnable now; ACTIVITY for offered rows; CLOSED and UPDATE only when watched).
        """
        ...

    async def start_by_policy(
        self,
        process_id: str,
        run: NewRun,
        derived_uuid: str,
        terminate_record: str,
        *,
        mail: Sequence[Mail] = (),
        updates: Sequence[UpdateRow] = (),
    ) -> StartAnswer:
        """The slow path of a start whose id exists: apply request-id dedup and the id policies under a row lock.

        A child whose own run id is known already → SAME_REQUEST; one whose parent is closed (policy not ABANDON) →
        PARENT_CLOSED. Then the order is Temporal's: same ``request_id`` as the current run's → SAME_REQUEST (even if
        closed). Current run open → by ``conflict`` (and reuse TERMINATE_IF_RUNNING). Closed → by ``reuse``. A new run
        is stored under ``derived_uuid`` when ``run.workflow_uuid`` is taken, else under it. ``terminate_record`` is the
        close record for a terminated predecessor. ``mail``, and ``updates`` among it, are the new run's from its first
        moment on (their ``workflow_uuid`` is set); if there is none they are not written.
        """
        ...

    async def reset(self, process_id: str, plan: Reset) -> StartAnswer | None:
        """Put a new run that begins in the middle in the place of the current one, as a whole or not at all: STARTED, or
        SAME_REQUEST when the current run was made by this very request. None: the current run has moved on since the
        plan was made."""
        ...

    async def claim(
        self, process_id: str, queues: Sequence[str], limit: int, passing_over: Sequence[str] = ()
    ) -> list[str]:
        """Claim up to ``limit`` runnable unowned runs (due wake_at, open), oldest first, SKIP LOCKED.

        Args:
            passing_over: runs that are left for others, due or not.
        """
        ...

    async def owned(self, process_id: str) -> list[str]:
        """Every open run that this process owns, whether it knows of it or not (answers get lost)."""
        ...

    async def claim_one(self, process_id: str, workflow_uuid: str) -> bool:
        """Claim this run if it is open and unowned."""
        ...

    async def release(self, process_id: str, workflow_uuids: Sequence[str]) -> None:
        """Let go of runs at once (shutdown): they are runnable now."""
        ...

    async def load(self, workflow_uuids: Sequence[str]) -> list[LoadedRun]:
        """Runs with journal, unconsumed mail, activities, updates. Missing ones are left out."""
        ...

    async def note_task_failure(self, process_id: str, workflow_uuid: str, attempt: int, record: str | None) -> None:
        """Write on an open run's row that its activations fail (``task_attempt``, ``task_failure``), for whoever looks
        at it; ``record`` None: they do no longer. Changes nothing unless this process owns the run."""
        ...

    async def mail(self, workflow_uuids: Sequence[str]) -> list[Mail]:
        """Unconsumed mail of these runs, in order."""
        ...

    async def terminate(self, process_id: str, workflow_uuid: str, close: Close) -> Verdict:
        """Close an open run whoever owns it (terminate, timeout): COMMITTED or RUN_CLOSED."""
        ...

    async def set_history_length(self, workflow_uuid: str, history_length: int) -> None:
        """For listings, on a closed run: who closes a run from outside learns its length only afterwards."""
        ...

    async def take_outbox(self, process_id: str, lapsed: Sequence[str], limit: int) -> list[str]:
        """Closed runs in the outbox under our own name, if it is among ``lapsed``, and under the names of processes whose
        lease has lapsed (re-checked): they are there under our name from now on. Returns workflow_uuids."""
        ...

    async def open_children(self, run_id: str) -> list[RunRow]:
        """The open runs whose parent is the run with this run id."""
        ...

    async def closed_children(self, parent: RunRow) -> list[RunRow]:
        """The closed runs whose parent is this run."""
        ...

    async def posted(self, mail_ids: Sequence[str]) -> set[str]:
        """Those of these messages that were delivered, read or not, also to runs that are closed by now."""
        ...

    async def expired(self, limit: int) -> list[str]:
        """Open, unowned runs past their ``deadline_ms`` (an owner watches the deadlines of its runs by itself)."""
        ...

    async def find(self, workflow_id: str, run_id: str | None) -> RunRow | None:
        """The run with that run id (and workflow id), or the current run of the id when ``run_id`` is None."""
        ...

    async def rows(self, workflow_uuids: Sequence[str], *, watch: bool) -> list[RunRow]:
        """Rows of these runs; with ``watch`` their close will be announced (CLOSED)."""
        ...

    async def search(self, query: Query) -> Page:
        """One page of the runs that a filter finds (see ``search`` for what it means)."""
        ...

    async def count(self, query: Query) -> Count:
        """How many runs a filter finds, by group if the query says so."""
        ...

    async def attribute_types(self) -> dict[str, str]:
        """Search attributes that were declared, name → type."""
        ...

    async def declare_attributes(self, changes: Mapping[str, str | None]) -> None:
        """Declare search attributes, or take declarations back (None)."""
        ...

    async def reopened(self, process_id: str, queues: Sequence[str], limit: int) -> list[str]:
        """Acts on what stock tools did: rows of ours set to CANCELLED under us are closed as CANCELED; rows set to
        ENQUEUED (stock resume, fork) become open runs again, unowned, due now. Returns the uuids concerned."""
        ...

    # -- updates -------------------------------------------------------------------------------------------------

    async def admit_update(
        self, workflow_uuid: str, update_id: str, mail: Mail, *, watch: bool = False
    ) -> tuple[Verdict, UpdateRow | None]:
        """Insert the update row and its mail in one transaction: COMMITTED; DUPLICATE with the known row; RUN_CLOSED.
        Sets ``mail.created_ms``. A known update id is DUPLICATE even on a closed run.
        With ``watch`` its next change will be announced (UPDATE) and a rejection kept until it is read."""
        ...

    async def update_row(self, workflow_uuid: str, update_id: str, *, watch: bool) -> UpdateRow | None:
        """What is known of an update. With ``watch`` its next change will be announced (UPDATE).

        A rejection (stage 0) is kept for a watcher only, and forgotten once it was read; its id is free again."""
        ...

    # -- activities ----------------------------------------------------------------------------------------------

    async def claim_activities(self, process_id: str, queues: Sequence[str], limit: int) -> list[OfferedActivity]:
        """Take offered, due, free attempts on these queues (SKIP LOCKED), marking worker and started_ms."""
        ...

    async def withdraw_activity(self, workflow_uuid: str, seq: int, attempt: int, *, keep: bool = False) -> bool:
        """Delete the row of an attempt that nobody has taken (timeout, cancel), or take it back from the offers only
        (``keep``). False: somebody runs it."""
        ...

    async def heartbeat(
        self, workflow_uuid: str, seq: int, attempt: int, details: str | None, worker: str
    ) -> HeartbeatAnswer:
        """Store heartbeat details (inserting the row if there is none)."""
        ...

    # -- requests between processes --------------------------------------------------------------------------------

    async def ask(self, request: RequestRow) -> None: ...

    async def take_requests(self, process_id: str, queues: Sequence[str], limit: int) -> list[RequestRow]:
        """Unanswered requests for us: the run is owned by us, or it is unowned or closed and on one of our queues
        (then taken by one process only)."""
        ...

    async def answer(self, request_id: str, response: str) -> None: ...

    async def response(self, request_id: str) -> str | None:
        """The response, if there is one (and removes the request then)."""
        ...

    # -- upkeep ----------------------------------------------------------------------------------------------------

    async def delete_run(self, workflow_uuid: str) -> bool:
        """Delete a closed run with all its rows. False: there is none, or it is open."""
        ...

    async def delete_finished(self, before_ms: int, limit: int) -> int:
        """Retention: delete up to ``limit`` runs closed before that time, with all their rows. Returns how many."""
        ...

    def listen(self, callback: Callable[[Wake], None]) -> None:
        """Call ``callback`` on the event loop for every wake, from ``open`` on. Callbacks must not block."""
        ...
