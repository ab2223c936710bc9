"""Event ids: which number each event of a run has in its Temporal history.

Temporal's ids are visible to user code (``info().get_current_history_length()``, the ids in an ``ActivityError``), so a
live run, its replay and the history that ``fetch_history`` shows must agree on them. All three count here: ``bridge``
while it builds activations, ``events`` while it writes them down. Pure arithmetic on journal records.

The order inside a history, as the server writes it::

    1  WorkflowExecutionStarted
       what happened              signals, outcomes, fired timers: in the order of delivery
    n  WorkflowTaskScheduled
    +1 WorkflowTaskStarted        its id is the ``history_length`` of the activation
    +2 WorkflowTaskCompleted
       what the workflow asked for, one event per command
       what happened ...          and so on, task by task

Only what was committed counts: a workflow task that failed, or that held nothing but rejected updates, has no ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Record = Mapping[str, Any]
"""An event or a command of a journal record."""

SCHEDULE_TO_START = 2
ABANDON = 2
ABANDON_CHILD = 0

_EVENTS_PER_ARRIVAL = {
    "start": 1,
    "signal": 1,
    "cancel": 1,
    "timer": 1,
    "update": 0,
    "resume": 0,
    "local": 0,
    "errand": 1,
    "child": 1,
}
"""An admitted update has no event: its acceptance, a command, carries the request. Nor has the end of a local activity:
its marker is a command."""

_EVENTS_PER_COMMAND = {
    "activity": 1,
    "cancel_activity": 1,
    "timer": 1,
    "cancel_timer": 1,
    "update_accepted": 1,
    "update_completed": 1,
    "patch": 1,
    "upsert_sa": 1,
    "memo": 1,
    "local_activity": 0,
    "cancel_local": 0,
    "local_marker": 1,
    "complete": 1,
    "fail": 1,
    "cancel": 1,
    "continue_as_new": 1,
    "child": 1,
    "cancel_child": 1,
    "signal_external": 1,
    "cancel_external": 1,
}

_SILENT = frozenset(kind for kind, events in _EVENTS_PER_COMMAND.items() if not events)


ERRANDS = {
    "child": "child",
    "cancel_child": "child_cancel",
    "signal_external": "signal",
    "cancel_external": "cancel",
}
"""Kind of command → kind of errand (``dbos_core.errands.spec.ErrandKind``)."""


def ran(outcome: Record) -> bool:
    """Had the activity's last attempt begun? Its history then has a started event, written with the outcome."""
    return outcome.get("st") is not None and outcome.get("t") != SCHEDULE_TO_START


def started_event_id(outcome: Record, event_id: int) -> int:
    """The id of the activity's started event, given the id of its outcome. 0: it never started."""
    return event_id - 1 if ran(outcome) else 0


def _unknown(what: str, kind: str) -> ValueError:
    return ValueError(
        f"The journal holds {what} {kind!r}, which this version of dbos-compat does not know. A newer version wrote it: "
        "run the version that does, or a later one."
    )


@dataclass(slots=True)
class TaskIds:
    """The ids that one workflow task has, should it be committed."""

    events: list[int]
    """One per event: for an activity the id of its outcome. What has no event (an update, a timer that rang when it was
    cancelled already) has the id of the event before it."""
    scheduled: int

    @property
    def started(self) -> int:
        """Also the ``history_length`` of the activation."""
        return self.scheduled + 1

    @property
    def completed(self) -> int:
        return self.scheduled + 2


class EventIds:
    """Counts the events of one run. Fed with every committed task in order, by a live run and by a replay alike::

    task = ids.begin_task(record["ev"])         # changes nothing: ask again if the task is built anew
    ...                                         # activate
    ids.end_task(task, record["cmds"])          # when the task is committed (or read back)
    """

    __slots__ = (
        "_abandoned",
        "_activities",
        "_asked",
        "_cancels",
        "_stopped",
        "_timers",
        "_updates",
        "last",
        "last_started",
    )

    def __init__(self) -> None:
        self.last = 0
        """The id of the newest event."""
        self.last_started = 0
        """The id at which the newest task started: what a query sees as the history's length."""
        self._activities: dict[int, int] = {}
        self._abandoned: set[int] = set()
        self._cancels: dict[int, int] = {}
        self._timers: dict[int, int] = {}
        self._stopped: set[int] = set()
        self._updates: dict[str, int] = {}
        self._asked: dict[tuple[str, int, int], int] = {}

    def begin_task(self, events: Sequence[Record]) -> TaskIds:
        """The ids of the events in ``events`` and of the task that handles them. Changes nothing."""
        last = self.last
        ids: list[int] = []
        for event in events:
            kind = event["k"]
            if kind == "activity":
                last += 2 if ran(event) else 1
            elif kind != "timer" or event["seq"] not in self._stopped:
                if kind not in _EVENTS_PER_ARRIVAL:
                    raise _unknown("event", kind)
                last += _EVENTS_PER_ARRIVAL[kind]
                if kind == "update" and "reapplied" in event["m"]:
                    last += 1  # a reset brought it: it was admitted
            ids.append(last)
        return TaskIds(ids, last + 1)

    def end_task(self, task: TaskIds, commands: Sequence[Record]) -> list[int]:
        """Count a task that is committed. The ids of the events of ``commands``, 0 for one that has no event."""
        last = task.scheduled + 2
        ids: list[int] = []
        for command in commands:
            kind = command["k"]
            if kind == "cancel_activity":
                if command["seq"] in self._abandoned or command["seq"] in self._cancels:
                    ids.append(0)  # an abandoned activity is never told, and nobody is told twice
                    continue
                self._cancels[command["seq"]] = last + 1
            elif kind == "cancel_child" and command.get("ct") == ABANDON_CHILD:
                ids.append(0)  # nor is an abandoned child
                continue
            if kind not in _EVENTS_PER_COMMAND:
                raise _unknown("command", kind)
            if kind in _SILENT:
                ids.append(0)
                continue
            last += _EVENTS_PER_COMMAND[kind]
            if kind == "patch" and command.get("sa"):
                last += 1  # the upsert that follows the marker
            ids.append(last)
            if kind == "activity":
                self._activities[command["seq"]] = last
                if command.get("ct") == ABANDON:
                    self._abandoned.add(command["seq"])
            elif kind == "timer":
                self._timers[command["seq"]] = last
            elif kind == "cancel_timer":
                self._stopped.add(command["seq"])
            elif kind == "update_accepted":
                self._updates[command["id"]] = last
            elif kind in ERRANDS:
                self._asked[ERRANDS[kind], command["seq"], command.get("n", 0)] = last
        self.last, self.last_started = last, task.scheduled + 1
        return ids

    def activity_scheduled(self, seq: int) -> int:
        """The id of the activity's scheduled event."""
        return self._activities[seq]

    def activity_cancel_requested(self, seq: int) -> int:
        """The id of the event that asks for its cancellation. 0: nobody asked."""
        return self._cancels.get(seq, 0)

    def timer_stopped(self, seq: int) -> bool:
        """Was the timer cancelled? Then nobody hears it ring."""
        return seq in self._stopped

    def timer_started(self, seq: int) -> int:
        """The id of the timer's started event."""
        return self._timers[seq]

    def initiated(self, errand: str, seq: int, number: int = 0) -> int:
        """The id of the event that asks for this errand (``dbos_core.errands``)."""
        return self._asked[errand, seq, number]

    def update_accepted(self, update_id: str) -> int:
        """The id of the update's accepted event."""
        return self._updates[update_id]
