"""Resets: under which run id the code of a run goes on, and under which it went before.

A reset makes a run with an id of its own, whose history begins with a copy of another one's. The worker that takes it up lets
the code go through the copy again and tells it the new id from its first line on; what stands in the copy was asked for by
code that was told the old one. Temporal does not mind, as its replay compares no inputs. Here inputs are compared, so a run
takes its tasks under the ids that it had: at each of its resets its code begins anew, under the id that it has from there on,
goes through what was before, and what it asks for there is known already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent, WorkflowExecutionStartedEventAttributes

from dbos_compat.bridge.guided import GuidedInterpreter, RecordedTask
from dbos_compat.convert.payloads import loads
from dbos_compat.workbench import WorkbenchRunner
from dbos_core.commit import RunRow
from dbos_core.runner import Decision, TaskFailure

__all__ = ["Lives", "run_id_of"]

_RESET = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW
_AGAIN_S = 0.05


def run_id_of(events: Iterable[HistoryEvent]) -> str:
    """The run that a history is of, by itself: the one that its last reset has made, or else the one that was started."""
    found = ""
    for event in events:
        if event.HasField("workflow_execution_started_event_attributes"):
            found = event.workflow_execution_started_event_attributes.original_execution_run_id
        elif event.HasField("workflow_task_failed_event_attributes"):
            failed = event.workflow_task_failed_event_attributes
            if failed.cause == _RESET and failed.new_run_id:
                found = failed.new_run_id
    return found


_lent: WeakKeyDictionary[WorkbenchRunner, dict[str, str]] = WeakKeyDictionary()
"""Of each runner: run id → the run whose code is told that it is this one. A worker knows its instances by these ids, and a
mirror may have a run and what became of it after a reset at the same time."""


class Lives:
    """The interpreters of one run, one after the other. A run that was never reset has one, and nothing is kept for it."""

    def __init__(
        self,
        runner: WorkbenchRunner,
        row: RunRow,
        inputs: str,
        started: WorkflowExecutionStartedEventAttributes,
        at: Timestamp,
    ) -> None:
        """
        Args:
            row: as the run began, under the id that it has at its end.
            at: when it began.
        """
        self._runner = runner
        self._row = row
        self._inputs = inputs
        self._started = started
        self._at = at
        self._interpreter: GuidedInterpreter | None = None
        self._told_id = started.original_execution_run_id or row.run_id
        """Which run the code is told that it is."""
        self._was_reset = self._told_id != row.run_id
        if self._was_reset:
            self._row = replace(row)  # the caller's goes on with the run
        self._taken: list[tuple[RecordedTask, list[str]]] = []
        """Of a run that was reset: each task, and the kinds of what it asked for."""

    def follow(self, told: RecordedTask) -> Decision | Awaitable[Decision]:
        """Take one recorded task."""
        if self._was_reset:
            return self._take(told)
        if self._interpreter is None:
            if not self._open(self._row):
                return self._later(told)
            assert self._interpreter is not None
        return self._interpreter.follow(told)

    def evict(self) -> Awaitable[None] | None:
        interpreter, self._interpreter = self._interpreter, None
        if interpreter is None:
            return None
        leaving = interpreter.evict()
        if leaving is not None:
            return self._leave(leaving)
        self._give_back()
        return None

    async def _leave(self, leaving: Awaitable[None]) -> None:
        try:
            await leaving
        finally:
            self._give_back()

    def _give_back(self) -> None:
        lent = _lent.get(self._runner, {})
        if lent.get(self._told_id) == self._row.run_id:
            del lent[self._told_id]

    def _open(self, row: RunRow) -> bool:
        """Begin, under the id that is told; False: another run has it now."""
        lent = _lent.setdefault(self._runner, {})
        if lent.setdefault(row.run_id, self._row.run_id) != self._row.run_id:
            return False
        self._interpreter = self._runner.follow(row, self._inputs, self._started)
        self._interpreter.begin(self._at)
        return True

    async def _later(self, told: RecordedTask) -> Decision:
        while not self._open(self._row):  # noqa: ASYNC110
            await asyncio.sleep(_AGAIN_S)
        return await self._one(told)

    # -- of a run that was reset -----------------------------------------------------------------------------------

    async def _take(self, told: RecordedTask) -> Decision:
        decision = None
        if self._interpreter is None or told.reseeds:
            decision = await self._begin(told.reseeds[-1] if told.reseeds else self._told_id)
        if decision is None:
            decision = await self._one(told)
            self._taken.append((told, _kinds(decision)))
        if decision.failure is not None and self._told_id != self._row.run_id:
            await self._end()  # nothing comes after that, and another run may wait for the id
        return decision

    async def _begin(self, run_id: str) -> Decision | None:
        """Begin anew under another id, and come to where it was; else the failure on the way."""
        await self._end()
        self._told_id = run_id
        while not self._open(replace(self._row, run_id=run_id)):  # noqa: ASYNC110
            await asyncio.sleep(_AGAIN_S)
        for told, kinds in self._taken:
            decision = await self._one(told)
            if decision.failure is not None:
                return decision
            if _kinds(decision) != kinds:
                message = f"Told after a reset that it is run {run_id}, the code asks for something else than before."
                return Decision(record=None, name="", failure=TaskFailure(message, "NON_DETERMINISTIC_ERROR"))
        return None

    async def _end(self) -> None:
        leaving = self.evict()
        if leaving is not None:
            await leaving

    async def _one(self, told: RecordedTask) -> Decision:
        assert self._interpreter is not None
        answer = self._interpreter.follow(told)
        return answer if isinstance(answer, Decision) else await answer


def _kinds(decision: Decision) -> list[str]:
    if decision.record is None:
        return []
    commands: list[dict[str, Any]] = loads(decision.record)["cmds"]
    return [command["k"] for command in commands]
