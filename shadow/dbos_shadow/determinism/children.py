"""A child workflow that is a stub: it asks for one activity of its own, whose ending the schedule chooses, and ends so."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import ActivityError

PREFIX = "child workflow "
"""Begins the type of the activity by which a stubbed child ends."""

_FOR_EVER = timedelta(days=3650)


@workflow.defn(dynamic=True, sandboxed=False)
class StubbedChild:
    """Stands for every child whose class is not given."""

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> Any:
        try:
            return await workflow.execute_activity(
                PREFIX + workflow.info().workflow_type,
                args=args,
                schedule_to_close_timeout=_FOR_EVER,
                retry_policy=RetryPolicy(maximum_attempts=1),
                result_type=RawValue,
            )
        except ActivityError as error:
            raise (error.cause or error) from None
