"""Recorded: one run of Temporal's as it was read, before anybody judges it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from temporalio.api.history.v1 import HistoryEvent

__all__ = ["Recorded", "digest_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A Temporal history and where it came from."""

    workflow_id: str
    run_id: str
    workflow_type: str
    events: Sequence[HistoryEvent]
    """In order, payloads as they were read: what a codec has encoded is still encoded."""
    source: str
    """``file:<path>``, or ``temporal:<namespace>``."""
    closed: bool | None = None
    """What the server says of the run; None: nobody asked it."""


def digest_of(events: Sequence[HistoryEvent]) -> str:
    """Equal for equal histories, however they were written."""
    hashed = blake2b(digest_size=16)
    for event in events:
        data = event.SerializeToString(deterministic=True)
        hashed.update(len(data).to_bytes(8) + data)
    return hashed.hexdigest()
