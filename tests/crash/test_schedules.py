"""A schedule whose process is killed anywhere in a tick, or that two processes fire: each time comes exactly once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleBackfill,
    ScheduleDescription,
    ScheduleHandle,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
)

import dbos_compat
from tests.crash.conftest import MakeWorker, StartWorker
from tests.crash.programs.workload import QUEUE

TICK = timedelta(seconds=1)
PLACES = ["schedule.taken", "schedule.decided", "schedule.started", "schedule.told"]


def ticking(overlap: ScheduleOverlapPolicy, *, run_s: float = 0.01, **state: bool) -> Schedule:
    return Schedule(
        action=ScheduleActionStartWorkflow("Pipeline", args=[1, run_s], id="tick", task_queue=QUEUE),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=TICK)]),
        policy=SchedulePolicy(overlap=overlap),
        state=ScheduleState(**state),  # type: ignore[arg-type]
    )


@contextlib.asynccontextmanager
async def visitor(database: str) -> AsyncIterator[Client]:
    """Somebody who changes a schedule and leaves: who stays would fire it too."""
    client = await dbos_compat.connect(database, identity="visitor")
    try:
        yield client
    finally:
        await dbos_compat.disconnect(client)


async def until(handle: ScheduleHandle, actions: int, *, within_s: float = 40) -> ScheduleDescription:
    async with asyncio.timeout(within_s):
        while (described := await handle.describe()).info.num_actions < actions:
            await asyncio.sleep(0.05)
    return described


async def times(client: Client) -> list[datetime]:
    """The second of each run that was started, in order."""
    found = [datetime.fromisoformat(run.id.removeprefix("tick-")) async for run in client.list_workflows()]
    return sorted(found)


async def assert_each_time_once(client: Client, handle: ScheduleHandle) -> None:
    described = await handle.describe()
    found = await times(client)
    assert found == [found[0] + number * TICK for number in range(len(found))], "a time is missing, or came twice"
    assert described.info.num_actions == len(found)


@pytest.mark.parametrize("place", PLACES)
async def test_killed_in_a_tick(
    place: str, client: Client, survivor: MakeWorker, start_worker: StartWorker, database: str
) -> None:
    """The survivor's worker begins only after the kill, so that the tick is left to the victim."""
    victim = start_worker(failpoints=f"{place}=kill@3")
    await asyncio.to_thread(victim.wait_for_line, "worker ready")
    async with visitor(database) as somebody:
        await somebody.create_schedule("ticking", ticking(ScheduleOverlapPolicy.ALLOW_ALL))
    handle = client.get_schedule_handle("ticking")
    assert await asyncio.to_thread(victim.wait, within=30) == -signal.SIGKILL
    before = (await handle.describe()).info.num_actions
    async with survivor():
        await until(handle, before + 8)
        await handle.pause()
        await assert_each_time_once(client, handle)


@pytest.mark.parametrize("place", PLACES)
async def test_killed_between_runs_that_wait_for_each_other(
    place: str, client: Client, survivor: MakeWorker, start_worker: StartWorker, database: str
) -> None:
    """Twelve times of the past, one run after the other: a kill in the middle neither skips nor repeats one."""
    victim = start_worker(failpoints=f"{place}=kill@4")
    await asyncio.to_thread(victim.wait_for_line, "worker ready")
    begin = datetime(2020, 1, 20, 5, tzinfo=UTC)
    past = ScheduleBackfill(start_at=begin, end_at=begin + 11 * TICK, overlap=ScheduleOverlapPolicy.BUFFER_ALL)
    async with visitor(database) as somebody:
        await somebody.create_schedule(
            "ticking", ticking(ScheduleOverlapPolicy.BUFFER_ALL, run_s=0.2, paused=True), backfill=[past]
        )
    handle = client.get_schedule_handle("ticking")
    assert await asyncio.to_thread(victim.wait, within=30) == -signal.SIGKILL
    assert (await handle.describe()).info.num_actions < 12
    async with survivor():
        await until(handle, 12)
        await assert_each_time_once(client, handle)
        assert await times(client) == [begin + number * TICK for number in range(12)]
        runs = [run async for run in client.list_workflows()]
        assert len({run.run_id for run in runs}) == 12


async def test_two_processes_fire_each_time_once(
    client: Client, survivor: MakeWorker, start_worker: StartWorker
) -> None:
    other = start_worker(name="other")
    await asyncio.to_thread(other.wait_for_line, "worker ready")
    async with survivor():
        handle = await client.create_schedule("ticking", ticking(ScheduleOverlapPolicy.ALLOW_ALL))
        await until(handle, 8)
        await asyncio.to_thread(other.kill)
        await until(handle, 12)
        await handle.pause()
        await assert_each_time_once(client, handle)


async def test_a_process_that_was_away_does_not_fire_again_when_it_comes_back(
    client: Client, survivor: MakeWorker, start_worker: StartWorker, database: str
) -> None:
    """Frozen in the middle of a tick, while another process goes on; then thawed."""
    frozen = start_worker(failpoints="schedule.decided=stop@2")
    await asyncio.to_thread(frozen.wait_for_line, "worker ready")
    async with visitor(database) as somebody:
        await somebody.create_schedule("ticking", ticking(ScheduleOverlapPolicy.ALLOW_ALL))
    handle = client.get_schedule_handle("ticking")
    await until(handle, 1)
    async with survivor():
        await until(handle, 8)
        frozen.thaw()
        await until(handle, 12)
        await handle.pause()
        await assert_each_time_once(client, handle)
