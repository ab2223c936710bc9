"""What a stock DBOS client does to our rows is noticed, fenced and acted on."""

from __future__ import annotations

import json

from dbos_core.commit import Commit, RunStatus, Verdict
from dbos_core.mailbox import OWN_ID
from dbos_core.store.base import WakeKind
from tests.store.support import HOUR, QUEUE, close, entry, letter, post


async def test_a_run_cancelled_under_its_owner_takes_no_more_writes(ours, stock):
    await ours.start("order-42")

    await stock.cancel("order-42")

    assert await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2))) is Verdict.CLAIM_LOST
    assert len(await ours.journal("order-42")) == 1


async def test_the_owners_pulse_names_runs_that_somebody_else_touched(ours, theirs, stock):
    await ours.start("cancelled")
    await ours.start("resumed")
    await ours.start("left-alone")

    await stock.cancel("cancelled")
    await stock.resume("resumed")

    assert sorted((await ours.pulse()).touched) == ["cancelled", "resumed"]
    assert (await theirs.pulse()).touched == ()


async def test_a_cancelled_run_of_ours_is_closed_as_canceled(ours, theirs, stock, ear):
    await ours.start("order-42")
    await theirs.store.rows(["order-42"], watch=True)
    await stock.cancel("order-42")

    assert await ours.store.reopened(ours.id, [QUEUE], 10) == ["order-42"]

    row = await ours.row("order-42")
    assert (row.status, row.owner) == (RunStatus.CANCELED, None)
    assert row.close is not None
    json.loads(row.close)
    assert row.close_ms is not None
    await ear.hears(WakeKind.CLOSED, "order-42")
    assert await ours.store.reopened(ours.id, [QUEUE], 10) == []
    assert (await ours.pulse()).touched == ()


async def test_a_resumed_run_is_open_unowned_and_due_now(ours, theirs, stock):
    await ours.start("order-42")
    await stock.resume("order-42")

    assert await ours.store.reopened(ours.id, [QUEUE], 10) == ["order-42"]

    row = await ours.row("order-42")
    assert (row.status, row.owner) == (RunStatus.RUNNING, None)
    assert await theirs.claim() == ["order-42"]
    assert await theirs.commit(Commit(workflow_uuid="order-42", entry=entry(2))) is Verdict.COMMITTED


async def test_a_parked_run_that_is_cancelled_is_closed_as_canceled(ours, theirs, stock):
    await ours.start("order-42")
    await ours.park("order-42")
    await stock.cancel("order-42")

    assert await theirs.claim() == []
    assert await theirs.store.reopened(theirs.id, [QUEUE], 10) == ["order-42"]
    assert (await ours.row("order-42")).status is RunStatus.CANCELED


async def test_a_parked_run_that_is_resumed_is_due_now(ours, theirs, stock):
    await ours.start("order-42")
    await ours.park("order-42")
    await stock.resume("order-42")

    assert await theirs.store.reopened(theirs.id, [QUEUE], 10) == ["order-42"]
    assert await theirs.claim() == ["order-42"]
    assert await theirs.commit(Commit(workflow_uuid="order-42", entry=entry(2))) is Verdict.COMMITTED


async def test_a_terminated_run_that_is_resumed_is_open_again(ours, theirs, stock):
    await ours.start("order-42")
    await ours.finish("order-42", RunStatus.TERMINATED)
    await stock.resume("order-42")

    assert await theirs.store.reopened(theirs.id, [QUEUE], 10) == ["order-42"]

    row = await ours.row("order-42")
    assert (row.status, row.close, row.close_ms) == (RunStatus.RUNNING, None, None)
    assert await theirs.claim() == ["order-42"]
    assert len(await theirs.journal("order-42")) == 1


async def test_a_completed_run_is_not_touched_by_cancel_or_resume(ours, stock):
    await ours.start("order-42")
    await ours.finish("order-42")
    before = await ours.row("order-42")

    await stock.cancel("order-42")
    await stock.resume("order-42")

    assert await ours.store.reopened(ours.id, [QUEUE], 10) == []
    assert await ours.row("order-42") == before


