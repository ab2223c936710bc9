"""The database dies under the load, or cuts connections in the middle of flushes; the processes live on."""

from __future__ import annotations

import asyncio
import random

import pytest
from temporalio.client import Client

from tests.crash.conftest import MakeWorker, StartWorker
from tests.crash.customers import Customers
from tests.crash.evidence import Ledger, assert_owners_never_alternate
from tests.fixtures.postgres import PostgresServer, PrivatePostgres
from tests.fixtures.waiting import eventually

CUSTOMERS = 8


async def ends_some(customers: Customers, count: int) -> None:
    """Some workflows end: the load is really running (again)."""
    target = len(customers.results) + count
    await eventually(lambda: len(customers.results) >= target, within=40, what=f"{count} more workflows end")


@pytest.mark.parametrize("restarts", [3, pytest.param(25, marks=[pytest.mark.nightly, pytest.mark.timeout(900)])])
@pytest.mark.timeout(180)
async def test_postgres_crashes_and_comes_back(
    restarts: int,
    private_postgres: PrivatePostgres,
    client: Client,
    survivor: MakeWorker,
    start_worker: StartWorker,
    ledger: Ledger,
    database: str,
) -> None:
    chance = random.Random(restarts)
    worker = start_worker(starts=2)
    await asyncio.to_thread(worker.wait_for_line, "worker ready")
    customers = Customers(client, database)
    customers.begin(CUSTOMERS)
    try:
        for _ in range(restarts):
            await ends_some(customers, chance.randrange(3, 12))
            await asyncio.to_thread(private_postgres.restart, "immediate")
        await ends_some(customers, 5)
        await customers.until_done(within=60)
        assert await asyncio.to_thread(worker.terminate) == 0, "the worker did not survive its database"
        async with survivor():
            await customers.finish(ledger.started())
        await customers.check(ledger)
    finally:
        await customers.give_up()
    # However long it took, nobody died: no run changed hands but those that the worker left when it ended.
    await asyncio.to_thread(assert_owners_never_alternate, database, deaths=1)


@pytest.mark.parametrize("cuts", [10, pytest.param(200, marks=[pytest.mark.nightly, pytest.mark.timeout(900)])])
@pytest.mark.timeout(150)
async def test_connections_are_cut_in_the_middle_of_flushes(
    cuts: int,
    postgres_server: PostgresServer,
    client: Client,
    survivor: MakeWorker,
    start_worker: StartWorker,
    ledger: Ledger,
    database: str,
) -> None:
    """In a worker process and in this one, whose client and worker share a kernel."""
    chance = random.Random(cuts)
    other = start_worker()
    await asyncio.to_thread(other.wait_for_line, "worker ready")
    customers = Customers(client, database)
    async with survivor():
        customers.begin(CUSTOMERS)
        try:
            for _ in range(cuts):
                await ends_some(customers, chance.randrange(1, 6))
                assert await asyncio.to_thread(postgres_server.kill_backends, database), "nobody was connected"
            await ends_some(customers, 5)
            await customers.until_done(within=60)
            assert await asyncio.to_thread(other.terminate) == 0
            await customers.check(ledger)
        finally:
            await customers.give_up()
