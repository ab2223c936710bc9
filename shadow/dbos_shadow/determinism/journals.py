"""Journals as they grow: what each run has asked for and been told so far, and what that forbids.

It reads the rows of the store and nothing else, so that what the kernel believes can be held against what is durable. A
*follower*, a second instance of the workflow on a stage of its own, replays each row as soon as it is there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NoReturn

from temporalio.converter import PayloadCodec

from dbos_compat.convert.payloads import loads
from dbos_core.activities.spec import ActivitySpec
from dbos_core.commit import Entry, RunRow, RunStatus
from dbos_core.errands.spec import Errand, ErrandKey, ErrandKind
from dbos_core.runner import Decision, Interpreter
from dbos_core.store.memory_tables import Run
from dbos_shadow.determinism.decoded import decoded
from dbos_shadow.determinism.failure import Rule

Broken = Callable[[Rule, str], NoReturn]
"""Called with a rule that does not hold."""

OWN_ENDS = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELED, RunStatus.CONTINUED_AS_NEW})
"""Ends that a workflow brings about itself."""


class Awaited:
    """What a run waits for, told by what its follower decides and by what its journal has. The kernel has such a thing too
    (``rebuild.Pending``); this one is here so that the kernel's can be wrong."""

    def __init__(self) -> None:
        self.timers: set[int] = set()
        self.activities: set[int] = set()
        self.locals: set[int] = set()
        self.children: set[int] = set()
        """Children whose end it has not heard of."""
        self.errands: dict[ErrandKey, Errand] = {}
        """What it wants done to other workflows, and has no reply to."""

    def take(self, decision: Decision, record: Mapping[str, Any]) -> None:
        """One more task: what came is awaited no more, what was asked for is."""
        for event in record["ev"]:
            if event["k"] == "timer":
                self.timers.discard(event["seq"])
            elif event["k"] == "activity":
                self.activities.discard(event["seq"])
            elif event["k"] == "local":
                self.locals.discard(event["seq"])
            elif event["k"] == "errand":
                self.errands.pop((ErrandKind(event["e"]), event["seq"], event.get("n", 0)), None)
                if event["e"] == ErrandKind.CHILD and event.get("refused"):
                    self.children.discard(event["seq"])
            elif event["k"] == "child":
                self.children.discard(event["m"]["seq"])
        self.activities.update([spec.seq for spec in decision.schedule])
        self.locals.update([spec.seq for spec in decision.schedule_local])
        self.timers.update([seq for seq, _ in decision.start_timers])
        self.timers.difference_update(decision.cancel_timers)
        self.activities.difference_update(decision.try_cancel_activities, decision.abandon_activities)
        self.locals.difference_update(decision.try_cancel_local, decision.abandon_local)
        for errand in decision.errands:
            self.errands[errand.key] = errand
            if errand.kind is ErrandKind.CHILD:
                self.children.add(errand.seq)


