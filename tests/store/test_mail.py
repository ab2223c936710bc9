"""Mail: durable, in order, once; and never overlooked by a run that closes or parks."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace

from dbos_core.commit import PARK_FOREVER, Commit, RunStatus, Verdict
from dbos_core.mailbox import CANCEL
from dbos_core.store.base import WakeKind
from tests.store.support import HOUR, QUEUE, close, entry, ids, letter, new_run, post


async def test_mail_is_read_back_as_it_was_sent(ours):
    await ours.start("order-42")
    sent = letter("order-42", '{"by": "ada"}', topic="approve")

    assert await ours.commit(post(sent)) is Verdict.COMMITTED

    [mail] = await ours.mailbox("order-42")
    assert (mail.mail_id, mail.workflow_uuid, mail.topic) == (sent.mail_id, "order-42", "approve")
    assert (mail.message, mail.serialization) == ('{"by": "ada"}', "portable_json")


async def test_the_sender_hears_when_its_mail_was_stored(ours):
    await ours.start("order-42")
    first, second = letter("order-42"), letter("order-42")

    await ours.flush(post(first), post(second))

    assert [mail.created_ms for mail in await ours.mailbox("order-42")] == [first.created_ms, second.created_ms]


async def test_the_sender_hears_what_its_mail_follows(ours, theirs):
    await ours.start("order-42")
    first, second, third, fourth = (letter("order-42") for _ in range(4))

    await ours.flush(post(first), post(second))
    await theirs.commit(post(third))
    await ours.commit(post(fourth))

    assert first.follows_ms == 0
    assert second.follows_ms == first.created_ms
    assert third.follows_ms == second.created_ms
    assert fourth.follows_ms == third.created_ms


async def test_mail_that_is_known_is_not_what_the_next_follows(ours):
    await ours.start("order-42")
    first, second = letter("order-42"), letter("order-42")
    await ours.commit(post(first))

    await ours.flush(post(replace(first)), post(second))

    assert second.follows_ms == first.created_ms


async def test_mail_follows_what_came_with_the_start(ours):
    with_start, later = letter("order-42"), letter("order-42")
    run = new_run("order-42", at=await ours.store.now_ms())
    await ours.commit(Commit(workflow_uuid="order-42", fenced=False, start=run, entry=entry(1), mail=(with_start,)))

    await ours.commit(post(later))

    assert later.follows_ms == with_start.created_ms > 0


async def test_mail_is_ordered_by_times_that_grow_strictly_per_run(ours, theirs):
    await ours.start("order-42")
    sent = [letter("order-42", str(n)) for n in range(20)]
    for n, one in enumerate(sent):
        await (ours if n % 2 else theirs).commit(post(one))

    mail = await ours.mailbox("order-42")

    assert ids(mail) == ids(sent)
    times = [one.created_ms for one in mail]
    assert times[0] > 0
    assert all(earlier < later for earlier, later in itertools.pairwise(times))
    assert (await ours.row("order-42")).last_mail_ms == times[-1]


async def test_mail_of_one_flush_is_ordered_as_the_flush_is(ours):
    await ours.start("order-42")
    sent = [letter("order-42", str(n)) for n in range(10)]

    assert set(await ours.flush(*(post(one) for one in sent))) == {Verdict.COMMITTED}

    mail = await ours.mailbox("order-42")
    assert ids(mail) == ids(sent)
    assert len({one.created_ms for one in mail}) == 10


async def test_mail_of_one_commit_is_ordered_as_the_commit_is(ours):
    await ours.start("order-42")
    sent = [letter("order-42", str(n)) for n in range(3)]

    assert await ours.commit(post(*sent)) is Verdict.COMMITTED

    assert ids(await ours.mailbox("order-42")) == ids(sent)


async def test_mail_sent_by_many_at_once_all_arrives_in_one_order(ours, theirs):
    await ours.start("order-42")
    sent = [letter("order-42", str(n)) for n in range(20)]

    verdicts = await asyncio.gather(*((ours if n % 2 else theirs).commit(post(one)) for n, one in enumerate(sent)))

    assert set(verdicts) == {Verdict.COMMITTED}
    mail = await ours.mailbox("order-42")
    assert sorted(ids(mail)) == sorted(ids(sent))
    assert len({one.created_ms for one in mail}) == 20
    assert mail == (await ours.load("order-42")).mail


async def test_a_known_mail_id_is_a_duplicate(ours, theirs):
    await ours.start("order-42")
    await ours.commit(post(letter("order-42", '"first"', mail_id="dc1:request-7")))

    assert await theirs.commit(post(letter("order-42", '"second"', mail_id="dc1:request-7"))) is Verdict.DUPLICATE
    assert [mail.message for mail in await ours.mailbox("order-42")] == ['"first"']


async def test_a_consumed_mail_id_is_still_known(ours):
    await ours.start("order-42")
    mail = letter("order-42")
    await ours.commit(post(mail))
    await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2), consumed=(mail.mail_id,)))

    assert await ours.commit(post(mail)) is Verdict.DUPLICATE
    assert await ours.mailbox("order-42") == []


async def test_the_same_mail_id_twice_in_one_flush_is_delivered_once(ours):
    await ours.start("order-42")
    mail = letter("order-42")

    verdicts = await ours.flush(post(mail), post(mail))

    assert sorted(verdict.name for verdict in verdicts) == ["COMMITTED", "DUPLICATE"]
    assert len(await ours.mailbox("order-42")) == 1


async def test_mail_to_a_closed_run_is_refused(ours):
    await ours.start("order-42")
    await ours.finish("order-42")

    assert await ours.commit(post(letter("order-42"))) is Verdict.RUN_CLOSED
    assert await ours.mailbox("order-42") == []


async def test_mail_to_a_run_that_does_not_exist_is_refused(ours):
    assert await ours.commit(post(letter("nobody"))) is Verdict.RUN_CLOSED


async def test_a_closed_run_is_reported_before_a_known_mail_id(ours):
    await ours.start("order-42")
    mail = letter("order-42")
    await ours.commit(post(mail))
    await ours.finish("order-42")

    assert await ours.commit(post(mail)) is Verdict.RUN_CLOSED


async def test_consuming_takes_exactly_the_mail_that_was_named(ours):
    await ours.start("order-42")
    one, two, three = (letter("order-42", str(n)) for n in range(3))
    await ours.flush(post(one), post(two), post(three))

    await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2), consumed=(one.mail_id, three.mail_id)))

    assert ids(await ours.mailbox("order-42")) == [two.mail_id]


async def test_mail_can_be_consumed_without_an_entry(ours):
    await ours.start("order-42")
    mail = letter("order-42")
    await ours.commit(post(mail))

    assert await ours.commit(Commit(workflow_uuid="order-42", consumed=(mail.mail_id,))) is Verdict.COMMITTED
    assert await ours.mailbox("order-42") == []


async def test_mail_of_several_runs_is_read_in_one_call(ours):
    for name in ("a", "b", "c"):
        await ours.start(name)
        await ours.flush(post(letter(name, '"1"')), post(letter(name, '"2"')))

    mail = await ours.store.mail(["a", "c", "nobody"])

    assert {one.workflow_uuid for one in mail} == {"a", "c"}
    for name in ("a", "c"):
        assert [one.message for one in mail if one.workflow_uuid == name] == ['"1"', '"2"']


async def test_a_close_is_refused_while_newer_mail_waits(ours):
    await ours.start("order-42")
    await ours.commit(post(letter("order-42")))

    refused = await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2), close=close()))

    assert refused is Verdict.MAIL_WAITING
    assert (await ours.row("order-42")).status is RunStatus.RUNNING
    assert len(await ours.journal("order-42")) == 1


async def test_a_close_that_has_seen_the_newest_mail_goes_through(ours):
    await ours.start("order-42")
    mail = letter("order-42")
    await ours.commit(post(mail))
    [waiting] = await ours.mailbox("order-42")

    done = Commit(
        workflow_uuid="order-42", entry=entry(2), consumed=(mail.mail_id,), close=close(seen=waiting.created_ms)
    )

    assert await ours.commit(done) is Verdict.COMMITTED


async def test_a_close_that_has_seen_all_but_the_newest_mail_is_refused(ours):
    await ours.start("order-42")
    await ours.flush(post(letter("order-42")), post(letter("order-42", topic=CANCEL)))
    first, _ = await ours.mailbox("order-42")

    done = Commit(
        workflow_uuid="order-42", entry=entry(2), consumed=(first.mail_id,), close=close(seen=first.created_ms)
    )

    assert await ours.commit(done) is Verdict.MAIL_WAITING
    assert len(await ours.mailbox("order-42")) == 2


async def test_a_forced_close_does_not_look_at_mail(ours):
    await ours.start("order-42")
    await ours.commit(post(letter("order-42")))

    assert await ours.commit(Commit(workflow_uuid="order-42", close=close(seen=None))) is Verdict.COMMITTED


async def test_a_parking_is_refused_while_newer_mail_waits(ours):
    await ours.start("order-42")
    await ours.commit(post(letter("order-42")))

    assert await ours.park("order-42") is Verdict.MAIL_WAITING
    assert (await ours.row("order-42")).owner == ours.id


async def test_a_parking_that_has_seen_the_newest_mail_goes_through(ours):
    await ours.start("order-42")
    await ours.commit(post(letter("order-42")))
    [mail] = await ours.mailbox("order-42")
    await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2), consumed=(mail.mail_id,)))

    assert await ours.park("order-42", seen=mail.created_ms) is Verdict.COMMITTED
    assert (await ours.row("order-42")).owner is None


async def test_an_entry_alone_does_not_look_at_mail(ours):
    await ours.start("order-42")
    await ours.commit(post(letter("order-42")))

    assert await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2))) is Verdict.COMMITTED


async def test_a_close_and_a_mail_in_one_flush_do_not_miss_each_other(ours):
    """Whichever goes first: a message that was accepted is never left behind in a run that closed by itself."""
    await ours.start("order-42")

    closing, mailing = await ours.flush(
        Commit(workflow_uuid="order-42", entry=entry(2), close=close()), post(letter("order-42"))
    )

    assert (closing, mailing) in [
        (Verdict.COMMITTED, Verdict.RUN_CLOSED),
        (Verdict.MAIL_WAITING, Verdict.COMMITTED),
    ]


async def test_a_mail_and_a_close_in_one_flush_do_not_miss_each_other(ours):
    await ours.start("order-42")

    mailing, closing = await ours.flush(
        post(letter("order-42")), Commit(workflow_uuid="order-42", entry=entry(2), close=close())
    )

    assert (closing, mailing) in [
        (Verdict.COMMITTED, Verdict.RUN_CLOSED),
        (Verdict.MAIL_WAITING, Verdict.COMMITTED),
    ]


async def test_a_parking_and_a_mail_in_one_flush_do_not_miss_each_other(ours, theirs):
    """Either the run stays, or it lies there runnable: it never sleeps on a message."""
    await ours.start("order-42")

    parking, mailing = await ours.flush(
        Commit(workflow_uuid="order-42", park_until_ms=PARK_FOREVER), post(letter("order-42"))
    )

    assert mailing is Verdict.COMMITTED
    if parking is Verdict.MAIL_WAITING:
        assert (await ours.row("order-42")).owner == ours.id
    else:
        assert parking is Verdict.COMMITTED
        assert await theirs.claim() == ["order-42"]


async def test_racing_mails_and_closes_never_miss_each_other(ours, theirs):
    names = [f"race-{n}" for n in range(20)]
    for name in names:
        await ours.start(name)

    async def one_race(name):
        return await asyncio.gather(
            ours.commit(Commit(workflow_uuid=name, entry=entry(2), close=close())), theirs.commit(post(letter(name)))
        )

    for closing, mailing in await asyncio.gather(*(one_race(name) for name in names)):
        assert (closing, mailing) in [
            (Verdict.COMMITTED, Verdict.RUN_CLOSED),
            (Verdict.MAIL_WAITING, Verdict.COMMITTED),
        ]


async def test_racing_mails_and_parkings_never_leave_a_run_asleep_on_its_mail(ours, theirs):
    names = [f"race-{n}" for n in range(20)]
    for name in names:
        await ours.start(name)

    async def one_race(name):
        return await asyncio.gather(ours.park(name), theirs.commit(post(letter(name))))

    parkings = dict(zip(names, await asyncio.gather(*(one_race(name) for name in names)), strict=True))

    claimed = await theirs.claim()
    for name, (parking, mailing) in parkings.items():
        assert mailing is Verdict.COMMITTED
        assert (name in claimed) == (parking is Verdict.COMMITTED)


async def test_mail_to_an_unowned_run_makes_it_runnable_now(ours, theirs):
    await ours.start("order-42")
    await ours.park("order-42", await ours.store.now_ms() + HOUR)
    assert await theirs.claim() == []

    await ours.commit(post(letter("order-42")))

    assert await theirs.claim() == ["order-42"]
    assert len(await theirs.mailbox("order-42")) == 1


async def test_mail_wakes_its_run(ours, ear):
    await ours.start("order-42")

    await ours.commit(post(letter("order-42")))

    await ear.hears(WakeKind.MAIL, "order-42")


async def test_mail_to_an_unowned_run_wakes_its_queue(ours, ear):
    await ours.start("order-42")
    await ours.park("order-42")

    await ours.commit(post(letter("order-42")))

    await ear.hears(WakeKind.WORK, QUEUE)


async def test_mail_that_was_refused_wakes_nobody(ours, ear):
    await ours.start("order-42")
    await ours.finish("order-42")

    await ours.commit(post(letter("order-42")))

    await ear.has_not_heard(WakeKind.MAIL, "order-42")
