"""What an owner writes is applied only while it owns the run, only at a free position, and only as a whole."""

from __future__ import annotations

import json

import pytest

from dbos_core.commit import Commit, RunStatus, UpdateRow, Verdict
from dbos_core.errors import BadCommit
from tests.store.support import HOUR, activity, close, entry, letter, new_run, post


async def test_the_owner_appends_to_the_journal(ours):
    await ours.start("order-42")

    assert await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2, '"two"'))) is Verdict.COMMITTED
    assert await ours.commit(Commit(workflow_uuid="order-42", entry=entry(3, '"three"'))) is Verdict.COMMITTED
    assert await ours.journal("order-42") == [(1, '{"entry": 1}'), (2, '"two"'), (3, '"three"')]


async def test_a_process_that_does_not_own_the_run_writes_nothing(ours, theirs):
    await ours.start("order-42")

    verdict = await theirs.commit(Commit(workflow_uuid="order-42", entry=entry(2), close=close(), memo='"m"'))

    assert verdict is Verdict.CLAIM_LOST
    assert await ours.journal("order-42") == [(1, '{"entry": 1}')]
    row = await ours.row("order-42")
    assert (row.status, row.memo) == (RunStatus.RUNNING, None)


async def test_nobody_writes_to_an_unowned_run(ours):
    await ours.start("order-42", claimed=False)

    assert await ours.commit(Commit(workflow_uuid="order-42", entry=entry(1))) is Verdict.CLAIM_LOST


async def test_nobody_writes_to_a_run_that_does_not_exist(ours):
    assert await ours.commit(Commit(workflow_uuid="nothing", entry=entry(1))) is Verdict.CLAIM_LOST


async def test_the_owner_of_a_closed_run_writes_no_more(ours):
    await ours.start("order-42")
    await ours.finish("order-42")

    assert await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2))) is Verdict.CLAIM_LOST
    assert await ours.commit(Commit(workflow_uuid="order-42", close=close(RunStatus.FAILED))) is Verdict.CLAIM_LOST
    assert (await ours.row("order-42")).status is RunStatus.COMPLETED
    assert await ours.journal("order-42") == [(1, '{"entry": 1}')]


async def test_a_position_that_is_taken_is_never_rewritten(ours):
    await ours.start("order-42")
    await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2, '"first"')))

    verdict = await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2, '"second"'), memo='"m"'))

    assert verdict is Verdict.POSITION_LOST
    assert await ours.journal("order-42") == [(1, '{"entry": 1}'), (2, '"first"')]
    assert (await ours.row("order-42")).memo is None


async def test_the_same_text_at_a_taken_position_is_lost_too_unless_it_is_a_repeat(ours):
    await ours.start("order-42")
    again = Commit(workflow_uuid="order-42", entry=entry(2, '"same"'))
    await ours.commit(again)

    assert await ours.commit(again) is Verdict.POSITION_LOST


async def test_a_lost_claim_is_reported_before_a_lost_position(ours, theirs):
    await ours.start("order-42")

    assert await theirs.commit(Commit(workflow_uuid="order-42", entry=entry(1))) is Verdict.CLAIM_LOST


async def test_a_lost_position_is_reported_before_waiting_mail(ours):
    await ours.start("order-42")
    await ours.commit(post(letter("order-42")))

    assert await ours.commit(Commit(workflow_uuid="order-42", entry=entry(1), close=close())) is Verdict.POSITION_LOST


async def test_a_lost_claim_is_reported_before_waiting_mail(ours, theirs):
    await ours.start("order-42")
    await ours.commit(post(letter("order-42")))

    assert await theirs.commit(Commit(workflow_uuid="order-42", close=close())) is Verdict.CLAIM_LOST


@pytest.mark.parametrize("verdict", [Verdict.CLAIM_LOST, Verdict.POSITION_LOST, Verdict.MAIL_WAITING])
async def test_a_refused_commit_leaves_no_trace(ours, theirs, verdict):
    """Whatever the reason: neither entry nor consumption, close, activities, updates or attributes."""
    now = await ours.store.now_ms()
    await ours.start("order-42", memo='"old"', search_attributes='{"a": 1}')
    waiting = letter("order-42")
    await ours.store.admit_update("order-42", "update-1", waiting)
    await ours.commit(Commit(workflow_uuid="order-42", activities=(activity("order-42", 1, at=now),)))
    before = await ours.load("order-42")

    actor = theirs if verdict is Verdict.CLAIM_LOST else ours
    refused = await actor.commit(
        Commit(
            workflow_uuid="order-42",
            entry=entry(1 if verdict is Verdict.POSITION_LOST else 2, '"refused"'),
            consumed=(waiting.mail_id,),
            close=close(),
            memo='"new"',
            search_attributes='{"a": 2}',
            history_length=77,
            activities=(activity("order-42", 2, at=now),),
            activities_done=(1,),
            updates=(UpdateRow(update_id="update-1", stage=3, outcome='"done"'),),
        )
    )

    assert refused is verdict
    assert await ours.load("order-42") == before


