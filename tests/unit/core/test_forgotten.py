"""A kernel that was killed in a process that lives on: nothing of it runs, and nothing of it waits for the collector."""

from __future__ import annotations

import asyncio
import gc
import weakref

from dbos_core.kernel import Kernel
from dbos_core.store.memory import MemoryStore
from dbos_core.testing import SeededEntropy, VirtualClock


async def test_it_is_gone_at_once() -> None:
    clock = VirtualClock()
    kernel = await Kernel.open(
        MemoryStore(clock), identity="somebody", application_version="1", clock=clock, entropy=SeededEntropy(1)
    )
    loops = [task for task in asyncio.all_tasks() if task.get_name().startswith("dbos_core")]
    assert loops
    parts = [weakref.ref(part) for part in (kernel.parking, kernel.updates, kernel.turns)]
    gc.disable()
    try:
        kernel.forget()
        assert [part() for part in parts] == [None] * len(parts)
    finally:
        gc.enable()
    await asyncio.wait(loops, timeout=5)
    assert all(task.done() for task in loops)
