"""What a run waits for, read from its journal: activities that were asked for and have not ended. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from temporalio.api.common.v1 import ActivityType
from temporalio.api.enums.v1 import ParentClosePolicy, PendingActivityState
from temporalio.api.workflow.v1 import PendingActivityInfo, PendingChildExecutionInfo

from dbos_compat.convert.failures import failure
from dbos_compat.convert.payloads import payloads
from dbos_compat.convert.times import timestamp
from dbos_compat.history.numbering import EventIds
from dbos_core.commit import LoadedRun
from dbos_core.kept import ended
from dbos_core.mailbox import CANCEL, CHILD


class AttemptState(Protocol):
    """What is known of the attempt that runs or is next: a durable row, or the machine of a live run."""

    attempt: int
    due_ms: int
    started_ms: int | None
    heartbeat: str | None
    heartbeat_at_ms: int | None
    last_failure: str | None
    cancel_requested: bool


def pending_activities(loaded: LoadedRun, live: Mapping[int, AttemptState]) -> list[PendingActivityInfo]:
    """The open activities of a run, in the order in which it asked for them. ``live``: what this process knows better
    than the rows, by seq."""
    durable = {row.seq: row for row in loaded.activities}
    found = []
    for seq, (command, asked_ms, cancelled) in open_activities(loaded).items():
        found.append(_info(command, asked_ms, cancelled, live.get(seq) or durable.get(seq)))
    return found


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


def _info(command: dict[str, Any], asked_ms: int, cancelled: bool, row: AttemptState | None) -> PendingActivityInfo:
    info = PendingActivityInfo(
        activity_id=command["id"],
        activity_type=ActivityType(name=command["type"]),
        attempt=row.attempt if row is not None else 1,
        state=_state(cancelled, row),
        maximum_attempts=(command.get("retry") or {}).get("max_attempts", 0),
    )
    info.scheduled_time.CopyFrom(timestamp(row.due_ms if row is not None else asked_ms))
    if command.get("s2c"):
        info.expiration_time.CopyFrom(timestamp(asked_ms + command["s2c"]))
    if row is None:
        return info
    if row.started_ms is not None:
        info.last_started_time.CopyFrom(timestamp(row.started_ms))
    if row.heartbeat_at_ms is not None:
        info.last_heartbeat_time.CopyFrom(timestamp(row.heartbeat_at_ms))
    if row.heartbeat is not None:
        info.heartbeat_details.payloads.extend(payloads(json.loads(row.heartbeat)))
    if row.last_failure is not None:
        info.last_failure.CopyFrom(failure(json.loads(row.last_failure)))
    return info


def _state(cancelled: bool, row: AttemptState | None) -> PendingActivityState.ValueType:
    if cancelled or (row is not None and row.cancel_requested):
        return PendingActivityState.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED
    if row is not None and row.started_ms is not None:
        return PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
    return PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED


def cancel_requested(loaded: LoadedRun) -> bool:
    """Was the run asked to cancel, whether it has seen that or not?"""
    if any(message.topic == CANCEL for message in loaded.mail):
        return True
    return any(event["k"] == "cancel" for entry in loaded.entries for event in json.loads(entry.record)["ev"])
