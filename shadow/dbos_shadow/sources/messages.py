"""Messages of Temporal's API → what a trace says of them. The same for both sources, so that they can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import Payload, Priority, RetryPolicy
from temporalio.api.enums.v1 import ApplicationErrorCategory, ParentClosePolicy, TimeoutType, WorkflowIdReusePolicy
from temporalio.api.failure.v1 import Failure as FailureMessage
from temporalio.api.history.v1 import (
    ActivityTaskScheduledEventAttributes,
    StartChildWorkflowExecutionInitiatedEventAttributes,
    WorkflowExecutionContinuedAsNewEventAttributes,
)
from temporalio.api.sdk.v1 import UserMetadata

from dbos_compat.convert.times import duration_ms
from dbos_shadow.trace import NULL, Failure, Named, Opaque, Option, Options, Plain, StepKind, Value, Values

TOLD = frozenset({StepKind.ACTIVITY, StepKind.TIMER, StepKind.CHILD})
"""Steps whose summaries and details are compared."""

CHANGE_VERSION = "TemporalChangeVersion"
"""The search attribute that a patch brings: nobody asked for it."""


def value(payload: Payload) -> Value:
    """One payload. What a codec has made of it should be undone before: sealed values cannot be compared."""
    if payload.external_payloads:
        return Opaque("external", payload.data)
    return read(payload.data, payload.metadata.get("encoding", b""))


def read(data: bytes, encoding: bytes) -> Value:
    """A value by its bytes. Small ones are remembered: two traces of one run hold nearly the same."""
    return _remembered(data, encoding) if len(data) <= _SMALL_BYTES else _read(data, encoding)


def _read(data: bytes, encoding: bytes) -> Value:
    text = encoding.decode(errors="replace")
    if text == "binary/null":
        return NULL
    if text.startswith("json/"):
        return Plain.read(data, text)
    return Opaque(text, data)


_SMALL_BYTES = 512
_remembered = lru_cache(maxsize=8192)(_read)


def values(payloads: Iterable[Payload]) -> Values:
    return tuple([value(payload) for payload in payloads])


def named(**groups: Mapping[str, Payload]) -> Named:
    """Values by name, those of ``headers={"a": …}`` as ``headers.a``."""
    found = [
        (f"{group}.{key}", (attribute if group == _ATTRIBUTES else value)(fields[key]))
        for group, fields in groups.items()
        for key in fields
    ]
    return tuple(sorted(found, key=lambda pair: pair[0]))


_ATTRIBUTES = "search_attributes"


def attribute(payload: Payload) -> Value:
    """A search attribute, with its type."""
    found = value(payload)
    type_ = payload.metadata.get("type", b"").decode(errors="replace")
    return replace(found, type=type_) if type_ and isinstance(found, Plain) else found


def told(metadata: UserMetadata | None) -> Named:
    """What user code has said about a step, for people."""
    if metadata is None:
        return ()
    return tuple([(name, value(getattr(metadata, name))) for name in ("details", "summary") if metadata.HasField(name)])


def options(**given: Option | None) -> Options:
    """Options by name; what is None, empty or 0 does not apply and is left out."""
    return tuple(sorted([(name, option) for name, option in given.items() if option], key=lambda pair: pair[0]))


def retry(policy: RetryPolicy) -> dict[str, Option]:
    """A retry policy as options."""
    return {
        "retry_initial_ms": duration_ms(policy.initial_interval),
        "retry_coefficient": policy.backoff_coefficient,
        "retry_maximum_interval_ms": duration_ms(policy.maximum_interval),
        "retry_maximum_attempts": policy.maximum_attempts,
        "retry_non_retryable": tuple(policy.non_retryable_error_types),
    }


def importance(priority: Priority) -> dict[str, Option]:
    """A priority as options."""
    return {
        "priority": priority.priority_key,
        "fairness_key": priority.fairness_key,
        "fairness_weight": priority.fairness_weight,
    }


def failure(message: FailureMessage) -> Failure:
    """A failure without what is an engine's own: stack traces, event ids, identities, run ids."""
    which = message.WhichOneof("failure_info")
    info: Any = getattr(message, which) if which else None
    kind = _FAILURES.get(which or "", "")
    details: Values = ()
    type_ = category = ""
    delay_ms = 0
    if kind == "application":
        type_, details = info.type, values(info.details.payloads)
        delay_ms, category = duration_ms(info.next_retry_delay), _category(info.category)
    elif kind == "timeout":
        type_ = TimeoutType.Name(info.timeout_type).removeprefix("TIMEOUT_TYPE_").lower()
        details = values(info.last_heartbeat_details.payloads)
    elif kind == "canceled":
        details = values(info.details.payloads)
    elif kind == "activity":
        type_ = info.activity_type.name
    elif kind == "child":
        type_ = info.workflow_type.name
    elif kind == "nexus":
        type_ = f"{info.endpoint}/{info.service}/{info.operation}"
    elif kind == "nexus_handler":
        type_ = info.type
    said, sealed = message.message, None
    if message.HasField("encoded_attributes"):
        said, sealed = _unsealed(value(message.encoded_attributes), said)
    return Failure(
        kind=kind,
        message=said,
        type=type_,
        non_retryable=bool(getattr(info, "non_retryable", False)),
        retry_state=int(getattr(info, "retry_state", 0)),
        next_retry_delay_ms=delay_ms,
        category=category,
        details=details,
        sealed=sealed,
        cause=failure(message.cause) if message.HasField("cause") else None,
    )


