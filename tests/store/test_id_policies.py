"""start_by_policy: request-id deduplication first, then the id policies, as Temporal orders them."""

from __future__ import annotations

import asyncio

import pytest

from dbos_core.commit import Commit, IdConflict, IdReuse, RunStatus, StartResult, UpdateRow, Verdict
from dbos_core.mailbox import UPDATE
from dbos_core.store.base import WakeKind
from tests.store.support import HOUR, QUEUE, entry, letter, new_run, post

FAILURES = [RunStatus.FAILED, RunStatus.CANCELED, RunStatus.TERMINATED, RunStatus.TIMED_OUT]

CLOSED = [
    *((status, IdReuse.ALLOW_DUPLICATE, StartResult.STARTED) for status in (RunStatus.COMPLETED, *FAILURES)),
    *((status, IdReuse.ALLOW_DUPLICATE_FAILED_ONLY, StartResult.STARTED) for status in FAILURES),
    (RunStatus.COMPLETED, IdReuse.ALLOW_DUPLICATE_FAILED_ONLY, StartResult.ALREADY_STARTED),
    *((status, IdReuse.REJECT_DUPLICATE, StartResult.ALREADY_STARTED) for status in (RunStatus.COMPLETED, *FAILURES)),
    *((status, IdReuse.TERMINATE_IF_RUNNING, StartResult.STARTED) for status in (RunStatus.COMPLETED, *FAILURES)),
]


@pytest.mark.parametrize("conflict", list(IdConflict))
@pytest.mark.parametrize(("status", "reuse", "result"), CLOSED)
async def test_a_closed_run_is_followed_as_the_reuse_policy_says(ours, status, reuse, result, conflict):
    first = await ours.start("order-42")
    await ours.finish("order-42", status)

    run, answer = await ours.start_by_policy("order-42", reuse=reuse, conflict=conflict)

    assert answer.result is result
    assert answer.terminated is None
    if result is StartResult.STARTED:
        assert (answer.run.run_id, answer.run.status) == (run.run_id, RunStatus.RUNNING)
        assert answer.run.workflow_uuid == f"order-42~{run.run_id}"
    else:
        assert (answer.run.run_id, answer.run.status) == (first.run_id, status)
    current = await ours.store.find("order-42", None)
    assert current == answer.run
    assert (await ours.row("order-42")).status is status, "the closed run stays as it is"


OPEN = [
    *((reuse, IdConflict.FAIL, StartResult.ALREADY_STARTED) for reuse in IdReuse if reuse != 4),
    *((reuse, IdConflict.USE_EXISTING, StartResult.USED_EXISTING) for reuse in IdReuse if reuse != 4),
    *((reuse, IdConflict.TERMINATE_EXISTING, StartResult.STARTED) for reuse in IdReuse if reuse != 4),
    (IdReuse.TERMINATE_IF_RUNNING, IdConflict.FAIL, StartResult.STARTED),
    (IdReuse.TERMINATE_IF_RUNNING, IdConflict.TERMINATE_EXISTING, StartResult.STARTED),
]


@pytest.mark.parametrize(("reuse", "conflict", "result"), OPEN)
async def test_an_open_run_meets_the_conflict_policy(ours, reuse, conflict, result):
    first = await ours.start("order-42")

    run, answer = await ours.start_by_policy("order-42", reuse=reuse, conflict=conflict)

    assert answer.result is result
    old = await ours.row("order-42")
    if result is StartResult.STARTED:
        assert (answer.run.run_id, answer.run.owner) == (run.run_id, ours.id)
        assert answer.terminated is not None
        assert answer.terminated.run_id == first.run_id
        assert (old.status, old.close, old.owner) == (RunStatus.TERMINATED, '{"closed": "by policy"}', None)
        assert old.close_ms is not None
    else:
        assert (answer.run.run_id, answer.terminated) == (first.run_id, None)
        assert (old.status, old.owner) == (RunStatus.RUNNING, ours.id)


