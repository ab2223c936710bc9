"""Our journal → ``Trace``.

What is compared is what the journal holds: order, values and pairing are read from its records, not from the history that
is synthesised of them. Two things are borrowed from ``dbos_compat.history``: which requests have an event at all (a second
cancellation of the same activity has none, here as on Temporal), and how a request's options are completed (defaults and
limits), since a journal holds what was asked for and a Temporal history what applied.

A local activity stands where its end was recorded, as in a Temporal history; the journal knows its inputs and options as
well. One that has not ended is not a step yet.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from temporalio.api.history.v1 import WorkflowExecutionStartedEventAttributes

from dbos_compat.chains.successor import continued_attributes
from dbos_compat.convert import payloads
from dbos_compat.convert.failures import failure as failure_message
from dbos_compat.convert.records import CloseRecord, close_record, started
from dbos_compat.convert.search_attributes import encode
from dbos_compat.convert.times import duration_ms
from dbos_compat.history import requests
from dbos_compat.history.attributes import user_metadata
from dbos_compat.history.numbering import ERRANDS, EventIds, Record, TaskIds
from dbos_compat.history.others import Others
from dbos_compat.history.outcomes import local_failure, timeout_failure
from dbos_compat.relations import retry_policy
from dbos_core.commit import LoadedRun, RunRow, RunStatus
from dbos_shadow.sources.building import Building
from dbos_shadow.sources.messages import (
    TOLD,
    activity_options,
    child,
    continue_as_new,
    failure,
    named,
    options,
    read,
    retry,
    told,
    value,
    values,
)
from dbos_shadow.trace import ArrivalKind, Named, Options, Outcome, Status, StepKind, Trace, Value, Values

__all__ = ["trace", "trace_of"]

_STATUS = {
    RunStatus.RUNNING: Status.RUNNING,
    RunStatus.COMPLETED: Status.COMPLETED,
    RunStatus.FAILED: Status.FAILED,
    RunStatus.CANCELED: Status.CANCELED,
    RunStatus.TERMINATED: Status.TERMINATED,
    RunStatus.TIMED_OUT: Status.TIMED_OUT,
    RunStatus.CONTINUED_AS_NEW: Status.CONTINUED_AS_NEW,
}


def trace(loaded: LoadedRun) -> Trace:
    """The trace of a run as the store gives it (``Store.load``)."""
    return trace_of(loaded.run, started(loaded.inputs), [json.loads(entry.record) for entry in loaded.entries])


def trace_of(run: RunRow, begun: WorkflowExecutionStartedEventAttributes, records: Iterable[dict[str, Any]]) -> Trace:
    """The trace of a run whose records are at hand as values."""
    reading = _Reading(run, begun)
    for record in records:
        reading.task(record)
    reading.made.outcome = _outcome(run)
    return reading.made.trace(
        None,
        workflow_type=run.workflow_type,
        workflow_id=run.workflow_id,
        run_id=run.run_id,
        origin="journal",
        task_queue=run.task_queue,
        inputs=values(begun.input.payloads),
        at_ms=run.start_ms,
    )


def _outcome(run: RunRow) -> Outcome:
    if run.status is RunStatus.RUNNING:
        return Outcome(status=Status.RUNNING)
    close = close_record(run.close) if run.close else CloseRecord(kind=_STATUS[run.status].value)
    return Outcome(
        status=Status(close.kind),
        values=values(close.result or close.details),
        failure=failure(close.failure) if close.failure is not None else None,
        at_ms=run.close_ms or 0,
    )


def _value(form: Record) -> Value:
    if "j" in form:
        return read(payloads.dumps(form["j"]).encode(), b"json/plain")
    return value(payloads.payload(form))


def _values(forms: Any) -> Values:
    return tuple([_value(form) for form in forms or ()])


def _headers(command: Record) -> Named:
    return named(headers=payloads.payload_map(command.get("h") or {}))


class _Reading:
    """One pass over the records. Steps are found again by their kind and seq."""

    def __init__(self, run: RunRow, begun: WorkflowExecutionStartedEventAttributes) -> None:
        self.made = Building()
        self.started = begun
        self._run = run
        self._ids = EventIds()
        self._others = Others(run, self._ids, "default")
        self._asked: dict[tuple[str, Any, int], int] = {}
        self._updates: dict[str, Record] = {}
        self._locals: dict[int, Record] = {}
        """Local activities as they were asked for."""
        self._ended: dict[int, Record] = {}
        """Ends of local activities that came with this task."""
        self._at_ms = 0
        self._options: dict[tuple[str, ...], Options] = {}

    def task(self, record: dict[str, Any]) -> None:
        self._at_ms = record["at"]
        ids = self._ids.begin_task(record["ev"])
        self._ended = {}
        for arrival in record["ev"]:
            self._arrive(arrival)
        if "reset" not in record:  # a task that was given up is not one that the workflow has seen
            self.made.task()
        for command, event_id in zip(record["cmds"], self._ids.end_task(ids, record["cmds"]), strict=True):
            kind = command["k"]
            if kind == "local_activity":
                self._locals[command["seq"]] = command
            elif event_id and kind not in _CLOSED_BY_ROW:
                fields = _COMMANDS[kind](self, command, ids)
                if "meta" in command and fields["kind"] in TOLD:
                    fields["named"] = (*told(user_metadata(command["meta"])), *fields.get("named", ()))
                index = self.made.ask(at_ms=self._at_ms, **fields)
                self._asked[kind, command.get("seq", command.get("id")), command.get("n", 0)] = index

    # -- arrivals ------------------------------------------------------------------------------------------------------

    def _arrive(self, arrival: Record) -> None:
        kind = arrival["k"]
        if kind == "update":
            self._updates[arrival["m"]["update_id"]] = arrival["m"]
        elif kind == "local":
            self._ended[arrival["seq"]] = arrival
        elif kind == "timer" and self._ids.timer_stopped(arrival["seq"]):
            return  # nobody hears it
        elif kind not in ("start", "resume"):
            self.made.arrive(**{"at_ms": self._at_ms, **_ARRIVALS[kind](self, arrival)})

    def _signal(self, arrival: Record) -> dict[str, Any]:
        given = _values(arrival["m"].get("args"))
        return {"kind": ArrivalKind.SIGNAL, "name": arrival["name"], "values": given, "at_ms": arrival["ms"]}

    def _timer(self, arrival: Record) -> dict[str, Any]:
        return {"kind": ArrivalKind.TIMER, "step": self._asked["timer", arrival["seq"], 0]}

    def _activity(self, arrival: Record) -> dict[str, Any]:
        how = arrival["o"]
        found = {"kind": ArrivalKind.ACTIVITY, "step": self._asked["activity", arrival["seq"], 0], "how": how}
        if how == "completed":
            found["values"] = _values([arrival["r"]] if arrival.get("r") is not None else ())
        elif how == "canceled":
            found["values"] = _values(arrival.get("r"))
        else:
            message = failure_message(arrival["r"]) if how == "failed" else timeout_failure(arrival)
            found |= {"failure": failure(message), "retry_state": arrival.get("retry") or 0}
        if arrival.get("st") is not None:
            found["attempt"] = arrival["att"]
            if arrival.get("lf"):
                found["last_failure"] = failure(failure_message(arrival["lf"]))
        return found

    def _errand(self, arrival: Record) -> dict[str, Any]:
        """The reply to something that was asked of another workflow."""
        kind, seq, number = arrival["e"], arrival["seq"], arrival.get("n", 0)
        asked = next(command for command, errand in ERRANDS.items() if errand == kind)
        how = "failed" if arrival.get("refused") else "completed"
        return {"kind": _REPLIES[kind], "step": self._asked[asked, seq, number], "how": how}

    def _child_closed(self, arrival: Record) -> dict[str, Any]:
        message = arrival["m"]
        found = {"kind": ArrivalKind.CHILD, "step": self._asked["child", message["seq"], 0], "how": message["o"]}
        found["values"] = _values([message["r"]] if "r" in message else message.get("d"))
        if message["o"] == "failed":
            found["failure"] = failure(failure_message(message["f"]))
        return {**found, "retry_state": message.get("retry", 0), "at_ms": arrival["ms"]}

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _ask_activity(self, command: Record, ids: TaskIds) -> dict[str, Any]:
        return {
            "kind": StepKind.ACTIVITY,
            "name": command["type"],
            "id": command["id"],
            "inputs": _values(command["in"]),
            "named": _headers(command) if "h" in command else (),
            "options": self._activity_options(command, ids),
        }

    def _activity_options(self, command: Record, ids: TaskIds) -> Options:
        """The options that apply. The same ones are asked for again and again."""
        key = tuple([str(command.get(name)) for name in _ACTIVITY_OPTIONS])
        found = self._options.get(key)
        if found is None:
            run_timeout_ms = duration_ms(self.started.workflow_run_timeout)
            asked: Any = requests.activity(command, requests.Asking(self._ids, ids, "", run_timeout_ms))
            found = self._options[key] = activity_options(asked)
        return found

    def _ask_timer(self, command: Record, _: TaskIds) -> dict[str, Any]:
        return {"kind": StepKind.TIMER, "id": str(command["seq"]), "duration_ms": command["ms"]}

    def _ask_child(self, command: Record, ids: TaskIds) -> dict[str, Any]:
        asked: Any = self._others.request(command, ids.completed)
        return child(asked)

    def _ask_signal(self, command: Record, _: TaskIds) -> dict[str, Any]:
        return {
            "kind": StepKind.SIGNAL_EXTERNAL,
            "name": command["name"],
            "id": command["id"],
            "run_id": command.get("run", ""),
            "inputs": _values(command["in"]),
            "named": _headers(command),
            "options": options(child_only=command.get("child")),
        }

    def _ask_cancel(self, command: Record, _: TaskIds) -> dict[str, Any]:
        return {"kind": StepKind.CANCEL_EXTERNAL, "id": command["id"], "run_id": command.get("run", "")}

    def _ask_patch(self, command: Record, _: TaskIds) -> dict[str, Any]:
        return {"kind": StepKind.PATCH, "name": command["id"], "options": options(deprecated=bool(command.get("dep")))}

    def _ask_attributes(self, command: Record, _: TaskIds) -> dict[str, Any]:
        given = payloads.payload_map(command["sa"])
        return {"kind": StepKind.UPSERT_SEARCH_ATTRIBUTES, "named": named(search_attributes=given)}

    def _ask_memo(self, command: Record, _: TaskIds) -> dict[str, Any]:
        return {"kind": StepKind.UPSERT_MEMO, "named": named(memo=payloads.payload_map(command["memo"]))}

    def _accept(self, command: Record, _: TaskIds) -> dict[str, Any]:
        update_id = command["id"]
        asked = self._updates[update_id]
        name = asked.get("name", "")
        self.made.arrived_with_task(ArrivalKind.UPDATE, name=name, id=update_id, values=_values(asked.get("args")))
        return {"kind": StepKind.UPDATE_ACCEPTED, "name": name, "id": update_id}

    def _complete_update(self, command: Record, _: TaskIds) -> dict[str, Any]:
        fields = self._about(StepKind.UPDATE_COMPLETED, "update_accepted", command["id"])
        if "f" in command:
            return {**fields, "id": command["id"], "failure": failure(failure_message(command["f"]))}
        return {**fields, "id": command["id"], "inputs": _values([command["r"]])}

    def _about(self, kind: StepKind, asked: str, seq: Any) -> dict[str, Any]:
        target = self._asked[asked, seq, 0]
        return {"kind": kind, "name": self.made.steps[target].name, "target": target}

    def _local(self, command: Record, _: TaskIds) -> dict[str, Any]:
        ended = command if "o" in command else self._ended[command["seq"]]
        completed = ended["o"] == "completed"
        self.made.arrived_with_task(
            ArrivalKind.LOCAL_ACTIVITY,
            step=len(self.made.steps),
            name=ended["type"],
            how=ended["o"],
            values=_values([ended["r"]]) if completed else (),
            failure=None if completed else failure(local_failure(ended)),
            attempt=ended["att"],
        )
        asked = self._locals.get(command["seq"])
        return {
            "kind": StepKind.LOCAL_ACTIVITY,
            "name": ended["type"],
            "id": ended["id"],
            "inputs": _values(asked["in"]) if asked else None,
            "options": _local_options(asked) if asked else None,
        }

    def _continue(self, command: Record, _: TaskIds) -> dict[str, Any]:
        return continue_as_new(continued_attributes(command, self.started, encode(self._run.search_attributes)))


def _local_options(command: Record) -> Options:
    policy = retry(retry_policy(command["retry"])) if command.get("retry") else {}
    return options(
        schedule_to_close_ms=command.get("s2c"),
        schedule_to_start_ms=command.get("s2s"),
        start_to_close_ms=command.get("stc"),
        local_retry_threshold_ms=command.get("threshold"),
        **policy,
    )


_ACTIVITY_OPTIONS = ("queue", "s2c", "s2s", "stc", "hb", "retry", "prio")

_CLOSED_BY_ROW = frozenset({"complete", "fail", "cancel"})
"""How the run ended is in its row."""

_REPLIES = {
    "child": ArrivalKind.CHILD_STARTED,
    "child_cancel": ArrivalKind.EXTERNAL_CANCELED,
    "signal": ArrivalKind.EXTERNAL_SIGNALED,
    "cancel": ArrivalKind.EXTERNAL_CANCELED,
}

_ARRIVALS: dict[str, Callable[[_Reading, Record], dict[str, Any]]] = {
    "signal": _Reading._signal,
    "cancel": lambda _, arrival: {"kind": ArrivalKind.CANCEL, "at_ms": arrival["ms"]},
    "timer": _Reading._timer,
    "activity": _Reading._activity,
    "errand": _Reading._errand,
    "child": _Reading._child_closed,
}


def _cancels(kind: StepKind, asked: str) -> Callable[[_Reading, Record, TaskIds], dict[str, Any]]:
    return lambda reading, command, _: reading._about(kind, asked, command["seq"])


_COMMANDS: dict[str, Callable[[_Reading, Record, TaskIds], dict[str, Any]]] = {
    "activity": _Reading._ask_activity,
    "cancel_activity": _cancels(StepKind.CANCEL_ACTIVITY, "activity"),
    "timer": _Reading._ask_timer,
    "cancel_timer": _cancels(StepKind.CANCEL_TIMER, "timer"),
    "child": _Reading._ask_child,
    "cancel_child": _cancels(StepKind.CANCEL_CHILD, "child"),
    "signal_external": _Reading._ask_signal,
    "cancel_external": _Reading._ask_cancel,
    "patch": _Reading._ask_patch,
    "upsert_sa": _Reading._ask_attributes,
    "memo": _Reading._ask_memo,
    "update_accepted": _Reading._accept,
    "update_completed": _Reading._complete_update,
    "local_marker": _Reading._local,
    "continue_as_new": _Reading._continue,
}