def _category(number: ApplicationErrorCategory.ValueType) -> str:
    return ApplicationErrorCategory.Name(number).removeprefix("APPLICATION_ERROR_CATEGORY_").lower() if number else ""


def _unsealed(attributes: Value, otherwise: str) -> tuple[str, Value | None]:
    """The message that a failure converter has put into the encoded attributes, once a codec has given them back."""
    given = attributes.value if isinstance(attributes, Plain) else None
    if isinstance(given, dict) and isinstance(given.get("message"), str):
        return given["message"], None
    return otherwise, attributes


_FAILURES = {
    "application_failure_info": "application",
    "timeout_failure_info": "timeout",
    "canceled_failure_info": "canceled",
    "terminated_failure_info": "terminated",
    "server_failure_info": "server",
    "reset_workflow_failure_info": "reset",
    "activity_failure_info": "activity",
    "child_workflow_execution_failure_info": "child",
    "nexus_operation_execution_failure_info": "nexus",
    "nexus_handler_failure_info": "nexus_handler",
}


# -- the three requests with many fields: what they add to a step ------------------------------------------------------


def activity(asked: ActivityTaskScheduledEventAttributes) -> dict[str, Any]:
    """The step that asks for an activity."""
    return {
        "kind": StepKind.ACTIVITY,
        "name": asked.activity_type.name,
        "id": asked.activity_id,
        "inputs": values(asked.input.payloads),
        "named": named(headers=asked.header.fields),
        "options": activity_options(asked),
    }


def activity_options(asked: ActivityTaskScheduledEventAttributes) -> Options:
    """A few sets of options serve all activities of a workflow, so they are remembered by their bytes."""
    return _activity_options(
        asked.task_queue.name,
        asked.schedule_to_close_timeout.SerializeToString(),
        asked.schedule_to_start_timeout.SerializeToString(),
        asked.start_to_close_timeout.SerializeToString(),
        asked.heartbeat_timeout.SerializeToString(),
        asked.priority.SerializeToString(),
        asked.retry_policy.SerializeToString(),
    )


@lru_cache(maxsize=1024)
def _activity_options(
    queue: str, to_close: bytes, to_start: bytes, work: bytes, heartbeat: bytes, priority: bytes, policy: bytes
) -> Options:
    return options(
        queue=queue,
        schedule_to_close_ms=duration_ms(Duration.FromString(to_close)),
        schedule_to_start_ms=duration_ms(Duration.FromString(to_start)),
        start_to_close_ms=duration_ms(Duration.FromString(work)),
        heartbeat_ms=duration_ms(Duration.FromString(heartbeat)),
        **importance(Priority.FromString(priority)),
        **retry(RetryPolicy.FromString(policy)),
    )


def child(asked: StartChildWorkflowExecutionInitiatedEventAttributes) -> dict[str, Any]:
    """The step that asks for a child workflow."""
    close = ParentClosePolicy.Name(asked.parent_close_policy).removeprefix("PARENT_CLOSE_POLICY_")
    reuse = WorkflowIdReusePolicy.Name(asked.workflow_id_reuse_policy).removeprefix("WORKFLOW_ID_REUSE_POLICY_")
    return {
        "kind": StepKind.CHILD,
        "name": asked.workflow_type.name,
        "id": asked.workflow_id,
        "inputs": values(asked.input.payloads),
        "named": _carried(asked),
        "options": options(
            queue=asked.task_queue.name,
            execution_timeout_ms=duration_ms(asked.workflow_execution_timeout),
            run_timeout_ms=duration_ms(asked.workflow_run_timeout),
            task_timeout_ms=duration_ms(asked.workflow_task_timeout),
            parent_close_policy=close.lower(),
            id_reuse_policy=reuse.lower(),
            cron=asked.cron_schedule,
            **importance(asked.priority),
            **retry(asked.retry_policy),
        ),
    }


def _carried(
    asked: StartChildWorkflowExecutionInitiatedEventAttributes | WorkflowExecutionContinuedAsNewEventAttributes,
) -> Named:
    """What goes with the start of another run."""
    return named(
        headers=asked.header.fields,
        memo=asked.memo.fields,
        search_attributes=asked.search_attributes.indexed_fields,
    )


def continue_as_new(asked: WorkflowExecutionContinuedAsNewEventAttributes) -> dict[str, Any]:
    """The last step of a run that another one follows."""
    return {
        "kind": StepKind.CONTINUE_AS_NEW,
        "name": asked.workflow_type.name,
        "inputs": values(asked.input.payloads),
        "named": _carried(asked),
        "options": options(
            queue=asked.task_queue.name,
            run_timeout_ms=duration_ms(asked.workflow_run_timeout),
            task_timeout_ms=duration_ms(asked.workflow_task_timeout),
            backoff_ms=duration_ms(asked.backoff_start_interval),
        ),
    }
