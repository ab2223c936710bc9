"""Lookback: from when on a process looks for cancellations by stock tools.

A stock cancel leaves nothing but its row. A process that looks every few seconds finds new ones by their time; one that
has just begun to serve a queue, or has not looked for long, does not know how old the oldest is that nobody has seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

RECENT_MS = 3_600_000
"""Who looked at a queue so lately goes on from there: by time all that ended since is read, whatever its queue."""

OVERLAP_MS = 10_000
"""A cancellation is stamped before it commits."""


class Look(NamedTuple):
    since_ms: int
    """Those from then on, on all queues ..."""
    fresh: list[str]
    """... and on these ones all there are."""


class Lookback:
    """When each queue was looked at last."""

    def __init__(self) -> None:
        self._seen_ms: dict[str, int] = {}

    def look(self, queues: Iterable[str], now_ms: int) -> Look:
        seen = {queue: self._seen_ms.get(queue, 0) for queue in queues}
        recent = [ms for ms in seen.values() if now_ms - ms < RECENT_MS]
        return Look(
            since_ms=min([now_ms, *recent]) - OVERLAP_MS,
            fresh=[queue for queue, ms in seen.items() if now_ms - ms >= RECENT_MS],
        )

    def looked(self, queues: Iterable[str], now_ms: int) -> None:
        """Nothing is left there of the time before ``now_ms``."""
        self._seen_ms.update(dict.fromkeys(queues, now_ms))
