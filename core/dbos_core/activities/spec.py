"""What an activity is to the kernel: a step outside the journal, tried by attempts, that ends in one outcome.

Values only. ``machine.py`` decides about attempts, ``execution.py`` runs one of them in this process.
Times ending in ``_ms`` are milliseconds: durations in the policy and the timeouts, wall-clock epochs in rows.
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dbos_core.retry import RetryPolicy


class TimeoutKind(enum.IntEnum):
    """Which of the four clocks ran out. Numbers are Temporal's ``TimeoutType``."""

    START_TO_CLOSE = 1
    SCHEDULE_TO_START = 2
    SCHEDULE_TO_CLOSE = 3
    HEARTBEAT = 4


class OutcomeKind(enum.StrEnum):
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    TIMED_OUT = "timed_out"


@dataclass(slots=True, kw_only=True)
class ActivitySpec:
    """What the workflow asked for, after Temporal's normalisation (temporal-seam §2.2). Immutable by habit."""

    seq: int
    activity_id: str
    activity_type: str
    task_queue: str
    record: str
    """JSON text with input, headers, priority ...: what the executor needs and the kernel does not look at."""
    schedule_to_close_ms: int | None
    schedule_to_start_ms: int | None
    start_to_close_ms: int | None
    heartbeat_ms: int | None
    retry: RetryPolicy
    scheduled_ms: int
    """Wall clock of the activation that scheduled it."""
    native: Any = field(default=None, compare=False, repr=False)
    """The executor side's own form of ``record``, as long as the spec has not left this process. Never stored."""
    prepared: Any = field(default=None, compare=False, repr=False)
    """What the executor has made of it beforehand (``Executor.prepare``). Never stored."""


@dataclass(slots=True, kw_only=True)
class AttemptOutcome:
    """How one attempt ended, as its executor or a clock reports it."""

    kind: OutcomeKind
    record: str | None = None
    """JSON text, opaque to the kernel: the result payload, the failure, the cancel details."""
    timeout: TimeoutKind | None = None
    error_type: str | None = None
    """The application error's type, for ``non_retryable_error_types``."""
    non_retryable: bool = False
    next_retry_delay_ms: int | None = None
    identity: str = ""
    """Of the worker that ran it."""
    unknown: bool = False
    """Its worker does not have the activity: the next attempt is offered to every worker of the queue."""
    lost: bool = False
    """The process that ran it died: counts as an attempt; reported as START_TO_CLOSE / HEARTBEAT timeout when final."""
    heartbeat: str | None = None
    """JSON text: the newest heartbeat details of this attempt, also those that the throttle had held back."""
    started_ms: int | None = None
    """When it started, for an owner that did not start it itself."""


def timeout_failure(kind: TimeoutKind) -> str:
    """The failure record of an attempt that a clock ended: where an executor's record would be, but made here.

    Heartbeat details are left out: Temporal strips them from the failure of an attempt before (observed).
    """
    return json.dumps({"timeout": int(kind)})


def kernel_failure(error_type: str, message: str) -> str:
    """The failure record of an attempt that the kernel itself refused, in place of an executor's record."""
    return json.dumps({"kernel_failure": {"type": error_type, "message": message}})


ASYNC_WORKER = "async"
"""``ActivityRow.worker`` of an attempt that has left its process to be completed from outside: no process's death ends
it, only its clocks do."""


class RetryState(enum.IntEnum):
    """Why there is no further attempt. Numbers are Temporal's ``RetryState``."""

    UNSPECIFIED = 0
    IN_PROGRESS = 1
    NON_RETRYABLE_FAILURE = 2
    TIMEOUT = 3
    MAXIMUM_ATTEMPTS_REACHED = 4
    RETRY_POLICY_NOT_SET = 5
    INTERNAL_SERVER_ERROR = 6
    CANCEL_REQUESTED = 7


@dataclass(slots=True, kw_only=True)
class FinalOutcome:
    """How the activity ended: what the workflow will be told, and what the journal keeps."""

    seq: int
    kind: OutcomeKind
    record: str | None
    retry_state: RetryState
    timeout: TimeoutKind | None
    attempt: int
    """The attempt that ended it (0: never started)."""
    started_ms: int | None
    """When the last attempt started; None if it never did."""
    identity: str
    last_failure: str | None
    """JSON text: failure record of the attempt before, which becomes the cause of a timeout. Either a record that an
    executor reported or one of ``timeout_failure``."""
    heartbeat: str | None
    """JSON text: last heartbeat details."""
    has_row: bool = False
    """There is a row: the commit that journals this outcome deletes it (``activities_done``)."""
    mail_ids: tuple[str, ...] = ()
    """The mail that brought the outcome from another process: the commit that journals it consumes that too."""
    mail_ms: int = 0
    """``created_ms`` of that mail."""


@dataclass(slots=True, kw_only=True)
class ActivityRow:
    """The durable state of an open activity, where it needs one (table ``activities``).

    A row exists when attempts are bounded (written before the attempt), after a failed attempt, after a heartbeat, and
    whenever another process may run it (``offered``). Otherwise the journal alone is enough.
    """

    workflow_uuid: str
    seq: int
    task_queue: str
    attempt: int
    """The attempt that runs or is next. Starts at 1."""
    scheduled_ms: int
    due_ms: int
    """When this attempt may start."""
    started_ms: int | None = None
    """When this attempt was started (recorded before it starts when attempts are bounded)."""
    worker: str | None = None
    """Process that runs this attempt."""
    offered: bool = False
    """Another process may take it."""
    spec: str | None = None
    """JSON text of the whole spec and its run, for a process that has not loaded the run (``offered`` rows)."""
    heartbeat: str | None = None
    heartbeat_at_ms: int | None = None
    last_failure: str | None = None
    cancel_requested: bool = False
    ended_ms: int | None = None
    """When the attempt before ended."""
    operator: str | None = None
    """JSON text: what operators want of it (``operating.Operated``)."""
