"""A Temporal event history → ``Trace``. Live (``WorkflowHandle.fetch_history``) or exported as JSON.

Every event that says something about the workflow has a row in one of the tables below; the events of the workflow tasks
only say where activations begin, and the rest (``_SILENT``) is the operator's or the server's own business.

Some things a history does not hold, and the trace says so: inputs and options of local activities (their markers have
results only). A cancelled activity's late outcome may stand in it although the workflow has not waited for it.

A history that is cut, has gaps, or holds events that nobody here knows gives a trace that is ``incomplete``, with the part
that can be relied on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from google.protobuf.json_format import ParseError
from temporalio.api.history.v1 import HistoryEvent, WorkflowExecutionStartedEventAttributes
from temporalio.client import WorkflowHistory

from dbos_compat.convert.times import duration_ms, timestamp_ms
from dbos_shadow.sources.building import Building
from dbos_shadow.sources.messages import (
    CHANGE_VERSION,
    TOLD,
    activity,
    child,
    continue_as_new,
    failure,
    named,
    options,
    told,
    values,
)
from dbos_shadow.trace import ArrivalKind, Incomplete, Outcome, Status, StepKind, Trace

__all__ = ["from_json", "trace"]

_SUFFIX = "_event_attributes"


def from_json(text: str, *, workflow_id: str = "", closed: bool | None = None) -> Trace:
    """The trace of an exported history (``temporal workflow show --output json``, the UI's and the Cloud's download).

    Raises:
        ValueError: the text is not JSON, or it is no history.
    """
    try:
        return trace(WorkflowHistory.from_json(workflow_id, text), closed=closed)
    except json.JSONDecodeError as error:
        raise ValueError(f"This is not JSON; was the export of the history cut? {error}") from error
    except (KeyError, TypeError, AttributeError, ValueError, ParseError) as error:
        raise ValueError(f"This JSON is not a workflow history as Temporal exports it: {error!r}") from error


def trace(
    history: WorkflowHistory | Iterable[HistoryEvent],
    *,
    workflow_id: str = "",
    run_id: str = "",
    closed: bool | None = None,
) -> Trace:
    """The trace of a history.

    Args:
        closed: what the server says of the run, if it was asked. A run that is closed and has no closing event here was
            cut at its end; without the argument nobody can tell it from a run that is open.
    """
    if isinstance(history, WorkflowHistory):
        workflow_id = workflow_id or history.workflow_id
        history = history.events
    events = list(history)
    if not events:
        return Trace(workflow_type="", origin="history", incomplete=_incomplete("empty", "The history has no events."))
    first = events[0]
    if first.event_id != 1 or first.WhichOneof("attributes") != "workflow_execution_started" + _SUFFIX:
        found = _incomplete("no_start", f"The history begins with event {first.event_id}, not with the run's start.")
        return Trace(workflow_type="", workflow_id=workflow_id, run_id=run_id, origin="history", incomplete=found)
    started = first.workflow_execution_started_event_attributes
    reading = _Reading()
    incomplete = reading.all(events)
    if incomplete is None and closed and reading.made.outcome.status is Status.RUNNING:
        incomplete = _incomplete("cut_at_end", f"The run is closed, but its history ends with event {len(events)}.")
    return reading.made.trace(incomplete, **_header(started, first, workflow_id, run_id))


def _header(
    started: WorkflowExecutionStartedEventAttributes, first: HistoryEvent, workflow_id: str, run_id: str
) -> dict[str, Any]:
    return {
        "workflow_type": started.workflow_type.name,
        "workflow_id": workflow_id or started.workflow_id,
        "run_id": run_id or started.original_execution_run_id,
        "origin": "history",
        "task_queue": started.task_queue.name,
        "inputs": values(started.input.payloads),
        "at_ms": timestamp_ms(first.event_time),
    }


def _incomplete(code: str, reason: str) -> Incomplete:
    return Incomplete(code=code, reason=reason)


class _Reading:
    """One pass over the events. Steps are found again by the ids of the events that asked for them."""

    def __init__(self) -> None:
        self.made = Building()
        self._asked: dict[int, int] = {}
        """Event → step."""
        self._begun: dict[int, Any] = {}
        """Scheduled event of an activity → attributes of its started event."""
        self._admitted: dict[str, Any] = {}

    def all(self, events: list[HistoryEvent]) -> Incomplete | None:
        for number, event in enumerate(events[1:], 2):
            if event.event_id != number:
                return _incomplete("gap", f"After event {number - 1} comes event {event.event_id}.")
            which = event.WhichOneof("attributes") or ""
            name = which.removesuffix(_SUFFIX)
            if name in _SILENT:
                continue
            try:
                if not self._one(name, event, getattr(event, which, None)):
                    what = name or f"of type {event.event_type}"
                    return _incomplete("unknown_event", f"Event {number} ({what}) is not known to this version.")
            except KeyError as error:
                return _incomplete("dangling", f"Event {number} ({name}) refers to {error}, which is not there.")
            except (IndexError, ValueError) as error:
                return _incomplete("unreadable", f"Event {number} ({name}) cannot be read: {error}")
        return None

    def _one(self, name: str, event: HistoryEvent, attributes: Any) -> bool:
        """Read one event. False: nobody here knows it, and it may matter."""
        if name == "workflow_task_completed":
            self.made.task()
        elif (step := _STEPS.get(name)) is not None:
            fields = step(self, attributes)
            if fields is not None:
                if event.HasField("user_metadata") and fields["kind"] in TOLD:
                    fields["named"] = (*told(event.user_metadata), *fields.get("named", ()))
                self._asked[event.event_id] = self.made.ask(at_ms=timestamp_ms(event.event_time), **fields)
        elif (arrival := _ARRIVALS.get(name)) is not None:
            self.made.arrive(at_ms=timestamp_ms(event.event_time), **arrival(self, attributes))
        elif (status := _OUTCOMES.get(name)) is not None:
            self._close(status, event, attributes)
        elif name == "activity_task_started":
            self._begun[attributes.scheduled_event_id] = attributes
        elif name == "workflow_execution_update_admitted":
            self._admitted[attributes.request.meta.update_id] = attributes.request
        else:
            return event.worker_may_ignore
        return True

    def _close(self, status: Status, event: HistoryEvent, attributes: Any) -> None:
        if status is Status.CONTINUED_AS_NEW:
            self.made.ask(at_ms=timestamp_ms(event.event_time), **continue_as_new(attributes))
        given: Any = getattr(attributes, "result", None) or getattr(attributes, "details", None)
        self.made.outcome = Outcome(
            status=status,
            values=values(given.payloads) if given is not None else (),
            failure=failure(attributes.failure) if status is Status.FAILED else None,
            at_ms=timestamp_ms(event.event_time),
        )

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _timer(self, a: Any) -> dict[str, Any]:
        return {"kind": StepKind.TIMER, "id": a.timer_id, "duration_ms": duration_ms(a.start_to_fire_timeout)}

    def _cancel_timer(self, a: Any) -> dict[str, Any]:
        return {"kind": StepKind.CANCEL_TIMER, "target": self._asked[a.started_event_id]}

    def _cancel_activity(self, a: Any) -> dict[str, Any]:
        return self._about(StepKind.CANCEL_ACTIVITY, self._asked[a.scheduled_event_id])

    def _cancel_nexus(self, a: Any) -> dict[str, Any]:
        return self._about(StepKind.CANCEL_NEXUS, self._asked[a.scheduled_event_id])

    def _about(self, kind: StepKind, target: int) -> dict[str, Any]:
        return {"kind": kind, "name": self.made.steps[target].name, "target": target}

    def _cancel_other(self, a: Any) -> dict[str, Any]:
        """A child's cancellation is requested by the same event as a stranger's."""
        workflow_id = a.workflow_execution.workflow_id
        if a.child_workflow_only and (target := self.made.child(workflow_id)) is not None:
            return self._about(StepKind.CANCEL_CHILD, target)
        return {"kind": StepKind.CANCEL_EXTERNAL, "id": workflow_id, "run_id": a.workflow_execution.run_id}

    def _signal_other(self, a: Any) -> dict[str, Any]:
        return {
            "kind": StepKind.SIGNAL_EXTERNAL,
            "name": a.signal_name,
            "id": a.workflow_execution.workflow_id,
            "run_id": "" if a.child_workflow_only else a.workflow_execution.run_id,
            "inputs": values(a.input.payloads),
            "named": named(headers=a.header.fields),
            "options": options(child_only=a.child_workflow_only),
        }

    def _marker(self, a: Any) -> dict[str, Any]:
        if a.marker_name == "core_patch":
            data = json.loads(a.details["patch-data"].payloads[0].data)
            return {"kind": StepKind.PATCH, "name": data["id"], "options": options(deprecated=data.get("deprecated"))}
        if a.marker_name == "core_local_activity":
            return self._local_activity(a)
        return {"kind": StepKind.MARKER, "name": a.marker_name}

    def _local_activity(self, a: Any) -> dict[str, Any]:
        data = json.loads(a.details["data"].payloads[0].data)
        failed = failure(a.failure) if a.HasField("failure") else None
        self.made.arrived_with_task(
            ArrivalKind.LOCAL_ACTIVITY,
            step=len(self.made.steps),
            name=data["activity_type"],
            how=_HOW_LOCAL.get(failed.kind, "failed") if failed else "completed",
            values=values(a.details["result"].payloads) if "result" in a.details else (),
            failure=failed,
            attempt=data.get("attempt", 0),
        )
        return {
            "kind": StepKind.LOCAL_ACTIVITY,
            "name": data["activity_type"],
            "id": data["activity_id"],
            "inputs": None,
            "options": None,
        }

    def _search_attributes(self, a: Any) -> dict[str, Any] | None:
        fields = a.search_attributes.indexed_fields
        last = self.made.steps[-1] if self.made.steps else None
        if set(fields) == {CHANGE_VERSION} and last is not None and last.kind is StepKind.PATCH:
            return None  # the patch has brought it
        return {"kind": StepKind.UPSERT_SEARCH_ATTRIBUTES, "named": named(search_attributes=fields)}

    def _memo(self, a: Any) -> dict[str, Any]:
        return {"kind": StepKind.UPSERT_MEMO, "named": named(memo=a.upserted_memo.fields)}

    def _update_accepted(self, a: Any) -> dict[str, Any]:
        """The request stands in its acceptance: the task that accepted it is the one that saw it."""
        update_id = a.protocol_instance_id
        request = a.accepted_request if a.HasField("accepted_request") else self._admitted[update_id]
        name = request.input.name
        self.made.arrived_with_task(
            ArrivalKind.UPDATE, name=name, id=update_id, values=values(request.input.args.payloads)
        )
        return {"kind": StepKind.UPDATE_ACCEPTED, "name": name, "id": update_id}

    def _update_completed(self, a: Any) -> dict[str, Any]:
        fields = self._about(StepKind.UPDATE_COMPLETED, self._asked[a.accepted_event_id])
        if a.outcome.HasField("failure"):
            return {**fields, "id": a.meta.update_id, "failure": failure(a.outcome.failure)}
        return {**fields, "id": a.meta.update_id, "inputs": values(a.outcome.success.payloads)}

    def _nexus(self, a: Any) -> dict[str, Any]:
        return {
            "kind": StepKind.NEXUS,
            "name": f"{a.endpoint}/{a.service}/{a.operation}",
            "inputs": values([a.input]) if a.HasField("input") else (),
            "options": options(schedule_to_close_ms=duration_ms(a.schedule_to_close_timeout)),
        }

    # -- arrivals ------------------------------------------------------------------------------------------------------

    def _signal(self, a: Any) -> dict[str, Any]:
        return {"kind": ArrivalKind.SIGNAL, "name": a.signal_name, "values": values(a.input.payloads)}

    def _resolved(self, kind: ArrivalKind, asked_by: int, how: str, a: Any) -> dict[str, Any]:
        """A step's end. ``a`` has a result, details, a failure, or none of them."""
        found: dict[str, Any] = {"kind": kind, "step": self._asked[asked_by], "how": how}
        fields = a.DESCRIPTOR.fields_by_name
        if how == "completed" and "result" in fields and a.HasField("result"):
            nexus = kind is ArrivalKind.NEXUS
            found["values"] = values([a.result]) if nexus else values(a.result.payloads)
        elif "details" in fields and a.HasField("details"):
            found["values"] = values(a.details.payloads)
        if "failure" in fields and a.HasField("failure"):
            found["failure"] = failure(a.failure)
        if "retry_state" in fields:
            found["retry_state"] = int(a.retry_state)
        return found

    def _activity_end(self, how: str, a: Any) -> dict[str, Any]:
        found = self._resolved(ArrivalKind.ACTIVITY, a.scheduled_event_id, how, a)
        if a.started_event_id and (begun := self._begun.get(a.scheduled_event_id)) is not None:
            found["attempt"] = begun.attempt
            if begun.HasField("last_failure"):
                found["last_failure"] = failure(begun.last_failure)
        return found

    def _rang(self, a: Any) -> dict[str, Any]:
        return {"kind": ArrivalKind.TIMER, "step": self._asked[a.started_event_id]}


