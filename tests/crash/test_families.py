"""SIGKILL between what one run decides and what others feel of it: each effect happens, and happens once."""

from __future__ import annotations

import asyncio
import signal

import psycopg
import pytest
from temporalio.client import Client, WorkflowExecutionStatus

from tests.crash.conftest import MakeWorker, StartWorker
from tests.crash.evidence import Ledger, assert_owners_never_alternate, assert_temporal_accepts_the_histories
from tests.crash.programs.workload import QUEUE, Household, Listener
from tests.fixtures.waiting import eventually


def outbox(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute("select workflow_uuid from dbos_compat.outbox")]


# A household has four errands: it starts two children and sends two signals.
PLACES = [
    pytest.param("errand.before", 1, id="before the first child is started", marks=pytest.mark.nightly),
    pytest.param("errand.before", 2, id="before a signal is sent", marks=pytest.mark.nightly),
    pytest.param("errand.before", 3, id="between the parent's commit and its child's start"),
    pytest.param("errand.after", 2, id="after a signal, before its sender knows"),
    pytest.param("errand.after", 3, id="after a child's start, before its parent knows"),
    pytest.param("aftermath.before", 1, id="between a child's end and its parent's hearing of it"),
    pytest.param("aftermath.before", 2, id="between the parent's end and its children's"),
    pytest.param("aftermath.child", 1, id="with the parent's policy in hand"),
    pytest.param("writer.after_flush", 6, id="somewhere in between", marks=pytest.mark.nightly),
]


@pytest.mark.parametrize(("place", "at"), PLACES)
async def test_killed_there_and_every_effect_happens_once(
    place: str, at: int, client: Client, survivor: MakeWorker, start_worker: StartWorker, ledger: Ledger, database: str
) -> None:
    listener = await client.start_workflow(Listener.run, id="house-listener", task_queue=QUEUE)
    victim = start_worker(failpoints=f"{place}=kill@{at}")
    await asyncio.to_thread(victim.wait_for_line, "worker ready")
    household = await client.start_workflow(Household.run, id="house", task_queue=QUEUE)
    status = await asyncio.to_thread(victim.wait, within=30)
    assert status == -signal.SIGKILL, f"the worker ended with {status}, not at {place}"

    async with survivor():
        assert await asyncio.wait_for(household.result(), 30) == [0, 1]
        sleeper = client.get_workflow_handle("house-sleeper")

        async def terminated() -> bool:
            return (await sleeper.describe()).status is WorkflowExecutionStatus.TERMINATED

        await eventually(terminated, within=20)
        await listener.signal(Listener.end)
        assert await asyncio.wait_for(listener.result(), 20) == [1, 2]
        await eventually(lambda: outbox(database) == [], what="nothing is left to tell")

    ids = ["house", "house-sleeper", "house-pipeline"]
    runs = [run.id async for run in client.list_workflows()]
    assert sorted(runs) == sorted([*ids, "house-listener"])
    await assert_temporal_accepts_the_histories(client, [*ids, "house-listener"])
    await asyncio.to_thread(assert_owners_never_alternate, database, deaths=1)
