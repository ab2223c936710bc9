"""Claim, release and parking: an unowned run that is due belongs to whoever takes it first."""

from __future__ import annotations

import asyncio

from dbos_core.commit import Commit, Verdict
from dbos_core.store.base import WakeKind
from tests.store.support import HOUR, QUEUE, Process, entry


async def test_a_claimed_run_is_owned_and_may_be_written(ours, theirs):
    await ours.start("order-42", claimed=False)

    assert await theirs.claim() == ["order-42"]

    assert (await ours.row("order-42")).owner == theirs.id
    assert await theirs.commit(Commit(workflow_uuid="order-42", entry=entry(1))) is Verdict.COMMITTED


async def test_a_claimed_run_is_claimed_once(ours, theirs):
    await ours.start("order-42", claimed=False)

    assert await theirs.claim() == ["order-42"]
    assert await ours.claim() == []
    assert await theirs.claim() == []


async def test_only_runs_of_the_queues_asked_for_are_claimed(ours, store):
    await ours.start("here", claimed=False)
    await ours.start("there", claimed=False, task_queue="mail")
    both = Process(store, QUEUE, "mail")

    assert await ours.claim() == ["here"]
    assert await both.claim() == ["there"]


async def test_no_queues_claim_nothing(ours):
    await ours.start("order-42", claimed=False)

    assert await ours.store.claim(ours.id, [], 10) == []


async def test_the_oldest_runs_are_claimed_first_and_no_more_than_the_limit(ours, theirs):
    now = await ours.store.now_ms()
    for age in (3, 1, 5, 2, 4):
        at = now - age * 1000
        await ours.start(f"age-{age}", claimed=False, start_ms=at, execution_ms=at)

    assert await theirs.claim(limit=2) == ["age-5", "age-4"]
    assert await theirs.claim(limit=2) == ["age-3", "age-2"]
    assert await theirs.claim(limit=2) == ["age-1"]


async def test_processes_that_claim_at_once_share_the_runs(ours, theirs, store_factory):
    third = Process(await store_factory())
    names = {f"run-{n}" for n in range(60)}
    for name in names:
        await ours.start(name, claimed=False)

    shares = await asyncio.gather(*(process.claim(limit=30) for process in (ours, theirs, third) for _ in range(2)))

    claimed = [name for share in shares for name in share]
    assert len(claimed) == len(set(claimed)), "a run was claimed twice"
    claimed += await third.claim()
    assert set(claimed) == names


async def test_closed_runs_are_not_claimed(ours, theirs):
    await ours.start("order-42")
    await ours.finish("order-42")

    assert await theirs.claim() == []
    assert await theirs.store.claim_one(theirs.id, "order-42") is False


async def test_one_named_run_is_claimed_if_it_is_open_and_unowned(ours, theirs):
    await ours.start("free", claimed=False)
    await ours.start("owned")

    assert await theirs.store.claim_one(theirs.id, "free") is True
    assert (await ours.row("free")).owner == theirs.id
    assert await theirs.store.claim_one(theirs.id, "owned") is False
    assert (await ours.row("owned")).owner == ours.id
    assert await theirs.store.claim_one(theirs.id, "nothing") is False


async def test_one_named_run_is_claimed_whenever_it_is_due(ours, theirs):
    await ours.start("order-42")
    await ours.park("order-42")

    assert await theirs.store.claim_one(theirs.id, "order-42") is True


async def test_of_two_processes_that_want_one_run_one_gets_it(ours, theirs):
    await ours.start("order-42", claimed=False)

    answers = await asyncio.gather(*(process.store.claim_one(process.id, "order-42") for process in (ours, theirs)))

    assert sorted(answers) == [False, True]


async def test_a_parked_run_is_nobodys_until_its_time(ours, theirs):
    now = await ours.store.now_ms()
    await ours.start("order-42")

    assert await ours.park("order-42", now + HOUR) is Verdict.COMMITTED

    row = await ours.row("order-42")
    assert (row.owner, row.wake_at_ms) == (None, now + HOUR)
    assert await theirs.claim() == []
    assert await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2))) is Verdict.CLAIM_LOST


