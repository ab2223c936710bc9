"""The program of the part ``operations``, on the engine without a disk: its answers are checked, its figures are there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

import dbos_compat
from benchmarks.contenders.operations import OPERATIONS, Bench, answer, check, worker_of
from benchmarks.load import expected, measure_window
from benchmarks.operation_workflows import Long
from benchmarks.operations import HISTORY, ROWS
from benchmarks.protocol import Job
from dbos_compat.connect import connect_store
from dbos_core.clock import SystemClock
from dbos_core.store.memory import MemoryStore

JOB = Job(
    mode="operations",
    url="memory",
    seconds=0.2,
    warmup_seconds=0.1,
    samples=10,
    activities=300,
    workflow_id="long-history",
)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    client = await connect_store(MemoryStore(SystemClock()))
    async with worker_of(client, sandboxed=False):
        yield client
    await dbos_compat.disconnect(client)


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name != HISTORY])
async def test_an_operation_gives_the_figures_of_its_rows(client: Client, name: str) -> None:
    figures = await OPERATIONS[name](Bench(client, JOB))
    assert set(figures) == {row.figure for row in ROWS if row.operation == name}
    assert all(value > 0 for value in figures.values())


async def test_the_long_history_stays_open_and_answers(client: Client) -> None:
    figures = await OPERATIONS[HISTORY](Bench(client, JOB))
    assert figures["activities_per_second"] > 0
    handle = client.get_workflow_handle(JOB.workflow_id, result_type=int)
    await answer(handle, JOB.activities)
    with pytest.raises(ValueError, match="progress: 300 instead of 301"):
        await answer(handle, JOB.activities + 1)
    await handle.signal(Long.finish)
    assert await handle.result() == sum(range(300)) + 300


async def test_samples_end_when_time_is_over_but_not_before_there_are_some(client: Client) -> None:
    calls: list[int] = []

    async def once(number: int) -> None:
        calls.append(number)

    bench = Bench(client, Job(mode="operations", url="memory", seconds=0.0))
    assert len(await bench.latencies_ms(once, 300)) == 5
    assert calls == [1, 2, 3, 4, 5, 6]  # one beforehand


def test_a_wrong_answer_is_no_number() -> None:
    with pytest.raises(ValueError, match="sender 3: \\[1, 0\\] instead of \\[0, 1\\]"):
        check("sender 3", [1, 0], [0, 1])


async def test_a_window_tells_its_marks_and_counts_what_failed() -> None:
    marks: list[str] = []

    async def execute(number: int) -> int:
        await asyncio.sleep(0.001)
        return expected(number) if number else -1

    found = await measure_window(execute, Job(mode="load", url="", seconds=0.05, warmup_seconds=0.01), marks.append)
    assert marks == ["window-open", "window-close"]
    assert found["completed"] > 0
    assert (found["failures"], found["first_failure"]) == (1, "ValueError: workflow 0 returned -1, not 2")
