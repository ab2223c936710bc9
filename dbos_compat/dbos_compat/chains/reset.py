"""Reset: a workflow goes back to an earlier workflow task, as a new run with the same history up to there. Pure.

The journal rows before that task are copied. In the row of the task itself stands what had happened when it was due (it
is history, too) and that the task was given up: the **reset row**. Its events are handled by the next activation,
together with what came later and is to be heard once more: signals and updates.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from temporalio.api.enums.v1 import ResetReapplyExcludeType, ResetReapplyType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest

from dbos_compat.bridge.stock_messages import message_text, why_unreadable
from dbos_compat.chains.deadlines import deadline_ms
from dbos_compat.convert.metadata import metadata_record, metadata_text
from dbos_compat.convert.payloads import dumps, payload_map, payload_map_text
from dbos_compat.convert.records import CloseRecord, close_record, close_text, started
from dbos_compat.convert.search_attributes import CHANGE_VERSION, column_text, merged_text, versions_payload
from dbos_compat.convert.times import duration_ms
from dbos_compat.errors import invalid
from dbos_compat.history.failed_tasks import failed_task
from dbos_compat.history.numbering import EventIds, Record
from dbos_core.commit import Close, JournalRow, LoadedRun, Mail, NewRun, Reset, RunStatus, UpdateRow
from dbos_core.errands.spec import news_id
from dbos_core.mailbox import CHILD, NULL_TOPIC, OWN_ID, UPDATE, is_signal
from dbos_core.succession import following

ADMITTED_STAGE = 1

_SIGNAL = ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL
_UPDATE = ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_UPDATE


@dataclass(frozen=True, slots=True)
class Point:
    """Where a run goes back to."""

    position: int
    """Of the journal row whose task is given up; rows below it are kept."""
    happened: list[Record]
    """What had happened when that task was due: events of the history that is kept."""
    handled: frozenset[str]
    """Mail ids among them that no journal row has."""
    at_ms: int


def find_point(loaded: LoadedRun, finish_event_id: int, last_event_id: int) -> Point:
    """The task whose started, completed or failed event has that id.

    Raises:
        RPCError: as a server words it.
    """
    if not 1 < finish_event_id <= last_event_id:
        raise invalid("Workflow task finish ID must be > 1 && <= workflow last event ID.")
    ids = EventIds()
    for entry in loaded.entries:
        record = json.loads(entry.record)
        task = ids.begin_task(record["ev"])
        if finish_event_id in (task.started, task.completed):
            happened = [event for event in record["ev"] if _has_event(event)]
            return Point(entry.position, happened, frozenset(), record["at"])
        ids.end_task(task, record["cmds"])
    failed = failed_task(loaded)
    if failed is not None:
        happened = [event for event in failed.arrivals or [] if _has_event(event)]
        task = ids.begin_task(happened)
        if finish_event_id in (task.started, task.completed):
            position = loaded.entries[-1].position + 1 if loaded.entries else 1
            handled = frozenset(str(event["id"]) for event in happened if "id" in event)
            return Point(position, happened, handled, failed.note.at_ms)
    raise invalid(
        f"StateRebuilder unable to Rebuild mutable state to event ID: {finish_event_id - 1}, version: 0, "
        "this event must be at the boundary"
    )


def _has_event(event: Record) -> bool:
    """Is it in the history by itself? An update is not, until it is accepted, unless it came with an earlier reset. Nor
    is the end of a local activity, which the task that is given up was to record."""
    return event["k"] not in ("resume", "local") and (event["k"] != "update" or "reapplied" in event["m"])


# -- what is heard once more -------------------------------------------------------------------------------------------


def excluded(request: ResetWorkflowExecutionRequest) -> frozenset[str]:
    """The kinds of events that shall not be heard again."""
    kinds = set()
    reapply = request.reset_reapply_type
    if reapply == ResetReapplyType.RESET_REAPPLY_TYPE_NONE:
        kinds |= {"signal", "update"}
    elif reapply == ResetReapplyType.RESET_REAPPLY_TYPE_SIGNAL:
        kinds.add("update")
    if _SIGNAL in request.reset_reapply_exclude_types:
        kinds.add("signal")
    if _UPDATE in request.reset_reapply_exclude_types:
        kinds.add("update")
    return frozenset(kinds)


def later(point: Point, base: LoadedRun, chain: Sequence[LoadedRun]) -> list[tuple[str, Record]]:
    """Signals (name, message) and updates ("", message) since that point, in order; ``chain`` are the runs that the
    base run was continued as."""
    found: list[tuple[str, Record]] = []
    for run in (base, *chain):
        for entry in run.entries:
            if run is base and entry.position < point.position:
                continue
            events = json.loads(entry.record)["ev"]
            kept = run is base and entry.position == point.position
            found += _messages([event for event in events if not (kept and _has_event(event))])
        found += _waiting(run.mail, point.handled)
    return found


def _messages(events: Sequence[Record]) -> Iterator[tuple[str, Record]]:
    for event in events:
        if event["k"] == "signal":
            yield event["name"], event["m"]
        elif event["k"] == "update":
            yield "", event["m"]


def _waiting(mail: Sequence[Mail], handled: frozenset[str]) -> Iterator[tuple[str, Record]]:
    """Messages that no task has handled yet. A cancel request is not heard again (observed)."""
    for letter in mail:
        if letter.mail_id in handled:
            continue
        if letter.topic == UPDATE:
            yield "", json.loads(letter.message)
        elif is_signal(letter.topic):
            name = "" if letter.topic == NULL_TOPIC else letter.topic
            if letter.mail_id.startswith(OWN_ID) or why_unreadable(letter) is None:
                yield name, json.loads(message_text(letter))


# -- the plan ----------------------------------------------------------------------------------------------------------


def plan(
    request: ResetWorkflowExecutionRequest,
    *,
    base: LoadedRun,
    chain: Sequence[LoadedRun],
    current: LoadedRun,
    last_event_id: int,
    run_id: str,
    now_ms: int,
) -> Reset:
    """All that a reset changes.

    Args:
        base: the run to go back in.
        chain: the runs that it was continued as.
        current: the current run of the workflow id.
        last_event_id: of ``base``.
    """
    point = find_point(base, request.workflow_task_finish_event_id, last_event_id)
    without = excluded(request)
    mail: list[Mail] = []
    updates: list[UpdateRow] = []
    new = _new_run(base, point, run_id=run_id, now_ms=now_ms)
    new.request_id = request.request_id or None
    for number, (name, message) in enumerate(later(point, base, chain), 1):
        update_id = message.get("update_id")
        if ("signal" if update_id is None else "update") in without:
            continue
        if update_id is not None:
            updates.append(UpdateRow(update_id=update_id, stage=ADMITTED_STAGE))
            message = {**message, "reapplied": 1}
        mail.append(
            Mail(
                mail_id=f"{OWN_ID}{run_id}:r:{number}",
                workflow_uuid=new.workflow_uuid,
                topic=UPDATE if update_id is not None else name or NULL_TOPIC,
                message=dumps(message),
            )
        )
    children, news = _children(base, point)
    mail += [
        Mail(
            mail_id=news_id(run_id, message["seq"]),
            workflow_uuid=new.workflow_uuid,
            topic=CHILD,
            message=dumps(message),
        )
        for message in news
    ]
    newest = current.entries[-1].position if current.entries else 0
    metadata = metadata_record(base.run.metadata)
    metadata.reset_run_id = run_id
    return Reset(
        new=new,
        base_uuid=base.run.workflow_uuid,
        entry=_reset_row(point, base, request, run_id=run_id, now_ms=now_ms),
        mail=tuple(mail),
        updates=tuple(updates),
        children=children,
        close=_termination(request, now_ms),
        base_metadata=metadata_text(metadata),
        seen=(current.run.workflow_uuid, newest, current.run.last_mail_ms),
    )


def _children(base: LoadedRun, point: Point) -> tuple[tuple[int, ...], list[Record]]:
    """The children that have begun and not ended at the point; and what those of them said that have ended since."""
    kept: list[Record] = []
    since: list[Record] = []
    for entry in base.entries:
        events = json.loads(entry.record)["ev"]
        (kept if entry.position < point.position else since).extend(events)
    kept += point.happened
    begun = {event["seq"] for event in kept if _is_start(event)}
    open_ = begun - {event["m"]["seq"] for event in kept if event["k"] == "child"}
    said = [event["m"] for event in since if event["k"] == "child"]
    said += [json.loads(letter.message) for letter in base.mail if letter.topic == CHILD]
    return tuple(sorted(open_)), [message for message in said if message["seq"] in open_]


def _is_start(event: Record) -> bool:
    return event["k"] == "errand" and event["e"] == "child" and not event.get("refused")


def _reset_row(
    point: Point, base: LoadedRun, request: ResetWorkflowExecutionRequest, *, run_id: str, now_ms: int
) -> JournalRow:
    record = {
        "v": 1,
        "at": point.at_ms,
        "ev": point.happened,
        "cmds": [],
        "reset": {"ms": now_ms, "base": base.run.run_id, "run": run_id, "reason": request.reason},
    }
    return JournalRow(
        position=point.position, name="reset", record=dumps(record), started_ms=now_ms, completed_ms=now_ms
    )


def _termination(request: ResetWorkflowExecutionRequest, now_ms: int) -> Close:
    record = CloseRecord(kind="terminated", reason=request.reason, identity="history-resetter")
    return Close(
        status=RunStatus.TERMINATED,
        close_ms=now_ms,
        record=close_text(record),
        error=dumps({"name": "WorkflowTerminated", "message": request.reason}),
        mail_seen_ms=None,
    )


def _new_run(base: LoadedRun, point: Point, *, run_id: str, now_ms: int) -> NewRun:
    """It starts as the base run did; its times begin anew."""
    began = started(base.inputs)
    new = following(base.run, run_id=run_id)
    new.inputs = base.inputs
    new.start_ms = new.execution_ms = now_ms
    shown = metadata_record(base.run.metadata)
    shown.began_ms = shown.began_ms or base.run.start_ms
    shown.reset_run_id = ""
    execution_ms, run_ms = duration_ms(began.workflow_execution_timeout), duration_ms(began.workflow_run_timeout)
    shown.expires_ms = now_ms + execution_ms if execution_ms else 0
    new.deadline_ms = deadline_ms(now_ms, run_ms, shown.expires_ms)
    new.metadata = metadata_text(shown)
    new.memo, new.search_attributes = _upserted(base, point)
    return new


def _upserted(base: LoadedRun, point: Point) -> tuple[str | None, str | None]:
    """Memo and search attributes as they were at that point."""
    began = started(base.inputs)
    memo: dict[str, Any] = json.loads(payload_map_text(began.memo.fields))
    attributes = column_text(began.search_attributes.indexed_fields)
    for entry in base.entries:
        if entry.position >= point.position:
            break
        for command in json.loads(entry.record)["cmds"]:
            if command["k"] == "memo":
                memo = _without_nulls({**memo, **command["memo"]})
            elif command["k"] == "upsert_sa":
                attributes = merged_text(attributes, payload_map(command["sa"]))
            elif command["k"] == "patch" and command.get("sa"):
                attributes = merged_text(attributes, {CHANGE_VERSION: versions_payload(command["sa"])})
    return dumps(memo) if memo else None, attributes


def _without_nulls(memo: Mapping[str, Any]) -> dict[str, Any]:
    return {key: form for key, form in memo.items() if "n" not in form}


def continued_as(closed: LoadedRun) -> str:
    """The run id of the run that this one was continued as; empty if it was not."""
    if closed.run.status is not RunStatus.CONTINUED_AS_NEW or not closed.run.close:
        return ""
    return close_record(closed.run.close).new_run_id
