"""Straight: the life of a run once more, without whatever befell its processes, in one instance that lives through it all.

The instances of a schedule leave notes of what they were given and what they asked for. What a journal kept of it is given
to a fresh one, live and in the same order; it has to ask for the same.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dbos_compat.bridge.commands import in_one_order
from dbos_core.commit import Entry, RunRow
from dbos_core.runner import Activation, Decision, Interpreter
from dbos_shadow.determinism.decoded import decoded
from dbos_shadow.determinism.failure import Rule
from dbos_shadow.determinism.journals import Broken, Journal

Notes = dict[tuple[str, int, str], Activation]
"""What was given, by run id, position and the record that came of it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A query that an instance has answered."""

    run_id: str
    position: int
    """The last row of the journal that the instance had lived through."""
    durable: int
    """How many rows the store had when it answered."""
    payload: str
    """The question, as the runner reads it."""
    answer: str


class Noted:
    """An interpreter that leaves notes."""

    __slots__ = ("_asked", "_inner", "_notes", "_position", "_run_id")

    def __init__(
        self, inner: Interpreter, run_id: str, notes: Notes, asked: Callable[[str, int, str, str], None]
    ) -> None:
        self._inner = inner
        self._run_id = run_id
        self._notes = notes
        self._asked = asked
        self._position = 0

    def activate(self, activation: Activation) -> Decision | Awaitable[Decision]:
        decision = self._inner.activate(activation)
        if isinstance(decision, Decision):
            return self._noted(activation, decision)
        return self._later(activation, decision)

    async def _later(self, activation: Activation, pending: Awaitable[Decision]) -> Decision:
        return self._noted(activation, await pending)

    def _noted(self, activation: Activation, decision: Decision) -> Decision:
        if decision.record is not None:
            self._position = activation.position
            events = list(activation.events)
            self._notes[self._run_id, activation.position, decision.record] = Activation(
                activation.position, activation.at_ms, events
            )
        return decision

    def replay(self, entry: Entry) -> Decision | Awaitable[Decision]:
        self._position = entry.position
        return self._inner.replay(entry)

    async def query(self, payload: str) -> str:
        answer = await self._inner.query(payload)
        self._asked(self._run_id, self._position, payload, answer)
        return answer

    def evict(self) -> Awaitable[None] | None:
        return self._inner.evict()


async def relive(
    journal: Journal,
    notes: Notes,
    open_: Callable[[RunRow, str], Interpreter],
    broken: Broken,
) -> Interpreter:
    """Live the journal straight. The interpreter is to be torn down."""
    run = journal.run
    interpreter = open_(run.row, run.inputs)
    for position, row in sorted(run.journal.items()):
        activation = notes.get((run.row.run_id, position, row.record))
        if activation is None:
            broken(
                Rule.CRASH_FREE, f"row {position} of the journal is none that the workflow's code has brought about."
            )
        decision = interpreter.activate(activation)
        if not isinstance(decision, Decision):
            decision = await decision
        if decision.failure is not None:
            broken(Rule.CRASH_FREE, f"without a crash its task {position} fails: {decision.failure.message}")
        if decision.record == row.record:
            continue
        again = json.loads(decision.record or "{}")
        before, after = [commands(await decoded(r, journal.codec)) for r in (journal.records[position - 1], again)]
        if before != after:
            broken(
                Rule.CRASH_FREE,
                f"in task {position} it asks for {shown(after)} when nothing befalls its process, and asked for "
                f"{shown(before)}.",
            )
    return interpreter


def commands(record: Mapping[str, Any]) -> str:
    """What a task asked for, with all values, as a text that is the same in every process."""
    return json.dumps(_plain(in_one_order(record.get("cmds", []))), sort_keys=True)


def _plain(value: Any) -> Any:
    """Without the binary forms of failures: stack traces are in them."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key != "proto"}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def shown(text: str) -> str:
    """For people: kinds and names, no values."""
    asked = [command.get("type") or command["k"].replace("_", " ") for command in json.loads(text)]
    return ", ".join(asked) or "nothing"
