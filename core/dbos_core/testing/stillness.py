"""Stillness: does a kernel on the memory store only wait for time, and for what time does it wait?"""

from __future__ import annotations

from dbos_core.activities.moves import State
from dbos_core.kernel import Kernel
from dbos_core.store.memory import MemoryStore

_WAITING = frozenset({State.BACKOFF, State.PAUSED, State.SPENT, State.CLOSED})
"""An activity in one of these has nobody who works on it, or who could."""


def activities_under_way(kernel: Kernel) -> int:
    """How many attempts run, are about to, or were left open to be completed from outside; local ones as well."""
    pending = kernel.activities.pending
    return sum(
        run.locals.under_way + sum(machine.state not in _WAITING for machine in pending(uuid))
        for uuid, run in kernel.live_runs.items()
    )


def task_under_way(kernel: Kernel, store: MemoryStore) -> bool:
    """Is some workflow task being worked on, or does one wait for a worker, or for its next try after a failure?"""
    if any(run.busy or run.failing is not None for run in kernel.live_runs.values()) or kernel.claims.arriving:
        return True
    tables, now_ms = store.tables, store.clock.now_ms()
    return tables.next_runnable(tables.queues, now_ms) is not None


def next_due_ms(store: MemoryStore) -> int | None:
    """When the store's next row is due that nobody in memory has a timer for: a run to begin or to wake, or to time out."""
    tables, now_ms = store.tables, store.clock.now_ms()
    wakes_in = tables.next_due_in(tables.queues, now_ms)
    dues = [] if wakes_in is None else [now_ms + wakes_in]
    dues += [
        run.row.deadline_ms
        for run in tables.runs.values()
        if run.open and run.row.owner is None and run.row.deadline_ms is not None
    ]
    return min(dues, default=None)