async def test_the_same_request_id_is_the_same_start_while_the_run_is_open(ours, theirs):
    first = await ours.start("order-42", request_id="request-1")

    _, answer = await theirs.start_by_policy("order-42", conflict=IdConflict.TERMINATE_EXISTING, request_id="request-1")

    assert (answer.result, answer.run.run_id) == (StartResult.SAME_REQUEST, first.run_id)
    assert (await ours.row("order-42")).status is RunStatus.RUNNING


async def test_the_same_request_id_is_the_same_start_even_after_the_run_closed(ours):
    first = await ours.start("order-42", request_id="request-1")
    await ours.finish("order-42")

    _, answer = await ours.start_by_policy("order-42", request_id="request-1")

    assert (answer.result, answer.run.run_id) == (StartResult.SAME_REQUEST, first.run_id)
    assert answer.run.status is RunStatus.COMPLETED


async def test_another_request_id_is_another_start(ours):
    await ours.start("order-42", request_id="request-1")

    _, answer = await ours.start_by_policy("order-42", request_id="request-2")

    assert answer.result is StartResult.ALREADY_STARTED


async def test_two_starts_without_request_ids_are_not_the_same(ours):
    await ours.start("order-42", request_id=None)

    _, answer = await ours.start_by_policy("order-42", request_id=None)

    assert answer.result is StartResult.ALREADY_STARTED


async def test_a_request_id_counts_for_the_current_run_only(ours):
    await ours.start("order-42", request_id="request-1")
    await ours.finish("order-42")
    second, _ = await ours.start_by_policy("order-42", request_id="request-2")
    await ours.finish(f"order-42~{second.run_id}")

    third, answer = await ours.start_by_policy("order-42", request_id="request-1")

    assert (answer.result, answer.run.run_id) == (StartResult.STARTED, third.run_id)


async def test_without_a_predecessor_the_run_is_stored_under_its_own_uuid(ours):
    run, answer = await ours.start_by_policy("order-42")

    assert (answer.result, answer.run.workflow_uuid) == (StartResult.STARTED, "order-42")
    assert (await ours.row("order-42")).run_id == run.run_id


async def test_a_run_started_by_policy_can_be_written_by_its_owner(ours):
    await ours.start("order-42")
    await ours.finish("order-42")
    run, answer = await ours.start_by_policy("order-42")

    assert answer.run.owner == ours.id
    assert await ours.journal(answer.run.workflow_uuid) == []
    assert await ours.commit(Commit(workflow_uuid=answer.run.workflow_uuid, entry=entry(1))) is Verdict.COMMITTED
    assert (await ours.load(answer.run.workflow_uuid)).inputs == run.inputs


async def test_an_unclaimed_run_started_by_policy_is_runnable_at_its_time(ours, theirs, ear):
    now = await ours.store.now_ms()
    for name in ("now", "later"):
        await ours.start(name)
        await ours.finish(name)

    run, _ = await ours.start_by_policy("now", claimed=False)
    await ours.start_by_policy("later", claimed=False, execution_ms=now + HOUR)

    await ear.hears(WakeKind.WORK, QUEUE)
    assert await theirs.claim() == [f"now~{run.run_id}"]


async def test_the_terminated_predecessor_writes_no_more(ours, theirs):
    await ours.start("order-42")
    await theirs.start_by_policy("order-42", conflict=IdConflict.TERMINATE_EXISTING)

    assert await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2))) is Verdict.CLAIM_LOST
    assert await ours.commit(post(letter("order-42"))) is Verdict.RUN_CLOSED


async def test_a_watched_predecessor_announces_its_termination(ours, theirs, ear):
    await ours.start("order-42")
    await theirs.store.rows(["order-42"], watch=True)

    await ours.start_by_policy("order-42", conflict=IdConflict.TERMINATE_EXISTING)

    await ear.hears(WakeKind.CLOSED, "order-42")


async def test_a_parked_predecessor_is_terminated_too(ours, theirs):
    await ours.start("order-42")
    await ours.park("order-42")

    run, answer = await theirs.start_by_policy("order-42", conflict=IdConflict.TERMINATE_EXISTING, claimed=False)

    assert answer.result is StartResult.STARTED
    assert await theirs.claim() == [f"order-42~{run.run_id}"]


