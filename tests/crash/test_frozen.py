"""SIGSTOP for longer than the lease: others take over, and whoever wakes up must not be able to write."""

from __future__ import annotations

import asyncio
import time

import pytest
from temporalio.client import Client

from tests.crash.conftest import MakeWorker, StartWorker
from tests.crash.customers import Customers
from tests.crash.evidence import Ledger, Woken, assert_owners_never_alternate, journal, open_runs
from tests.fixtures.waiting import eventually


@pytest.mark.parametrize(
    "place",
    [
        # It decided, and had not written; others decided the same and more.
        "writer.before_flush=stop@9",
        # It was told that its commit is through, and did not act on it yet.
        "writer.after_flush=stop@9",
        # An activity has its result and did not report it yet; it runs a second time elsewhere.
        "activity.before_report=stop@3",
        "activity.before_start=stop@3",
        "live_run.after_activation=stop@8",
        *(
            pytest.param(f"{name}=stop@{at}", marks=pytest.mark.nightly)
            for name in ("writer.before_flush", "writer.after_flush", "live_run.after_activation", "activity.after_run")
            for at in (2, 4, 6, 12, 16, 24)
        ),
    ],
)
async def test_who_sleeps_longer_than_its_lease_wakes_up_without_its_runs(
    place: str, client: Client, survivor: MakeWorker, start_worker: StartWorker, ledger: Ledger, database: str
) -> None:
    sleeper = start_worker(failpoints=place, name="sleeper")
    await asyncio.to_thread(sleeper.wait_for_line, "worker ready")
    customers = Customers(client, database)
    begun = [
        asyncio.create_task(customer)
        for customer in (
            # long enough to be still on the way when the sleeper wakes up
            customers.pipeline(steps=30, seconds=0.1),
            customers.pipeline(steps=4),
            customers.bounded(1),
            customers.bounded(3),
            customers.post(numbers=12, pause=0.2),
        )
    ]
    await eventually(lambda: is_stopped(sleeper.pid), within=30, what=f"the process stands still at {place}")
    async with survivor():

        def taken_over() -> bool:
            """The survivor has written to every run that is still open."""
            entries = journal(database)
            return all(entries[run] and entries[run][-1].by == "survivor" for run in open_runs(database))

        await eventually(taken_over, within=20)
        assert not all(task.done() for task in begun), "nothing is left to fight over"
        before = {run: len(entries) for run, entries in journal(database).items()}
        woken = Woken(sleeper.pid, time.time())
        sleeper.thaw()
        await asyncio.wait_for(asyncio.gather(*begun), 40)
        await customers.check(ledger, woken=woken)
    for run, entries in (await asyncio.to_thread(journal, database)).items():
        intruders = [entry for entry in entries[before.get(run, 0) :] if entry.by != "survivor"]
        assert not intruders, f"{run}: the sleeper wrote after it had been thought dead: {intruders}"
    await asyncio.to_thread(assert_owners_never_alternate, database, deaths=1)
    # It is none the worse for its sleep, and may work on.
    assert await asyncio.to_thread(sleeper.terminate) == 0


async def test_a_worker_that_slept_takes_new_work_again(
    client: Client, start_worker: StartWorker, ledger: Ledger, database: str
) -> None:
    sleeper = start_worker(failpoints="activity.before_report=stop@1", name="sleeper")
    await asyncio.to_thread(sleeper.wait_for_line, "worker ready")
    customers = Customers(client, database)
    first = asyncio.create_task(customers.pipeline())
    await eventually(lambda: is_stopped(sleeper.pid), within=30)
    other = start_worker(name="other")
    await asyncio.wait_for(first, 30)
    await asyncio.to_thread(other.terminate)
    sleeper.thaw()
    await asyncio.wait_for(customers.pipeline(), 20)
    assert ledger.ran("pipeline-1")
    assert {ran.pid for ran in ledger.ran("pipeline-1")} == {sleeper.pid}


def is_stopped(pid: int) -> bool:
    """Whether the process stands still (its state in ``ps`` is T)."""
    import psutil

    return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
