"""A flush whose answer was lost is repeated with ``again=True`` and recognises what it wrote."""

from __future__ import annotations

from dbos_core.commit import Commit, RunStatus, UpdateRow, Verdict
from tests.store.support import HOUR, activity, close, entry, letter, new_run, post


async def test_a_start_that_landed_is_recognised(ours):
    now = await ours.store.now_ms()
    start = Commit(workflow_uuid="order-42", fenced=False, start=new_run("order-42", at=now), entry=entry(1))
    await ours.commit(start)

    assert await ours.commit(start, again=True) is Verdict.COMMITTED
    assert len(await ours.journal("order-42")) == 1


async def test_a_start_that_did_not_land_is_done_by_the_repeat(ours):
    now = await ours.store.now_ms()
    start = Commit(workflow_uuid="order-42", fenced=False, start=new_run("order-42", at=now), entry=entry(1))

    assert await ours.commit(start, again=True) is Verdict.COMMITTED
    assert len(await ours.journal("order-42")) == 1


async def test_a_repeated_start_does_not_mistake_another_run_for_its_own(ours):
    now = await ours.store.now_ms()
    await ours.start("order-42")
    other = Commit(workflow_uuid="order-42", fenced=False, start=new_run("order-42", at=now), entry=entry(1))

    assert await ours.commit(other, again=True) is Verdict.ID_TAKEN


async def test_a_start_that_closed_at_once_is_recognised(ours):
    now = await ours.store.now_ms()
    start = Commit(
        workflow_uuid="quick", fenced=False, start=new_run("quick", at=now), entry=entry(1), close=close(at=now)
    )
    await ours.commit(start)

    assert await ours.commit(start, again=True) is Verdict.COMMITTED
    assert (await ours.row("quick")).status is RunStatus.COMPLETED


async def test_an_entry_that_landed_is_recognised_by_its_text(ours):
    await ours.start("order-42")
    step = Commit(workflow_uuid="order-42", entry=entry(2, '"mine"'))
    await ours.commit(step)

    assert await ours.commit(step, again=True) is Verdict.COMMITTED
    assert await ours.journal("order-42") == [(1, '{"entry": 1}'), (2, '"mine"')]


async def test_an_entry_that_did_not_land_is_written_by_the_repeat(ours):
    await ours.start("order-42")

    assert await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2)), again=True) is Verdict.COMMITTED
    assert len(await ours.journal("order-42")) == 2


async def test_somebody_elses_entry_at_the_position_is_no_repeat(ours):
    await ours.start("order-42")
    await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2, '"theirs"')))

    verdict = await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2, '"mine"')), again=True)

    assert verdict is Verdict.POSITION_LOST


async def test_a_repeat_by_a_process_that_lost_the_run_writes_nothing(ours, theirs):
    await ours.start("order-42")
    await ours.die()
    await theirs.take_over(ours)

    assert await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2)), again=True) is Verdict.CLAIM_LOST
    assert len(await ours.journal("order-42")) == 1


async def test_an_entry_with_a_close_that_landed_is_recognised_although_nobody_owns_the_run_now(ours):
    await ours.start("order-42")
    last = Commit(workflow_uuid="order-42", entry=entry(2), close=close(at=1_700_000_000_123))
    await ours.commit(last)

    assert await ours.commit(last, again=True) is Verdict.COMMITTED
    assert (await ours.row("order-42")).status is RunStatus.COMPLETED


async def test_an_entry_with_a_parking_that_landed_is_recognised_and_the_run_stays_parked(ours, theirs):
    await ours.start("order-42")
    last = Commit(workflow_uuid="order-42", entry=entry(2), park_until_ms=await ours.store.now_ms() + HOUR)
    await ours.commit(last)

    assert await ours.commit(last, again=True) is Verdict.COMMITTED
    assert (await ours.row("order-42")).owner is None
    assert await theirs.claim() == []


