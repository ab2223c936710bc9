"""The kernel's record of an attempt that a clock ended becomes the failure that Temporal would show."""

from __future__ import annotations

import json

import pytest
from temporalio.api.enums.v1 import TimeoutType
from temporalio.api.failure.v1 import Failure

from dbos_compat.convert.failures import failure, failure_text
from dbos_core.activities.spec import TimeoutKind, timeout_failure


@pytest.mark.parametrize(
    ("kind", "temporal_kind", "message"),
    [
        (TimeoutKind.START_TO_CLOSE, TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE, "activity StartToClose timeout"),
        (TimeoutKind.HEARTBEAT, TimeoutType.TIMEOUT_TYPE_HEARTBEAT, "activity Heartbeat timeout"),
    ],
)
def test_a_retried_timeout(kind: TimeoutKind, temporal_kind: int, message: str) -> None:
    made = failure(json.loads(timeout_failure(kind)))
    assert (made.message, made.source) == (message, "Server")
    assert made.timeout_failure_info.timeout_type == temporal_kind


def test_a_failure_of_an_executor_keeps_every_field() -> None:
    reported = Failure(message="no", stack_trace="somewhere")
    reported.application_failure_info.type = "Refused"
    assert failure(json.loads(failure_text(reported))) == reported
