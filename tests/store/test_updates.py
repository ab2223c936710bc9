"""Updates: admitted once per run and id, told by their stage, watched by whoever waits."""

from __future__ import annotations

import asyncio

from dbos_core.commit import Commit, UpdateRow, Verdict
from dbos_core.mailbox import UPDATE
from dbos_core.store.base import WakeKind
from tests.store.support import QUEUE, entry, letter, post


def envelope(to: str, text: str = '{"update": "add"}'):
    return letter(to, text, topic=UPDATE)


async def test_an_admitted_update_is_a_row_and_a_mail(ours):
    await ours.start("order-42")

    sent = envelope("order-42")
    verdict, _ = await ours.store.admit_update("order-42", "update-1", sent)

    assert verdict is Verdict.COMMITTED
    assert await ours.store.update_row("order-42", "update-1", watch=False) == UpdateRow(update_id="update-1", stage=1)
    [mail] = await ours.mailbox("order-42")
    assert (mail.topic, mail.message) == (UPDATE, '{"update": "add"}')
    assert mail.created_ms == sent.created_ms > 0


async def test_the_sender_hears_what_its_update_follows(ours, theirs):
    await ours.start("order-42")
    first, second, third = (envelope("order-42") for _ in range(3))

    await ours.store.admit_update("order-42", "update-1", first)
    await theirs.commit(post(second))
    await ours.store.admit_update("order-42", "update-2", third)

    assert (first.follows_ms, third.follows_ms) == (0, second.created_ms)


async def test_an_admitted_update_wakes_its_run(ours, ear):
    await ours.start("order-42")

    await ours.store.admit_update("order-42", "update-1", envelope("order-42"))

    await ear.hears(WakeKind.MAIL, "order-42")


async def test_an_update_to_a_parked_run_makes_it_runnable(ours, theirs, ear):
    await ours.start("order-42")
    await ours.park("order-42")

    await ours.store.admit_update("order-42", "update-1", envelope("order-42"))

    await ear.hears(WakeKind.WORK, QUEUE)
    assert await theirs.claim() == ["order-42"]


async def test_a_known_update_is_a_duplicate_with_its_row(ours, theirs):
    await ours.start("order-42")
    await ours.store.admit_update("order-42", "update-1", envelope("order-42"))
    done = UpdateRow(update_id="update-1", stage=3, outcome='{"sum": 3}')
    await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2), updates=(done,)))

    answer = await theirs.store.admit_update("order-42", "update-1", envelope("order-42", '"other"'))

    assert answer == (Verdict.DUPLICATE, done)
    assert len(await ours.mailbox("order-42")) == 1


async def test_an_update_admitted_twice_at_once_is_one_update(ours, theirs):
    await ours.start("order-42")

    answers = await asyncio.gather(
        *(
            process.store.admit_update("order-42", "update-1", envelope("order-42"))
            for process in (ours, theirs, ours, theirs)
        )
    )

    assert sorted(verdict.name for verdict, _ in answers) == ["COMMITTED", "DUPLICATE", "DUPLICATE", "DUPLICATE"]
    assert len(await ours.mailbox("order-42")) == 1


async def test_the_same_update_id_on_another_run_is_another_update(ours):
    await ours.start("a")
    await ours.start("b")

    verdicts = [(await ours.store.admit_update(name, "update-1", envelope(name)))[0] for name in ("a", "b")]

    assert verdicts == [Verdict.COMMITTED, Verdict.COMMITTED]


async def test_an_update_to_a_closed_or_missing_run_is_refused(ours):
    await ours.start("order-42")
    await ours.finish("order-42")

    assert await ours.store.admit_update("order-42", "update-1", envelope("order-42")) == (Verdict.RUN_CLOSED, None)
    assert await ours.store.admit_update("nothing", "update-1", envelope("nothing")) == (Verdict.RUN_CLOSED, None)
    assert await ours.store.update_row("order-42", "update-1", watch=False) is None
    assert await ours.mailbox("order-42") == []