async def test_a_repeated_parking_does_not_take_the_run_from_its_next_owner(ours, theirs):
    await ours.start("order-42")
    last = Commit(workflow_uuid="order-42", entry=entry(2), park_until_ms=await ours.store.now_ms() - 1)
    await ours.commit(last)
    assert await theirs.claim() == ["order-42"]

    assert await ours.commit(last, again=True) is Verdict.COMMITTED
    assert (await ours.row("order-42")).owner == theirs.id


async def test_a_parking_without_entry_may_be_repeated(ours):
    await ours.start("order-42")
    park = Commit(workflow_uuid="order-42", park_until_ms=await ours.store.now_ms() + HOUR)
    await ours.commit(park)

    # To the process that repeats it both mean the same: this run is not mine any more.
    assert await ours.commit(park, again=True) in (Verdict.COMMITTED, Verdict.CLAIM_LOST)
    assert (await ours.row("order-42")).owner is None


async def test_mail_that_landed_is_delivered_once_and_its_sender_hears_of_success(ours):
    await ours.start("order-42")
    signal = post(letter("order-42"))
    await ours.commit(signal)

    signal.mail[0].created_ms = 0
    assert await ours.commit(signal, again=True) in (Verdict.COMMITTED, Verdict.DUPLICATE)
    [mail] = await ours.mailbox("order-42")
    assert signal.mail[0].created_ms == mail.created_ms


async def test_mail_that_landed_and_was_consumed_is_not_delivered_again_by_the_repeat(ours):
    await ours.start("order-42")
    mail = letter("order-42")
    await ours.commit(post(mail))
    await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2), consumed=(mail.mail_id,)))

    assert await ours.commit(post(mail), again=True) in (Verdict.COMMITTED, Verdict.DUPLICATE)
    assert await ours.mailbox("order-42") == []


async def test_everything_else_in_a_commit_is_idempotent(ours):
    now = await ours.store.now_ms()
    await ours.start("order-42")
    mail = letter("order-42")
    await ours.store.admit_update("order-42", "update-1", mail)
    await ours.commit(Commit(workflow_uuid="order-42", activities=(activity("order-42", 1, at=now),)))
    step = Commit(
        workflow_uuid="order-42",
        entry=entry(2),
        consumed=(mail.mail_id,),
        memo='"m"',
        activities=(activity("order-42", 2, at=now),),
        activities_done=(1,),
        updates=(UpdateRow(update_id="update-1", stage=2),),
    )
    await ours.commit(step)
    before = await ours.load("order-42")

    assert await ours.commit(step, again=True) is Verdict.COMMITTED
    assert await ours.load("order-42") == before


async def test_a_commit_without_entry_may_be_repeated(ours):
    now = await ours.store.now_ms()
    await ours.start("order-42")
    attempt = Commit(workflow_uuid="order-42", activities=(activity("order-42", 1, at=now, started_ms=now),))
    await ours.commit(attempt)

    assert await ours.commit(attempt, again=True) is Verdict.COMMITTED
    assert len((await ours.load("order-42")).activities) == 1


async def test_in_a_repeated_flush_each_commit_is_recognised_by_itself(ours, theirs):
    now = await ours.store.now_ms()
    await ours.start("landed")
    await ours.start("open")
    await ours.commit(Commit(workflow_uuid="landed", entry=entry(2)))

    verdicts = await ours.flush(
        Commit(workflow_uuid="landed", entry=entry(2)),
        Commit(workflow_uuid="open", entry=entry(2)),
        Commit(workflow_uuid="open-2", fenced=False, start=new_run("open-2", at=now), entry=entry(1)),
        Commit(workflow_uuid="never", entry=entry(2)),
        again=True,
    )

    assert verdicts == [Verdict.COMMITTED, Verdict.COMMITTED, Verdict.COMMITTED, Verdict.CLAIM_LOST]


async def test_mail_that_landed_before_its_run_closed_was_delivered_all_the_same(ours):
    await ours.start("order-42")
    signal = post(letter("order-42"))
    await ours.commit(signal)
    await ours.finish("order-42")

    assert await ours.commit(signal, again=True) in (Verdict.COMMITTED, Verdict.DUPLICATE)
