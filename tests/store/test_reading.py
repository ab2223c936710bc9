"""load, find, rows, terminate and delete_finished: what is there to be read, ended and forgotten."""

from __future__ import annotations

from dbos_core.commit import Commit, RunStatus, UpdateRow, Verdict
from dbos_core.store.base import WakeKind
from tests.store.support import HOUR, activity, close, entry, ids, letter, new_run, post


async def test_a_loaded_run_has_everything_that_a_process_needs_to_go_on(ours, theirs):
    now = await ours.store.now_ms()
    run = await ours.start("order-42", inputs='"the inputs"')
    first, second, third = (letter("order-42", str(n)) for n in range(3))
    await ours.flush(post(first), post(second))
    await ours.store.admit_update("order-42", "update-1", third)
    await ours.commit(
        Commit(
            workflow_uuid="order-42",
            entry=entry(2, '"two"', name="charge"),
            consumed=(first.mail_id,),
            activities=(activity("order-42", 2, at=now), activity("order-42", 1, at=now, attempt=3)),
        )
    )

    loaded = await theirs.load("order-42")

    assert loaded.run == await ours.row("order-42")
    assert (loaded.run.run_id, loaded.inputs) == (run.run_id, '"the inputs"')
    assert [(one.position, one.name) for one in loaded.entries] == [(1, "step"), (2, "charge")]
    assert ids(loaded.mail) == [second.mail_id, third.mail_id]
    assert sorted((row.seq, row.attempt) for row in loaded.activities) == [(1, 3), (2, 1)]
    assert loaded.updates == [UpdateRow(update_id="update-1", stage=1)]


async def test_entries_are_loaded_in_order_of_their_positions(ours):
    await ours.start("order-42")
    for position in range(2, 30):
        await ours.commit(Commit(workflow_uuid="order-42", entry=entry(position)))

    assert [one.position for one in (await ours.load("order-42")).entries] == list(range(1, 30))


async def test_several_runs_are_loaded_in_one_call_and_missing_ones_left_out(ours):
    await ours.start("a")
    await ours.start("b")
    await ours.commit(Commit(workflow_uuid="b", entry=entry(2)))

    loaded = {run.run.workflow_uuid: run for run in await ours.store.load(["a", "nothing", "b"])}

    assert {name: len(run.entries) for name, run in loaded.items()} == {"a": 1, "b": 2}
    assert await ours.store.load([]) == []


async def test_a_closed_run_can_be_loaded(ours):
    await ours.start("order-42")
    await ours.finish("order-42")

    loaded = await ours.load("order-42")

    assert (loaded.run.status, len(loaded.entries)) == (RunStatus.COMPLETED, 1)


async def test_what_was_loaded_is_a_copy(ours):
    await ours.start("order-42")
    await ours.commit(post(letter("order-42", '"sent"')))
    loaded = await ours.load("order-42")

    loaded.run.status = RunStatus.FAILED
    loaded.mail[0].message = '"forged"'
    loaded.entries.clear()

    again = await ours.load("order-42")
    assert (again.run.status, again.mail[0].message, len(again.entries)) == (RunStatus.RUNNING, '"sent"', 1)


async def test_a_run_is_found_by_workflow_id_and_run_id(ours):
    run = await ours.start("order-42")

    by_run = await ours.store.find("order-42", run.run_id)
    current = await ours.store.find("order-42", None)

    assert by_run == current == await ours.row("order-42")


async def test_a_run_is_not_found_under_another_workflow_id(ours):
    run = await ours.start("order-42")
    await ours.start("order-43")

    assert await ours.store.find("order-43", run.run_id) is None
    assert await ours.store.find("order-42", "00000000-0000-4000-8000-000000000000") is None
    assert await ours.store.find("nothing", None) is None


async def test_a_closed_run_stays_current_until_its_id_is_used_again(ours):
    run = await ours.start("order-42")
    await ours.finish("order-42")

    current = await ours.store.find("order-42", None)

    assert current is not None
    assert (current.run_id, current.status) == (run.run_id, RunStatus.COMPLETED)


async def test_rows_leave_out_what_is_missing(ours):
    await ours.start("a")

    assert [row.workflow_uuid for row in await ours.store.rows(["a", "nothing"], watch=False)] == ["a"]
    assert await ours.store.rows([], watch=True) == []


async def test_a_watched_run_announces_its_close(ours, theirs, ear):
    await ours.start("order-42")
    await theirs.store.rows(["order-42"], watch=True)

    await ours.finish("order-42")

    await ear.hears(WakeKind.CLOSED, "order-42")
    [row] = await theirs.store.rows(["order-42"], watch=True)
    assert row.status is RunStatus.COMPLETED


