"""Parents and children in the store: who may begin, what a close leaves in the outbox, who takes it from the dead."""

from __future__ import annotations

import pytest

from dbos_core.commit import Close, Commit, NewRun, ParentClosePolicy, ParentLink, RunStatus, StartResult, Verdict
from tests.store.support import Process, close, entry, letter, new_run, post

FOREVER_MS = 10**15


def child_of(parent: NewRun, policy: ParentClosePolicy = ParentClosePolicy.TERMINATE, seq: int = 1) -> ParentLink:
    return ParentLink(
        workflow_uuid=parent.workflow_uuid,
        workflow_id=parent.workflow_id,
        run_id=parent.run_id,
        seq=seq,
        policy=policy,
        root_workflow_id=parent.workflow_id,
        root_run_id=parent.run_id,
    )


def reaching(status: RunStatus = RunStatus.COMPLETED) -> Close:
    closing = close(status, seen=None)
    closing.reaches_others = True
    return closing


async def start_child(process: Process, workflow_id: str, parent: ParentLink) -> Verdict:
    child = new_run(workflow_id, at=await process.store.now_ms(), parent=parent)
    return await process.commit(Commit(workflow_uuid=workflow_id, fenced=False, start=child, entry=entry(1)))


async def test_a_child_begins_while_its_parent_is_open(ours):
    parent = await ours.start("parent")

    assert await start_child(ours, "child", child_of(parent)) is Verdict.COMMITTED

    assert [row.workflow_id for row in await ours.store.open_children(parent.run_id)] == ["child"]


@pytest.mark.parametrize("policy", [ParentClosePolicy.TERMINATE, ParentClosePolicy.REQUEST_CANCEL])
async def test_no_child_of_a_closed_parent_begins(ours, policy):
    parent = await ours.start("parent")
    await ours.finish("parent")

    assert await start_child(ours, "child", child_of(parent, policy)) is Verdict.ID_TAKEN
    _, answer = await ours.start_by_policy("child", parent=child_of(parent, policy))

    assert answer.result is StartResult.PARENT_CLOSED
    assert await ours.store.find("child", None) is None


async def test_an_abandoned_child_begins_whatever_its_parent_does(ours):
    parent = await ours.start("parent")
    await ours.finish("parent")

    assert await start_child(ours, "child", child_of(parent, ParentClosePolicy.ABANDON)) is Verdict.COMMITTED


async def test_a_child_that_is_started_again_finds_itself_even_closed_and_followed(ours):
    parent = await ours.start("parent")
    first, started = await ours.start_by_policy("child", parent=child_of(parent))
    await ours.finish("child")
    await ours.start_by_policy("child")

    _, again = await ours.start_by_policy("child", parent=child_of(parent), run_id=first.run_id)

    assert started.result is StartResult.STARTED
    assert (again.result, again.run.run_id) == (StartResult.SAME_REQUEST, first.run_id)


async def test_children_are_found_by_their_parents_run_in_the_order_of_their_start(ours):
    parent = await ours.start("parent")
    for seq, name in ((2, "second"), (1, "first"), (3, "closed")):
        await start_child(ours, name, child_of(parent, seq=seq))
    await ours.finish("closed")

    assert [row.workflow_id for row in await ours.store.open_children(parent.run_id)] == ["first", "second"]
    assert [row.workflow_id for row in await ours.store.closed_children(await ours.row("parent"))] == ["closed"]


async def test_a_close_that_others_must_hear_of_is_in_the_outbox_until_it_is_settled(ours, theirs):
    await ours.start("order-42")
    await ours.commit(Commit(workflow_uuid="order-42", close=reaching()))
    await ours.die()

    assert ours.id in (await theirs.pulse()).lapsed
    assert await theirs.store.take_outbox(theirs.id, [ours.id], 10) == ["order-42"]
    assert await theirs.commit(Commit(workflow_uuid="order-42", fenced=False, settled=("order-42",))) is (
        Verdict.COMMITTED
    )
    assert ours.id not in (await theirs.pulse()).lapsed
    assert await theirs.store.take_outbox(theirs.id, [ours.id, theirs.id], 10) == []


