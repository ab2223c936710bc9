"""Leases: how long a process is believed alive, and what becomes of its runs and attempts when it is not."""

from __future__ import annotations

import asyncio
import json

from dbos_core.commit import Commit, Verdict
from dbos_core.mailbox import ACTIVITY, OWN_ID
from dbos_core.store.base import WakeKind
from tests.store.support import HOUR, QUEUE, Process, activity, entry, request


async def test_a_process_in_time_is_alive(ours):
    assert (await ours.pulse()).alive
    assert (await ours.pulse()).alive


async def test_a_process_whose_lease_had_lapsed_hears_so_once(ours):
    await ours.die()

    assert not (await ours.pulse()).alive
    assert (await ours.pulse()).alive


async def test_a_process_whose_lease_row_is_gone_is_not_alive(ours):
    await ours.store.unregister(ours.id)

    assert not (await ours.pulse()).alive


async def test_what_lease_rows_tell_about_processes(ours, theirs):
    assert await ours.store.known_processes([]) == {}
    both = [ours.id, theirs.id, "nobody"]
    names = {ours.id: ours.info.identity, theirs.id: theirs.info.identity}
    assert await ours.store.known_processes(both) == {one: (name, True) for one, name in names.items()}

    await theirs.die()

    assert await ours.store.known_processes(both) == {one: (name, one == ours.id) for one, name in names.items()}
    await theirs.store.unregister(theirs.id)
    assert await ours.store.known_processes(both) == {ours.id: (ours.info.identity, True)}


async def test_an_idle_pulse_finds_nothing(ours):
    pulse = await ours.pulse()

    assert (pulse.lapsed, pulse.touched) == ((), ())
    assert not (pulse.runnable)
    assert not (pulse.offered)
    assert not (pulse.requests)


async def test_a_pulse_counts_who_shares_the_rate_of_a_queue(ours, theirs):
    ours.info.limited_queues = ("payments", "mail")
    theirs.info.limited_queues = ("payments",)
    assert (await ours.pulse()).sharers == {"payments": 1, "mail": 1}
    assert (await theirs.pulse()).sharers == {"payments": 2}
    assert (await ours.pulse()).sharers == {"payments": 2, "mail": 1}

    await theirs.die()

    assert (await ours.pulse()).sharers == {"payments": 1, "mail": 1}
    theirs.info.limited_queues = ()
    assert (await theirs.pulse()).sharers == {}
    assert (await ours.pulse()).sharers == {"payments": 1, "mail": 1}


async def test_a_pulse_sees_a_due_run_of_our_queues(ours, theirs):
    now = await ours.store.now_ms()
    await ours.start("elsewhere", claimed=False, task_queue="mail")
    await ours.start("later", claimed=False, execution_ms=now + HOUR)
    assert not (await theirs.pulse()).runnable

    await ours.start("due", claimed=False)

    assert (await theirs.pulse()).runnable
    await ours.claim()
    assert not (await theirs.pulse()).runnable


async def test_a_pulse_sees_a_due_and_free_activity_of_our_queues(ours, theirs):
    now = await ours.store.now_ms()
    await ours.start("order-42")
    rows = (
        activity("order-42", 1, at=now, offered=True, task_queue="mail"),
        activity("order-42", 2, at=now, offered=True, due_ms=now + HOUR),
        activity("order-42", 3, at=now, offered=False),
    )
    await ours.commit(Commit(workflow_uuid="order-42", activities=rows))
    assert not (await theirs.pulse()).offered

    await ours.commit(Commit(workflow_uuid="order-42", activities=(activity("order-42", 4, at=now, offered=True),)))

    assert (await theirs.pulse()).offered
    await theirs.store.claim_activities(theirs.id, [QUEUE], 10)
    assert not (await theirs.pulse()).offered


