"""Options of a worker that Temporal's core refuses when the worker is made: its exception types, its words, its order.

A worker beyond the bounds must not begin: it would fail where nobody expects it, or never end.
"""

from __future__ import annotations

import math
import sys
import weakref
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

_POLLERS = ("workflow_task_poller_behavior", "activity_task_poller_behavior", "nexus_task_poller_behavior")
_SUPPLIERS = ("workflow_slot_supplier", "activity_slot_supplier", "local_activity_slot_supplier", "nexus_slot_supplier")
_KINDS = ("enable_workflows", "enable_local_activities", "enable_remote_activities", "enable_nexus")


def check_options(config: Any) -> None:
    """Raises TypeError for a number that cannot be one of theirs, ValueError for what makes no worker."""
    _unsigned(config.max_cached_workflows, "WorkerConfig.max_cached_workflows")
    for name in _SUPPLIERS:
        slots = getattr(getattr(config.tuner, name, None), "num_slots", 0)
        _unsigned(slots, "WorkerConfig.tuner", f"TunerHolder.{name}", "FixedSizeSlotSupplier.num_slots")
    for name in _POLLERS:
        polls = getattr(getattr(config, name, None), "simple_maximum", 0)
        _unsigned(polls, f"WorkerConfig.{name}", "PollerBehaviorSimpleMaximum.simple_maximum")
    for wrong in _wrong(config):
        raise ValueError(f"Invalid worker config: {wrong}")


def _unsigned(number: Any, *path: str) -> None:
    if not isinstance(number, int) or number >= 0:
        return
    error: Exception = OverflowError("can't convert negative int to unsigned")
    for field in reversed(path):
        outer = TypeError(f"failed to extract field {field}")
        outer.__cause__ = error
        error = outer
    raise error


def _wrong(config: Any) -> Iterator[str]:
    for name in _POLLERS:
        if (behaviour := getattr(config, name, None)) is not None:
            yield from _wrong_polls(behaviour)
    rate = config.max_activities_per_second
    if rate is not None and not (math.isfinite(rate) and rate >= sys.float_info.min):
        yield "`max_worker_activities_per_second` must be positive and nonzero"
    polls = getattr(config.workflow_task_poller_behavior, "simple_maximum", None)
    if config.max_cached_workflows > 0 and polls is not None and polls < 2:
        yield "`max_cached_workflows` > 0 requires `workflow_task_poller_behavior` to be at least 2"


def _wrong_polls(behaviour: Any) -> Iterator[str]:
    most = getattr(behaviour, "simple_maximum", None)
    if most is not None:
        if most < 1:
            yield "SimpleMaximum poller behavior must be at least 1"
        return
    if behaviour.minimum < 1:
        yield "Autoscaling minimum poller behavior must be at least 1"
    if behaviour.maximum < behaviour.minimum:
        yield "Autoscaling maximum must be greater than or equal to minimum"
    if not behaviour.minimum <= behaviour.initial <= behaviour.maximum:
        yield "Autoscaling initial must be between minimum and maximum"


class Registered:
    """A worker's place among those of its connection: no two may do the same for one task queue.

    It holds from the worker's making until it is told to shut down, or nobody has it any more.
    """

    __slots__ = ("__weakref__", "_beside", "_build_id", "_key", "_kinds", "_queue")

    def __init__(self, config: Any, beside: weakref.WeakSet[Registered]) -> None:
        """Raises RuntimeError if another worker of this connection is in the way."""
        self._key = uuid4()
        self._queue: str = config.task_queue
        self._kinds = tuple([bool(getattr(config.task_types, kind)) for kind in _KINDS])
        version = getattr(config.versioning_strategy, "version", None)
        self._build_id: str | None = None if version is None else version.build_id
        self._beside = beside
        for other in beside:
            if other._overlaps(self):
                raise RuntimeError(
                    "Failed creating worker\n\nCaused by:\n    Registration of multiple workers with overlapping worker "
                    "task types on the same namespace, task queue, and deployment build ID not allowed: "
                    f'SlotKey {{ namespace: "{config.namespace}", task_queue: "{self._queue}" }}, '
                    f"worker_instance_key: {_shown(other._kinds)} build_id: {_some(self._build_id)}, "
                    f"new task types: {_shown(self._kinds)}, existing task types: {other._key}."
                )
        beside.add(self)

    def _overlaps(self, other: Registered) -> bool:
        return (self._queue, self._build_id) == (other._queue, other._build_id) and any(
            mine and theirs for mine, theirs in zip(self._kinds, other._kinds, strict=True)
        )

    def leave(self) -> None:
        self._beside.discard(self)


def _shown(kinds: tuple[bool, ...]) -> str:
    fields = ", ".join([f"{name}: {str(on).lower()}" for name, on in zip(_KINDS, kinds, strict=True)])
    return f"WorkerTaskTypes {{ {fields} }}"


def _some(text: str | None) -> str:
    return "None" if text is None else f'Some("{text}")'