async def test_earlier_runs_are_found_by_their_run_id(ours):
    first = await ours.start("order-42")
    await ours.finish("order-42")
    second, _ = await ours.start_by_policy("order-42")

    found_first = await ours.store.find("order-42", first.run_id)
    found_second = await ours.store.find("order-42", second.run_id)

    assert found_first is not None
    assert found_first.workflow_uuid == "order-42"
    assert found_second is not None
    assert found_second.workflow_uuid == f"order-42~{second.run_id}"


async def test_many_runs_follow_each_other_under_one_id(ours):
    await ours.start("order-42")
    uuids = ["order-42"]
    for _ in range(5):
        await ours.finish(uuids[-1])
        _, answer = await ours.start_by_policy("order-42")
        uuids.append(answer.run.workflow_uuid)

    assert len(set(uuids)) == 6
    current = await ours.store.find("order-42", None)
    assert current is not None
    assert current.workflow_uuid == uuids[-1]


@pytest.mark.parametrize("conflict", [IdConflict.FAIL, IdConflict.USE_EXISTING, IdConflict.TERMINATE_EXISTING])
async def test_starts_that_race_leave_one_open_run(ours, theirs, conflict):
    await ours.start("order-42")
    await ours.finish("order-42")

    answers = await asyncio.gather(
        *((ours if n % 2 else theirs).start_by_policy("order-42", conflict=conflict) for n in range(8))
    )

    started = [run for run, answer in answers if answer.result is StartResult.STARTED]
    current = await ours.store.find("order-42", None)
    assert current is not None
    rows = [await ours.store.find("order-42", run.run_id) for run in started]
    still_open = [row.run_id for row in rows if row is not None and row.status is RunStatus.RUNNING]
    assert still_open == [current.run_id]
    if conflict is not IdConflict.TERMINATE_EXISTING:
        assert len(started) == 1


async def test_starts_of_a_new_id_that_race_leave_one_run(ours, theirs):
    answers = await asyncio.gather(*((ours if n % 2 else theirs).start_by_policy("fresh") for n in range(8)))

    results = sorted(answer.result.name for _, answer in answers)
    assert results == ["ALREADY_STARTED"] * 7 + ["STARTED"]


async def test_a_run_that_follows_has_its_mail_from_the_first(ours):
    await ours.start("order-42")
    await ours.finish("order-42")
    now = await ours.store.now_ms()
    run = new_run("order-42", at=now)
    signal, update = letter("order-42", "1"), letter("order-42", "2", topic=UPDATE)

    answer = await ours.store.start_by_policy(
        ours.id, run, "order-42~2", "{}", mail=[update, signal], updates=[UpdateRow(update_id="u", stage=1)]
    )

    assert answer.result is StartResult.STARTED
    [loaded] = await ours.store.load(["order-42~2"])
    assert [(mail.mail_id, mail.message) for mail in loaded.mail] == [(update.mail_id, "2"), (signal.mail_id, "1")]
    assert [mail.created_ms for mail in loaded.mail] == [update.created_ms, signal.created_ms]
    assert now <= update.created_ms < signal.created_ms
    assert loaded.run.last_mail_ms >= signal.created_ms
    assert loaded.updates == [UpdateRow(update_id="u", stage=1)]


async def test_a_start_that_is_refused_leaves_its_mail_unwritten(ours):
    await ours.start("order-42")
    run = new_run("order-42", at=await ours.store.now_ms())
    signal = letter("order-42", "1")

    answer = await ours.store.start_by_policy(
        ours.id, run, "order-42~2", "{}", mail=[signal], updates=[UpdateRow(update_id="u", stage=1)]
    )

    assert answer.result is StartResult.ALREADY_STARTED
    assert await ours.store.mail(["order-42", "order-42~2"]) == []
    assert await ours.store.update_row("order-42", "u", watch=False) is None
    assert await ours.store.posted([signal.mail_id]) == set()
