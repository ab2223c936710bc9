"""Two processes want the same runs: each run has one owner at a time, and a dead owner is followed within its lease."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from temporalio.client import Client

from tests.crash.conftest import LEASE_SECONDS, StartWorker
from tests.crash.evidence import (
    Ledger,
    assert_all_completed,
    assert_no_step_ran_after_its_completion_was_journalled,
    assert_owners_never_alternate,
    journal,
)
from tests.crash.programs.workload import QUEUE, Pipeline
from tests.fixtures.waiting import eventually

RUNS = 60
TAKE_OVER_SECONDS = 3.0
"""What a take-over may take on top of the lease: the next pulse, loading and replaying, on a busy machine."""


async def start(client: Client, count: int, *, steps: int, seconds: float) -> list[str]:
    ids = [f"run-{n}" for n in range(count)]
    await asyncio.gather(
        *(client.start_workflow(Pipeline.run, args=[steps, seconds], id=one, task_queue=QUEUE) for one in ids)
    )
    return ids


async def all_end(client: Client, ids: list[str], *, within: float) -> None:
    async with asyncio.timeout(within):
        await asyncio.gather(*(client.get_workflow_handle(one).result() for one in ids))


async def test_two_processes_claim_the_same_waiting_runs_at_once(
    client: Client, start_worker: StartWorker, ledger: Ledger, database: str
) -> None:
    ids = await start(client, RUNS, steps=2, seconds=0.01)
    workers = [start_worker(name="first"), start_worker(name="second")]
    await all_end(client, ids, within=40)
    await assert_all_completed(client, ids)
    executions = Counter((ran.workflow_id, ran.activity_id) for ran in ledger.ran())
    assert executions == {(one, str(seq)): 1 for one in ids for seq in (1, 2)}, "nobody died, and a step ran twice"
    await asyncio.to_thread(assert_owners_never_alternate, database, deaths=0)
    for worker in workers:
        assert await asyncio.to_thread(worker.terminate) == 0


async def test_runs_of_a_dead_process_go_on_elsewhere_within_its_lease_and_seconds(
    client: Client, start_worker: StartWorker, ledger: Ledger, database: str
) -> None:
    victim = start_worker(name="victim")
    await asyncio.to_thread(victim.wait_for_line, "worker ready")
    ids = await start(client, 10, steps=20, seconds=0.1)
    await eventually(
        lambda: {ran.workflow_id for ran in ledger.ran()} == set(ids), what="the victim works on all of them"
    )
    heir = start_worker(name="heir")
    await asyncio.to_thread(heir.wait_for_line, "worker ready")
    victim.kill()
    died = time.time()

    def followed() -> bool:
        return {ran.workflow_id for ran in ledger.ran() if ran.pid == heir.pid} == set(ids)

    await eventually(followed, within=LEASE_SECONDS + TAKE_OVER_SECONDS, what="the heir works on all of them")
    first = min(ran.at for ran in ledger.ran() if ran.pid == heir.pid)
    print(f"the first run went on {first - died:.2f} s after the kill; the lease is {LEASE_SECONDS} s")
    await all_end(client, ids, within=40)
    await asyncio.to_thread(assert_no_step_ran_after_its_completion_was_journalled, ledger, database)
    await asyncio.to_thread(assert_owners_never_alternate, database, deaths=1)


async def test_a_clean_shutdown_hands_over_without_waiting_for_the_lease(
    client: Client, start_worker: StartWorker, ledger: Ledger, database: str
) -> None:
    leaving = start_worker(name="leaving")
    await asyncio.to_thread(leaving.wait_for_line, "worker ready")
    ids = await start(client, 5, steps=20, seconds=0.1)
    await eventually(lambda: {ran.workflow_id for ran in ledger.ran()} == set(ids))
    heir = start_worker(name="heir")
    await asyncio.to_thread(heir.wait_for_line, "worker ready")
    assert await asyncio.to_thread(leaving.terminate) == 0
    left = time.time()
    await all_end(client, ids, within=40)
    entries = (await asyncio.to_thread(journal, database)).values()
    first = min(entry.written_ms for run in entries for entry in run if entry.by.startswith(f"{heir.pid}@"))
    assert first / 1000 < left + LEASE_SECONDS / 2, "the heir waited for a lease that had been given back"
    # It finished the attempts that it had begun, so nothing ran twice.
    assert max(Counter((ran.workflow_id, ran.activity_id) for ran in ledger.ran()).values()) == 1