async def test_a_pulse_sees_an_unanswered_request_for_one_of_our_queues(ours, theirs):
    now = await ours.store.now_ms()
    await ours.start("order-42", claimed=False)
    assert not (await theirs.pulse()).requests

    asked = request("order-42", deadline=now + HOUR)
    await ours.store.ask(asked)

    assert (await theirs.pulse()).requests
    await theirs.store.take_requests(theirs.id, [QUEUE], 10)
    await theirs.store.answer(asked.request_id, '"ok"')
    assert not (await theirs.pulse()).requests


async def test_a_pulse_names_lapsed_processes_that_still_own_runs(ours, theirs, store):
    await theirs.start("order-42")
    idle = Process(store)
    await idle.die()
    assert (await ours.pulse()).lapsed == ()

    await theirs.die()

    assert (await ours.pulse()).lapsed == (theirs.id,)


async def test_a_pulse_names_lapsed_processes_that_still_run_activities(ours, theirs):
    now = await ours.store.now_ms()
    await ours.start("order-42")
    await ours.commit(Commit(workflow_uuid="order-42", activities=(activity("order-42", 1, at=now, offered=True),)))
    await theirs.store.claim_activities(theirs.id, [QUEUE], 10)
    assert (await ours.pulse()).lapsed == ()

    await theirs.die()

    assert (await ours.pulse()).lapsed == (theirs.id,)


async def test_a_process_does_not_name_itself_lapsed(ours):
    await ours.start("order-42")
    await ours.die()

    assert ours.id not in (await ours.pulse()).lapsed


async def test_the_runs_of_a_lapsed_process_are_taken_over(ours, theirs):
    await ours.start("one")
    await ours.start("two")
    await ours.start("done")
    await ours.finish("done")
    await ours.die()

    assert sorted(await theirs.take_over(ours)) == ["one", "two"]

    assert (await theirs.row("one")).owner == theirs.id
    assert await ours.commit(Commit(workflow_uuid="one", entry=entry(2))) is Verdict.CLAIM_LOST
    assert await theirs.commit(Commit(workflow_uuid="one", entry=entry(2))) is Verdict.COMMITTED
    assert (await theirs.pulse()).lapsed == ()


async def test_the_lease_is_checked_again_inside_the_take_over(ours, theirs):
    await ours.start("order-42")

    assert await theirs.take_over(ours) == [], "the process that was thought dead has beaten in time"

    assert (await ours.row("order-42")).owner == ours.id


async def test_a_process_that_came_back_keeps_its_runs(ours, theirs):
    await ours.start("order-42")
    await ours.die()
    await ours.pulse()

    assert await theirs.take_over(ours) == []
    assert await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2))) is Verdict.COMMITTED


async def test_a_lapsed_process_keeps_writing_until_somebody_takes_over(ours):
    """The lease says who should run it; the claim says who may."""
    await ours.start("order-42")
    await ours.die()

    assert await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2))) is Verdict.COMMITTED


async def test_a_take_over_is_limited_and_continued(ours, theirs):
    for n in range(5):
        await ours.start(f"run-{n}")
    await ours.die()

    first = await theirs.take_over(ours, limit=3)
    second = await theirs.take_over(ours, limit=3)

    assert (len(first), len(second)) == (3, 2)
    assert len(set(first + second)) == 5


async def test_only_runs_of_our_queues_are_taken_over(ours, theirs):
    await ours.start("here")
    await ours.start("there", task_queue="mail")
    await ours.die()

    assert await theirs.take_over(ours) == ["here"]
    assert (await ours.row("there")).owner == ours.id


async def test_of_two_processes_that_take_over_each_run_goes_to_one(ours, theirs, store_factory):
    third = Process(await store_factory())
    await third.register()
    names = {f"run-{n}" for n in range(20)}
    for name in names:
        await ours.start(name)
    await ours.die()

    shares = await asyncio.gather(theirs.take_over(ours), third.take_over(ours))

    taken = [name for share in shares for name in share]
    assert len(taken) == len(set(taken)), "a run was taken over twice"
    rest = await theirs.take_over(ours)
    assert {*taken, *rest} == names


