"""Muted: the core's own kernel, journal and interpreters, with hands and ears bound.

A mirrored run lives in a kernel like any other: its tasks are committed to a journal, it survives its process, another one
takes it up and replays it. Two things are different, and both are arranged here, where the kernel asks for decisions:

* **ears**: what a run hears comes from Temporal's record, one recorded task at a time, in its order and batches;
* **hands**: of a decision the kernel is told the journal record and nothing else. No activity, timer, child, signal or
  successor of a mirrored run is ever known to the kernel, so nobody could carry it out.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.history.v1 import WorkflowExecutionStartedEventAttributes

from dbos_compat.bridge.commands import in_one_order
from dbos_compat.bridge.guided import RecordedTask
from dbos_compat.workbench import WorkbenchRunner
from dbos_core.activities.local import LocalLane
from dbos_core.commit import Entry, Mail, RunRow
from dbos_core.kernel import Kernel
from dbos_core.live_run import LiveRun
from dbos_core.parking import Parking
from dbos_core.runner import Activation, Decision, TaskFailure
from dbos_shadow.resets import Lives

__all__ = ["Beginning", "Heard", "MutedParking", "MutedRunner"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """How a run began, by Temporal's record."""

    row: RunRow
    """The run as it is mirrored: its own ids, which workflow code can read."""
    inputs: str
    started: WorkflowExecutionStartedEventAttributes
    at: Timestamp


class Heard:
    """What one mirrored run has been told, and what it made of it."""

    def __init__(self) -> None:
        self.beginning: Beginning | None = None
        self.tasks: list[RecordedTask] = []
        self.decisions: list[Decision] = []
        """One per task that was taken, in order."""
        self.positions: list[int] = []
        """For each of them how far the journal goes with it."""
        self.position = 0
        """How far its journal is known to go."""
        self.failure: TaskFailure | None = None
        """The core's code has failed in a task. The run goes no further."""
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """Something has happened to the run, or is known of it."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def change(self) -> None:
        """Wait for the next ``wake``."""
        await self._changed.wait()

    async def task(self, index: int) -> RecordedTask:
        """A recorded task; wait until it is known."""
        while len(self.tasks) <= index:
            await self.change()
        return self.tasks[index]

    def decided(self, index: int, decision: Decision) -> None:
        """A task was taken: ``index`` is its place among the tasks. Taken again by another instance, it is known already."""
        if decision.failure is not None:
            self.failure = decision.failure
        elif index == len(self.decisions):
            before = self.positions[-1] if self.positions else 0
            self.positions.append(before + (decision.record is not None))
            self.decisions.append(decision)
        self.wake()


class MutedRunner:
    """The kernel's runner for the mirrored runs of one task queue."""

    def __init__(self, runner: WorkbenchRunner, task_queue: str, heard: dict[str, Heard]) -> None:
        """
        Args:
            runner: opens the interpreters.
            heard: of the runs, by run id. A run that is taken up before its history was read gets its entry here.
        """
        self.task_queue = task_queue
        self.identity = runner.identity
        self.max_cached = runner.max_cached
        self.local_lane: LocalLane | None = None
        """Local activities are not run either."""
        self._runner = runner
        self._heard = heard

    def knows(self, workflow_type: str) -> bool:
        return self._runner.knows(workflow_type)

    def open(self, run: RunRow, inputs: str, native: Any = None) -> MutedInterpreter:
        return MutedInterpreter(self._runner, self._heard.setdefault(run.run_id, Heard()))

    def why_unreadable(self, message: Mail) -> str | None:
        """Stock tools send nothing here."""
        return None

    def prepare(self, run: RunRow, spec: Any) -> None:
        """No activity is ever started."""


class MutedInterpreter:
    """One mirrored run in memory."""

    def __init__(self, runner: WorkbenchRunner, heard: Heard) -> None:
        self._runner = runner
        self._heard = heard
        self._lives: Lives | None = None
        self._taken = 0

    async def activate(self, activation: Activation) -> Decision:
        """Take the next recorded task; the kernel's event was only the call to do so."""
        while True:
            told = await self._heard.task(self._taken)
            decision = await self._take(told)
            if decision.failure is not None:
                return decision
            # A task that left nothing to be journalled is taken again by each new instance, before the next one.
            if decision.record is not None or self._taken == len(self._heard.tasks):
                activation.at_ms = told.at_ms
                return _muted(decision)

    async def replay(self, entry: Entry) -> Decision:
        """Take the tasks again up to the one that led to this entry: out of Temporal's record, which knows more of a task
        (nanoseconds, sizes) than a journal does. What comes out has to be what is journalled."""
        while True:
            decision = await self._take(await self._heard.task(self._taken))
            if decision.failure is not None:
                return decision
            if decision.record is not None:
                break
        again, before = [in_one_order(json.loads(record)["cmds"]) for record in (decision.record, entry.record)]
        if again != before:
            message = f"Taken again, the task of position {entry.position} asks for something else than it did."
            decision = Decision(record=None, name="", failure=TaskFailure(message, "NON_DETERMINISTIC_ERROR"))
            self._heard.decided(self._taken - 1, decision)
            return decision
        self._heard.position = max(self._heard.position, entry.position)
        return _muted(decision)

    async def _take(self, told: RecordedTask) -> Decision:
        if self._lives is None:
            beginning = self._heard.beginning
            assert beginning is not None  # known before any task is
            self._lives = Lives(self._runner, beginning.row, beginning.inputs, beginning.started, beginning.at)
        self._taken += 1
        answer = self._lives.follow(told)
        decision = answer if isinstance(answer, Decision) else await answer
        self._heard.decided(self._taken - 1, decision)
        return decision

    async def query(self, payload: str) -> str:
        raise NotImplementedError("a mirrored run is asked nothing; ask the workflow on Temporal")

    def evict(self) -> Awaitable[None] | None:
        return None if self._lives is None else self._lives.evict()


def _muted(decision: Decision) -> Decision:
    """What the kernel may know of a decision: what is journalled, and whether the run has ended."""
    close = decision.close
    if close is not None:
        close.successor = None  # a run of its own, with a record of its own
    return Decision(
        record=decision.record,
        name=decision.name,
        memo=decision.memo,
        search_attributes=decision.search_attributes,
        close=close,
        history_length=decision.history_length,
        at_ms=decision.at_ms,
    )


class MutedParking(Parking):
    """Tells that a run has settled. It never lets go of one: only Temporal's record wakes it, and that comes here."""

    def __init__(self, kernel: Kernel, heard: dict[str, Heard]) -> None:
        super().__init__(kernel)
        self._heard = heard

    def rests(self, run: LiveRun) -> None:
        super().rests(run)
        self._tell(run)

    def forget(self, run: LiveRun) -> None:
        super().forget(run)
        self._tell(run)

    def _park(self, run: LiveRun, now_ms: int) -> None:
        """It stays."""

    def _tell(self, run: LiveRun) -> None:
        heard = self._heard.get(run.row.run_id)
        if heard is not None:
            heard.position = max(heard.position, run.position)
            heard.wake()
