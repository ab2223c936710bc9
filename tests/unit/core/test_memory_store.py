"""What only the memory store has: faults on demand, siblings, and a turn for others while a flush is under way."""

from __future__ import annotations

import asyncio

import pytest

from dbos_core import failpoints
from dbos_core.commit import Commit, Verdict
from dbos_core.errors import StoreUnavailable
from dbos_core.store.base import Wake, WakeKind
from dbos_core.store.memory import MemoryStore
from dbos_core.testing import VirtualClock
from tests.store.support import HOUR, Process, entry, letter, new_run, post


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def ours(clock: VirtualClock) -> Process:
    process = Process(MemoryStore(clock))
    await process.register()
    return process


async def test_a_lost_request_changes_nothing(ours):
    await ours.start("order-42")
    step = Commit(workflow_uuid="order-42", entry=entry(2))

    with failpoints.armed("memory.before_apply", StoreUnavailable("gone")), pytest.raises(StoreUnavailable):
        await ours.commit(step)

    assert len(await ours.journal("order-42")) == 1
    assert await ours.commit(step, again=True) is Verdict.COMMITTED
    assert len(await ours.journal("order-42")) == 2


async def test_a_lost_answer_changes_everything_and_the_repeat_recognises_it(ours):
    await ours.start("order-42")
    step = Commit(workflow_uuid="order-42", entry=entry(2))

    with failpoints.armed("memory.after_apply", StoreUnavailable("gone")), pytest.raises(StoreUnavailable):
        await ours.commit(step)

    assert len(await ours.journal("order-42")) == 2
    assert await ours.commit(step, again=True) is Verdict.COMMITTED
    assert len(await ours.journal("order-42")) == 2


async def test_others_get_a_turn_before_and_after_a_flush_is_applied(ours):
    """As with a database: the writer can gather company meanwhile, and a rival may be quicker."""
    await ours.start("order-42")
    seen: list[int] = []

    async def look():
        while len(seen) < 4:
            seen.append(len(await ours.journal("order-42")))
            await asyncio.sleep(0)

    looking = asyncio.create_task(look())
    await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2)))
    at_the_answer = list(seen)
    await looking

    assert at_the_answer[0] == 1, "somebody looked before it was applied"
    assert at_the_answer[-1] == 2, "somebody looked between applying and answering"


async def test_time_is_the_clocks(ours, clock):
    now = clock.now_ms()
    await ours.start("order-42")
    await ours.park("order-42", now + HOUR)
    assert await ours.store.now_ms() == now
    assert await ours.claim() == []

    await clock.advance(HOUR)

    assert await ours.claim() == ["order-42"]


async def test_a_lease_lapses_when_its_time_has_passed(ours, clock):
    theirs = Process(ours.store)
    await theirs.register(lease_ms=5_000)
    await theirs.start("order-42")

    await clock.advance(4_999)
    assert await ours.take_over(theirs) == []
    await clock.advance(1)
    assert await ours.take_over(theirs) == ["order-42"]


async def test_wakes_come_through_the_event_loop_and_reach_every_sibling(ours):
    await ours.start("order-42")
    sibling = ours.store.sibling()
    await sibling.open()
    heard: dict[str, list[Wake]] = {"store": [], "sibling": []}
    ours.store.listen(heard["store"].append)
    sibling.listen(heard["sibling"].append)

    await ours.commit(post(letter("order-42")))

    wake = Wake(WakeKind.MAIL, "order-42")
    assert heard == {"store": [wake], "sibling": [wake]}


async def test_a_closed_sibling_hears_nothing_and_the_others_go_on(ours):
    await ours.start("order-42")
    sibling = ours.store.sibling()
    await sibling.open()
    heard: list[Wake] = []
    forgotten: list[Wake] = []
    ours.store.listen(heard.append)
    sibling.listen(forgotten.append)
    await sibling.close()

    await ours.commit(post(letter("order-42")))

    assert (heard, forgotten) == ([Wake(WakeKind.MAIL, "order-42")], [])


async def test_a_store_shared_by_two_kernels_listens_until_the_last_one_closes_it(ours):
    await ours.start("order-42")
    heard: list[Wake] = []
    ours.store.listen(heard.append)
    await ours.store.open()
    await ours.store.open()

    await ours.store.close()
    await ours.commit(post(letter("order-42")))
    assert len(heard) == 1

    await ours.store.close()
    await ours.commit(post(letter("order-42")))
    assert len(heard) == 1


async def test_what_a_process_keeps_of_its_rows_is_not_the_stores(ours, clock):
    """A kernel that goes on changing its own values does not write without a flush."""
    run = new_run("order-42", at=clock.now_ms())
    first = entry(1)
    await ours.commit(Commit(workflow_uuid="order-42", fenced=False, start=run, entry=first))
    mail = letter("order-42", '"sent"')
    await ours.commit(post(mail))

    mail.message = '"changed"'

    assert [one.message for one in await ours.mailbox("order-42")] == ['"sent"']