async def test_the_stages_of_an_update_are_written_with_the_commit(ours, theirs):
    await ours.start("order-42")
    await ours.store.admit_update("order-42", "update-1", envelope("order-42"))

    accepted = UpdateRow(update_id="update-1", stage=2)
    await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2), updates=(accepted,)))
    assert await theirs.store.update_row("order-42", "update-1", watch=False) == accepted

    done = UpdateRow(update_id="update-1", stage=3, outcome='{"sum": 3}')
    await ours.commit(Commit(workflow_uuid="order-42", entry=entry(3), updates=(done,)))
    assert await theirs.store.update_row("order-42", "update-1", watch=False) == done


async def test_an_update_that_the_run_writes_first_is_stored(ours):
    """Update-with-start: the row and its acceptance come in the starting step."""
    await ours.start("order-42")
    done = UpdateRow(update_id="update-1", stage=3, outcome='"ok"')

    await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2), updates=(done,)))

    assert (await ours.load("order-42")).updates == [done]


async def test_a_rejected_update_leaves_no_trace_and_may_be_tried_again(ours):
    await ours.start("order-42")
    mail = envelope("order-42")
    await ours.store.admit_update("order-42", "update-1", mail)

    rejected = UpdateRow(update_id="update-1", stage=0)
    await ours.commit(Commit(workflow_uuid="order-42", consumed=(mail.mail_id,), updates=(rejected,)))

    assert await ours.store.update_row("order-42", "update-1", watch=False) is None
    verdict, _ = await ours.store.admit_update("order-42", "update-1", envelope("order-42"))
    assert verdict is Verdict.COMMITTED


async def test_a_watched_update_announces_every_stage(ours, theirs, ear):
    await ours.start("order-42")
    await ours.store.admit_update("order-42", "update-1", envelope("order-42"))
    await theirs.store.update_row("order-42", "update-1", watch=True)

    for position, stage in ((2, 2), (3, 3)):
        ear.wakes.clear()
        row = UpdateRow(update_id="update-1", stage=stage, outcome='"x"' if stage == 3 else None)
        await ours.commit(Commit(workflow_uuid="order-42", entry=entry(position), updates=(row,)))
        await ear.hears(WakeKind.UPDATE, "order-42|update-1")


async def test_a_watched_update_announces_its_rejection(ours, theirs, ear):
    await ours.start("order-42")
    await ours.store.admit_update("order-42", "update-1", envelope("order-42"))
    await theirs.store.update_row("order-42", "update-1", watch=True)

    await ours.commit(Commit(workflow_uuid="order-42", updates=(UpdateRow(update_id="update-1", stage=0),)))

    await ear.hears(WakeKind.UPDATE, "order-42|update-1")


async def test_an_update_that_nobody_watches_changes_in_silence(ours, ear):
    await ours.start("order-42")
    await ours.store.admit_update("order-42", "update-1", envelope("order-42"))

    await ours.commit(Commit(workflow_uuid="order-42", updates=(UpdateRow(update_id="update-1", stage=2),)))

    await ear.has_not_heard(WakeKind.UPDATE, "order-42|update-1")


async def test_a_known_update_of_a_closed_run_can_still_be_read(ours):
    await ours.start("order-42")
    await ours.store.admit_update("order-42", "update-1", envelope("order-42"))
    done = UpdateRow(update_id="update-1", stage=3, outcome='"ok"')
    await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2), updates=(done,)))
    await ours.finish("order-42")

    assert await ours.store.update_row("order-42", "update-1", watch=True) == done


async def test_a_known_update_of_a_closed_run_is_a_duplicate(ours):
    await ours.start("order-42")
    await ours.store.admit_update("order-42", "update-1", envelope("order-42"))
    done = UpdateRow(update_id="update-1", stage=3, outcome='"ok"')
    await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2), updates=(done,)))
    await ours.finish("order-42")

    answer = await ours.store.admit_update("order-42", "update-1", envelope("order-42"))

    assert answer == (Verdict.DUPLICATE, done)


async def test_an_unknown_update_has_no_row(ours):
    await ours.start("order-42")

    assert await ours.store.update_row("order-42", "update-1", watch=True) is None
    assert await ours.store.update_row("nothing", "update-1", watch=True) is None
