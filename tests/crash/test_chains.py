"""SIGKILL around the end of a run that another one follows: an id never has no current run, nor two."""

from __future__ import annotations

import asyncio
import json
import signal
from datetime import timedelta

import psycopg
import pytest
from temporalio.client import Client
from temporalio.common import RetryPolicy

from tests.crash.conftest import MakeWorker, StartWorker
from tests.crash.evidence import Ledger, assert_owners_never_alternate, assert_temporal_accepts_the_histories
from tests.crash.programs.workload import QUEUE, Relay

LEGS = 4
"""And two of them take two attempts: seven runs."""
RUNS = LEGS + 1 + 2

PLACES = [
    pytest.param("writer.before_flush", 4, id="before the first end", marks=pytest.mark.nightly),
    pytest.param("writer.before_flush", 9, id="before an end"),
    pytest.param("writer.after_flush", 3, id="after the first end", marks=pytest.mark.nightly),
    pytest.param("writer.after_flush", 8, id="after an end"),
    pytest.param("successor.committed", 1, id="between the first end and the next beginning"),
    pytest.param("successor.committed", 4, id="between an end and the next beginning"),
    pytest.param(
        "live_run.after_activation", 7, id="between what a run decides and its commit", marks=pytest.mark.nightly
    ),
]


def chains(url: str) -> dict[str, list[tuple[str, str, int, bool, str | None]]]:
    """Runs by workflow id, oldest first: key, run id, status, whether it is the current one, and who follows."""
    found: dict[str, list[tuple[str, str, int, bool, str | None]]] = {}
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "select workflow_id, workflow_uuid, run_id, status, is_current, close from dbos_compat.runs order by start_ms"
        )
        for workflow_id, uuid, run_id, status, current, close in rows:
            follows = json.loads(close).get("new_run_id") if close else None
            found.setdefault(workflow_id, []).append((uuid, run_id, status, current, follows))
    return found


def assert_chains_hold(url: str) -> None:
    for workflow_id, runs in chains(url).items():
        assert sum(current for *_, current, _ in runs) == 1, f"{workflow_id} has not one current run: {runs}"
        assert sum(status == 1 for _, _, status, _, _ in runs) <= 1, f"{workflow_id} has two open runs: {runs}"
        ids = {run_id for _, run_id, *_ in runs}
        followed = [follows for *_, follows in runs if follows]
        assert len(set(followed)) == len(followed) == len(runs) - 1, f"{workflow_id}: no chain: {runs}"
        assert set(followed) < ids
        for uuid, run_id, status, current, follows in runs:
            assert current == (follows is None), f"{workflow_id}: {uuid} ({run_id}, status {status}) follows {follows}"


@pytest.mark.parametrize(("place", "at"), PLACES)
async def test_killed_there_and_the_chain_goes_on(
    place: str, at: int, client: Client, survivor: MakeWorker, start_worker: StartWorker, ledger: Ledger, database: str
) -> None:
    victim = start_worker(failpoints=f"{place}=kill@{at}")
    await asyncio.to_thread(victim.wait_for_line, "worker ready")
    handle = await client.start_workflow(
        Relay.run,
        args=[LEGS, []],
        id="relay",
        task_queue=QUEUE,
        retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=20), maximum_attempts=2),
    )
    sent = 0
    while victim.running:
        await handle.signal(Relay.hear, sent)
        sent += 1
        await asyncio.sleep(0.02)
    status = await asyncio.to_thread(victim.wait, within=30)
    assert status == -signal.SIGKILL, f"the worker ended with {status}, not at {place}"
    await asyncio.to_thread(assert_chains_hold, database)
    async with survivor():
        heard = await asyncio.wait_for(handle.result(), 40)
    await asyncio.to_thread(assert_chains_hold, database)
    assert len((await asyncio.to_thread(chains, database))["relay"]) == RUNS
    assert heard == sorted(set(heard)), f"twice or out of order: {heard}"
    assert set(heard) <= set(range(sent))
    await assert_temporal_accepts_the_histories(client, ["relay"])
    await asyncio.to_thread(assert_owners_never_alternate, database, deaths=1)
