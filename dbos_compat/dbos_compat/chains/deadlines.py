"""When a run's time is over, and what its activities are told of that. Pure."""

from __future__ import annotations

import json
from functools import lru_cache

from dbos_core.commit import RunRow


def deadline_ms(due_ms: int, run_ms: int, expires_ms: int) -> int | None:
    """When a run ends by itself, at the latest; None: never.

    Args:
        due_ms: when it may begin. Its run timeout counts from there.
        run_ms: that timeout; 0 is none.
        expires_ms: when the time of the whole chain is over, which counts from the request for the first run: a chain
            may end before it has begun. 0 is never.
    """
    over_ms = due_ms + run_ms if run_ms else expires_ms
    return min(over_ms, expires_ms or over_ms) or None


def run_timeout_ms(run: RunRow) -> int | None:
    """What bounds the timeouts of a run's activities: its timeout as it was asked for, whatever the chain leaves of it."""
    if run.deadline_ms is None:
        return None
    return _kept(run.metadata) or run.deadline_ms - run.execution_ms


@lru_cache(maxsize=256)
def _kept(metadata: str | None) -> int:
    """Read once for all activities of a run."""
    return int(json.loads(metadata).get("run_timeout_ms", 0)) if metadata else 0
