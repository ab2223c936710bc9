"""An activity's options as operators see and change them: journal → spec, spec ⇄ ``ActivityOptions``. Pure."""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any

from google.protobuf.duration_pb2 import Duration
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.common.v1 import Priority
from temporalio.api.common.v1 import RetryPolicy as RetryPolicyMessage
from temporalio.api.taskqueue.v1 import TaskQueue

from dbos_compat.chains.deadlines import run_timeout_ms
from dbos_compat.convert.payloads import dumps
from dbos_compat.convert.times import duration, duration_ms
from dbos_compat.errors import invalid
from dbos_core.activities.spec import ActivitySpec
from dbos_core.commit import RunRow
from dbos_core.retry import RetryPolicy, Timeouts, normalise

_TIMEOUTS = {
    "schedule_to_close_timeout": "ScheduleToCloseTimeout",
    "schedule_to_start_timeout": "ScheduleToStartTimeout",
    "start_to_close_timeout": "StartToCloseTimeout",
    "heartbeat_timeout": "HeartbeatTimeout",
}
_FIELDS = (
    "task_queue", "schedule_to_close_ms", "schedule_to_start_ms", "start_to_close_ms", "heartbeat_ms", "retry", "record",
)  # fmt: skip


def asked(command: dict[str, Any], asked_ms: int, run: RunRow) -> ActivitySpec:
    """What a workflow asked for, from the journal's record of it."""
    times = normalise(
        schedule_to_close_ms=command.get("s2c"),
        schedule_to_start_ms=command.get("s2s"),
        start_to_close_ms=command.get("stc"),
        heartbeat_ms=command.get("hb"),
        run_timeout_ms=run_timeout_ms(run),
    )
    policy = command.get("retry") or {}
    initial = policy.get("initial") or 1_000
    record = {"in": command.get("in", [])}
    for key in ("h", "prio"):
        if key in command:
            record[key] = command[key]
    return ActivitySpec(
        seq=command["seq"],
        activity_id=command["id"],
        activity_type=command["type"],
        task_queue=command["queue"],
        record=dumps(record),
        schedule_to_close_ms=times.schedule_to_close_ms,
        schedule_to_start_ms=times.schedule_to_start_ms,
        start_to_close_ms=times.start_to_close_ms,
        heartbeat_ms=times.heartbeat_ms,
        retry=RetryPolicy(
            initial_ms=initial,
            coefficient=policy.get("coefficient") or 2.0,
            maximum_interval_ms=policy.get("max_interval") or 100 * initial,
            maximum_attempts=policy.get("max_attempts") or 0,
            non_retryable_types=tuple(policy.get("non_retryable") or ()),
        ),
        scheduled_ms=asked_ms,
    )


def options_of(spec: ActivitySpec) -> ActivityOptions:
    return ActivityOptions(
        task_queue=TaskQueue(name=spec.task_queue),
        schedule_to_close_timeout=duration(spec.schedule_to_close_ms or 0),
        schedule_to_start_timeout=duration(spec.schedule_to_start_ms or 0),
        start_to_close_timeout=duration(spec.start_to_close_ms or 0),
        heartbeat_timeout=duration(spec.heartbeat_ms or 0),
        retry_policy=RetryPolicyMessage(
            initial_interval=duration(spec.retry.initial_ms),
            backoff_coefficient=spec.retry.coefficient,
            maximum_interval=duration(spec.retry.maximum_interval_ms),
            maximum_attempts=spec.retry.maximum_attempts,
            non_retryable_error_types=spec.retry.non_retryable_types,
        ),
        priority=_priority(spec),
    )


def _priority(spec: ActivitySpec) -> Priority:
    return Priority.FromString(b64decode(json.loads(spec.record).get("prio", "")))


def changes(
    original: ActivitySpec, current: ActivitySpec, wanted: ActivityOptions, paths: Iterable[str], run: RunRow
) -> dict[str, Any]:
    """All that differs from ``original`` once the fields in ``paths`` (a field mask) are as ``wanted``.

    Paths that name no option are ignored, as a Temporal server does.

    Raises:
        RPCError: what is wanted makes no sense.
    """
    options = options_of(current)
    for path in paths:
        _put(options, wanted, re.sub("[A-Z]", lambda capital: "_" + capital.group().lower(), path))
    times = _times(options, run)
    new = replace(
        current,
        task_queue=options.task_queue.name,
        schedule_to_close_ms=times.schedule_to_close_ms,
        schedule_to_start_ms=times.schedule_to_start_ms,
        start_to_close_ms=times.start_to_close_ms,
        heartbeat_ms=times.heartbeat_ms,
        retry=_retry(options.retry_policy),
    )
    if options.priority != _priority(current):
        record = json.loads(current.record)
        record["prio"] = b64encode(options.priority.SerializeToString()).decode()
        new.record = dumps(record)
    found = {name: getattr(new, name) for name in _FIELDS if getattr(new, name) != getattr(original, name)}
    if "retry" in found:
        found["retry"] = asdict(found["retry"])
    return found


def _put(options: ActivityOptions, wanted: ActivityOptions, path: str) -> None:
    head, _, field = path.partition(".")
    if head in _TIMEOUTS and not field:
        getattr(options, head).CopyFrom(getattr(wanted, head))
    elif path == "task_queue.name":
        options.task_queue.name = wanted.task_queue.name
    elif head in ("retry_policy", "priority"):
        mine, theirs = getattr(options, head), getattr(wanted, head)
        if not field:
            mine.CopyFrom(theirs)
        elif field in mine.DESCRIPTOR.fields_by_name:
            mine.ClearField(field)
            one = type(mine)()
            one.CopyFrom(theirs)
            for other in mine.DESCRIPTOR.fields_by_name:
                if other != field:
                    one.ClearField(other)
            mine.MergeFrom(one)


def _times(options: ActivityOptions, run: RunRow) -> Timeouts:
    given = {}
    for field, name in _TIMEOUTS.items():
        value: Duration = getattr(options, field)
        if value.seconds < 0 or value.nanos < 0:
            raise invalid(f"invalid {name}: negative duration")
        given[field.replace("_timeout", "_ms")] = duration_ms(value) or None
    if not given["schedule_to_close_ms"] and not given["start_to_close_ms"] and run.deadline_ms is None:
        raise invalid("A valid StartToClose or ScheduleToCloseTimeout is not set on command.")
    return normalise(**given, run_timeout_ms=run_timeout_ms(run))


def _retry(policy: RetryPolicyMessage) -> RetryPolicy:
    initial = duration_ms(policy.initial_interval)
    maximum = duration_ms(policy.maximum_interval)
    if initial < 0:
        raise invalid("InitialInterval cannot be negative on retry policy.")
    if policy.backoff_coefficient and policy.backoff_coefficient < 1:
        raise invalid("BackoffCoefficient cannot be less than 1 on retry policy.")
    if maximum < 0:
        raise invalid("MaximumInterval cannot be negative on retry policy.")
    if maximum and maximum < initial:
        raise invalid("MaximumInterval cannot be less than InitialInterval on retry policy.")
    if policy.maximum_attempts < 0:
        raise invalid("MaximumAttempts cannot be negative on retry policy.")
    initial = initial or 1_000
    return RetryPolicy(
        initial_ms=initial,
        coefficient=policy.backoff_coefficient or 2.0,
        maximum_interval_ms=maximum or 100 * initial,
        maximum_attempts=policy.maximum_attempts,
        non_retryable_types=tuple(policy.non_retryable_error_types),
    )
