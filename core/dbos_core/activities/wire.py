"""Activities on their way between processes: an offered spec in its row, an outcome in the owner's mail. JSON, pure."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import asdict
from typing import Any

from dbos_core.activities.operating import OperatorCommand
from dbos_core.activities.spec import ActivitySpec, AttemptOutcome, OutcomeKind, TimeoutKind
from dbos_core.retry import RetryPolicy


def offer(spec: ActivitySpec) -> str:
    """The spec as ``ActivityRow.spec`` carries it. What does not compare is of this process alone."""
    fields = {f.name: getattr(spec, f.name) for f in dataclasses.fields(spec) if f.compare}
    return json.dumps(fields | {"retry": asdict(spec.retry)})


def read_offer(text: str) -> ActivitySpec:
    fields: dict[str, Any] = json.loads(text)
    retry: dict[str, Any] = fields.pop("retry")
    retry["non_retryable_types"] = tuple(retry["non_retryable_types"])
    return ActivitySpec(**fields, retry=RetryPolicy(**retry))


def outcome_mail(seq: int, attempt: int, outcome: AttemptOutcome) -> str:
    """The message that tells the owner how an attempt ended (``mailbox.ACTIVITY``)."""
    fields = {name: value for name, value in asdict(outcome).items() if value is not None}
    return json.dumps({"seq": seq, "attempt": attempt, "outcome": fields})


def left_open_mail(seq: int, attempt: int, started_ms: int, worker: str) -> str:
    """The message that tells the owner that an attempt will be completed from outside; ``worker`` ran it."""
    return json.dumps({"seq": seq, "attempt": attempt, "left_open": True, "started_ms": started_ms, "by": worker})


def read_outcome(fields: dict[str, Any]) -> AttemptOutcome:
    fields = dict(fields)
    kind = OutcomeKind(fields.pop("kind"))
    timeout = fields.pop("timeout", None)
    return AttemptOutcome(kind=kind, timeout=None if timeout is None else TimeoutKind(timeout), **fields)


def command_mail(seq: int, command: OperatorCommand) -> str:
    """The message that leaves an operator's command for the run's next owner."""
    return json.dumps({"seq": seq, "operate": command.fields()})


def read_command(message: str) -> tuple[int, OperatorCommand] | None:
    """(seq, command), if the message carries one."""
    fields: dict[str, Any] = json.loads(message)
    return (int(fields["seq"]), OperatorCommand.read(fields["operate"])) if "operate" in fields else None