async def test_a_parked_run_is_claimed_when_its_time_has_come(ours, theirs):
    await ours.start("order-42")
    await ours.park("order-42", await ours.store.now_ms() - 1)

    assert await theirs.claim() == ["order-42"]
    assert await theirs.commit(Commit(workflow_uuid="order-42", entry=entry(2))) is Verdict.COMMITTED


async def test_a_run_parked_for_ever_is_not_claimed(ours, theirs):
    await ours.start("order-42")
    await ours.park("order-42")

    assert (await ours.row("order-42")).wake_at_ms is None
    assert await theirs.claim() == []
    assert not (await theirs.pulse()).runnable


async def test_a_run_may_be_parked_together_with_its_last_entry(ours):
    await ours.start("order-42")

    step = Commit(workflow_uuid="order-42", entry=entry(2), park_until_ms=await ours.store.now_ms() + HOUR)

    assert await ours.commit(step) is Verdict.COMMITTED
    assert len(await ours.journal("order-42")) == 2
    assert (await ours.row("order-42")).owner is None


async def test_a_released_run_is_runnable_now(ours, theirs):
    await ours.start("mine")
    await ours.start("mine-too")

    await ours.store.release(ours.id, ["mine", "mine-too", "nothing"])

    assert sorted(await theirs.claim()) == ["mine", "mine-too"]
    assert await ours.commit(Commit(workflow_uuid="mine", entry=entry(2))) is Verdict.CLAIM_LOST


async def test_a_released_run_wakes_its_queue(ours, ear):
    await ours.start("order-42")

    await ours.store.release(ours.id, ["order-42"])

    await ear.hears(WakeKind.WORK, QUEUE)


async def test_a_process_releases_only_its_own_runs(ours, theirs):
    await ours.start("order-42")

    await theirs.store.release(theirs.id, ["order-42"])

    assert (await ours.row("order-42")).owner == ours.id
    assert await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2))) is Verdict.COMMITTED


async def test_releasing_a_closed_run_changes_nothing(ours, theirs):
    await ours.start("order-42")
    await ours.finish("order-42")
    before = await ours.row("order-42")

    await ours.store.release(ours.id, ["order-42"])

    assert await ours.row("order-42") == before
    assert await theirs.claim() == []


async def test_an_unowned_run_past_its_deadline_is_named(ours, theirs):
    now = await ours.store.now_ms()
    await ours.start("early", claimed=False, deadline_ms=now - 10)
    await ours.start("late", claimed=False, deadline_ms=now - 5, task_queue="mail")
    await ours.start("not-yet", claimed=False, deadline_ms=now + HOUR)
    await ours.start("owned", deadline_ms=now - 10)
    await ours.start("closed", deadline_ms=now - 10)
    await ours.finish("closed")

    assert await theirs.store.expired(10) == ["early", "late"]
    assert await theirs.store.expired(1) == ["early"]
    assert (await theirs.pulse()).expired


async def test_a_parked_run_past_its_deadline_is_named(ours, theirs):
    await ours.start("order-42", deadline_ms=await ours.store.now_ms() - 1)
    assert not (await theirs.pulse()).expired

    await ours.park("order-42")

    assert (await theirs.pulse()).expired
    assert await theirs.store.expired(10) == ["order-42"]


async def test_runs_that_are_passed_over_are_left_for_others(ours, theirs):
    for name in ("order-1", "order-2", "order-3"):
        await ours.start(name, claimed=False)

    assert sorted(await ours.store.claim(ours.id, [QUEUE], 10, ["order-1", "order-3", "nothing"])) == ["order-2"]
    assert await ours.store.claim(ours.id, [QUEUE], 1, ["order-1"]) == ["order-3"]
    assert await theirs.claim() == ["order-1"]