async def test_a_run_that_nobody_watches_closes_in_silence(ours, theirs, ear):
    await ours.start("order-42")
    await theirs.store.rows(["order-42"], watch=False)

    await ours.finish("order-42")

    await ear.has_not_heard(WakeKind.CLOSED, "order-42")


async def test_terminate_closes_a_run_whoever_owns_it(ours, theirs, ear):
    await ours.start("order-42")
    await ours.commit(post(letter("order-42")))
    await theirs.store.rows(["order-42"], watch=True)

    verdict = await theirs.store.terminate(
        theirs.id,
        "order-42",
        close(RunStatus.TERMINATED, at=1_700_000_000_009, seen=None, record='{"reason": "enough"}'),
    )

    assert verdict is Verdict.COMMITTED
    row = await ours.row("order-42")
    assert (row.status, row.close_ms, row.close) == (RunStatus.TERMINATED, 1_700_000_000_009, '{"reason": "enough"}')
    assert row.owner is None
    assert await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2))) is Verdict.CLAIM_LOST
    await ear.hears(WakeKind.CLOSED, "order-42")


async def test_terminate_closes_a_run_that_nobody_owns(ours, theirs):
    await ours.start("order-42", claimed=False)

    verdict = await ours.store.terminate(ours.id, "order-42", close(RunStatus.TIMED_OUT, seen=None))

    assert verdict is Verdict.COMMITTED
    assert (await ours.row("order-42")).status is RunStatus.TIMED_OUT
    assert await theirs.claim() == []


async def test_terminate_finds_a_closed_or_missing_run_closed(ours):
    await ours.start("order-42")
    await ours.finish("order-42")

    verdict = await ours.store.terminate(ours.id, "order-42", close(RunStatus.TERMINATED, seen=None))

    assert verdict is Verdict.RUN_CLOSED
    assert (await ours.row("order-42")).status is RunStatus.COMPLETED
    assert await ours.store.terminate(ours.id, "nothing", close(RunStatus.TERMINATED, seen=None)) is Verdict.RUN_CLOSED


async def test_runs_closed_before_a_time_are_deleted_with_all_their_rows(ours):
    now = await ours.store.now_ms()
    await ours.start("old", request_id="request-1")
    mail = letter("old")
    await ours.commit(post(mail))
    await ours.store.admit_update("old", "update-1", letter("old"))
    await ours.finish("old", at=now - 10)
    await ours.start("young")
    await ours.finish("young", at=now)
    await ours.start("open", start_ms=now - HOUR)

    assert await ours.store.delete_finished(now, 100) == 1

    assert await ours.store.find("old", None) is None
    assert await ours.store.load(["old"]) == []
    assert await ours.mailbox("old") == []
    assert await ours.store.update_row("old", "update-1", watch=False) is None
    assert {row.workflow_uuid for row in await ours.store.rows(["young", "open"], watch=False)} == {"young", "open"}


async def test_a_deleted_id_can_be_used_as_if_new(ours):
    now = await ours.store.now_ms()
    await ours.start("order-42")
    mail = letter("order-42")
    await ours.commit(post(mail))
    await ours.finish("order-42", at=now - 10)
    await ours.store.delete_finished(now, 100)

    run = new_run("order-42", at=now)
    start = Commit(workflow_uuid="order-42", fenced=False, start=run, entry=entry(1, '"fresh"'))

    assert await ours.commit(start) is Verdict.COMMITTED
    assert await ours.journal("order-42") == [(1, '"fresh"')]
    assert await ours.mailbox("order-42") == []


async def test_when_the_first_row_is_gone_a_start_still_meets_the_current_run(ours):
    """The first run of an id may be deleted before the later ones: the id is not free."""
    now = await ours.store.now_ms()
    await ours.start("order-42")
    await ours.finish("order-42", at=now - 10)
    second, _ = await ours.start_by_policy("order-42")
    await ours.store.delete_finished(now, 100)
    assert await ours.store.rows(["order-42"], watch=False) == []

    third = new_run("order-42", at=now)
    verdict = await ours.commit(Commit(workflow_uuid="order-42", fenced=False, start=third, entry=entry(1)))

    assert verdict is Verdict.ID_TAKEN
    current = await ours.store.find("order-42", None)
    assert current is not None
    assert current.run_id == second.run_id


async def test_deleting_is_limited_and_says_how_many(ours):
    now = await ours.store.now_ms()
    for n in range(5):
        await ours.start(f"run-{n}")
        await ours.finish(f"run-{n}", at=now - 10)

    assert await ours.store.delete_finished(now, 3) == 3
    assert await ours.store.delete_finished(now, 3) == 2
    assert await ours.store.delete_finished(now, 3) == 0
