"""One try of one activity, as the kernel hands it to whoever runs the user's function; and its token.

The kernel says ``start`` and ``cancel``; the executor answers with ``completed``, ``heartbeat`` and
``will_complete_async`` on the :class:`~dbos_core.activities.service.ActivityService`. Values and Protocols only.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from dbos_core.activities.spec import ActivitySpec


class RunIdentity(Protocol):
    """What an activity needs to know of its run. ``commit.RunRow`` is one."""

    @property
    def workflow_uuid(self) -> str: ...
    @property
    def workflow_id(self) -> str: ...
    @property
    def run_id(self) -> str: ...
    @property
    def workflow_type(self) -> str: ...


@dataclass(slots=True, frozen=True)
class RunRef:
    """A run that this process has not loaded."""

    workflow_uuid: str
    workflow_id: str
    run_id: str
    workflow_type: str


class CancelReason(enum.IntEnum):
    """Why a running attempt is asked to stop. Numbers are Temporal's ``ActivityCancelReason``."""

    NOT_FOUND = 0
    """Nobody waits for it any more: its run closed or went on elsewhere."""
    CANCELLED = 1
    TIMED_OUT = 2
    """One of its clocks ran out; nobody waits for it."""
    WORKER_SHUTDOWN = 3
    PAUSED = 4
    """By an operator. What it ends in is followed by no attempt for now."""
    RESET = 5
    """By an operator: it shall begin anew."""


@dataclass(slots=True, kw_only=True)
class Attempt:
    """What an executor is given. Immutable by habit."""

    token: bytes
    """Unique per attempt. Users see it (``activity.info().task_token``) and may complete the attempt by it later."""
    run: RunIdentity
    spec: ActivitySpec
    attempt: int
    due_ms: int
    """When this attempt was scheduled (``spec.scheduled_ms`` is the first one)."""
    started_ms: int
    heartbeat: str | None
    """JSON text: details of the last heartbeat of an earlier attempt."""


class Executor(Protocol):
    """Runs attempts in this process. Its calls must not block."""

    identity: str
    """Of the worker that it belongs to, for people."""
    shutdown_record: str
    """JSON text of the failure with which an attempt ends that a worker's shutdown stopped: retryable, of type
    ``WorkerShutdown``."""

    def start(self, attempt: Attempt) -> None:
        """Begin. Ends in exactly one ``completed`` or ``will_complete_async`` of that token, later or at once."""
        ...

    def cancel(self, token: bytes, reason: CancelReason) -> None:
        """Ask a started attempt to stop. At most once per token, but for WORKER_SHUTDOWN; ``completed`` still follows."""
        ...


class TokenParts(NamedTuple):
    workflow_uuid: str
    seq: int
    attempt: int


def make_token(nonce: str, run: str, seq: int, attempt: int) -> bytes:
    """``nonce`` has no dots; the run's uuid, which may have some, comes last."""
    return f"dc1.{nonce}.{seq}.{attempt}.{run}".encode()


def parse_token(token: bytes) -> TokenParts | None:
    """Whose token is it? None: not one of ours."""
    try:
        prefix, _, seq, attempt, run = token.decode().split(".", 4)
        return TokenParts(run, int(seq), int(attempt)) if prefix == "dc1" else None
    except ValueError:
        return None
