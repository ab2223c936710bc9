"""A worker dies beside its local activities: what has no marker runs again, what has one never does."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from tests.crash.conftest import MakeWorker, StartWorker
from tests.crash.evidence import Ledger, assert_temporal_accepts_the_histories
from tests.crash.programs.workload import QUEUE, Near

STEPS = 6


@pytest.mark.parametrize(
    ("place", "at"),
    [
        ("local.before_start", 4),
        ("local.after_run", 4),
        ("writer.before_flush", 6),
        ("writer.after_flush", 6),
    ],
)
async def test_only_the_one_in_flight_may_run_again(
    place: str, at: int, client: Client, survivor: MakeWorker, start_worker: StartWorker, ledger: Ledger
) -> None:
    victim = start_worker(failpoints=f"{place}=kill@{at}")
    await asyncio.to_thread(victim.wait_for_line, "worker ready")
    handle = await client.start_workflow(Near.run, STEPS, id="near", task_queue=QUEUE)
    status = await asyncio.to_thread(victim.wait, within=30)
    assert status == -signal.SIGKILL, f"the worker ended with {status}, not at {place}"
    before = Counter(ran.activity_id for ran in ledger.ran("near"))
    history = await handle.fetch_history()
    markers = sum(event.event_type == EventType.EVENT_TYPE_MARKER_RECORDED for event in history.events)
    assert before, "nothing ran before the kill: this would prove nothing"
    async with survivor():
        assert await asyncio.wait_for(handle.result(), 40) == list(range(STEPS))
    runs = Counter(ran.activity_id for ran in ledger.ran("near"))
    assert len(runs) == STEPS + STEPS // 2
    assert runs.total() <= len(runs) + 1
    history = await handle.fetch_history()
    assert sum(event.event_type == EventType.EVENT_TYPE_MARKER_RECORDED for event in history.events) == STEPS
    assert markers < STEPS
    await assert_temporal_accepts_the_histories(client, ["near"])
