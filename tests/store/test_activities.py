"""Activity rows: written with the commit, offered to other processes, taken by one, kept alive by heartbeats."""

from __future__ import annotations

import asyncio

from dbos_core.activities.spec import ASYNC_WORKER
from dbos_core.commit import Commit, Verdict
from dbos_core.store.base import HeartbeatAnswer, WakeKind
from tests.store.support import HOUR, QUEUE, Process, activity, entry


async def offer(ours, workflow_id="order-42", *seqs, **fields):
    now = await ours.store.now_ms()
    rows = tuple(activity(workflow_id, seq, at=now, offered=True, **fields) for seq in seqs or (1,))
    assert await ours.commit(Commit(workflow_uuid=workflow_id, activities=rows)) is Verdict.COMMITTED


async def test_an_activity_row_is_read_back_as_it_was_written(ours):
    now = await ours.store.now_ms()
    await ours.start("order-42")
    row = activity(
        "order-42",
        3,
        at=now,
        attempt=2,
        due_ms=now + 500,
        started_ms=now + 501,
        worker=ours.id,
        spec='{"spec": 1}',
        heartbeat='{"at": 7}',
        heartbeat_at_ms=now + 502,
        last_failure='{"failed": 1}',
        cancel_requested=True,
        ended_ms=now + 503,
        operator='{"reset": true}',
    )

    await ours.commit(Commit(workflow_uuid="order-42", activities=(row,)))

    assert (await ours.load("order-42")).activities == [row]


async def test_a_row_is_overwritten_and_removed_by_its_seq(ours):
    now = await ours.store.now_ms()
    await ours.start("order-42")
    rows = tuple(activity("order-42", seq, at=now) for seq in (1, 2, 3))
    await ours.commit(Commit(workflow_uuid="order-42", activities=rows))

    second = activity("order-42", 2, at=now, attempt=2, last_failure='"boom"')
    await ours.commit(Commit(workflow_uuid="order-42", activities=(second,), activities_done=(1, 3, 99)))

    assert (await ours.load("order-42")).activities == [second]


async def test_an_offered_activity_wakes_its_queue(ours, ear):
    await ours.start("order-42")

    await offer(ours, task_queue="mail")

    await ear.hears(WakeKind.ACTIVITY, "mail")


async def test_an_activity_that_is_not_offered_wakes_nobody(ours, ear):
    await ours.start("order-42")

    await ours.commit(
        Commit(workflow_uuid="order-42", activities=(activity("order-42", 1, at=await ours.store.now_ms()),))
    )

    await ear.has_not_heard(WakeKind.ACTIVITY, QUEUE)


async def test_an_offered_activity_is_taken_with_what_its_executor_needs(ours, theirs):
    run = await ours.start("order-42", workflow_type="Checkout")
    await offer(ours, spec='{"spec": 1}', attempt=4, heartbeat='"so far"')

    [taken] = await theirs.store.claim_activities(theirs.id, [QUEUE], 10)

    assert (taken.workflow_id, taken.run_id, taken.workflow_type) == ("order-42", run.run_id, "Checkout")
    assert (taken.row.workflow_uuid, taken.row.seq, taken.row.attempt) == ("order-42", 1, 4)
    assert (taken.row.spec, taken.row.heartbeat, taken.row.worker) == ('{"spec": 1}', '"so far"', theirs.id)
    assert taken.row.started_ms is not None
    assert taken.row.started_ms >= run.start_ms
    assert (await ours.load("order-42")).activities == [taken.row]


async def test_an_activity_is_taken_once(ours, theirs):
    await ours.start("order-42")
    await offer(ours)

    assert len(await theirs.store.claim_activities(theirs.id, [QUEUE], 10)) == 1
    assert await theirs.store.claim_activities(theirs.id, [QUEUE], 10) == []
    assert await ours.store.claim_activities(ours.id, [QUEUE], 10) == []


async def test_activities_that_are_not_offered_or_not_due_or_elsewhere_are_not_taken(ours, theirs):
    now = await ours.store.now_ms()
    await ours.start("order-42")
    rows = (
        activity("order-42", 1, at=now, offered=False),
        activity("order-42", 2, at=now, offered=True, due_ms=now + HOUR),
        activity("order-42", 3, at=now, offered=True, task_queue="mail"),
        activity("order-42", 4, at=now, offered=True, worker=ours.id),
    )
    await ours.commit(Commit(workflow_uuid="order-42", activities=rows))

    assert await theirs.store.claim_activities(theirs.id, [QUEUE], 10) == []
    assert [one.row.seq for one in await theirs.store.claim_activities(theirs.id, ["mail"], 10)] == [3]
    assert await theirs.store.claim_activities(theirs.id, [], 10) == []


