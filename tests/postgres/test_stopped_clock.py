"""StoppedDatabase: the clock of a namespace in a test's hand."""

from __future__ import annotations

from dbos_core.store.base import ProcessInfo
from dbos_core.store.postgres.store import PostgresStore
from dbos_core.testing.stopped import StoppedDatabase

NOW_MS = 1_700_000_000_000
LEASE_MS = 10_000
DAY_MS = 86_400_000


def process(name: str) -> ProcessInfo:
    return ProcessInfo(process_id=name, identity=name, application_version="1", task_queues=("q",))


async def test_leases_go_with_the_clock_and_lapse_on_request(postgres_url: str) -> None:
    store = PostgresStore(postgres_url, namespace="stopped")
    await store.open()
    database = StoppedDatabase(store)
    try:
        await database.stop_at(NOW_MS)
        assert await store.now_ms() == NOW_MS
        for name in ("killed", "alive"):
            await store.register(process(name), LEASE_MS)
        await database.move_to(NOW_MS + DAY_MS)
        assert await store.now_ms() == NOW_MS + DAY_MS
        assert (await store.pulse(process("alive"), LEASE_MS)).alive, "a day has gone by, and nobody died of it"
        await database.expire(["alive"])
        assert not (await store.pulse(process("killed"), LEASE_MS)).alive
        assert (await store.pulse(process("alive"), LEASE_MS)).alive
        await database.expire([])
        await database.move_to(NOW_MS + 2 * DAY_MS)
        assert not (await store.pulse(process("alive"), LEASE_MS)).alive, "moving the clock brings nobody back"
    finally:
        await store.close()


async def test_the_namespace_can_be_dropped(postgres_url: str) -> None:
    store = PostgresStore(postgres_url, namespace="stopped")
    await store.open()
    await store.close()
    await StoppedDatabase(store).drop()
    again = PostgresStore(postgres_url, namespace="stopped")
    await again.open()
    assert await again.now_ms() > NOW_MS, "it is a new one, with a clock that goes"
    await again.close()
