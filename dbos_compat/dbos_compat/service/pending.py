"""What a run waits for, read from its journal: activities that were asked for and have not ended. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from temporalio.api.common.v1 import ActivityType
from temporalio.api.enums.v1 import ParentClosePolicy, PendingActivityState
from temporalio.api.workflow.v1 import PendingActivityInfo, PendingChildExecutionInfo

from dbos_compat.convert.failures import failure
from dbos_compat.convert.payloads import payloads
from dbos_compat.convert.times import duration, timestamp
from dbos_compat.history.numbering import EventIds
from dbos_compat.service.activity_options import asked, options_of
from dbos_core.activities.operating import Operated, changed
from dbos_core.activities.spec import ActivitySpec
from dbos_core.activities.wire import read_command
from dbos_core.commit import LoadedRun
from dbos_core.kept import ended
from dbos_core.mailbox import ACTIVITY, CANCEL, CHILD


@dataclass(slots=True, frozen=True, kw_only=True)
class Standing:
    """What is known of the attempt of an activity that runs or is next, from the run's owner or else from a row."""

    attempt: int
    due_ms: int
    started_ms: int | None = None
    heartbeat: str | None = None
    heartbeat_at_ms: int | None = None
    last_failure: str | None = None
    cancel_requested: bool = False
    ended_ms: int | None = None
    operator: str | None = None
    """What operators want of it (``operating.Operated``)."""
    worker: str = ""
    """Identity of the worker that runs it, or else ran the attempt before."""
    process: str | None = None
    """The process of that worker, where its identity is not known."""
    from_owner: bool = False


def pending_activities(loaded: LoadedRun, standings: Mapping[int, Standing]) -> list[PendingActivityInfo]:
    """The open activities of a run, in the order in which it asked for them. ``standings`` by seq."""
    found = []
    for seq, (command, asked_ms, cancelled) in open_activities(loaded).items():
        standing = standings.get(seq)
        if standing is not None and standing.from_owner:
            wanted = Operated.read(standing.operator)
        else:
            wanted = operated(loaded, seq)
        spec = changed(asked(command, asked_ms, loaded.run), wanted.changes)
        found.append(_info(command, asked_ms, cancelled, standing, wanted, spec))
    return found


def operated(loaded: LoadedRun, seq: int) -> Operated:
    """What operators want of an activity, also where its run's next owner has still to hear of it."""
    wanted = Operated()
    for row in loaded.activities:
        if row.seq == seq:
            wanted = Operated.read(row.operator)
    for message in loaded.mail:
        if message.topic == ACTIVITY and (command := read_command(message.message)) is not None and command[0] == seq:
            wanted.note(command[1])
    return wanted


def open_activities(loaded: LoadedRun) -> dict[int, tuple[dict[str, Any], int, bool]]:
    """seq → (command, when it was asked for, whether its cancellation was)."""
    found: dict[int, tuple[dict[str, Any], int, bool]] = {}
    for entry in loaded.entries:
        record = json.loads(entry.record)
        for event in record["ev"]:
            if event["k"] == "activity":
                found.pop(event["seq"], None)
        for command in record["cmds"]:
            if command["k"] == "activity":
                found[command["seq"]] = (command, record["at"], False)
            elif command["k"] == "cancel_activity" and command["seq"] in found:
                asked, at_ms, _ = found[command["seq"]]
                found[command["seq"]] = (asked, at_ms, True)
    for seq in ended(loaded.mail):
        found.pop(seq, None)
    return found


def pending_children(loaded: LoadedRun) -> list[PendingChildExecutionInfo]:
    """The children that were asked for and have not ended, in the order in which they were."""
    found: dict[int, PendingChildExecutionInfo] = {}
    ids = EventIds()
    for entry in loaded.entries:
        record = json.loads(entry.record)
        task = ids.begin_task(record["ev"])
        for event in record["ev"]:
            if event["k"] == "child":
                found.pop(event["m"]["seq"], None)
            elif event["k"] == "errand" and event["e"] == "child":
                if event.get("refused"):
                    found.pop(event["seq"], None)
                elif event["seq"] in found:
                    found[event["seq"]].run_id = event["run"]
        for command, event_id in zip(record["cmds"], ids.end_task(task, record["cmds"]), strict=True):
            if command["k"] == "child":
                found[command["seq"]] = PendingChildExecutionInfo(
                    workflow_id=command["id"],
                    workflow_type_name=command["type"],
                    initiated_id=event_id,
                    parent_close_policy=ParentClosePolicy.ValueType(command["pcp"]),
                )
    for letter in loaded.mail:
        if letter.topic == CHILD:
            found.pop(json.loads(letter.message)["seq"], None)
    return list(found.values())


def _info(
    command: dict[str, Any],
    asked_ms: int,
    cancelled: bool,
    row: Standing | None,
    wanted: Operated,
    spec: ActivitySpec,
) -> PendingActivityInfo:
    options = options_of(spec)
    options.task_queue.normal_name = spec.task_queue
    info = PendingActivityInfo(
        activity_id=command["id"],
        activity_type=ActivityType(name=command["type"]),
        attempt=row.attempt if row is not None and not wanted.reset else 1,
        state=_state(cancelled, row, wanted),
        maximum_attempts=spec.retry.maximum_attempts,
        paused=wanted.pause is not None,
        priority=options.priority,
        activity_options=options,
    )
    info.scheduled_time.CopyFrom(timestamp(row.due_ms if row is not None else asked_ms))
    if spec.schedule_to_close_ms:
        info.expiration_time.CopyFrom(timestamp(asked_ms + spec.schedule_to_close_ms))
    if wanted.pause is not None:
        info.pause_info.pause_time.CopyFrom(timestamp(wanted.pause.at_ms))
        info.pause_info.manual.identity = wanted.pause.identity
        info.pause_info.manual.reason = wanted.pause.reason
    if row is None:
        return info
    info.last_worker_identity = row.worker
    if row.started_ms is not None:
        info.last_started_time.CopyFrom(timestamp(row.started_ms))
    if row.heartbeat_at_ms is not None:
        info.last_heartbeat_time.CopyFrom(timestamp(row.heartbeat_at_ms))
    if row.heartbeat is not None:
        info.heartbeat_details.payloads.extend(payloads(json.loads(row.heartbeat)))
    if row.last_failure is not None:
        info.last_failure.CopyFrom(failure(json.loads(row.last_failure)))
    if row.ended_ms is not None:
        info.last_attempt_complete_time.CopyFrom(timestamp(row.ended_ms))
        if row.started_ms is None and row.due_ms > row.ended_ms and info.attempt > 1 and wanted.pause is None:
            info.current_retry_interval.CopyFrom(duration(row.due_ms - row.ended_ms))
            info.next_attempt_schedule_time.CopyFrom(timestamp(row.due_ms))
    return info


def _state(cancelled: bool, row: Standing | None, wanted: Operated) -> PendingActivityState.ValueType:
    if cancelled or (row is not None and row.cancel_requested):
        return PendingActivityState.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED
    if row is not None and row.started_ms is not None:
        if wanted.pause is not None:
            return PendingActivityState.PENDING_ACTIVITY_STATE_PAUSE_REQUESTED
        return PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
    if wanted.pause is not None:
        return PendingActivityState.PENDING_ACTIVITY_STATE_PAUSED
    return PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED


def cancel_requested(loaded: LoadedRun) -> bool:
    """Was the run asked to cancel, whether it has seen that or not?"""
    if any(message.topic == CANCEL for message in loaded.mail):
        return True
    return any(event["k"] == "cancel" for entry in loaded.entries for event in json.loads(entry.record)["ev"])