async def test_a_clean_goodbye_makes_runs_claimable_at_once(ours, theirs):
    await ours.start("order-42")
    now = await ours.store.now_ms()
    await ours.start("parked")
    await ours.park("parked", now + HOUR)

    await ours.store.unregister(ours.id)

    assert await theirs.claim() == ["order-42"]


async def test_an_attempt_that_died_with_its_process_is_mailed_to_its_run(ours, theirs, ear):
    now = await ours.store.now_ms()
    await ours.start("order-42")
    row = activity("order-42", 7, at=now, offered=True, attempt=3)
    await ours.commit(Commit(workflow_uuid="order-42", activities=(row,)))
    await theirs.store.claim_activities(theirs.id, [QUEUE], 10)
    await theirs.die()

    assert await ours.take_over(theirs) == []

    [mail] = await ours.mailbox("order-42")
    assert mail.topic == ACTIVITY
    assert mail.mail_id.startswith(OWN_ID)
    assert json.loads(mail.message) == {"seq": 7, "attempt": 3, "lost": True}
    await ear.hears(WakeKind.MAIL, "order-42")


async def test_a_lost_attempt_is_mailed_once_and_offered_to_nobody(ours, theirs):
    """Whether there is another attempt is for the run to decide: attempts may be bounded."""
    now = await ours.store.now_ms()
    await ours.start("order-42")
    await ours.commit(Commit(workflow_uuid="order-42", activities=(activity("order-42", 1, at=now, offered=True),)))
    await theirs.store.claim_activities(theirs.id, [QUEUE], 10)
    await theirs.die()

    await ours.take_over(theirs)
    await ours.take_over(theirs)

    assert len(await ours.mailbox("order-42")) == 1
    assert await ours.store.claim_activities(ours.id, [QUEUE], 10) == []
    assert (await ours.pulse()).lapsed == ()


async def test_a_lost_attempt_wakes_a_parked_run(ours, theirs):
    now = await ours.store.now_ms()
    await ours.start("order-42")
    row = activity("order-42", 1, at=now, offered=True)
    await ours.commit(Commit(workflow_uuid="order-42", activities=(row,), park_until_ms=now + HOUR))
    await theirs.store.claim_activities(theirs.id, [QUEUE], 10)
    await theirs.die()

    await ours.take_over(theirs)

    assert await ours.claim() == ["order-42"]
    assert len(await ours.mailbox("order-42")) == 1


async def test_an_attempt_of_a_process_that_beats_is_not_lost(ours, theirs):
    now = await ours.store.now_ms()
    await ours.start("order-42")
    await ours.commit(Commit(workflow_uuid="order-42", activities=(activity("order-42", 1, at=now, offered=True),)))
    await theirs.store.claim_activities(theirs.id, [QUEUE], 10)

    await ours.take_over(theirs)

    assert await ours.mailbox("order-42") == []


async def test_an_attempt_elsewhere_goes_on_when_its_run_changes_hands(ours, theirs, store_factory):
    now = await ours.store.now_ms()
    third = Process(await store_factory())
    await third.register()
    await ours.start("order-42")
    await ours.commit(Commit(workflow_uuid="order-42", activities=(activity("order-42", 1, at=now, offered=True),)))
    await third.store.claim_activities(third.id, [QUEUE], 10)
    await ours.die()

    assert await theirs.take_over(ours) == ["order-42"]

    assert await theirs.mailbox("order-42") == []
    [row] = (await theirs.load("order-42")).activities
    assert row.worker == third.id


async def test_a_lease_that_holds_is_kept_from_another_loop(ours):
    """As by a thread, while the process's own event loop is blocked."""
    await ours.pulse(lease_ms=5_000)

    assert await asyncio.to_thread(lambda: asyncio.run(ours.store.keep_lease(ours.id, HOUR)))
    await ours.store.unregister(ours.id)
    assert not await ours.store.keep_lease(ours.id, HOUR)


async def test_a_lease_that_has_lapsed_is_not_kept(ours):
    await ours.die()

    assert not await ours.store.keep_lease(ours.id, HOUR)
    assert not (await ours.pulse()).alive