async def test_taking_activities_is_limited(ours, theirs):
    await ours.start("order-42")
    await offer(ours, "order-42", 1, 2, 3)

    first = await theirs.store.claim_activities(theirs.id, [QUEUE], 2)
    second = await theirs.store.claim_activities(theirs.id, [QUEUE], 2)

    assert sorted(one.row.seq for one in first + second) == [1, 2, 3]
    assert len(first) == 2


async def test_processes_that_take_at_once_share_the_activities(ours, theirs, store_factory):
    third = Process(await store_factory())
    await ours.start("order-42")
    await offer(ours, "order-42", *range(1, 31))

    shares = await asyncio.gather(
        *(process.store.claim_activities(process.id, [QUEUE], 10) for process in (ours, theirs, third) for _ in "ab")
    )

    seqs = [one.row.seq for share in shares for one in share]
    assert len(seqs) == len(set(seqs)), "an attempt was taken twice"
    seqs += [one.row.seq for one in await third.store.claim_activities(third.id, [QUEUE], 30)]
    assert sorted(seqs) == list(range(1, 31))


async def test_the_next_attempt_is_offered_anew(ours, theirs):
    await ours.start("order-42")
    await offer(ours, attempt=1)
    await theirs.store.claim_activities(theirs.id, [QUEUE], 10)

    await offer(ours, attempt=2)

    [taken] = await theirs.store.claim_activities(theirs.id, [QUEUE], 10)
    assert taken.row.attempt == 2


async def test_a_closed_run_offers_no_activities(ours, theirs):
    await ours.start("order-42")
    await offer(ours)
    await ours.finish("order-42")

    assert not (await theirs.pulse()).offered
    assert await theirs.store.claim_activities(theirs.id, [QUEUE], 10) == []


async def test_an_attempt_that_nobody_has_taken_can_be_withdrawn(ours, theirs):
    await ours.start("order-42")
    await offer(ours)

    assert await ours.store.withdraw_activity("order-42", 1, 1) is True

    assert (await ours.load("order-42")).activities == []
    assert await theirs.store.claim_activities(theirs.id, [QUEUE], 10) == []


async def test_an_attempt_that_somebody_runs_cannot_be_withdrawn(ours, theirs):
    await ours.start("order-42")
    await offer(ours)
    await theirs.store.claim_activities(theirs.id, [QUEUE], 10)

    assert await ours.store.withdraw_activity("order-42", 1, 1) is False
    assert len((await ours.load("order-42")).activities) == 1


async def test_another_attempt_is_not_withdrawn(ours):
    await ours.start("order-42")
    await offer(ours, attempt=2)

    assert await ours.store.withdraw_activity("order-42", 1, 1) is False
    assert len((await ours.load("order-42")).activities) == 1


async def test_of_a_withdrawal_and_a_claim_at_once_one_wins(ours, theirs):
    await ours.start("order-42")
    await offer(ours, "order-42", *range(1, 11))

    results = await asyncio.gather(
        *(ours.store.withdraw_activity("order-42", seq, 1) for seq in range(1, 11)),
        theirs.store.claim_activities(theirs.id, [QUEUE], 10),
    )

    withdrawn = {seq for seq, gone in zip(range(1, 11), results[:10], strict=True) if gone}
    taken = {one.row.seq for one in results[10]}
    taken |= {one.row.seq for one in await theirs.store.claim_activities(theirs.id, [QUEUE], 10)}
    assert withdrawn | taken == set(range(1, 11))
    assert not withdrawn & taken


async def test_heartbeat_details_are_stored_for_the_next_attempt(ours, theirs):
    await ours.start("order-42")
    await offer(ours)
    await theirs.store.claim_activities(theirs.id, [QUEUE], 10)

    assert await theirs.store.heartbeat("order-42", 1, 1, '{"done": 7}', theirs.id) == HeartbeatAnswer(True)

    [row] = (await ours.load("order-42")).activities
    assert (row.heartbeat, row.worker) == ('{"done": 7}', theirs.id)
    assert row.heartbeat_at_ms is not None


async def test_a_later_heartbeat_replaces_an_earlier_one(ours, theirs):
    await ours.start("order-42")
    await offer(ours)
    await theirs.store.claim_activities(theirs.id, [QUEUE], 10)

    for details in ('"first"', '"second"'):
        await theirs.store.heartbeat("order-42", 1, 1, details, theirs.id)

    [row] = (await ours.load("order-42")).activities
    assert row.heartbeat == '"second"'