async def test_without_stock_tools_there_is_nothing_to_act_on(ours):
    await ours.start("open")
    await ours.start("unclaimed", claimed=False)
    await ours.start("delayed", claimed=False, execution_ms=await ours.store.now_ms() + HOUR)
    await ours.start("parked")
    await ours.park("parked")
    await ours.start("terminated")
    await ours.finish("terminated", RunStatus.TERMINATED)
    await ours.start("canceled")
    await ours.finish("canceled", RunStatus.CANCELED)

    assert await ours.store.reopened(ours.id, [QUEUE], 10) == []


async def test_a_stock_message_is_mail(ours, ear, stock):
    await ours.start("order-42")

    await stock.send("order-42", '{"by": "ada"}', "approve", "message-1")

    await ear.hears(WakeKind.MAIL, "order-42")
    [mail] = await ours.mailbox("order-42")
    assert not mail.mail_id.startswith(OWN_ID)
    assert (mail.topic, json.loads(mail.message)) == ("approve", {"by": "ada"})
    assert (
        await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2), consumed=(mail.mail_id,)))
        is Verdict.COMMITTED
    )
    assert await ours.mailbox("order-42") == []


async def test_a_stock_message_keeps_its_place_in_the_order(ours, stock):
    await ours.start("order-42")
    await ours.commit(post(letter("order-42", '"first"')))
    await stock.send("order-42", '"second"', "approve", "message-1")
    await ours.commit(post(letter("order-42", '"third"')))

    mail = await ours.mailbox("order-42")

    assert [json.loads(one.message) for one in mail] == ["first", "second", "third"]
    assert len({one.created_ms for one in mail}) == 3


async def test_a_stock_message_to_a_parked_run_makes_it_runnable(ours, theirs, stock):
    await ours.start("order-42")
    await ours.park("order-42")

    await stock.send("order-42", '"go"', "approve", "message-1")

    assert await theirs.claim() == ["order-42"]


async def test_a_stock_message_holds_back_a_close(ours, stock):
    await ours.start("order-42")
    await stock.send("order-42", '"go"', "approve", "message-1")

    assert await ours.park("order-42") is Verdict.MAIL_WAITING


async def test_a_stock_message_that_is_older_than_what_the_run_knows_holds_back_a_close(ours, stock):
    await ours.start("order-42")
    await stock.send("order-42", '"go"', "approve", "message-1")
    later = await ours.store.now_ms() + HOUR

    ended = Commit(workflow_uuid="order-42", entry=entry(2), close=close(seen=later))
    assert await ours.commit(ended) is Verdict.MAIL_WAITING
    assert await ours.park("order-42", seen=later) is Verdict.MAIL_WAITING

    [mail] = await ours.mailbox("order-42")
    ended.consumed = (mail.mail_id,)
    assert await ours.commit(ended) is Verdict.COMMITTED


async def test_a_run_may_be_parked_over_stock_messages_that_it_leaves_for_later(ours, stock):
    await ours.start("order-42")
    await stock.send("order-42", '"go"', "approve", "message-1")
    [mail] = await ours.mailbox("order-42")

    parked = Commit(
        workflow_uuid="order-42", park_until_ms=HOUR, mail_seen_ms=mail.created_ms, mail_left=(mail.mail_id,)
    )

    assert await ours.commit(parked) is Verdict.COMMITTED


async def test_what_comes_after_a_message_of_a_stock_tool_does_not_follow_ours(ours, stock):
    await ours.start("order-42")
    before = letter("order-42")
    await ours.commit(post(before))
    await stock.send("order-42", '"hurry"', "approve", "stock-1")

    signal, update = letter("order-42"), letter("order-42")
    await ours.commit(post(signal))
    await ours.store.admit_update("order-42", "update-1", update)

    [_, strange, *_] = await ours.mailbox("order-42")
    assert strange.mail_id.startswith("stock-1")
    for later in (signal, update):
        assert later.follows_ms is None or later.follows_ms > before.created_ms


async def test_once_a_message_of_a_stock_tool_is_consumed_mail_follows_again(ours, stock):
    await ours.start("order-42")
    await stock.send("order-42", '"hurry"', "approve", "stock-1")
    [strange] = await ours.mailbox("order-42")
    await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2), consumed=(strange.mail_id,)))

    first, second = letter("order-42"), letter("order-42")
    await ours.commit(post(first))
    await ours.commit(post(second))

    assert second.follows_ms == first.created_ms
