"""Is there another attempt of a workflow that failed or timed out? Temporal's rules for workflow retry policies. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from temporalio.api.common.v1 import RetryPolicy
from temporalio.api.enums.v1 import RetryState, TimeoutType
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import WorkflowExecutionStartedEventAttributes

from dbos_compat.convert.times import duration, duration_ms, timestamp_ms
from dbos_compat.errors import invalid
from dbos_core import retry
from dbos_core.retry import TIMEOUT_TYPE_PREFIX

_TIMEOUTS = {
    TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE: "StartToClose",
    TimeoutType.TIMEOUT_TYPE_HEARTBEAT: "Heartbeat",
}


@dataclass(frozen=True, slots=True)
class Again:
    """What a retry policy says. ``delay_ms`` None: there is no further attempt, and ``state`` says why."""

    state: RetryState.ValueType
    delay_ms: int | None = None


def check_policy(policy: RetryPolicy) -> None:
    """Temporal's refusals of a retry policy, in its order and words."""
    if policy.maximum_attempts == 1:
        return  # a single attempt: nothing else matters
    if _negative(policy, "initial_interval"):
        raise invalid("InitialInterval cannot be negative on retry policy.")
    if 0 != policy.backoff_coefficient < 1:
        raise invalid("BackoffCoefficient cannot be less than 1 on retry policy.")
    if _negative(policy, "maximum_interval"):
        raise invalid("MaximumInterval cannot be negative on retry policy.")
    longest = duration_ms(policy.maximum_interval)
    if longest and longest < duration_ms(policy.initial_interval):
        raise invalid("MaximumInterval cannot be less than InitialInterval on retry policy.")
    if policy.maximum_attempts < 0:
        raise invalid("MaximumAttempts cannot be negative on retry policy.")
    wrong = retry.bad_timeout_type(tuple(policy.non_retryable_error_types))
    if wrong is not None:
        raise invalid(f"Invalid timeout type value: {wrong.partition(':')[2]}.")


def _negative(policy: RetryPolicy, field: str) -> bool:
    value = getattr(policy, field)
    return bool(value.seconds < 0 or value.nanos < 0)


def completed(policy: RetryPolicy) -> RetryPolicy:
    """The policy with Temporal's defaults filled in."""
    full = RetryPolicy()
    full.CopyFrom(policy)
    initial_ms = duration_ms(policy.initial_interval) or 1_000
    if not duration_ms(policy.initial_interval):
        full.initial_interval.CopyFrom(duration(initial_ms))
    full.backoff_coefficient = policy.backoff_coefficient or 2.0
    if not duration_ms(policy.maximum_interval):
        full.maximum_interval.CopyFrom(duration(100 * initial_ms))
    return full


def again(started: WorkflowExecutionStartedEventAttributes, failure: Failure, now_ms: int) -> Again:
    """What follows this failure of a run, by its retry policy."""
    if not started.HasField("retry_policy"):
        return Again(RetryState.RETRY_STATE_RETRY_POLICY_NOT_SET)
    policy, attempt = completed(started.retry_policy), max(1, started.attempt)
    if not _retryable(failure, policy):
        return Again(RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE)
    if 0 < policy.maximum_attempts <= attempt:
        return Again(RetryState.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED)
    # The delay that a failure asks for (next_retry_delay) counts for activities only (observed).
    delay_ms = retry.RetryPolicy(
        initial_ms=duration_ms(policy.initial_interval),
        coefficient=policy.backoff_coefficient,
        maximum_interval_ms=duration_ms(policy.maximum_interval),
    ).delay_ms(attempt)
    if started.HasField("workflow_execution_expiration_time"):
        expires_ms = timestamp_ms(started.workflow_execution_expiration_time)
        if now_ms + delay_ms > expires_ms:
            return Again(RetryState.RETRY_STATE_TIMEOUT)
    return Again(RetryState.RETRY_STATE_IN_PROGRESS, delay_ms)


def _retryable(failure: Failure, policy: RetryPolicy) -> bool:
    """Only the outermost failure counts: an activity's failure that ended the workflow is retryable whatever it was."""
    if failure.HasField("terminated_failure_info") or failure.HasField("canceled_failure_info"):
        return False
    if failure.HasField("timeout_failure_info"):
        name = _TIMEOUTS.get(failure.timeout_failure_info.timeout_type)
        return name is not None and TIMEOUT_TYPE_PREFIX + name not in policy.non_retryable_error_types
    if failure.HasField("server_failure_info"):
        return not failure.server_failure_info.non_retryable
    if failure.HasField("application_failure_info"):
        info = failure.application_failure_info
        return not info.non_retryable and info.type not in policy.non_retryable_error_types
    return True
