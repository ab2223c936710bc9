"""The end of a run and the beginning of the next are one change: an id never has no current run, nor two."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from dbos_core.commit import Commit, NewRun, RunStatus, StartResult, Verdict
from dbos_core.errors import BadCommit
from dbos_core.store.base import WakeKind
from tests.store.support import HOUR, Process, close, entry, letter, new_run, post


async def following(process: Process, first: NewRun, **fields: object) -> NewRun:
    """The run that shall follow the first run of an id."""
    run_id = str(uuid.uuid4())
    values = {"workflow_uuid": f"{first.workflow_id}~{run_id}", "run_id": run_id, "first_run_id": first.run_id}
    return new_run(first.workflow_id, at=await process.store.now_ms(), **(values | fields))


async def test_a_run_ends_and_the_next_one_begins(ours):
    first = await ours.start("order-42")
    second = await following(ours, first, inputs='{"positionalArgs": ["\\u0000 é"]}', memo='{"a": 1}')
    ending = replace(close(RunStatus.CONTINUED_AS_NEW), successor=second)

    assert await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2), close=ending)) is Verdict.COMMITTED

    current = await ours.store.find("order-42", None)
    assert current is not None
    assert (current.run_id, current.first_run_id, current.status) == (second.run_id, first.run_id, RunStatus.RUNNING)
    assert (current.owner, current.memo) == (ours.id, '{"a": 1}')
    assert (await ours.load(second.workflow_uuid)).inputs == second.inputs
    before = await ours.store.find("order-42", first.run_id)
    assert before is not None
    assert before.status is RunStatus.CONTINUED_AS_NEW
    assert await ours.commit(Commit(workflow_uuid=second.workflow_uuid, entry=entry(1))) is Verdict.COMMITTED


async def test_a_chain_of_runs(ours):
    run = await ours.start("order-42")
    first = run
    for _ in range(3):
        after = await following(ours, first)
        ending = replace(close(RunStatus.FAILED), successor=after)
        assert await ours.commit(Commit(workflow_uuid=run.workflow_uuid, close=ending)) is Verdict.COMMITTED
        run = after
    await ours.finish(run.workflow_uuid)
    current = await ours.store.find("order-42", None)
    assert current is not None
    assert (current.run_id, current.status) == (run.run_id, RunStatus.COMPLETED)


async def test_many_runs_end_in_one_flush_and_some_are_followed(ours):
    firsts = [await ours.start(f"order-{n}") for n in range(6)]
    nexts = [await following(ours, first) if n % 2 else None for n, first in enumerate(firsts)]
    verdicts = await ours.flush(
        *[
            Commit(workflow_uuid=first.workflow_uuid, entry=entry(2), close=replace(close(), successor=after))
            for first, after in zip(firsts, nexts, strict=True)
        ]
    )
    assert verdicts == [Verdict.COMMITTED] * 6
    for first, after in zip(firsts, nexts, strict=True):
        current = await ours.store.find(first.workflow_id, None)
        assert current is not None
        assert current.run_id == (after or first).run_id


async def test_a_refused_end_begins_nothing(ours, theirs):
    first = await ours.start("order-42")
    await ours.commit(post(letter("order-42")))
    second = await following(ours, first)
    ending = replace(close(RunStatus.CONTINUED_AS_NEW), successor=second)
    assert await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2), close=ending)) is Verdict.MAIL_WAITING
    assert await theirs.commit(Commit(workflow_uuid="order-42", entry=entry(2), close=ending)) is Verdict.CLAIM_LOST
    assert await ours.commit(Commit(workflow_uuid="order-42", entry=entry(1), close=ending)) is Verdict.POSITION_LOST

    current = await ours.store.find("order-42", None)
    assert current is not None
    assert current.run_id == first.run_id
    assert await ours.store.find("order-42", second.run_id) is None


async def test_a_bad_successor_leaves_the_run_open(ours):
    first = await ours.start("order-42")
    second = await following(ours, first, inputs="a NUL \0")
    with pytest.raises(BadCommit):
        await ours.commit(Commit(workflow_uuid="order-42", close=replace(close(), successor=second)))
    assert (await ours.row("order-42")).status is RunStatus.RUNNING


async def test_a_start_that_ends_at_once_may_be_followed(ours):
    first = new_run("order-42", at=await ours.store.now_ms())
    second = await following(ours, first)
    plain = new_run("order-43", at=await ours.store.now_ms())
    ending = replace(close(RunStatus.CONTINUED_AS_NEW), successor=second)
    verdicts = await ours.flush(
        Commit(workflow_uuid="order-42", fenced=False, start=first, entry=entry(1), close=ending),
        Commit(workflow_uuid="order-43", fenced=False, start=plain, entry=entry(1), close=close()),
    )
    assert verdicts == [Verdict.COMMITTED, Verdict.COMMITTED]
    for workflow_id, run in (("order-42", second), ("order-43", plain)):
        current = await ours.store.find(workflow_id, None)
        assert current is not None
        assert current.run_id == run.run_id


async def test_a_repeat_of_what_landed_is_recognised(ours):
    first = new_run("order-42", at=await ours.store.now_ms())
    second = await following(ours, first)
    third = await following(ours, first)
    begin = Commit(
        workflow_uuid="order-42",
        fenced=False,
        start=first,
        entry=entry(1),
        close=replace(close(RunStatus.CONTINUED_AS_NEW), successor=second),
    )
    goes_on = Commit(
        workflow_uuid=second.workflow_uuid,
        close=replace(close(RunStatus.CONTINUED_AS_NEW, record='{"next": 3}'), successor=third),
    )
    for commit in (begin, goes_on):
        assert await ours.commit(commit) is Verdict.COMMITTED
        assert await ours.commit(commit, again=True) is Verdict.COMMITTED
    current = await ours.store.find("order-42", None)
    assert current is not None
    assert current.run_id == third.run_id


async def test_a_delayed_successor_is_claimed_when_it_is_due(ours, ear):
    first = await ours.start("order-42")
    now = await ours.store.now_ms()
    second = await following(ours, first, claimed=False, execution_ms=now + HOUR)
    await ours.commit(Commit(workflow_uuid="order-42", close=replace(close(RunStatus.FAILED), successor=second)))
    assert await ours.claim() == []
    row = await ours.row(second.workflow_uuid)
    assert (row.owner, row.wake_at_ms) == (None, now + HOUR)
    third = await following(ours, first, claimed=False, execution_ms=now)
    await ours.store.terminate(
        ours.id, second.workflow_uuid, replace(close(RunStatus.TIMED_OUT, seen=None), successor=third)
    )
    await ear.hears(WakeKind.WORK, third.task_queue)
    assert await ours.claim() == [third.workflow_uuid]


async def test_closed_from_outside_and_followed(ours, theirs):
    first = await ours.start("order-42")
    second = await following(ours, first, claimed=False)
    ending = replace(close(RunStatus.TIMED_OUT, seen=None), successor=second)
    assert await theirs.store.terminate(theirs.id, "order-42", ending) is Verdict.COMMITTED
    assert await theirs.store.terminate(theirs.id, "order-42", ending) is Verdict.RUN_CLOSED
    current = await ours.store.find("order-42", None)
    assert current is not None
    assert (current.run_id, current.owner) == (second.run_id, None)
    assert await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2))) is Verdict.CLAIM_LOST


async def test_the_id_policies_see_the_successor(ours):
    first = await ours.start("order-42")
    second = await following(ours, first)
    await ours.commit(
        Commit(workflow_uuid="order-42", close=replace(close(RunStatus.CONTINUED_AS_NEW), successor=second))
    )
    _, answer = await ours.start_by_policy("order-42")
    assert (answer.result, answer.run.run_id) == (StartResult.ALREADY_STARTED, second.run_id)
    late = new_run("order-42", at=await ours.store.now_ms())
    assert await ours.commit(Commit(workflow_uuid="order-42", fenced=False, start=late)) is Verdict.ID_TAKEN


async def test_who_is_not_the_current_run_is_followed_by_one_that_is_not_either(ours, stock):
    """A run that a stock tool reopened after its id was used again goes on beside the current one."""
    first = await ours.start("order-42")
    await ours.finish("order-42", RunStatus.CANCELED)
    newer, _ = await ours.start_by_policy("order-42", claimed=False)
    await stock.resume("order-42")
    await ours.store.reopened(ours.id, ours.queues, 10)
    assert await ours.store.claim_one(ours.id, "order-42")
    second = await following(ours, first)
    ending = replace(close(RunStatus.CONTINUED_AS_NEW), successor=second)
    assert await ours.commit(Commit(workflow_uuid="order-42", close=ending)) is Verdict.COMMITTED
    current = await ours.store.find("order-42", None)
    assert current is not None
    assert current.run_id == newer.run_id
    assert (await ours.row(second.workflow_uuid)).status is RunStatus.RUNNING
