"""SIGKILL at the places between which a promise could break. A worker dies there; another one goes on."""

from __future__ import annotations

import asyncio
import signal

import pytest
from temporalio.client import Client

from tests.crash.conftest import MakeWorker, StartWorker
from tests.crash.customers import Customers
from tests.crash.evidence import Ledger, assert_owners_never_alternate

# Where, and at which passings: the first, and one in the middle of things.
PLACES = {
    "writer.before_flush": (1, 7),
    "writer.after_flush": (1, 7),
    "live_run.after_activation": (1, 6),
    "activity.before_start": (1, 4),
    "activity.after_run": (1, 4),
    "activity.before_report": (1, 4),
    "timer.ring": (1,),
    "mail.received": (1, 3),
}
CASES = [(place, at) for place, passings in PLACES.items() for at in passings]
IN_CI = {(place, passings[-1]) for place, passings in PLACES.items()}


@pytest.mark.parametrize(
    ("place", "at"),
    [pytest.param(*case, marks=[] if case in IN_CI else pytest.mark.nightly) for case in CASES],
)
async def test_killed_there_and_nothing_is_lost(
    place: str, at: int, client: Client, survivor: MakeWorker, start_worker: StartWorker, ledger: Ledger, database: str
) -> None:
    victim = start_worker(failpoints=f"{place}=kill@{at}")
    await asyncio.to_thread(victim.wait_for_line, "worker ready")
    customers = Customers(client, database)
    begun = [
        asyncio.create_task(customer)
        for customer in (
            customers.pipeline(steps=4),
            customers.pipeline(steps=2),
            customers.bounded(1),
            customers.bounded(2),
            customers.post(),
        )
    ]
    status = await asyncio.to_thread(victim.wait, within=30)
    assert status == -signal.SIGKILL, f"the worker ended with {status}, not at {place}"
    async with survivor():
        await asyncio.wait_for(asyncio.gather(*begun), 40)
        await customers.check(ledger)
    await asyncio.to_thread(assert_owners_never_alternate, database, deaths=1)


async def test_killed_in_the_starting_commit_of_its_own_workflow(
    client: Client, survivor: MakeWorker, start_worker: StartWorker, ledger: Ledger, database: str
) -> None:
    """A start in the process that serves the queue: the first activation comes before the starting commit."""
    victim = start_worker(failpoints="writer.after_flush=kill@12", starts=6)
    assert await asyncio.to_thread(victim.wait, within=30) == -signal.SIGKILL
    assert ledger.started(), "no start was acknowledged before the kill: this would prove nothing"
    async with survivor():
        await Customers(client, database).finish(ledger.started())
        await Customers(client, database).check(ledger)
