"""Failing: a run whose activations fail. How often, why, when it is tried again, and what its row says about it.

A failed activation leaves nothing in the journal: it is tried again, perhaps with mended code. But people must see it,
from any process. So the owner notes the first failure and the number of the next try on the run's row, in a task of its
own, and takes the note back after the next good activation. A note that was not taken back in time (the process died)
tells so itself: the journal has gone on.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from dbos_core.commit import RunRow
from dbos_core.errors import BadCommit, StoreUnavailable
from dbos_core.runner import TaskFailure

if TYPE_CHECKING:
    from dbos_core.kernel import Kernel

logger = logging.getLogger(__name__)

RETRY_DELAYS_MS = (0, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000)
"""Waits before a failed activation is tried again; the last one repeats for ever (as Temporal does, a little sooner)."""

REFUSE_FROM = 3
"""From this attempt on (Temporal's number) nobody is kept waiting for a failing run: questions are refused."""


class TaskKeepsFailing(Exception):
    """The run's activations fail; the message is the failure's."""


class DoesNotFit(Exception):
    """The run's code cannot be brought to where its journal ends; the message is the failure's."""


@dataclass(slots=True, kw_only=True)
class Note:
    """What is known of the first failed try."""

    position: int
    """Of the newest journal entry; 0: there was none."""
    at_ms: int
    identity: str
    """Of the worker."""
    cause: str
    message: str
    record: str | None
    """The runner's JSON text (``TaskFailure.record``)."""


def note_text(note: Note) -> str:
    return json.dumps(asdict(note), ensure_ascii=True)


def noted(row: RunRow, position: int) -> Note | None:
    """What the row says of a failing run whose newest journal entry is at ``position``. None: it does not fail (any more)."""
    if row.task_failure is None:
        return None
    note = Note(**json.loads(row.task_failure))
    return note if note.position == position else None


class Failing:
    """The failures of one live run since its last good activation. There is none until the first."""

    __slots__ = ("_dirty", "_kernel", "_row", "_task", "_writing", "failure")

    def __init__(self, kernel: Kernel, row: RunRow) -> None:
        self._kernel = kernel
        self._row = row
        self._dirty = self._writing = False
        self._task: asyncio.Task[None] | None = None
        self.failure: TaskFailure | None = None
        """The newest."""

    def failed(self, failure: TaskFailure, *, position: int, at_ms: int, identity: str, durable: bool) -> int:
        """Another try failed. When to try again: in so many milliseconds.

        Args:
            durable: the run has a row already; if not, call :meth:`write` once it has.
        """
        row = self._row
        self.failure = failure
        if noted(row, position) is None:
            row.task_failure = note_text(
                Note(
                    position=position,
                    at_ms=at_ms,
                    identity=identity,
                    cause=failure.cause,
                    message=failure.message,
                    record=failure.record,
                )
            )
        tried_ms = RETRY_DELAYS_MS[min(row.task_attempt, len(RETRY_DELAYS_MS)) - 1]
        delay_ms = tried_ms if failure.close is None else RETRY_DELAYS_MS[-1]
        logger.warning(
            "activation of workflow %r (type %r, run %s) failed, attempt %d, %s: %s. %s",
            row.workflow_id,
            row.workflow_type,
            row.run_id,
            row.task_attempt,
            failure.cause,
            failure.message,
            f"It is tried again in {delay_ms} ms" if failure.close is None else "That ends the run",
        )
        row.task_attempt += 1
        if durable:
            self.write()
        return delay_ms

    def over(self) -> None:
        """An activation went well."""
        self.failure = None
        self._row.task_attempt, self._row.task_failure = 1, None
        self.write()

    def write(self) -> None:
        """Bring the row up to date; what changes meanwhile is written after it, so that the newest stands."""
        self._dirty = True
        if not self._writing:
            self._writing = True
            self._task = self._kernel.spawn(self._write(), f"note failures of {self._row.workflow_uuid}")

    async def written(self) -> None:
        """Wait until the row is up to date, or could not be brought there."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _write(self) -> None:
        row, kernel = self._row, self._kernel
        try:
            while self._dirty:
                self._dirty = False
                await kernel.store.note_task_failure(
                    kernel.process_id, row.workflow_uuid, row.task_attempt, row.task_failure
                )
            if self.failure is not None and self.failure.close is not None:
                await kernel.terminate(row.workflow_uuid, self.failure.close)
        except (StoreUnavailable, BadCommit) as error:
            logger.warning(
                "that the tasks of workflow %r run %s fail could not be noted: %s", row.workflow_id, row.run_id, error
            )
        finally:
            self._writing = False
