"""How much at once: the SDK's tuner → numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dbos_compat.errors import Unsupported


@dataclass(slots=True, frozen=True)
class Slots:
    """Slots of one worker."""

    workflow_tasks: int
    activities: int
    local_activities: int

    @staticmethod
    def of(config: Any) -> Slots:
        """Read the bridge configuration. Raises Unsupported for a custom slot supplier."""
        return Slots(
            workflow_tasks=_slots(config.tuner.workflow_slot_supplier, config.task_queue),
            activities=_slots(config.tuner.activity_slot_supplier, config.task_queue),
            local_activities=_slots(config.tuner.local_activity_slot_supplier, config.task_queue),
        )


def _slots(supplier: Any, task_queue: str) -> int:
    fixed = getattr(supplier, "num_slots", None)
    if isinstance(fixed, int):
        return fixed
    # A resource-based supplier is honoured by its upper bound: the process does not measure itself.
    maximum = getattr(supplier, "maximum_slots", None)
    if isinstance(maximum, int):
        return maximum
    raise Unsupported("custom-slot-supplier", f"worker of task queue {task_queue!r}")
