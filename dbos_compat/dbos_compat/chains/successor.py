"""The run that follows: its start attributes and its row, from those of the run that ends. Pure.

What is inherited and what is not was observed on a Temporal server, event by event (``tests/compat/test_chains.py``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from temporalio.api.common.v1 import Payload, Payloads, RetryPolicy
from temporalio.api.enums.v1 import ContinueAsNewInitiator, RetryState, TimeoutType
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import (
    WorkflowExecutionContinuedAsNewEventAttributes,
    WorkflowExecutionStartedEventAttributes,
)
from temporalio.api.taskqueue.v1 import TaskQueue

from dbos_compat.chains import cron, retry
from dbos_compat.chains.deadlines import deadline_ms
from dbos_compat.convert.metadata import metadata_record, metadata_text
from dbos_compat.convert.payloads import payload_map, payload_map_text, payloads
from dbos_compat.convert.records import start_text, started
from dbos_compat.convert.search_attributes import CHANGE_VERSION, column_text, encode
from dbos_compat.convert.times import duration, duration_ms, timestamp, timestamp_ms
from dbos_core.commit import NewRun, RunRow
from dbos_core.succession import following

NewId = Callable[[], str]

BY_WORKFLOW = ContinueAsNewInitiator.CONTINUE_AS_NEW_INITIATOR_WORKFLOW
BY_RETRY = ContinueAsNewInitiator.CONTINUE_AS_NEW_INITIATOR_RETRY
BY_CRON = ContinueAsNewInitiator.CONTINUE_AS_NEW_INITIATOR_CRON_SCHEDULE


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ends: why there is no further attempt, or the run that follows."""

    state: RetryState.ValueType
    successor: NewRun | None = None

    @property
    def new_run_id(self) -> str:
        return self.successor.run_id if self.successor is not None else ""


NOTHING_FOLLOWS = Ending(RetryState.RETRY_STATE_RETRY_POLICY_NOT_SET)


def after_result(row: RunRow, inputs: str, result: Payload, now_ms: int, new_id: NewId) -> Ending:
    """What follows a run that completes: the next one of its cron schedule."""
    if not may_be_followed(row):
        return NOTHING_FOLLOWS
    before = _began(row, inputs)
    return _next_of_cron(row, before, Payloads(payloads=[result]), None, NOTHING_FOLLOWS.state, now_ms, new_id)


def after_failure(row: RunRow, inputs: str, failure: Failure, now_ms: int, new_id: NewId) -> Ending:
    """What follows a run that fails: another attempt, else the next one of its cron schedule."""
    if not may_be_followed(row):
        return NOTHING_FOLLOWS
    before = _began(row, inputs)
    again = retry.again(before, failure, now_ms)
    if again.delay_ms is None:
        return _next_of_cron(row, before, before.last_completion_result, failure, again.state, now_ms, new_id)
    after = _repeated(row, before, before.last_completion_result, failure)
    after.initiator = BY_RETRY
    after.attempt = max(1, before.attempt) + 1
    return Ending(again.state, new_run(row, after, now_ms=now_ms, delay_ms=again.delay_ms, run_id=new_id()))


def after_timeout(row: RunRow, inputs: str, now_ms: int, new_id: NewId) -> Ending:
    """What follows a run whose time is over; nothing if it was the time of the whole chain."""
    before = _began(row, inputs)
    expires_ms = _expires_ms(before)
    if expires_ms and now_ms >= expires_ms:
        return Ending(RetryState.RETRY_STATE_TIMEOUT)
    return after_failure(row, inputs, timeout_failure(), now_ms, new_id)


def timeout_failure() -> Failure:
    """With what a run fails whose time is over, for the run that follows."""
    failure = Failure(message="workflow timeout", source="Server")
    failure.timeout_failure_info.timeout_type = TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE
    return failure