async def test_a_process_that_is_in_doubt_finds_what_it_has_to_tell_itself(ours, theirs):
    await ours.start("order-42")
    await ours.commit(Commit(workflow_uuid="order-42", close=reaching()))

    assert await ours.store.take_outbox(ours.id, [ours.id], 10) == ["order-42"]
    assert await ours.store.take_outbox(ours.id, [theirs.id], 10) == []


async def test_an_ordinary_close_leaves_nothing_behind(ours, theirs):
    await ours.start("order-42")
    await ours.finish("order-42")
    await ours.die()

    assert await theirs.store.take_outbox(theirs.id, [ours.id], 10) == []


async def test_what_a_living_process_has_to_tell_is_left_to_it(ours, theirs):
    await ours.start("order-42")
    await ours.commit(Commit(workflow_uuid="order-42", close=reaching()))

    assert ours.id not in (await theirs.pulse()).lapsed
    assert await theirs.store.take_outbox(theirs.id, [ours.id], 10) == []


async def test_a_run_that_begins_and_ends_in_one_commit_is_in_the_outbox_too(ours, theirs):
    parent = await ours.start("parent")
    child = new_run("child", at=await ours.store.now_ms(), parent=child_of(parent))
    verdict = await ours.commit(
        Commit(workflow_uuid="child", fenced=False, start=child, entry=entry(1), close=reaching())
    )
    await ours.die()

    assert verdict is Verdict.COMMITTED
    assert await theirs.store.take_outbox(theirs.id, [ours.id], 10) == ["child"]


async def test_a_close_from_outside_is_in_the_outbox_of_who_closed_it(ours, theirs):
    await ours.start("order-42")
    assert await theirs.store.terminate(theirs.id, "order-42", reaching(RunStatus.TERMINATED)) is Verdict.COMMITTED
    await ours.die()

    assert await ours.store.take_outbox(ours.id, [ours.id], 10) == []
    await theirs.die()
    assert await ours.store.take_outbox(ours.id, [theirs.id], 10) == ["order-42"]


async def test_telling_somebody_and_being_done_with_it_is_one_commit(ours, theirs):
    await ours.start("parent")
    await ours.start("order-42")
    await ours.commit(Commit(workflow_uuid="order-42", close=reaching()))
    told = post(letter("parent"))
    told.settled = ("order-42",)

    assert await ours.commit(told) is Verdict.COMMITTED

    await ours.die()
    assert await theirs.store.take_outbox(theirs.id, [ours.id], 10) == []


async def test_who_was_not_told_is_not_done_with(ours, theirs):
    await ours.start("parent")
    await ours.finish("parent")
    await ours.start("order-42")
    await ours.commit(Commit(workflow_uuid="order-42", close=reaching()))
    told = post(letter("parent"))
    told.settled = ("order-42",)

    assert await ours.commit(told) is Verdict.RUN_CLOSED

    await ours.die()
    assert await theirs.store.take_outbox(theirs.id, [ours.id], 10) == ["order-42"]


async def test_retention_leaves_what_others_must_still_hear_of(ours):
    await ours.start("order-42")
    await ours.commit(Commit(workflow_uuid="order-42", close=reaching()))

    assert await ours.store.delete_finished(FOREVER_MS, 10) == 0
    await ours.commit(Commit(workflow_uuid="order-42", fenced=False, settled=("order-42",)))
    assert await ours.store.delete_finished(FOREVER_MS, 10) == 1


async def test_posted_mail_is_known_even_when_its_run_is_closed(ours):
    await ours.start("order-42")
    message = letter("order-42")
    await ours.commit(post(message))
    await ours.finish("order-42")

    assert await ours.store.posted([message.mail_id, "dc1:never"]) == {message.mail_id}


async def test_the_run_that_follows_a_child_is_the_same_parents_child(ours):
    parent = await ours.start("parent")
    await start_child(ours, "child", child_of(parent))
    following = new_run(
        "child", at=await ours.store.now_ms(), parent=child_of(parent), workflow_uuid="child~2", run_id="2"
    )
    closing = close(RunStatus.CONTINUED_AS_NEW, seen=None)
    closing.successor = following

    assert await ours.commit(Commit(workflow_uuid="child", close=closing)) is Verdict.COMMITTED

    assert [row.run_id for row in await ours.store.open_children(parent.run_id)] == ["2"]
    assert (await ours.row("child~2")).parent == child_of(parent)
