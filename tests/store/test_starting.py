"""Starting runs through ``flush``: one row per workflow id, claimed or free, with everything the first step does."""

from __future__ import annotations

import json

from dbos_core.commit import Commit, ParentClosePolicy, ParentLink, RunStatus, Verdict
from dbos_core.store.base import WakeKind
from tests.store.support import HOUR, QUEUE, close, entry, letter, new_run, post

PARENT = ParentLink(
    workflow_uuid="parent-1~run",
    workflow_id="parent-1",
    run_id="run",
    seq=3,
    policy=ParentClosePolicy.ABANDON,
    root_workflow_id="root-1",
    root_run_id="root-run",
)


async def test_a_started_run_is_read_back_as_it_was_given(ours):
    now = await ours.store.now_ms()
    run = await ours.start(
        "order-42",
        request_id="request-1",
        deadline_ms=now + HOUR,
        memo='{"memo": 1}',
        search_attributes='{"Customer": "ada"}',
        metadata='{"summary": "s"}',
        parent=PARENT,
    )

    row = await ours.row("order-42")

    assert row.workflow_uuid == row.workflow_id == "order-42"
    assert (row.run_id, row.first_run_id) == (run.run_id, run.run_id)
    assert (row.workflow_type, row.task_queue, row.status) == ("Order", QUEUE, RunStatus.RUNNING)
    assert (row.start_ms, row.execution_ms, row.deadline_ms) == (run.start_ms, run.execution_ms, now + HOUR)
    assert (row.request_id, row.memo, row.metadata) == ("request-1", '{"memo": 1}', '{"summary": "s"}')
    assert json.loads(row.search_attributes or "") == {"Customer": "ada"}
    assert row.parent == PARENT
    assert (row.close_ms, row.close, row.last_mail_ms) == (None, None, 0)


async def test_a_claimed_start_is_owned_from_its_first_row_on(ours, theirs):
    run = await ours.start(claimed=True)

    assert (await ours.row(run.workflow_uuid)).owner == ours.id
    assert await theirs.claim() == []


async def test_an_unclaimed_start_may_be_claimed_by_any_process_that_serves_the_queue(ours, theirs):
    run = await ours.start(claimed=False)

    assert (await ours.row(run.workflow_uuid)).owner is None
    assert await theirs.claim() == [run.workflow_uuid]


async def test_an_unclaimed_start_with_a_delay_is_not_runnable_before_its_execution_time(ours, theirs):
    now = await ours.store.now_ms()
    await ours.start("later", claimed=False, execution_ms=now + HOUR)
    await ours.start("sooner", claimed=False, execution_ms=now - 1)

    assert await theirs.claim() == ["sooner"]


async def test_an_unclaimed_start_wakes_its_queue(ours, ear):
    await ours.start(claimed=False)

    await ear.hears(WakeKind.WORK, QUEUE)


async def test_a_claimed_start_wakes_nobody(ours, ear):
    await ours.start(claimed=True)

    await ear.has_not_heard(WakeKind.WORK, QUEUE)


async def test_start_entry_and_close_go_into_one_commit(ours):
    now = await ours.store.now_ms()
    run = new_run("quick", at=now)

    verdict = await ours.commit(
        Commit(
            workflow_uuid="quick",
            fenced=False,
            start=run,
            entry=entry(1, '{"all": "of it"}'),
            close=close(at=now + 5, record='{"result": 7}'),
            history_length=9,
        )
    )

    assert verdict is Verdict.COMMITTED
    loaded = await ours.load("quick")
    assert [(one.position, one.name, one.record) for one in loaded.entries] == [(1, "step", '{"all": "of it"}')]
    assert (loaded.run.status, loaded.run.close, loaded.run.owner) == (RunStatus.COMPLETED, '{"result": 7}', None)
    assert (loaded.run.close_ms, loaded.run.history_length) == (now + 5, 9)


async def test_start_entry_and_park_go_into_one_commit(ours, theirs):
    now = await ours.store.now_ms()
    start = Commit(
        workflow_uuid="sleeper",
        fenced=False,
        start=new_run("sleeper", at=now),
        entry=entry(1),
        park_until_ms=now - 1,
        history_length=4,
    )

    assert await ours.commit(start) is Verdict.COMMITTED
    assert (await ours.row("sleeper")).owner is None
    assert (await ours.row("sleeper")).history_length == 4
    assert await theirs.claim() == ["sleeper"]