async def test_one_commits_conflict_never_fails_its_neighbours(ours, theirs):
    now = await ours.store.now_ms()
    await ours.start("mine")
    await ours.start("mine-too")
    await theirs.start("not-mine")
    await ours.start("taken")
    await ours.start("with-mail")
    await ours.commit(post(letter("with-mail")))

    verdicts = await ours.flush(
        Commit(workflow_uuid="not-mine", entry=entry(2)),
        Commit(workflow_uuid="mine", entry=entry(2)),
        Commit(workflow_uuid="taken", fenced=False, start=new_run("taken", at=now), entry=entry(1)),
        Commit(workflow_uuid="with-mail", entry=entry(2), close=close()),
        Commit(workflow_uuid="new", fenced=False, start=new_run("new", at=now), entry=entry(1)),
        Commit(workflow_uuid="mine-too", entry=entry(1)),
        post(letter("nobody")),
        post(letter("mine")),
    )

    assert verdicts == [
        Verdict.CLAIM_LOST,
        Verdict.COMMITTED,
        Verdict.ID_TAKEN,
        Verdict.MAIL_WAITING,
        Verdict.COMMITTED,
        Verdict.POSITION_LOST,
        Verdict.RUN_CLOSED,
        Verdict.COMMITTED,
    ]
    assert len(await ours.journal("mine")) == 2
    assert len(await ours.journal("new")) == 1
    assert len(await ours.journal("not-mine")) == len(await ours.journal("mine-too")) == 1
    assert len(await ours.mailbox("mine")) == 1


async def test_a_large_flush_is_answered_commit_by_commit(ours, theirs):
    now = await ours.store.now_ms()
    starts = [
        Commit(workflow_uuid=f"run-{n}", fenced=False, start=new_run(f"run-{n}", at=now), entry=entry(1))
        for n in range(300)
    ]
    assert set(await ours.flush(*starts)) == {Verdict.COMMITTED}

    verdicts = await ours.flush(
        *(Commit(workflow_uuid=f"run-{n}", entry=entry(1 if n % 3 == 0 else 2)) for n in range(300))
    )

    assert verdicts == [Verdict.POSITION_LOST if n % 3 == 0 else Verdict.COMMITTED for n in range(300)]


async def test_an_empty_flush_has_no_verdicts(ours):
    assert await ours.flush() == []


async def test_memo_search_attributes_and_history_length_are_written(ours, theirs):
    await ours.start("order-42", memo='"old"', search_attributes='{"a": 1}')

    await ours.commit(
        Commit(workflow_uuid="order-42", entry=entry(2), memo='"new"', search_attributes='{"b": [2]}', history_length=5)
    )
    row = await ours.row("order-42")
    assert row.memo == '"new"'
    assert json.loads(row.search_attributes or "") == {"b": [2]}
    assert row.history_length == 0, "history_length is written with a close or a parking only"

    await ours.commit(Commit(workflow_uuid="order-42", park_until_ms=row.start_ms + HOUR, history_length=6))
    row = await ours.row("order-42")
    assert (row.history_length, row.memo) == (6, '"new"')


@pytest.mark.parametrize("status", [status for status in RunStatus if status is not RunStatus.RUNNING])
async def test_every_closing_status_is_kept(ours, status):
    await ours.start("order-42")

    await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2), close=close(status, at=1_700_000_000_123)))

    row = await ours.row("order-42")
    assert (row.status, row.close_ms, row.owner) == (status, 1_700_000_000_123, None)
    assert json.loads(row.close or "") == {"closed": status.name}


@pytest.mark.parametrize("bad", ["a NUL \0 byte", "half a surrogate \ud83d"])
async def test_a_value_that_no_database_takes_is_refused_and_nothing_of_the_flush_is_applied(ours, bad):
    await ours.start("good")
    await ours.start("bad")
    good = Commit(workflow_uuid="good", entry=entry(2))

    with pytest.raises(BadCommit):
        await ours.flush(good, Commit(workflow_uuid="bad", entry=entry(2, bad)))

    assert len(await ours.journal("good")) == 1
    assert await ours.commit(good) is Verdict.COMMITTED, "the split batch goes through"
    assert await ours.commit(Commit(workflow_uuid="bad", entry=entry(2))) is Verdict.COMMITTED


async def test_a_start_with_a_value_that_no_database_takes_is_refused(ours):
    run = new_run("bad", at=await ours.store.now_ms(), inputs='"a NUL \0 byte"')

    with pytest.raises(BadCommit):
        await ours.commit(Commit(workflow_uuid="bad", fenced=False, start=run, entry=entry(1)))
    with pytest.raises(BadCommit):
        await ours.start_by_policy("bad", inputs='"a NUL \0 byte"')

    assert await ours.store.rows(["bad"], watch=False) == []


async def test_mail_with_a_value_that_no_database_takes_is_refused(ours):
    await ours.start("order-42")

    with pytest.raises(BadCommit):
        await ours.commit(post(letter("order-42", '"a NUL \0 byte"')))

    assert await ours.mailbox("order-42") == []


async def test_text_of_every_kind_comes_back_byte_for_byte(ours):
    text = json.dumps({"quote": "'; drop table runs; --", "ü": "∀ 🦆 \u2028", "nul": "\0", "%s": "{own} $1 \\"})
    run = await ours.start("order-42; ünïcode '\" ~ | 🦆", inputs=text, memo=text)

    await ours.commit(Commit(workflow_uuid=run.workflow_uuid, entry=entry(2, text, name="schritt ü")))
    await ours.commit(post(letter(run.workflow_uuid, text, topic="tøpic")))

    loaded = await ours.load(run.workflow_uuid)
    assert (loaded.inputs, loaded.run.memo, loaded.entries[1].record) == (text, text, text)
    assert (loaded.entries[1].name, loaded.mail[0].message, loaded.mail[0].topic) == ("schritt ü", text, "tøpic")
