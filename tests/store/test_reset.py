"""Going back: a new run with the first part of a journal takes the place of the current run, as a whole or not at all."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from dbos_core.commit import Commit, Mail, NewRun, Reset, RunStatus, StartResult, UpdateRow, Verdict
from dbos_core.errors import BadCommit
from dbos_core.store.base import WakeKind
from tests.store.support import Process, close, entry, letter, new_run, post


async def worked(ours: Process, entries: int = 3) -> NewRun:
    """A run with so many journal entries."""
    run = await ours.start("order-42")
    for position in range(2, entries + 1):
        await ours.commit(Commit(workflow_uuid="order-42", entry=entry(position)))
    return run


async def plan(ours: Process, base: NewRun, *, at: int, current: str = "order-42", **fields: Any) -> Reset:
    run_id = str(uuid.uuid4())
    new = new_run(
        "order-42",
        at=await ours.store.now_ms(),
        workflow_uuid=f"order-42~{run_id}",
        run_id=run_id,
        first_run_id=base.first_run_id,
        claimed=False,
        request_id=fields.pop("request_id", None),
        inputs=fields.pop("inputs", base.inputs),
    )
    loaded = await ours.load(current)
    newest = loaded.entries[-1].position if loaded.entries else 0
    values: dict[str, Any] = {
        "new": new,
        "base_uuid": base.workflow_uuid,
        "entry": entry(at, '"went back"', name="reset"),
        "mail": (),
        "updates": (),
        "children": (),
        "close": close(RunStatus.TERMINATED, seen=None),
        "base_metadata": '{"reset": 1}',
        "seen": (current, newest, loaded.run.last_mail_ms),
    }
    return Reset(**(values | fields))


async def test_an_open_run_is_replaced(ours, theirs, ear):
    base = await worked(ours)
    again: Mail = letter("", "1", mail_id="dc1:again")
    going_back = await plan(ours, base, at=2, updates=(UpdateRow(update_id="u", stage=1),))
    again.workflow_uuid = going_back.new.workflow_uuid
    going_back.mail = (again,)

    answer = await theirs.store.reset(theirs.id, going_back)

    assert answer is not None
    assert (answer.result, answer.run.run_id) == (StartResult.STARTED, going_back.new.run_id)
    assert answer.terminated is not None
    assert (answer.terminated.run_id, answer.terminated.status) == (base.run_id, RunStatus.TERMINATED)
    current = await ours.store.find("order-42", None)
    assert current is not None
    assert (current.run_id, current.status, current.owner) == (going_back.new.run_id, RunStatus.RUNNING, None)
    uuid_ = going_back.new.workflow_uuid
    assert await ours.journal(uuid_) == [(1, '{"entry": 1}'), (2, '"went back"')]
    assert await ours.journal("order-42") == [(1, '{"entry": 1}'), (2, '{"entry": 2}'), (3, '{"entry": 3}')]
    assert [mail.mail_id for mail in await ours.mailbox(uuid_)] == ["dc1:again"]
    assert (await ours.load(uuid_)).updates == [UpdateRow(update_id="u", stage=1)]
    assert (await ours.row("order-42")).metadata == '{"reset": 1}'
    await ear.hears(WakeKind.WORK, base.task_queue)
    assert await ours.commit(Commit(workflow_uuid="order-42", entry=entry(4))) is Verdict.CLAIM_LOST
    assert await theirs.claim() == [uuid_]
    assert await theirs.commit(Commit(workflow_uuid=uuid_, entry=entry(3))) is Verdict.COMMITTED


async def test_a_closed_run_is_followed(ours):
    base = await worked(ours)
    await ours.finish("order-42")
    answer = await ours.store.reset(ours.id, await plan(ours, base, at=1))
    assert answer is not None
    assert answer.terminated is None
    assert (await ours.row("order-42")).status is RunStatus.COMPLETED
    current = await ours.store.find("order-42", None)
    assert current is not None
    assert (current.run_id, current.status) == (answer.run.run_id, RunStatus.RUNNING)
    assert await ours.journal(answer.run.workflow_uuid) == [(1, '"went back"')]


async def test_an_earlier_run_is_gone_back_to_while_a_later_one_is_open(ours):
    base = await worked(ours)
    await ours.finish("order-42", RunStatus.FAILED)
    later, answer = await ours.start_by_policy("order-42", claimed=False)
    reset = await ours.store.reset(ours.id, await plan(ours, base, at=3, current=answer.run.workflow_uuid))
    assert reset is not None
    assert reset.terminated is not None
    assert reset.terminated.run_id == later.run_id
    assert [position for position, _ in await ours.journal(reset.run.workflow_uuid)] == [1, 2, 3]


async def test_the_same_request_resets_once(ours):
    base = await worked(ours)
    first = await ours.store.reset(ours.id, await plan(ours, base, at=2, request_id="r-1"))
    assert first is not None
    repeated = await plan(ours, base, at=2, current=first.run.workflow_uuid, request_id="r-1")
    second = await ours.store.reset(ours.id, repeated)
    assert second is not None
    assert (second.result, second.run.run_id) == (StartResult.SAME_REQUEST, first.run.run_id)


@pytest.mark.parametrize("what", ["entry", "mail", "end"])
async def test_what_happened_since_the_plan_refuses_it(ours, what):
    base = await worked(ours)
    going_back = await plan(ours, base, at=2)
    if what == "entry":
        await ours.commit(Commit(workflow_uuid="order-42", entry=entry(4)))
    elif what == "mail":
        await ours.commit(post(letter("order-42")))
    else:
        await ours.finish("order-42")
        await ours.start_by_policy("order-42", claimed=False)
    assert await ours.store.reset(ours.id, going_back) is None
    assert await ours.store.find("order-42", going_back.new.run_id) is None
    if what != "end":
        assert (await ours.row("order-42")).status is RunStatus.RUNNING


async def test_a_value_that_is_refused_changes_nothing(ours):
    base = await worked(ours)
    going_back = await plan(ours, base, at=2, inputs="a NUL \0")
    with pytest.raises(BadCommit):
        await ours.store.reset(ours.id, going_back)
    assert (await ours.row("order-42")).status is RunStatus.RUNNING