_HOW_LOCAL = {"timeout": "timed_out", "canceled": "canceled"}

_STEPS: dict[str, Callable[[_Reading, Any], dict[str, Any] | None]] = {
    "activity_task_scheduled": lambda _, a: activity(a),
    "activity_task_cancel_requested": _Reading._cancel_activity,
    "timer_started": _Reading._timer,
    "timer_canceled": _Reading._cancel_timer,
    "marker_recorded": _Reading._marker,
    "start_child_workflow_execution_initiated": lambda _, a: child(a),
    "request_cancel_external_workflow_execution_initiated": _Reading._cancel_other,
    "signal_external_workflow_execution_initiated": _Reading._signal_other,
    "upsert_workflow_search_attributes": _Reading._search_attributes,
    "workflow_properties_modified": _Reading._memo,
    "workflow_execution_update_accepted": _Reading._update_accepted,
    "workflow_execution_update_completed": _Reading._update_completed,
    "nexus_operation_scheduled": _Reading._nexus,
    "nexus_operation_cancel_requested": _Reading._cancel_nexus,
}


def _ends(kind: ArrivalKind, how: str, asked_by: str) -> Callable[[_Reading, Any], dict[str, Any]]:
    return lambda reading, a: reading._resolved(kind, getattr(a, asked_by), how, a)


