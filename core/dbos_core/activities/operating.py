"""What an operator does to an open activity from outside, and what stays of it in the activity's row. Values only.

The moves that follow from a command are in ``operator_moves.py``.
"""

from __future__ import annotations

import enum
import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from dbos_core.activities.spec import ActivitySpec
from dbos_core.retry import RetryPolicy

NO_DETAILS = "[]"
"""Heartbeat details that were forgotten on request. In a row "nothing" leaves untouched what another process wrote."""


class Deed(enum.StrEnum):
    PAUSE = "pause"
    UNPAUSE = "unpause"
    RESET = "reset"
    """Count attempts from the first one again, and do not wait for the next one."""
    OPTIONS = "options"


@dataclass(slots=True, frozen=True, kw_only=True)
class OperatorCommand:
    """One command, about one activity."""

    do: Deed
    identity: str = ""
    reason: str = ""
    at_ms: int = 0
    """When it was given."""
    delay_ms: int = 0
    """How long to wait before the next attempt (the operator's jitter, drawn)."""
    reset_attempts: bool = False
    reset_heartbeat: bool = False
    keep_paused: bool = False
    restore: bool = False
    """RESET: with the options that the workflow asked for."""
    changes: dict[str, Any] = field(default_factory=dict)
    """OPTIONS: all that shall be different from what the workflow asked for; fields of ``ActivitySpec``."""

    def fields(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"do": self.do.value}

    @staticmethod
    def read(fields: dict[str, Any]) -> OperatorCommand:
        return OperatorCommand(**(fields | {"do": Deed(fields["do"])}))


@dataclass(slots=True, frozen=True)
class Pause:
    """Who paused an activity, when and why."""

    at_ms: int
    identity: str
    reason: str


@dataclass(slots=True, kw_only=True)
class Operated:
    """What operators want of an activity beyond what its workflow asked for."""

    pause: Pause | None = None
    reset: bool = False
    """The attempt that runs counts as the first one."""
    reset_heartbeat: bool = False
    """The next attempt shall not see the heartbeat details of this one."""
    changes: dict[str, Any] = field(default_factory=dict)

    def note(self, command: OperatorCommand) -> None:
        """What of a command holds whatever the activity is doing."""
        if command.do is Deed.PAUSE:
            self.pause = self.pause or Pause(command.at_ms, command.identity, command.reason)
        elif command.do is Deed.UNPAUSE:
            self.pause = None
        elif command.do is Deed.RESET:
            if not command.keep_paused:
                self.pause = None
            if command.restore:
                self.changes = {}
        else:
            self.changes = command.changes

    def text(self) -> str | None:
        """For ``ActivityRow.operator``; None: as the workflow asked."""
        if self == _NOTHING:
            return None
        return json.dumps({name: value for name, value in asdict(self).items() if value})

    @staticmethod
    def read(text: str | None) -> Operated:
        if text is None:
            return Operated()
        fields: dict[str, Any] = json.loads(text)
        if "pause" in fields:
            fields["pause"] = Pause(**fields["pause"])
        return Operated(**fields)


_NOTHING = Operated()


def changed(spec: ActivitySpec, changes: dict[str, Any]) -> ActivitySpec:
    """The spec that a workflow asked for, with an operator's changes."""
    if not changes:
        return spec
    fields = dict(changes)
    if "retry" in fields:
        retry = dict(fields["retry"])
        retry["non_retryable_types"] = tuple(retry["non_retryable_types"])
        fields["retry"] = RetryPolicy(**retry)
    return replace(spec, **fields, native=None if "record" in fields else spec.native, prepared=None)
