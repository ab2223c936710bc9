"""What the benchmark and a contender process say to each other. Standard library only.

The parent passes one ``Job`` as a JSON argument. The contender answers with marked JSON lines on its standard
output; every other line is that engine's own logging and goes to the log file. The parent reads its meters
(write-ahead log position, server CPU) when a ``window-open`` or ``window-close`` line arrives.
"""

import json
import sys
from dataclasses import asdict, dataclass
from typing import Any, Literal

MARK = "@bench "

Mode = Literal["load", "idle", "sleepers", "operations", "recover"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One visit of one contender: what to run, against which server, for how long."""

    mode: Mode
    url: str
    """Where the engine keeps its state: a Postgres URL, or host:port for the Temporal server."""
    sandboxed: bool = False
    inflight: int = 1
    seconds: float = 5.0
    warmup_seconds: float = 2.0
    turns_min: int = 8
    """A slow contender gets up to ten times ``seconds`` until each slot has run so many workflows on average: one that
    polls finishes a whole crowd at once, and a window of few crowds would count one too many or too few."""
    sleepers: int = 0
    wake_rate: float = 200.0
    """Sleepers that fall due per second."""
    settle_seconds: float = 15.0
    """Between the last start and the first wake, so that everything has been parked."""
    operations: tuple[str, ...] = ()
    operation_seconds: float = 60.0
    """How long one operation may take with all its samples before it counts as failed."""
    samples: int = 300
    """At most so many of the quickest operation; slower ones take a fixed part of it."""
    activities: int = 10_000
    """In the workflow with a long history."""
    workflow_id: str = ""
    """Of the workflow with a long history."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_argv() -> "Job":
        return Job(**json.loads(sys.argv[1]))


def emit(event: str, **fields: Any) -> None:
    """Contender to parent: one event, flushed at once since the parent reads its meters on arrival."""
    print(MARK + json.dumps({"event": event, **fields}), flush=True)


def parse(line: str) -> dict[str, Any] | None:
    """Parent: the event in this line, or None when the line is the engine's own output."""
    at = line.find(MARK)
    if at < 0:
        return None
    message: dict[str, Any] = json.loads(line[at + len(MARK) :])
    return message