async def test_the_owners_heartbeat_makes_a_row_where_there_is_none(ours):
    await ours.start("order-42")

    assert await ours.store.heartbeat("order-42", 5, 2, '"so far"', ours.id) == HeartbeatAnswer(True)

    [row] = (await ours.load("order-42")).activities
    assert (row.workflow_uuid, row.seq, row.attempt, row.heartbeat) == ("order-42", 5, 2, '"so far"')
    assert not row.offered


async def test_a_heartbeat_hears_of_a_cancel_request(ours, theirs):
    await ours.start("order-42")
    await offer(ours)
    [taken] = await theirs.store.claim_activities(theirs.id, [QUEUE], 10)
    taken.row.cancel_requested = True
    await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2), activities=(taken.row,)))

    assert await theirs.store.heartbeat("order-42", 1, 1, None, theirs.id) == HeartbeatAnswer(True, True)


async def test_a_heartbeat_hears_of_an_operator(ours, theirs):
    await ours.start("order-42")
    await offer(ours)
    await theirs.store.claim_activities(theirs.id, [QUEUE], 10)
    await offer(ours, operator='{"reset": true}')

    answer = await theirs.store.heartbeat("order-42", 1, 1, None, theirs.id)

    assert answer == HeartbeatAnswer(True, False, '{"reset": true}')


async def test_an_offer_that_is_taken_back_keeps_its_row(ours, theirs):
    await ours.start("order-42")
    await offer(ours, attempt=3)

    assert await ours.store.withdraw_activity("order-42", 1, 3, keep=True)
    assert await ours.store.withdraw_activity("order-42", 1, 3, keep=True)  # the answer of the first was lost

    [row] = (await ours.load("order-42")).activities
    assert (row.attempt, row.offered) == (3, False)
    assert await theirs.store.claim_activities(theirs.id, [QUEUE], 10) == []


async def test_an_offer_that_was_taken_cannot_be_taken_back(ours, theirs):
    await ours.start("order-42")
    await offer(ours)
    await theirs.store.claim_activities(theirs.id, [QUEUE], 10)

    assert not await ours.store.withdraw_activity("order-42", 1, 1, keep=True)


async def test_a_heartbeat_of_an_earlier_attempt_is_not_wanted(ours, theirs):
    await ours.start("order-42")
    await offer(ours, attempt=1)
    await theirs.store.claim_activities(theirs.id, [QUEUE], 10)
    await offer(ours, attempt=2)

    answer = await theirs.store.heartbeat("order-42", 1, 1, '"late"', theirs.id)

    assert not answer.wanted
    [row] = (await ours.load("order-42")).activities
    assert (row.attempt, row.heartbeat) == (2, None)


async def test_a_heartbeat_for_a_closed_run_is_not_wanted(ours, theirs):
    await ours.start("order-42")
    await offer(ours)
    await theirs.store.claim_activities(theirs.id, [QUEUE], 10)
    await ours.finish("order-42")

    answer = await theirs.store.heartbeat("order-42", 1, 1, None, theirs.id)

    assert not answer.wanted


async def test_a_heartbeat_for_a_missing_run_is_not_wanted(ours):
    answer = await ours.store.heartbeat("nothing", 1, 1, None, ours.id)

    assert not answer.wanted


async def test_the_next_attempt_keeps_the_heartbeat_details_that_another_process_stored(ours, theirs):
    await ours.start("order-42")
    await offer(ours, attempt=1)
    await theirs.store.claim_activities(theirs.id, [QUEUE], 10)
    await theirs.store.heartbeat("order-42", 1, 1, '"so far"', theirs.id)

    await offer(ours, attempt=2)

    [taken] = await theirs.store.claim_activities(theirs.id, [QUEUE], 10)
    assert (taken.row.attempt, taken.row.heartbeat) == (2, '"so far"')


async def test_an_attempt_that_was_taken_meanwhile_stays_taken(ours, theirs):
    """The owner asks for its cancellation and does not know yet that another process runs it."""
    await ours.start("order-42")
    await offer(ours)
    [taken] = await theirs.store.claim_activities(theirs.id, [QUEUE], 10)

    await offer(ours, cancel_requested=True)

    [row] = (await ours.load("order-42")).activities
    assert (row.worker, row.started_ms, row.cancel_requested) == (theirs.id, taken.row.started_ms, True)
    assert await ours.store.claim_activities(ours.id, [QUEUE], 10) == []


async def test_an_attempt_that_is_completed_from_outside_dies_with_no_process(ours, theirs):
    await ours.start("order-42")
    await offer(ours, worker=ASYNC_WORKER)

    assert (await theirs.pulse()).lapsed == ()
    await theirs.store.take_over(theirs.id, [ASYNC_WORKER], [QUEUE], 10)
    assert await ours.mailbox("order-42") == []
    [row] = (await ours.load("order-42")).activities
    assert (row.worker, row.offered) == (ASYNC_WORKER, True)
