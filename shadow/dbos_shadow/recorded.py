"""Recorded: one run of Temporal's as it was read, before anybody judges it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from temporalio.api.history.v1 import HistoryEvent

__all__ = ["Recorded"]


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
