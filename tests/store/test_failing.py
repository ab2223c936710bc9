"""What a run's row tells of activations that fail."""

from __future__ import annotations

import pytest

from dbos_core.commit import Commit, RunStatus
from dbos_core.errors import BadCommit
from tests.store.support import close, entry

NOTE = '{"cause": "a mistake"}'


async def test_a_fresh_run_has_not_failed(ours):
    await ours.start()

    row = await ours.row("order-42")
    assert (row.task_attempt, row.task_failure) == (1, None)


async def test_everybody_sees_what_the_owner_noted(ours, theirs):
    await ours.start()

    await ours.store.note_task_failure(ours.id, "order-42", 2, NOTE)

    found = await theirs.store.find("order-42", None)
    loaded = await theirs.load("order-42")
    assert (found.task_attempt, found.task_failure) == (2, NOTE)
    assert (loaded.run.task_attempt, loaded.run.task_failure) == (2, NOTE)


async def test_a_later_note_replaces_it_and_none_clears_it(ours):
    await ours.start()
    await ours.store.note_task_failure(ours.id, "order-42", 2, NOTE)

    await ours.store.note_task_failure(ours.id, "order-42", 5, NOTE)
    assert (await ours.row("order-42")).task_attempt == 5

    await ours.store.note_task_failure(ours.id, "order-42", 1, None)
    row = await ours.row("order-42")
    assert (row.task_attempt, row.task_failure) == (1, None)


async def test_only_the_owner_notes(ours, theirs):
    await ours.start()

    await theirs.store.note_task_failure(theirs.id, "order-42", 2, NOTE)

    assert (await ours.row("order-42")).task_attempt == 1


async def test_an_owner_that_was_cancelled_under_its_feet_notes_nothing(ours, stock):
    await ours.start()
    await stock.cancel("order-42")

    await ours.store.note_task_failure(ours.id, "order-42", 2, NOTE)

    assert (await ours.row("order-42")).task_attempt == 1


async def test_a_run_that_does_not_exist_has_no_note(ours):
    await ours.store.note_task_failure(ours.id, "nothing", 2, NOTE)

    assert await ours.store.rows(["nothing"], watch=False) == []


async def test_the_note_stays_when_the_run_changes_hands_or_ends_from_outside(ours, theirs):
    await ours.start()
    await ours.store.note_task_failure(ours.id, "order-42", 2, NOTE)

    await ours.store.release(ours.id, ["order-42"])
    assert await theirs.claim() == ["order-42"]
    assert (await theirs.row("order-42")).task_failure == NOTE

    await ours.store.terminate(ours.id, "order-42", close(RunStatus.TERMINATED, seen=None))
    assert (await theirs.row("order-42")).task_failure == NOTE
    await theirs.store.note_task_failure(theirs.id, "order-42", 3, NOTE)
    assert (await theirs.row("order-42")).task_attempt == 2


async def test_a_note_is_no_journal_entry_and_stands_in_nobodys_way(ours):
    await ours.start()
    await ours.store.note_task_failure(ours.id, "order-42", 2, NOTE)

    assert (await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2)))).value == "committed"
    assert [position for position, _ in await ours.journal("order-42")] == [1, 2]


async def test_a_note_with_a_nul_byte_is_refused(ours):
    await ours.start()

    with pytest.raises(BadCommit):
        await ours.store.note_task_failure(ours.id, "order-42", 2, "a\0b")
