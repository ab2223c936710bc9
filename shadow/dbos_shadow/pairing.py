"""Who is who: which of the core's requests is which of the recorded steps. Pure.

With the code that made the history the answer is the order. With code that has changed, requests of the same kind and name
are the same step: first those with the same id, where workflow code has chosen it, then those with the same inputs, then the
rest, each in their order. What is asked for and was never recorded has no partner and gets no answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.api.history.v1 import HistoryEvent

from dbos_compat.convert.payloads import dumps, payloads
from dbos_shadow.names import NameMap
from dbos_shadow.past import Past, PastTask, attributes, kind, marker_data
from dbos_shadow.sources.messages import values
from dbos_shadow.trace import Values

__all__ = ["Pairing"]

SAME = NameMap()

Key = tuple[str, str]

_HAVE_INPUTS = frozenset({"activity", "child", "signal_external"})


class Pairing:
    """Recorded steps (by the event that asked for them) ⇄ requests of the core (by kind and seq)."""

    def __init__(self, past: Past, names: NameMap = SAME) -> None:
        """``names``: what recorded names are called in the code."""
        self._names = names
        self.partners: dict[tuple[str, int], int] = {}
        """Kind and seq → event that asked."""
        self.seqs: dict[int, int] = {}
        """Event that asked → seq. For a request to cancel a child it is the child's."""
        self.numbers: dict[int, int] = {}
        """The same, for requests to cancel a child: which of several."""
        self.child_cancels: set[int] = set()
        self._free: dict[Key, deque[int]] = {}
        self._chosen: dict[tuple[str, str, str], deque[int]] = {}
        self._ids: dict[int, tuple[str, str, str]] = {}
        self._events: dict[int, HistoryEvent] = {}
        """The recorded steps that have inputs."""
        self._inputs: dict[int, Values] = {}
        """Their inputs, as far as somebody asked."""
        self._children: dict[int, str] = {}
        self._unmet: list[tuple[Mapping[str, Any], Key, str]] = []
        """Requests without a partner so far."""
        for task in past.tasks:
            self.add(task)

    def add(self, task: PastTask) -> None:
        """One more recorded task. A request that came before may have been waiting for a step of it."""
        for event in task.commands:
            found = _recorded(event)
            if found is None:
                continue
            key, chosen = found
            key = key[0], self._names.name(key[0], key[1])
            if key[0] == "cancel_child":
                self.child_cancels.add(event.event_id)
            self._free.setdefault(key, deque()).append(event.event_id)
            if key[0] in _HAVE_INPUTS:
                self._events[event.event_id] = event
            if chosen:
                self._chosen.setdefault((*key, chosen), deque()).append(event.event_id)
                self._ids[event.event_id] = (*key, chosen)
            if waiting := [unmet for unmet in self._unmet if unmet[1] == key]:
                unmet = next((unmet for unmet in waiting if unmet[2] == chosen), waiting[0])
                self._unmet.remove(unmet)
                self._pair(event.event_id, key, unmet[0], [])

    @property
    def never_recorded(self) -> list[str]:
        """Types of the activities that were asked for and have no recorded step, in order."""
        return [command["type"] for command, key, _ in self._unmet if key[0] in ("activity", "local_activity")]

    def asked(self, commands: Iterable[Mapping[str, Any]]) -> list[int]:
        """Take the requests of one task. The recorded steps that have found their partner by it."""
        wanted = [
            (c, key, chosen) for c in commands if (asked := self._asked(c)) is not None for key, chosen in [asked]
        ]
        found: list[int] = []
        left = []
        for command, key, chosen in wanted:
            same = self._alike(command, self._chosen.get((*key, chosen), ())) if chosen else None
            same = same or self._alike(command, self._free.get(key, ()), only=True)
            if same:
                self._pair(same, key, command, found)
            else:
                left.append((command, key, chosen))
        for command, key, chosen in left:
            if free := self._free.get(key):
                self._pair(free[0], key, command, found)
            else:
                self._unmet.append((command, key, chosen))
        return found

    def _alike(self, command: Mapping[str, Any], among: Iterable[int], *, only: bool = False) -> int | None:
        """The first of the recorded steps with the same inputs; if there is none, the first (or, with ``only``, none)."""
        first = None
        wanted: Values | None = None
        given = command.get("in") or ()
        for event_id in among:
            first = first or event_id
            event = self._events.get(event_id)
            if event is None:
                break
            if _same_bytes(given, attributes(event).input.payloads):
                return event_id
            if event_id not in self._inputs:
                self._inputs[event_id] = values(attributes(event).input.payloads)
            if wanted is None:
                wanted = values(payloads(given))
            if self._inputs[event_id] == wanted:
                return event_id
        return None if only else first

    def _pair(self, event_id: int, key: Key, command: Mapping[str, Any], found: list[int]) -> None:
        self._free[key].remove(event_id)
        chosen = self._ids.get(event_id)
        if chosen is not None:
            self._chosen[chosen].remove(event_id)
        self.seqs[event_id] = command["seq"]
        self.partners[key[0], command["seq"]] = event_id
        self.numbers[event_id] = command.get("n", 0)
        found.append(event_id)

    def _asked(self, command: Mapping[str, Any]) -> tuple[Key, str] | None:
        what = command["k"]
        if what in ("activity", "local_activity"):
            chosen = command["id"] if what == "activity" else str(command["seq"])
            return (what, command["type"]), "" if what == "activity" and chosen.isdecimal() else chosen
        if what == "timer":
            return ("timer", ""), ""
        if what == "child":
            self._children[command["seq"]] = command["id"]
            return ("child", command["type"]), command["id"]
        if what == "signal_external":
            return (what, command["name"]), command["id"]
        if what == "cancel_external":
            return (what, ""), command["id"]
        if what == "cancel_child":
            return (what, self._children.get(command["seq"], "")), ""
        return None


def _same_bytes(forms: Sequence[Mapping[str, Any]], recorded: Sequence[Payload]) -> bool:
    """Are these forms of the recorded payloads, byte for byte? False: look closer. Plain JSON alone is looked at."""
    if len(forms) != len(recorded):
        return False
    for form, payload in zip(forms, recorded, strict=True):
        if "j" not in form or payload.metadata.get("encoding") != b"json/plain":
            return False
        if dumps(form["j"]).encode() != payload.data:
            return False
    return True


def _recorded(event: HistoryEvent) -> tuple[Key, str] | None:
    name = kind(event)
    if name == "activity_task_scheduled":
        a = event.activity_task_scheduled_event_attributes
        return ("activity", a.activity_type.name), "" if a.activity_id.isdecimal() else a.activity_id
    if name == "timer_started":
        return ("timer", ""), ""
    if name == "start_child_workflow_execution_initiated":
        child = event.start_child_workflow_execution_initiated_event_attributes
        return ("child", child.workflow_type.name), child.workflow_id
    if name == "signal_external_workflow_execution_initiated":
        signal = event.signal_external_workflow_execution_initiated_event_attributes
        return ("signal_external", signal.signal_name), signal.workflow_execution.workflow_id
    if name == "request_cancel_external_workflow_execution_initiated":
        cancel = event.request_cancel_external_workflow_execution_initiated_event_attributes
        if cancel.child_workflow_only:
            return ("cancel_child", cancel.workflow_execution.workflow_id), ""
        return ("cancel_external", ""), cancel.workflow_execution.workflow_id
    if name == "marker_recorded" and event.marker_recorded_event_attributes.marker_name == "core_local_activity":
        data = marker_data(event)
        return ("local_activity", data["activity_type"]), str(data["seq"])
    return None
