"""The metadata record in ``runs.metadata``: what describe shows of a run's start without loading its inputs."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from dataclasses import dataclass

from temporalio.api.common.v1 import Priority
from temporalio.api.sdk.v1 import UserMetadata

from dbos_compat.convert.payloads import payload, payload_text
from dbos_core.commit import RunRow


@dataclass(slots=True, kw_only=True)
class MetadataRecord:
    """User metadata, the timeouts as they apply, priority."""

    user: UserMetadata | None = None
    execution_timeout_ms: int = 0
    run_timeout_ms: int = 0
    task_timeout_ms: int = 10_000
    priority: Priority | None = None
    expires_ms: int = 0
    """When the whole chain of runs times out, if this run is not its first."""
    began_ms: int = 0
    """When the history of a run begins that was reset: as long ago as that of the run it goes back in."""
    reset_run_id: str = ""
    """The run that has gone back in this one."""
    again: bool = False
    """Another run may follow by itself: there is a retry policy or a cron schedule."""


def metadata_text(record: MetadataRecord) -> str:
    parts = []
    if record.user is not None:
        if record.user.HasField("summary"):
            parts.append(f'"summary":{payload_text(record.user.summary)}')
        if record.user.HasField("details"):
            parts.append(f'"details":{payload_text(record.user.details)}')
    for key, value, usual in (
        ("execution_timeout_ms", record.execution_timeout_ms, 0),
        ("run_timeout_ms", record.run_timeout_ms, 0),
        ("task_timeout_ms", record.task_timeout_ms, 10_000),
        ("expires_ms", record.expires_ms, 0),
        ("began_ms", record.began_ms, 0),
        ("again", int(record.again), 0),
    ):
        if value != usual:
            parts.append(f'"{key}":{value}')
    if record.reset_run_id:
        parts.append(f'"reset_run_id":"{record.reset_run_id}"')
    if record.priority is not None and record.priority.ListFields():  # temporalio gives each run an empty one
        parts.append(f'"priority":"{b64encode(record.priority.SerializeToString(deterministic=True)).decode()}"')
    return "{" + ",".join(parts) + "}"


def metadata_record(text: str | None) -> MetadataRecord:
    values = json.loads(text) if text else {}
    user = None
    if "summary" in values or "details" in values:
        user = UserMetadata()
        if "summary" in values:
            user.summary.CopyFrom(payload(values["summary"]))
        if "details" in values:
            user.details.CopyFrom(payload(values["details"]))
    return MetadataRecord(
        user=user,
        execution_timeout_ms=values.get("execution_timeout_ms", 0),
        run_timeout_ms=values.get("run_timeout_ms", 0),
        task_timeout_ms=values.get("task_timeout_ms", 10_000),
        expires_ms=values.get("expires_ms", 0),
        again=bool(values.get("again")),
        began_ms=values.get("began_ms", 0),
        reset_run_id=values.get("reset_run_id", ""),
        priority=Priority.FromString(b64decode(values["priority"])) if "priority" in values else None,
    )


def began_ms(run: RunRow) -> int:
    """When a run's history begins: with its row, unless it was reset and has the first part of another one's."""
    reset = run.metadata is not None and '"began_ms":' in run.metadata
    return metadata_record(run.metadata).began_ms if reset else run.start_ms
