"""An event loop that somebody blocks for longer than the lease: the process is alive, and nobody takes its runs over."""

from __future__ import annotations

import asyncio
import threading
import time

from dbos_core.kernel import Kernel
from dbos_core.store.postgres import PostgresStore
from tests.store.support import QUEUE, Process

LEASE_MS = 1_200


async def test_the_lease_of_a_blocked_process_holds(store: PostgresStore, ours: Process, postgres_url: str) -> None:
    registered, blocked = threading.Event(), threading.Event()
    answers: list[bool] = []
    ids: list[str] = []

    async def works() -> None:
        kernel = await Kernel.open(
            PostgresStore(postgres_url), identity="blocked", application_version="1", lease_ms=LEASE_MS
        )
        await kernel.claims.registered()
        ids.append(kernel.process_id)
        registered.set()
        time.sleep(3 * LEASE_MS / 1000)  # what an activity does that is async by name alone
        blocked.set()
        answers.append(kernel.claims.sure())
        answers.append((await kernel.store.pulse(kernel.process, LEASE_MS)).alive)
        await kernel.close()

    worker = threading.Thread(target=lambda: asyncio.run(works()))
    worker.start()
    try:
        assert await asyncio.to_thread(registered.wait, 20)
        while not blocked.is_set():
            until = await store.database.value(
                "a lease", "select lease_until_ms - {own}.now_ms() from {own}.processes where process_id = $1", ids[0]
            )
            assert until > 0 or blocked.is_set()
            assert await ours.store.take_over(ours.id, ids, [QUEUE], 10) == []
            await asyncio.sleep(0.05)
    finally:
        await asyncio.to_thread(worker.join, 20)
    assert answers == [True, True]