class Journal:
    """One run's."""

    def __init__(self, run: Run, broken: Broken, codec: PayloadCodec | None = None) -> None:
        """``codec``: by which its payloads can be read."""
        self.run = run
        self.codec = codec
        self._broken = broken
        self.records: list[Mapping[str, Any]] = []
        self.scheduled: dict[tuple[str, int], Mapping[str, Any]] = {}
        """Activities and local activities, by kind and number."""
        self.told: dict[tuple[str, int], str] = {}
        """How those ended that have."""
        self.heard: list[str] = []
        """Ids of messages, as their senders know them."""
        self._rings: dict[int, int] = {}
        """When timers are due."""
        self.accepted: Counter[str] = Counter()
        self.completed: Counter[str] = Counter()
        self.canceled = False
        """A cancel request has been heard."""
        self.pending = Awaited()
        self.follower: Interpreter | None = None
        self.followed = 0

    @property
    def closed(self) -> bool:
        return not self.run.open

    def read(self) -> list[Mapping[str, Any]]:
        """Take in the rows that are new; they are the answer.

        Raises whatever ``broken`` raises when a row contradicts those before it.
        """
        rows = self.run.journal
        if len(rows) < len(self.records):
            self._broken(Rule.PROGRESS, f"the journal had {len(self.records)} rows and has {len(rows)} now.")
        new: list[Mapping[str, Any]] = []
        while len(self.records) < len(rows):
            position = len(self.records) + 1
            row = rows.get(position)
            if row is None:
                self._broken(Rule.PROGRESS, f"row {position} of the journal is missing, though later ones are there.")
            record = loads(row.record)
            self.records.append(record)
            new.append(record)
            self._take(record, position)
        return new

    def _take(self, record: Mapping[str, Any], position: int) -> None:
        for event in record["ev"]:
            kind = event["k"]
            if kind in ("activity", "local"):
                key = (kind, event["seq"])
                if key in self.told:
                    self._broken(
                        Rule.STEP_ONCE, f"row {position} tells the workflow of {self.name(key)} a second time."
                    )
                if key not in self.scheduled:
                    self._broken(Rule.STEP_ONCE, f"row {position} has the end of an activity that nobody asked for.")
                self.told[key] = event["o"]
            elif kind in ("signal", "update", "cancel"):
                message = event["m"]
                heard = message.get("update_id") or f"{kind} {message.get('request_id') or event['id']}"
                if heard in self.heard:
                    name = event.get("name") or message.get("name") or ""
                    rule = Rule.UPDATE_ONCE if kind == "update" else Rule.SIGNAL_ONCE
                    self._broken(rule, f"row {position} has the {kind} {name!r} a second time.")
                self.heard.append(heard)
                self.canceled = self.canceled or kind == "cancel"
            elif kind == "timer":
                due_ms = self._rings.pop(event["seq"], None)
                if due_ms is None or record["at"] < due_ms:
                    self._broken(Rule.TIMERS, f"row {position} has timer {event['seq']}, which is not due.")
        for command in record["cmds"]:
            kind = command["k"]
            if kind == "activity":
                self.scheduled["activity", command["seq"]] = command
            elif kind == "local_activity":
                self.scheduled["local", command["seq"]] = command
            elif kind == "timer":
                self._rings[command["seq"]] = record["at"] + command["ms"]
            elif kind == "update_accepted":
                self.accepted[command["id"]] += 1
            elif kind == "update_completed":
                self.completed[command["id"]] += 1

    def rings(self) -> list[int]:
        """When the timers that it waits for are due."""
        return [due_ms for seq, due_ms in self._rings.items() if seq in self.pending.timers]

    def name(self, key: tuple[str, int]) -> str:
        """Of an activity, for people."""
        command = self.scheduled.get(key)
        return f"activity {command['type']!r}" if command is not None else f"activity number {key[1]}"

    # -- following -------------------------------------------------------------------------------------------------

    async def follow(self, open_: Callable[[RunRow, str], Interpreter]) -> None:
        """Replay what is new in the follower. ``open_`` makes a fresh interpreter for a run and its inputs."""
        if self.follower is None:
            self.follower = open_(replace(self.run.row), self.run.inputs)
        while self.followed < len(self.records):
            position = self.followed + 1
            row = self.run.journal[position]
            decision = self.follower.replay(Entry(position=position, name=row.name, record=row.record))
            if not isinstance(decision, Decision):
                decision = await decision
            if decision.failure is not None:
                self._broken(Rule.REPLAY, f"{decision.failure.message}")
            for spec in decision.schedule:
                await self._same_inputs(spec, position)
            self.pending.take(decision, self.records[position - 1])
            self.followed = position

    async def _same_inputs(self, spec: ActivitySpec, position: int) -> None:
        """Temporal's check looks at kinds, order and names. A workflow that asks the same with other values is broken too."""
        key = ("activity", spec.seq)
        asked = self.scheduled.get(key)
        inputs = loads(spec.record)["in"]
        if asked is None or inputs == asked["in"]:
            return
        if await decoded(inputs, self.codec) != await decoded(asked["in"], self.codec):
            self._broken(
                Rule.REPLAY,
                f"task {position} asks for {self.name(key)} (id {spec.activity_id!r}) with other arguments.",
            )

    def leave(self) -> Interpreter | None:
        """Begin again with a fresh follower. The one that there was is to be torn down."""
        follower, self.follower = self.follower, None
        self.followed = 0
        self.pending = Awaited()
        return follower

    # -- at the end ------------------------------------------------------------------------------------------------

    def check_end(self, allow: frozenset[str]) -> None:
        """What must hold of a run once nothing more happens."""
        for update_id in self.accepted | self.completed:
            if self.accepted[update_id] > 1 or self.completed[update_id] > 1:
                self._broken(
                    Rule.UPDATE_ONCE,
                    f"update {update_id!r} was accepted {self.accepted[update_id]} times and completed "
                    f"{self.completed[update_id]} times.",
                )
            ended = self.run.row.status in (RunStatus.COMPLETED, RunStatus.CONTINUED_AS_NEW)
            if ended and not self.completed[update_id] and "unfinished-updates" not in allow:
                self._broken(
                    Rule.UPDATE_ONCE,
                    f"update {update_id!r} was accepted, and the run ended as {self.run.row.status.name} before it "
                    "completed.",
                )