def _activity_ends(how: str) -> Callable[[_Reading, Any], dict[str, Any]]:
    return lambda reading, a: reading._activity_end(how, a)


_ARRIVALS: dict[str, Callable[[_Reading, Any], dict[str, Any]]] = {
    "workflow_execution_signaled": _Reading._signal,
    "workflow_execution_cancel_requested": lambda _, a: {"kind": ArrivalKind.CANCEL},
    "timer_fired": _Reading._rang,
    **{f"activity_task_{how}": _activity_ends(how) for how in ("completed", "failed", "timed_out", "canceled")},
    "child_workflow_execution_started": _ends(ArrivalKind.CHILD_STARTED, "completed", "initiated_event_id"),
    "start_child_workflow_execution_failed": _ends(ArrivalKind.CHILD_STARTED, "failed", "initiated_event_id"),
    **{
        f"child_workflow_execution_{how}": _ends(ArrivalKind.CHILD, how, "initiated_event_id")
        for how in ("completed", "failed", "timed_out", "canceled", "terminated")
    },
    "external_workflow_execution_signaled": _ends(ArrivalKind.EXTERNAL_SIGNALED, "completed", "initiated_event_id"),
    "signal_external_workflow_execution_failed": _ends(ArrivalKind.EXTERNAL_SIGNALED, "failed", "initiated_event_id"),
    "external_workflow_execution_cancel_requested": _ends(
        ArrivalKind.EXTERNAL_CANCELED, "completed", "initiated_event_id"
    ),
    "request_cancel_external_workflow_execution_failed": _ends(
        ArrivalKind.EXTERNAL_CANCELED, "failed", "initiated_event_id"
    ),
    "nexus_operation_started": _ends(ArrivalKind.NEXUS_STARTED, "completed", "scheduled_event_id"),
    **{
        f"nexus_operation_{how}": _ends(ArrivalKind.NEXUS, how, "scheduled_event_id")
        for how in ("completed", "failed", "timed_out", "canceled")
    },
}

_OUTCOMES = {f"workflow_execution_{status.value}": status for status in Status if status not in ("running", "unknown")}

_SILENT = frozenset(
    {
        "workflow_task_scheduled",
        "workflow_task_started",
        "workflow_task_failed",
        "workflow_task_timed_out",
        "workflow_execution_update_rejected",
        "workflow_properties_modified_externally",
        "activity_properties_modified_externally",
        "nexus_operation_cancel_request_completed",
        "nexus_operation_cancel_request_failed",
        "workflow_execution_options_updated",
        "workflow_execution_paused",
        "workflow_execution_unpaused",
        "workflow_execution_time_skipping_transitioned",
    }
)
