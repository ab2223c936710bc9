"""Jobs about many runs: each held by one process, carried on by another when the lease of the first has lapsed."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from dbos_core.jobs import JobRow, JobState
from tests.store.support import HOUR, Process


def job(job_id: str = "clean-up", *, at: int = 1_700_000_000_000) -> JobRow:
    return JobRow(job_id=job_id, kind=13, order='{"reason": "why"}', start_ms=at)


async def test_a_job_is_there_once(ours, theirs):
    assert await ours.store.jobs.add(ours.id, job(), HOUR)
    assert not await theirs.store.jobs.add(theirs.id, job(at=1), HOUR)

    assert await theirs.store.jobs.one("clean-up") == job()
    assert await theirs.store.jobs.one("other") is None


async def test_progress_is_kept(ours, theirs):
    await ours.store.jobs.add(ours.id, job(), HOUR)
    noted = replace(job(), total=10, done=3, failed=1, position="[4]")

    assert await ours.store.jobs.save(ours.id, noted, HOUR)

    assert await theirs.store.jobs.one("clean-up") == noted


async def test_nobody_but_the_holder_notes_progress(ours, theirs):
    await ours.store.jobs.add(ours.id, job(), HOUR)

    assert not await theirs.store.jobs.save(theirs.id, replace(job(), done=9), HOUR)

    assert await ours.store.jobs.one("clean-up") == job()


async def test_a_held_job_is_not_taken(ours, theirs):
    await ours.store.jobs.add(ours.id, job(), HOUR)

    assert not (await theirs.pulse()).jobs
    assert await theirs.store.jobs.take(theirs.id, HOUR, 10) == []


async def test_a_job_whose_lease_lapsed_is_found_and_taken_with_its_progress(ours, theirs):
    await ours.store.jobs.add(ours.id, job(), HOUR)
    noted = replace(job(), total=10, done=3, position="[3]")
    await ours.store.jobs.save(ours.id, noted, 0)

    assert (await theirs.pulse()).jobs
    assert await theirs.store.jobs.take(theirs.id, HOUR, 10) == [noted]

    assert not (await theirs.pulse()).jobs
    assert not await ours.store.jobs.save(ours.id, replace(noted, done=4), HOUR)
    assert await theirs.store.jobs.save(theirs.id, replace(noted, done=5), HOUR)


async def test_processes_that_take_at_once_share_the_jobs(ours, theirs, store_factory):
    third = Process(await store_factory())
    for number in range(6):
        await ours.store.jobs.add(ours.id, job(f"job-{number}"), 0)

    taken = await asyncio.gather(theirs.store.jobs.take(theirs.id, HOUR, 4), third.store.jobs.take(third.id, HOUR, 4))

    ids = [found.job_id for jobs in taken for found in jobs]
    assert len(ids) == len(set(ids))
    rest = await theirs.store.jobs.take(theirs.id, HOUR, 10)
    assert {*ids, *(found.job_id for found in rest)} == {f"job-{number}" for number in range(6)}


async def test_a_released_job_is_free_at_once(ours, theirs):
    await ours.store.jobs.add(ours.id, job(), HOUR)

    await ours.store.jobs.release(ours.id)

    assert [found.job_id for found in await theirs.store.jobs.take(theirs.id, HOUR, 10)] == ["clean-up"]


async def test_the_end_is_written_once_and_ends_the_holding(ours, theirs):
    await ours.store.jobs.add(ours.id, job(), 0)
    done = replace(job(), state=JobState.COMPLETED, close_ms=1_700_000_000_009, total=2, done=2)

    assert await ours.store.jobs.save(ours.id, done, HOUR)

    assert not await ours.store.jobs.stop("clean-up", 1_700_000_000_010)
    assert await theirs.store.jobs.take(theirs.id, HOUR, 10) == []
    assert await theirs.store.jobs.one("clean-up") == done


async def test_a_stopped_job_is_failed_and_its_holder_hears_of_it(ours, theirs):
    await ours.store.jobs.add(ours.id, job(), HOUR)

    assert await theirs.store.jobs.stop("clean-up", 1_700_000_000_009)

    assert not await ours.store.jobs.save(ours.id, replace(job(), done=4), HOUR)
    stopped = await ours.store.jobs.one("clean-up")
    assert stopped is not None
    assert (stopped.state, stopped.close_ms, stopped.done) == (JobState.FAILED, 1_700_000_000_009, 0)
    assert not await theirs.store.jobs.stop("clean-up", 1_700_000_000_010)
    assert not await theirs.store.jobs.stop("unknown", 1_700_000_000_010)


async def test_jobs_are_listed_newest_first_page_by_page(ours):
    for number in range(5):
        await ours.store.jobs.add(ours.id, job(f"job-{number}", at=1_700_000_000_000 + number // 2), HOUR)

    first = await ours.store.jobs.page(2, None)
    second = await ours.store.jobs.page(2, (first[-1].start_ms, first[-1].job_id))
    third = await ours.store.jobs.page(2, (second[-1].start_ms, second[-1].job_id))

    ids = [found.job_id for found in first + second + third]
    assert ids == ["job-4", "job-3", "job-2", "job-1", "job-0"]
