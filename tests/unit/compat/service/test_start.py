"""Starts: what is refused and in which words, and what a request becomes."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import (
    Header,
    Memo,
    Payload,
    Payloads,
    RetryPolicy,
    SearchAttributes,
    WorkflowType,
)
from temporalio.api.sdk.v1 import UserMetadata
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.service import RPCError

from dbos_compat.convert.metadata import metadata_record
from dbos_compat.convert.records import close_record, started
from dbos_compat.service.start import derived_uuid, new_run, terminate_record
from dbos_core.commit import IdConflict, IdReuse, NewRun
from tests.unit.compat.service.conftest import start_request

RUN = "00000000-0000-4000-8000-000000000001"
NOW = 1_700_000_000_123


def converted(**fields: Any) -> NewRun:
    return new_run(start_request(**fields), run_id=RUN, now_ms=NOW)


def seconds(number: float) -> Duration:
    value = Duration()
    value.FromTimedelta(timedelta(seconds=number))
    return value


def plain(data: str, **metadata: bytes) -> Payload:
    return Payload(metadata={"encoding": b"json/plain", **metadata}, data=data.encode())


LONG = "x" * 1001
REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"workflow_id": ""}, "WorkflowId is not set on request."),
    ({"workflow_id": LONG}, "WorkflowId exceeds maximum allowed length (1001/1000)"),
    ({"workflow_id": "ü" * 501}, "WorkflowId exceeds maximum allowed length (1002/1000)"),
    ({"workflow_type": WorkflowType()}, "WorkflowType is not set on request."),
    ({"workflow_type": WorkflowType(name=LONG)}, "WorkflowType length exceeds limit."),
    ({"task_queue": TaskQueue()}, "missing task queue name"),
    ({"task_queue": TaskQueue(name=LONG)}, "taskQueue length exceeds limit"),
    ({"task_queue": TaskQueue(name="/_sys/x")}, "task queue name cannot start with reserved prefix /_sys/"),
    (
        {"workflow_id": "a\0b"},
        "WorkflowId has a NUL character, which Postgres cannot keep. Take it out of 'a\\x00b'.",
    ),
    ({"input": Payloads(payloads=[plain('"' + "x" * 2 * 1024 * 1024 + '"')])}, "Blob data size exceeds limit."),
    ({"memo": Memo(fields={"m": plain('"' + "x" * 2 * 1024 * 1024 + '"')})}, "Memo size exceeds limit."),
    (
        {"search_attributes": SearchAttributes(indexed_fields={"A": plain('"\\u0000"')})},
        "search attribute 'A' has a NUL character, which Postgres cannot keep",
    ),
    (
        {"workflow_execution_timeout": seconds(-1)},
        "An invalid WorkflowExecutionTimeoutSeconds is set on request. cause: negative duration",
    ),
    (
        {"workflow_run_timeout": seconds(-1)},
        "An invalid WorkflowRunTimeoutSeconds is set on request. cause: negative duration",
    ),
    (
        {"workflow_task_timeout": seconds(-0.5)},
        "An invalid WorkflowTaskTimeoutSeconds is set on request. cause: negative duration",
    ),
    (
        {"workflow_start_delay": seconds(-1)},
        "An invalid WorkflowStartDelaySeconds is set on request. cause: negative duration",
    ),
    (
        {"cron_schedule": "* * * * *", "workflow_start_delay": seconds(1)},
        "CronSchedule and WorkflowStartDelay may not be used together.",
    ),
    ({"retry_policy": RetryPolicy(maximum_attempts=-1)}, "MaximumAttempts cannot be negative on retry policy."),
    (
        {"workflow_id_reuse_policy": 4, "workflow_id_conflict_policy": 1},
        "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING cannot be used together with a "
        "WorkflowIDConflictPolicy",
    ),
    (
        {"workflow_id_reuse_policy": 3, "workflow_id_conflict_policy": 3},
        "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE cannot be used together with "
        "WorkflowIdConflictPolicy WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING",
    ),
    (
        {"search_attributes": SearchAttributes(indexed_fields={"WorkflowId": plain('"x"')})},
        "WorkflowId attribute can't be set in SearchAttributes",
    ),
    (
        {"search_attributes": SearchAttributes(indexed_fields={"I": plain('"x"', type=b"Int")})},
        "invalid value for search attribute I of type Int: x",
    ),
]


@pytest.mark.parametrize(("fields", "message"), REFUSALS, ids=[message[:60] for _, message in REFUSALS])
def test_refused_before_any_state_is_looked_at(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RPCError) as refused:
        converted(**fields)
    assert (refused.value.status.name, refused.value.message) == ("INVALID_ARGUMENT", message)


def test_a_retry_policy_is_completed() -> None:
    run = converted(retry_policy=RetryPolicy(maximum_attempts=3))
    policy = started(run.inputs).retry_policy
    assert (policy.initial_interval.seconds, policy.backoff_coefficient, policy.maximum_interval.seconds) == (1, 2, 100)
    assert '"again":1' in (run.metadata or "")


def test_a_cron_schedule_delays_the_first_run() -> None:
    run = converted(cron_schedule="@every 90s")
    assert run.execution_ms - run.start_ms == 90_000
    assert started(run.inputs).cron_schedule == "@every 90s"


def test_an_id_of_a_thousand_bytes_is_fine() -> None:
    assert converted(workflow_id="x" * 1000).workflow_uuid == "x" * 1000


def test_a_plain_start() -> None:
    run = converted(input=Payloads(payloads=[plain('{"book":"ü"}'), Payload(metadata={"encoding": b"binary/null"})]))
    assert (run.workflow_uuid, run.workflow_id, run.run_id, run.first_run_id) == ("order-42", "order-42", RUN, RUN)
    assert (run.workflow_type, run.task_queue) == ("Order", "orders")
    assert (run.start_ms, run.execution_ms, run.deadline_ms) == (NOW, NOW, None)
    assert (run.reuse, run.conflict) == (IdReuse.ALLOW_DUPLICATE, IdConflict.FAIL)
    assert (run.memo, run.search_attributes, run.metadata) == (None, None, "{}")
    assert derived_uuid(run) == f"order-42~{RUN}"
    stock = json.loads(run.inputs)
    assert (stock["positionalArgs"], stock["namedArgs"]) == ([{"book": "ü"}, None], {})


def test_the_first_event_is_as_on_a_server() -> None:
    arguments = Payloads(payloads=[plain('"x"'), Payload(metadata={"encoding": b"binary/encrypted"}, data=b"\0\1")])
    header = Header(fields={"trace": plain('"t"')})
    run = converted(
        input=arguments,
        header=header,
        memo=Memo(fields={"m": plain("1")}),
        workflow_execution_timeout=seconds(500),
        workflow_run_timeout=seconds(1000),
        workflow_task_timeout=seconds(200),
        workflow_start_delay=seconds(0.3),
    )
    event = started(run.inputs)
    assert event.workflow_id == "order-42"
    assert event.workflow_type.name == "Order"
    assert (event.task_queue.name, event.task_queue.kind) == ("orders", 1)
    assert event.input == arguments
    assert event.header == header
    assert event.memo.fields["m"].data == b"1"
    assert event.workflow_execution_timeout.ToTimedelta() == timedelta(seconds=500)
    assert event.workflow_run_timeout.ToTimedelta() == timedelta(seconds=500)
    assert event.workflow_task_timeout.ToTimedelta() == timedelta(seconds=120)
    assert event.first_workflow_task_backoff.ToTimedelta() == timedelta(milliseconds=300)
    assert event.original_execution_run_id == event.first_execution_run_id == RUN
    assert (event.attempt, event.identity) == (1, "me")
    assert event.HasField("first_workflow_task_backoff")
    assert event.workflow_execution_expiration_time.ToMilliseconds() == NOW + 500_000
    assert (run.execution_ms, run.deadline_ms) == (NOW + 300, NOW + 500_000)


def test_timeouts_below_a_millisecond_are_not_none() -> None:
    assert converted(workflow_run_timeout=seconds(0.0001)).deadline_ms == NOW + 1


def test_a_task_takes_no_longer_than_its_run() -> None:
    event = started(converted(workflow_run_timeout=seconds(3)).inputs)
    assert event.workflow_task_timeout.ToTimedelta() == timedelta(seconds=3)
    assert not event.HasField("workflow_execution_timeout")


def test_search_attributes_are_values_for_the_filter_and_exact_for_the_workflow() -> None:
    attributes = SearchAttributes(
        indexed_fields={
            "Customer": plain('"ada"', type=b"Keyword"),
            "Since": plain('"2021-01-02T03:04:05+02:00"', type=b"Datetime"),
            "Tags": plain('["a","b"]', type=b"KeywordList"),
            "Untyped": plain('["x"]'),
        }
    )
    run = converted(search_attributes=attributes)
    assert json.loads(run.search_attributes or "") == {
        "Customer": "ada",
        "Since": "2021-01-02T01:04:05.000000Z",
        "Tags": ["a", "b"],
        "Untyped": "x",
        "@types": {"Customer": "Keyword", "Since": "Datetime", "Tags": "KeywordList", "Untyped": "Keyword"},
    }
    assert started(run.inputs).search_attributes == attributes


def test_user_metadata_and_timeouts_are_kept_for_describe() -> None:
    metadata = UserMetadata(summary=plain('"S"'), details=plain('"D"'))
    run = converted(user_metadata=metadata, workflow_run_timeout=seconds(60))
    kept = metadata_record(run.metadata)
    assert kept.user == metadata
    assert (kept.execution_timeout_ms, kept.run_timeout_ms, kept.task_timeout_ms) == (0, 60_000, 10_000)


@pytest.mark.parametrize(
    ("reuse", "conflict", "meant"),
    [
        (0, 0, (IdReuse.ALLOW_DUPLICATE, IdConflict.FAIL)),
        (2, 2, (IdReuse.ALLOW_DUPLICATE_FAILED_ONLY, IdConflict.USE_EXISTING)),
        (4, 0, (IdReuse.ALLOW_DUPLICATE, IdConflict.TERMINATE_EXISTING)),
        (1, 3, (IdReuse.ALLOW_DUPLICATE, IdConflict.TERMINATE_EXISTING)),
        (9, 0, (IdReuse.ALLOW_DUPLICATE, IdConflict.FAIL)),
    ],
)
def test_id_policies(reuse: int, conflict: int, meant: tuple[IdReuse, IdConflict]) -> None:
    run = converted(workflow_id_reuse_policy=reuse, workflow_id_conflict_policy=conflict)
    assert (run.reuse, run.conflict) == meant


def test_a_terminated_predecessor_says_by_whom() -> None:
    record = close_record(terminate_record(RUN))
    assert (record.kind, record.reason) == ("terminated", "TerminateIfRunning WorkflowIdReusePolicy")
    assert record.identity == "history-service"
    assert [p.data for p in record.details] == [f'"terminated by new runID: {RUN}"'.encode()]
