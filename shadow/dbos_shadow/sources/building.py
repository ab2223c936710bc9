"""A trace in the making: what both sources do to it as they read on."""

from __future__ import annotations

from typing import Any

from dbos_shadow.trace import Arrival, ArrivalKind, Incomplete, Outcome, Status, Step, StepKind, Trace


class Building:
    """Steps and arrivals so far. Arrivals are held back until a task shows them to the workflow."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._seen: list[Arrival] = []
        self._waiting: list[Arrival] = []
        self.activation = 0
        self.outcome = Outcome(status=Status.RUNNING)

    def arrive(self, kind: ArrivalKind, **fields: Any) -> None:
        """Something happened: the next task is going to show it."""
        self._waiting.append(self._arrival(kind, self.activation + 1, **fields))

    def task(self) -> None:
        """A task was completed: the workflow has seen what waited."""
        self.activation += 1
        self._seen += self._waiting
        self._waiting.clear()

    def arrived_with_task(self, kind: ArrivalKind, **fields: Any) -> None:
        """Something that is only recorded with the commands of the task that saw it."""
        self._seen.append(self._arrival(kind, self.activation, **fields))

    def _arrival(self, kind: ArrivalKind, activation: int, **fields: Any) -> Arrival:
        if (step := fields.get("step")) is not None and "name" not in fields and step < len(self.steps):
            fields["name"] = self.steps[step].name
        return Arrival(kind=kind, activation=activation, **fields)

    def ask(self, **fields: Any) -> int:
        """The workflow asked for something. The step's index."""
        self.steps.append(Step(activation=self.activation, **fields))
        return len(self.steps) - 1

    def child(self, workflow_id: str) -> int | None:
        """The youngest child of this id."""
        for index in range(len(self.steps) - 1, -1, -1):
            if self.steps[index].kind is StepKind.CHILD and self.steps[index].id == workflow_id:
                return index
        return None

    def trace(self, incomplete: Incomplete | None, **fields: Any) -> Trace:
        """What was read so far; ``fields``: of the run itself. How a run ends that is cut is unknown."""
        outcome = self.outcome
        if incomplete is not None and outcome.status is Status.RUNNING:
            outcome = Outcome(status=Status.UNKNOWN)
        return Trace(
            steps=tuple(self.steps), arrivals=tuple(self._seen), outcome=outcome, incomplete=incomplete, **fields
        )
