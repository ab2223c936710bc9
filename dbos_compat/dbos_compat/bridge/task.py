"""One workflow task while it runs: the events that go in, the commands of all its activations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dbos_compat.bridge.commands import Command, Rejected


class Task:
    """One workflow task while it runs."""

    __slots__ = (
        "accepted",
        "announce",
        "answered",
        "as_replay",
        "at_ms",
        "commands",
        "flags",
        "happened",
        "ids",
        "position",
        "recorded",
        "records",
        "rejected",
        "replaying",
        "rounds",
        "size",
        "texts",
        "used_flags",
        "void",
    )

    def __init__(
        self,
        *,
        at_ms: int,
        texts: list[str],
        records: list[dict[str, Any]],
        replaying: bool,
        flags: Sequence[int],
        recorded: Mapping[str, Any] | None = None,
        position: int = 0,
        size: int = 0,
    ) -> None:
        self.at_ms = at_ms
        self.texts = texts
        self.records = records
        self.happened: list[Mapping[str, Any]] = []
        """The records and what came before them: all that this task handles."""
        self.replaying = replaying
        self.as_replay = replaying
        """What the workflow is told of it."""
        self.announce: Sequence[Mapping[str, Any]] = () if recorded is None else recorded["cmds"]
        """Commands that were recorded: of the patches among them the workflow is told beforehand."""
        self.flags = flags
        self.recorded = recorded
        self.position = position
        self.size = size
        self.ids: Any = None
        self.rounds = 0
        self.commands: list[Command] = []
        self.rejected: list[Rejected] = []
        self.accepted: set[str] = set()
        self.answered: set[int] = set()
        self.void: list[Command] = []
        self.used_flags: set[int] = set()
