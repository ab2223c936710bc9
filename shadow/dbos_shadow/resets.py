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

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent, WorkflowExecutionStartedEventAttributes

from dbos_compat.bridge.guided import GuidedInterpreter, RecordedTask
from dbos_compat.convert.payloads import loads
from dbos_compat.private_workbench import left_in
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
        self._first_id = started.original_execution_run_id or row.run_id
        self._was_reset = self._first_id != row.run_id
        if self._was_reset:
            self._row = replace(row)  # the caller's goes on with the run
        self._taken: list[tuple[RecordedTask, list[str]]] = []
        """Of a run that was reset: each task, and the kinds of what it asked for."""

    def follow(self, told: RecordedTask) -> Decision | Awaitable[Decision]:
        """Take one recorded task."""
        if self._was_reset:
            return self._take(told)
        if self._interpreter is None:
            self._interpreter = self._opened(self._row)
        return self._interpreter.follow(told)

    def evict(self) -> Awaitable[None] | None:
        return None if self._interpreter is None else self._interpreter.evict()

    def _opened(self, row: RunRow) -> GuidedInterpreter:
        interpreter = self._runner.follow(row, self._inputs, self._started)
        interpreter.begin(self._at)
        return interpreter

    async def _take(self, told: RecordedTask) -> Decision:
        if self._interpreter is None or told.reseeds:
            failed = await self._begin(told.reseeds[-1] if told.reseeds else self._first_id)
            if failed is not None:
                return failed
        decision = await self._one(told)
        self._taken.append((told, _kinds(decision)))
        return decision

    async def _begin(self, run_id: str) -> Decision | None:
        """Begin anew under another id, and come to where it was; else the failure on the way."""
        leaving = self.evict()
        if leaving is not None:
            await leaving
        while run_id != self._row.run_id and run_id in left_in(self._runner.host):  # noqa: ASYNC110
            await asyncio.sleep(_AGAIN_S)  # a mirror may still have the run that was reset
        self._interpreter = self._opened(replace(self._row, run_id=run_id))
        for told, kinds in self._taken:
            decision = await self._one(told)
            if decision.failure is not None:
                return decision
            if _kinds(decision) != kinds:
                message = f"Told after a reset that it is run {run_id}, the code asks for something else than before."
                return Decision(record=None, name="", failure=TaskFailure(message, "NON_DETERMINISTIC_ERROR"))
        return None

    async def _one(self, told: RecordedTask) -> Decision:
        assert self._interpreter is not None
        answer = self._interpreter.follow(told)
        return answer if isinstance(answer, Decision) else await answer


def _kinds(decision: Decision) -> list[str]:
    if decision.record is None:
        return []
    commands: list[dict[str, Any]] = loads(decision.record)["cmds"]
    return [command["k"] for command in commands]