def _began(row: RunRow, inputs: str) -> WorkflowExecutionStartedEventAttributes:
    """How a run started. One that was reset has the start of the run it goes back in, and a chain whose time begins anew."""
    before = started(inputs)
    if (
        row.metadata is not None
        and '"began_ms":' in row.metadata
        and (shown := metadata_record(row.metadata)).expires_ms
    ):
        before.workflow_execution_expiration_time.CopyFrom(timestamp(shown.expires_ms))
    return before


def may_be_followed(row: RunRow) -> bool:
    """Has the run a retry policy or a cron schedule? Quick, since it is asked at the end of every run."""
    return row.metadata is not None and '"again":' in row.metadata


def _next_of_cron(
    row: RunRow,
    before: WorkflowExecutionStartedEventAttributes,
    last_result: Payloads,
    failure: Failure | None,
    state: RetryState.ValueType,
    now_ms: int,
    new_id: NewId,
) -> Ending:
    delay_ms = cron.backoff_ms(before.cron_schedule, row.execution_ms, now_ms) if before.cron_schedule else None
    if delay_ms is None:
        return Ending(state)
    after = _repeated(row, before, last_result, failure)
    after.initiator = BY_CRON
    after.attempt = 1
    return Ending(state, new_run(row, after, now_ms=now_ms, delay_ms=delay_ms, run_id=new_id()))


def _repeated(
    row: RunRow,
    before: WorkflowExecutionStartedEventAttributes,
    last_result: Payloads,
    failure: Failure | None,
) -> WorkflowExecutionStartedEventAttributes:
    """The same start once more: what the run made of its memo and search attributes is gone."""
    after = WorkflowExecutionStartedEventAttributes()
    after.CopyFrom(before)
    after.identity = ""
    after.continued_execution_run_id = row.run_id
    after.ClearField("last_completion_result")
    if last_result.payloads:
        after.last_completion_result.CopyFrom(last_result)
    after.ClearField("continued_failure")
    if failure is not None:
        after.continued_failure.CopyFrom(failure)
    return after


# -- continue-as-new ---------------------------------------------------------------------------------------------------


def continued_attributes(
    command: Mapping[str, Any],
    before: WorkflowExecutionStartedEventAttributes,
    search_attributes: Mapping[str, Payload],
) -> WorkflowExecutionContinuedAsNewEventAttributes:
    """The closing event's attributes: what the command leaves open is filled in.

    Args:
        command: its journal record.
        before: how the run started.
        search_attributes: what they are when it ends.
    """
    made = WorkflowExecutionContinuedAsNewEventAttributes(inherit_build_id=True)
    made.workflow_type.name = command.get("type") or before.workflow_type.name
    made.task_queue.CopyFrom(before.task_queue)
    if command.get("queue"):
        made.task_queue.CopyFrom(TaskQueue(name=command["queue"], kind=before.task_queue.kind))
    if command["in"]:
        made.input.payloads.extend(payloads(command["in"]))
    run_ms = command.get("run") or duration_ms(before.workflow_run_timeout)
    made.workflow_run_timeout.CopyFrom(duration(run_ms))
    made.workflow_task_timeout.CopyFrom(
        duration(command["task"]) if command.get("task") else before.workflow_task_timeout
    )
    memo = payload_map(command["memo"]) if command.get("memo") else before.memo.fields
    for key, value in memo.items():
        made.memo.fields[key].CopyFrom(value)
    fields = payload_map(command["sa"]) if command.get("sa") else search_attributes
    for key, value in fields.items():
        if key != CHANGE_VERSION:  # the next run meets its patches anew
            made.search_attributes.indexed_fields[key].CopyFrom(value)
    if "backoff" in command:
        made.backoff_start_interval.CopyFrom(duration(command["backoff"]))
    for key, value in (payload_map(command["h"]) if command.get("h") else {}).items():
        made.header.fields[key].CopyFrom(value)
    return made


