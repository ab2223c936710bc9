"""Retry policies of activities: a command's message → the kernel's form."""

from __future__ import annotations

from temporalio.api.common.v1 import RetryPolicy as RetryPolicyMessage

from dbos_compat.bridge.commands import ms
from dbos_core.retry import RetryPolicy


def policy_of(policy: RetryPolicyMessage) -> RetryPolicy:
    """The kernel's form of a policy, with Temporal's defaults."""
    initial = ms(policy.initial_interval) or 1_000
    return RetryPolicy(
        initial_ms=initial,
        coefficient=policy.backoff_coefficient or 2.0,
        maximum_interval_ms=ms(policy.maximum_interval) or 100 * initial,
        maximum_attempts=policy.maximum_attempts,
        non_retryable_types=tuple(policy.non_retryable_error_types),
    )
