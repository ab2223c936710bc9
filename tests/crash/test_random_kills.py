"""Two workers under load, killed at moments that nobody chose. The seed is in the failure message's parameters."""

from __future__ import annotations

import asyncio
import random
import signal

import pytest
from temporalio.client import Client

from tests.crash.conftest import LEASE_SECONDS, MakeWorker, StartWorker
from tests.crash.customers import Customers
from tests.crash.evidence import Ledger, assert_owners_never_alternate
from tests.crash.processes import Worker

CUSTOMERS = 12


@pytest.mark.parametrize(
    ("seed", "kills"),
    [
        pytest.param(1, 12),
        pytest.param(2, 12),
        *[pytest.param(100 + n, 60, marks=[pytest.mark.nightly, pytest.mark.timeout(900)]) for n in range(6)],
    ],
)
@pytest.mark.timeout(150)
async def test_every_promise_holds_after_kills_at_random_moments(
    seed: int,
    kills: int,
    client: Client,
    survivor: MakeWorker,
    start_worker: StartWorker,
    ledger: Ledger,
    database: str,
) -> None:
    chance = random.Random(seed)
    workers = [start_worker(starts=2, name="first"), start_worker(starts=2, name="second")]
    customers = Customers(client, database, seed)
    customers.begin(CUSTOMERS)
    try:
        for _ in range(kills):
            await asyncio.to_thread(kill_one, chance.choice(workers), chance.uniform(0, 0.7))
        await customers.until_done(within=LEASE_SECONDS + 45)
        for worker in workers:
            await asyncio.to_thread(worker.terminate)
        assert len(customers.results) > kills, "hardly any workflow ran: this would prove nothing"
        async with survivor():
            await customers.finish(ledger.started())
        await customers.check(ledger)
        await asyncio.to_thread(assert_owners_never_alternate, database, deaths=kills + 2)
    finally:
        await customers.give_up()


def kill_one(worker: Worker, after_seconds: float) -> None:
    """Kill it a while after it began to work: at a moment that is nobody's choice."""
    worker.wait_for_line("worker ready")
    worker.lives_for(after_seconds)
    worker.kill()
    assert worker.wait() == -signal.SIGKILL
    worker.start()
