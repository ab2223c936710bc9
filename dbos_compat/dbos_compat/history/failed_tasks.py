"""A task that failed → what its record says, and its event.

A failed task leaves nothing in the journal (``dbos_core.failing``): while it is tried again, and afterwards if the run
was ended from outside, the first failure stands on the run's row. Its record is written by ``bridge`` and read here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import WorkflowTaskFailedEventAttributes

from dbos_compat.convert.failures import failure, failure_text
from dbos_core.commit import LoadedRun
from dbos_core.failing import Note, noted

UNHANDLED = "WORKFLOW_WORKER_UNHANDLED_FAILURE"
_PREFIX = "WORKFLOW_TASK_FAILED_CAUSE_"


@dataclass(slots=True, kw_only=True)
class FailedTask:
    """The first failed try of a task that has not succeeded yet."""

    note: Note
    failure: Failure
    arrivals: list[dict[str, Any]] | None = field(default=None)
    """Journal events that it was to handle. None: the journal itself could not be replayed."""


def task_failure_text(failed: Failure, arrivals: Iterable[str] | None = None) -> str:
    """``TaskFailure.record``; ``arrivals`` are the texts of journal events."""
    tail = f',"ev":[{",".join(arrivals)}]' if arrivals is not None else ""
    return f'{{"failure":{failure_text(failed)}{tail}}}'


def failed_task(loaded: LoadedRun) -> FailedTask | None:
    """The failed try that the run's row tells of, if the journal has not gone on since."""
    note = noted(loaded.run, loaded.entries[-1].position if loaded.entries else 0)
    if note is None:
        return None
    record = json.loads(note.record) if note.record is not None else {}
    return FailedTask(note=note, failure=_failure(note, record), arrivals=record.get("ev"))


def _failure(note: Note, record: dict[str, Any]) -> Failure:
    if "failure" in record:
        return failure(record["failure"])
    made = Failure(message=note.message)
    made.application_failure_info.SetInParent()
    return made


def cause_name(number: int) -> str:
    """``TaskFailure.cause`` for a ``force_cause`` of the worker protocol."""
    return WorkflowTaskFailedCause.Name(number).removeprefix(_PREFIX) if number else UNHANDLED  # type: ignore[arg-type]


def failed_attributes(task: FailedTask, *, scheduled: int, started: int) -> WorkflowTaskFailedEventAttributes:
    names = WorkflowTaskFailedCause.DESCRIPTOR.values_by_name
    known = names.get(_PREFIX + task.note.cause) or names[_PREFIX + UNHANDLED]  # an older SDK knows fewer
    return WorkflowTaskFailedEventAttributes(
        scheduled_event_id=scheduled,
        started_event_id=started,
        cause=known.number,  # type: ignore[arg-type]
        failure=task.failure,
        identity=task.note.identity,
    )