async def test_a_start_whose_id_row_exists_is_told_so_and_changes_nothing(ours, theirs):
    first = await ours.start("order-42")
    second = new_run("order-42", at=first.start_ms, inputs='"other"')

    verdict = await theirs.commit(
        Commit(workflow_uuid="order-42", fenced=False, start=second, entry=entry(1, '"other"'), close=close())
    )

    assert verdict is Verdict.ID_TAKEN
    loaded = await ours.load("order-42")
    assert (loaded.run.run_id, loaded.inputs, loaded.run.status) == (first.run_id, first.inputs, RunStatus.RUNNING)
    assert await ours.journal("order-42") == [(1, '{"entry": 1}')]


async def test_a_closed_run_keeps_its_id_taken(ours):
    run = await ours.start("order-42")
    await ours.finish(run.workflow_uuid)

    verdict = await ours.commit(
        Commit(workflow_uuid="order-42", fenced=False, start=new_run("order-42", at=run.start_ms), entry=entry(1))
    )

    assert verdict is Verdict.ID_TAKEN


async def test_of_two_starts_of_one_id_in_one_flush_exactly_one_wins(ours):
    now = await ours.store.now_ms()
    one, two = new_run("twice", at=now), new_run("twice", at=now)

    verdicts = await ours.flush(
        *(Commit(workflow_uuid="twice", fenced=False, start=run, entry=entry(1)) for run in (one, two))
    )

    assert sorted(verdict.name for verdict in verdicts) == ["COMMITTED", "ID_TAKEN"]
    winner = one if verdicts[0] is Verdict.COMMITTED else two
    assert (await ours.row("twice")).run_id == winner.run_id
    assert len(await ours.journal("twice")) == 1


async def test_a_start_brings_its_mail(ours):
    """Signal-with-start: what the first activation journals is consumed already, the rest waits."""
    now = await ours.store.now_ms()
    seen, unseen = letter("order-42", '"seen"'), letter("order-42", '"unseen"')
    start = Commit(
        workflow_uuid="order-42",
        fenced=False,
        start=new_run("order-42", at=now),
        entry=entry(1),
        mail=(seen, unseen),
        consumed=(seen.mail_id,),
    )

    assert await ours.commit(start) is Verdict.COMMITTED

    assert [mail.message for mail in await ours.mailbox("order-42")] == ['"unseen"']
    assert 0 < seen.created_ms < unseen.created_ms == (await ours.row("order-42")).last_mail_ms
    assert await ours.commit(post(seen)) is Verdict.DUPLICATE


async def test_a_start_that_loses_delivers_none_of_its_mail(ours):
    await ours.start("order-42")
    mail = letter("order-42")
    start = Commit(
        workflow_uuid="order-42",
        fenced=False,
        start=new_run("order-42", at=await ours.store.now_ms()),
        entry=entry(1),
        mail=(mail,),
    )

    assert await ours.commit(start) is Verdict.ID_TAKEN

    assert await ours.mailbox("order-42") == []
    assert await ours.commit(post(mail)) is Verdict.COMMITTED, "the id was not used up"


async def test_an_unclaimed_start_with_mail_is_runnable_and_wakes_its_queue(ours, theirs, ear):
    start = Commit(
        workflow_uuid="order-42",
        fenced=False,
        start=new_run("order-42", at=await ours.store.now_ms(), claimed=False),
        mail=(letter("order-42", '"go"'),),
    )

    assert await ours.commit(start) is Verdict.COMMITTED

    await ear.hears(WakeKind.WORK, QUEUE)
    assert await theirs.claim() == ["order-42"]
    assert [mail.message for mail in await theirs.mailbox("order-42")] == ['"go"']


async def test_a_start_may_overtake_nobodys_mail(ours):
    """Mail for a run that does not exist yet is refused, so that a later start does not find it."""
    assert await ours.commit(post(letter("order-42"))) is Verdict.RUN_CLOSED

    await ours.start("order-42")

    assert await ours.mailbox("order-42") == []
