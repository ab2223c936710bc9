"""Handless: the core's kernel drives a run by itself, and can do nothing to the world.

What a run asks for is told to whoever conducts it, and of it the kernel only hears what concerns the run itself: what is
journalled, its timers, its end. No activity, child, signal or successor is ever known to the kernel, so nobody could carry
it out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from dbos_compat.bridge.guided import HintedInterpreter, RecordedTask
from dbos_compat.workbench import WorkbenchRunner
from dbos_core.activities.local import LocalLane
from dbos_core.commit import Entry, Mail, RunRow
from dbos_core.runner import Activation, Decision, Interpreter

__all__ = ["HandlessRunner"]


class HandlessRunner:
    """The kernel's runner for one run. What it decides is in ``decisions``, in order, until somebody takes it."""

    def __init__(self, runner: WorkbenchRunner, run_id: str, task_queue: str, began: Timestamp) -> None:
        """``began``: when the run started, to the nanosecond."""
        self.task_queue = task_queue
        self.identity = runner.identity
        self.max_cached = 1000
        self.local_lane: LocalLane | None = None
        self.decisions: list[Decision] = []
        self.hint: RecordedTask | None = None
        """The recorded task that is being told: what only a server could know is as it was there."""
        self._runner = runner
        self._run_id = run_id
        self._began = began

    def knows(self, workflow_type: str) -> bool:
        return self._runner.knows(workflow_type)

    def open(self, run: RunRow, inputs: str, native: Any = None) -> Interpreter:
        """The one run's interpreter, whose decisions are noted and muted."""
        assert run.run_id == self._run_id, (
            "nothing else can begin here: the kernel never hears of children or successors"
        )
        interpreter = self._runner.hinted(run, inputs, native)
        interpreter.begin(self._began)
        return _Handless(interpreter, self)

    def why_unreadable(self, message: Mail) -> str | None:
        """Stock tools send nothing here."""
        return None

    def prepare(self, run: RunRow, spec: Any) -> None:
        """No activity is ever started."""


class _Handless:
    def __init__(self, interpreter: HintedInterpreter, runner: HandlessRunner) -> None:
        self._interpreter = interpreter
        self._runner = runner

    async def activate(self, activation: Activation) -> Decision:
        self._interpreter.hint = self._runner.hint
        answer = self._interpreter.activate(activation)
        return self._noted(answer if isinstance(answer, Decision) else await answer)

    async def replay(self, entry: Entry) -> Decision:
        """The kernel has let go of the instance and rebuilds it: its decisions are known."""
        answer = self._interpreter.replay(entry)
        return _muted(answer if isinstance(answer, Decision) else await answer)

    async def query(self, payload: str) -> str:
        return await self._interpreter.query(payload)

    def evict(self) -> Awaitable[None] | None:
        return self._interpreter.evict()

    def _noted(self, decision: Decision) -> Decision:
        self._runner.decisions.append(decision)
        return decision if decision.failure is not None else _muted(decision)


def _muted(decision: Decision) -> Decision:
    """What the kernel may know."""
    close = decision.close
    if close is not None:
        close = dataclasses.replace(close, successor=None)
    return Decision(
        record=decision.record,
        name=decision.name,
        start_timers=decision.start_timers,
        cancel_timers=decision.cancel_timers,
        consumed_timers=decision.consumed_timers,
        memo=decision.memo,
        search_attributes=decision.search_attributes,
        close=close,
        history_length=decision.history_length,
        at_ms=decision.at_ms,
        failure=decision.failure,
    )