def continued(
    row: RunRow, inputs: str, command_text: str, search_attributes: str | None, now_ms: int, run_id: str
) -> NewRun:
    """The run that a continue-as-new command asks for."""
    before = _began(row, inputs)
    command = json.loads(command_text)
    asked = continued_attributes(command, before, encode(search_attributes))
    after = WorkflowExecutionStartedEventAttributes(
        workflow_type=asked.workflow_type,
        task_queue=asked.task_queue,
        input=asked.input if asked.input.payloads else None,
        workflow_run_timeout=asked.workflow_run_timeout,
        workflow_task_timeout=asked.workflow_task_timeout,
        memo=asked.memo if asked.memo.fields else None,
        search_attributes=asked.search_attributes if asked.search_attributes.indexed_fields else None,
        continued_execution_run_id=row.run_id,
        initiator=BY_WORKFLOW,
        attempt=1,
    )
    for name in (
        "workflow_execution_timeout",
        "workflow_execution_expiration_time",
        "retry_policy",
        "priority",
        "parent_workflow_execution",
        "root_workflow_execution",
    ):
        if before.HasField(name):
            getattr(after, name).CopyFrom(getattr(before, name))
    after.parent_workflow_namespace = before.parent_workflow_namespace
    after.parent_workflow_namespace_id = before.parent_workflow_namespace_id
    after.parent_initiated_event_id = before.parent_initiated_event_id
    if "retry" in command:
        after.retry_policy.CopyFrom(retry.completed(_policy(command["retry"])))
    if asked.header.fields:
        after.header.CopyFrom(asked.header)
    return new_run(row, after, now_ms=now_ms, delay_ms=command.get("backoff", 0), run_id=run_id)


def _policy(record: Mapping[str, Any]) -> RetryPolicy:
    return RetryPolicy(
        initial_interval=duration(record["initial"]),
        backoff_coefficient=record["coefficient"],
        maximum_interval=duration(record["max_interval"]),
        maximum_attempts=record["max_attempts"],
        non_retryable_error_types=record["non_retryable"],
    )


# -- the row -----------------------------------------------------------------------------------------------------------


def new_run(
    row: RunRow, after: WorkflowExecutionStartedEventAttributes, *, now_ms: int, delay_ms: int, run_id: str
) -> NewRun:
    """The row of the run that starts so, ``delay_ms`` from now on. Fills in what follows from that."""
    after.original_execution_run_id = run_id
    after.first_execution_run_id = row.first_run_id
    after.workflow_id = row.workflow_id
    after.ClearField("first_workflow_task_backoff")
    if delay_ms:
        after.first_workflow_task_backoff.CopyFrom(duration(delay_ms))
    new = following(row, run_id=run_id)
    new.workflow_type, new.task_queue = after.workflow_type.name, after.task_queue.name
    new.inputs = start_text(after)
    new.start_ms, new.execution_ms = now_ms, now_ms + delay_ms
    run_ms = duration_ms(after.workflow_run_timeout)
    expires_ms = _expires_ms(after)
    new.deadline_ms = deadline_ms(new.execution_ms, run_ms, expires_ms)
    new.memo = payload_map_text(after.memo.fields) if after.memo.fields else None
    new.search_attributes = column_text(after.search_attributes.indexed_fields)
    shown = metadata_record(row.metadata)
    shown.user = None  # what was said of the start was said of that one run (observed)
    shown.run_timeout_ms, shown.task_timeout_ms = run_ms, duration_ms(after.workflow_task_timeout)
    shown.expires_ms, shown.began_ms, shown.reset_run_id = expires_ms, 0, ""
    shown.again = after.HasField("retry_policy") or bool(after.cron_schedule)
    new.metadata = metadata_text(shown)
    return new


def _expires_ms(started_: WorkflowExecutionStartedEventAttributes) -> int:
    """When the time of the whole chain is over; 0: never."""
    has = started_.HasField("workflow_execution_expiration_time")
    return timestamp_ms(started_.workflow_execution_expiration_time) if has else 0
