"""What can be proved: which activities ran, where and how often, and what the journal of each run says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHistory


@dataclass(frozen=True, slots=True)
class Ran:
    """One attempt of one activity, as it noted itself."""

    workflow_id: str
    activity: str
    attempt: int
    pid: int
    at: float


class Ledger:
    """The file in which the activities note every attempt."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def ran(self, workflow_id: str | None = None, activity: str | None = None) -> list[Ran]:
        """The attempts of one workflow, or of all, oldest first."""
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        found = [
            Ran(line["workflow_id"], line["activity"], line["attempt"], line["pid"], line["at"])
            for line in map(json.loads, lines)
        ]
        return [ran for ran in found if workflow_id in (None, ran.workflow_id) and activity in (None, ran.activity)]


@dataclass(slots=True)
class Step:
    """One thing that a workflow asked for or received, by its history."""

    kind: str
    """``activity``, ``timer`` or ``signal``."""
    name: str
    asked_by: str = ""
    """Identity of the process in which the workflow asked for it."""
    ended: str = "open"
    """``completed``, ``failed``, ``timed out``, ``rang``, ``cancelled``, ``received``."""
    by: str = ""
    """Identity of the process that ran the activity to its end, or in which the workflow heard of the end."""
    runs: list[Ran] = field(default_factory=list)


def steps(history: WorkflowHistory, ledger: Ledger) -> list[Step]:
    """The steps of a run in order: what the history says, and the attempts that the ledger has for each."""
    found: dict[int, Step] = {}
    heard: list[Step] = []  # waiting for the task that tells the workflow, and for the process that ran it
    tasks: dict[int, str] = {}
    for event in history.events:
        attributes: Any = getattr(event, str(event.WhichOneof("attributes")))
        asked_by = tasks.get(getattr(attributes, "workflow_task_completed_event_id", 0), "")
        match event.event_type:
            case EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
                tasks[event.event_id] = attributes.identity
                for step in heard:
                    step.by = step.by or attributes.identity
                heard.clear()
            case EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                name = attributes.activity_type.name
                runs = ledger.ran(history.workflow_id, name)
                found[event.event_id] = Step("activity", name, asked_by, runs=runs)
            case EventType.EVENT_TYPE_TIMER_STARTED:
                seconds = attributes.start_to_fire_timeout.ToMilliseconds() / 1000
                found[event.event_id] = Step("timer", f"wait {seconds:g} s for an approval", asked_by)
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
                step = found[event.event_id] = Step("signal", attributes.signal_name, ended="received")
                heard.append(step)
            case kind if kind in ENDED:
                step = found[getattr(attributes, "scheduled_event_id", 0) or attributes.started_event_id]
                step.ended = ENDED[kind]
                step.by = asked_by or getattr(attributes, "identity", "")
                heard.append(step)
    return list(found.values())


ENDED = {
    EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED: "completed",
    EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED: "failed",
    EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT: "timed out",
    EventType.EVENT_TYPE_TIMER_FIRED: "rang",
    EventType.EVENT_TYPE_TIMER_CANCELED: "cancelled",
}


@dataclass(slots=True)
class Promises:
    """Claims, each with whether it holds."""

    kept: list[tuple[str, bool, str]] = field(default_factory=list)

    def check(self, claim: str, found: object, expected: object) -> None:
        """The claim holds if what was found is what was expected."""
        self.kept.append((claim, found == expected, "" if found == expected else f"expected {expected}, found {found}"))

    @property
    def broken(self) -> int:
        return sum(not holds for _, holds, _ in self.kept)


def attempts(runs: Sequence[Ran]) -> list[tuple[int, int]]:
    """``(process, attempt)`` of each execution."""
    return [(ran.pid, ran.attempt) for ran in runs]
