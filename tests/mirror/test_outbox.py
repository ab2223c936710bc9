"""What callers feel of the shadow side: nothing, whatever state it is in."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import timedelta

import pytest

from dbos_core.errors import StoreUnavailable
from dbos_shadow.mirror import MemoryLedger, Note, PostgresLedger
from dbos_shadow.mirror.outbox import Outbox
from dbos_shadow.verdict import Reason, Verdict
from tests.fixtures.waiting import eventually


def note(number: int, run: bool = True) -> Note:
    return Note(workflow_id=f"w{number}", run_id=f"r{number}" if run else "", workflow_type="Order")


class Broken(MemoryLedger):
    """A ledger that is away, and may come back."""

    def __init__(self) -> None:
        super().__init__()
        self.away = True
        self.asked = 0

    async def note(self, notes: Iterable[Note]) -> None:
        self.asked += 1
        if self.away:
            raise StoreUnavailable("the ledger is away")
        await super().note(notes)


class Hanging(MemoryLedger):
    async def open(self) -> None:
        await asyncio.Event().wait()


async def test_notes_reach_the_ledger_in_order() -> None:
    ledger = MemoryLedger()
    outbox = Outbox(ledger, send_every_s=0.01)
    outbox.begin()
    for number in range(5):
        outbox.put(note(number))
    await eventually(lambda: outbox.sent.sent == 5)
    assert [e.note for e in await ledger.entries()] == [note(n) for n in range(5)]
    await outbox.end(1)


async def test_a_message_to_a_run_that_was_noted_is_not_noted_again() -> None:
    ledger = MemoryLedger()
    outbox = Outbox(ledger)
    outbox.put(note(1))
    outbox.put(note(1, run=False))
    outbox.put(note(1))
    outbox.put(note(2, run=False))
    outbox.put(Note(workflow_id="w1", run_id="another"))
    await outbox.end(5)
    assert [(e.note.workflow_id, e.note.run_id) for e in await ledger.entries()] == [
        ("w1", "r1"),
        ("w2", ""),
        ("w1", "another"),
    ]


async def test_what_waits_is_sent_when_the_ledger_comes_back_and_what_found_no_room_is_counted() -> None:
    ledger = Broken()
    outbox = Outbox(ledger, notes_max=3, send_every_s=0.01)
    outbox.begin()
    for number in range(5):
        outbox.put(note(number))
    await eventually(lambda: outbox.sent.failures > 0)
    assert (outbox.sent.noted, outbox.sent.sent, outbox.sent.dropped) == (5, 0, 2)
    ledger.away = False
    await eventually(lambda: outbox.sent.sent == 3)
    await eventually(ledger.never_noted)
    assert await ledger.never_noted() == {"Order": 2}
    assert len(await ledger.entries()) == 3
    await outbox.end(1)


@pytest.mark.parametrize("ledger", [Broken(), Hanging()])
async def test_an_end_does_not_wait_for_a_ledger_that_is_away(ledger: MemoryLedger) -> None:
    outbox = Outbox(ledger)
    outbox.begin()
    outbox.put(note(1))
    await outbox.end(0.05)
    assert outbox.sent.dropped == 1


@pytest.fixture(params=["memory", "postgres"])
def ledgers(request: pytest.FixtureRequest) -> tuple[MemoryLedger | PostgresLedger, MemoryLedger | PostgresLedger]:
    """A ledger as two processes see it."""
    if request.param == "memory":
        ledger = MemoryLedger()
        return ledger, ledger
    url = request.getfixturevalue("postgres_url")
    return PostgresLedger(url, namespace="mirror"), PostgresLedger(url, namespace="mirror")


async def test_both_ledgers_keep_the_same_promises(
    ledgers: tuple[MemoryLedger | PostgresLedger, MemoryLedger | PostgresLedger],
) -> None:
    front, back = ledgers
    await asyncio.gather(front.open(), back.open())
    try:
        await front.note([note(1), note(2), note(1), note(3, run=False)])
        await front.note([note(2)])
        found = await back.unjudged(0, 10)
        assert [e.note for e in found] == [note(1), note(2), note(3, run=False)]
        assert [e.note for e in await back.unjudged(found[0].number, 1)] == [note(2)]
        await back.judged(note(1), Verdict.NOT_RUN, Reason.NOT_MIRRORED, "because")
        await back.resolve(note(3, run=False), note(3))
        await back.resolve(note(4, run=False), None)
        assert [(e.note, e.verdict, e.reason, e.said) for e in await front.entries()] == [
            (note(1), Verdict.NOT_RUN, Reason.NOT_MIRRORED, "because"),
            (note(2), None, None, ""),
            (note(3), None, None, ""),
        ]
        assert await back.purge(timedelta(days=1)) == 0
        await front.lost({"Order": 2, "Other": 1})
        await front.lost({"Order": 1})
        assert await back.never_noted() == {"Order": 3, "Other": 1}
        await eventually(lambda: back.purge(timedelta(0)))
        assert [e.note for e in await front.entries()] == [note(2), note(3)]
        assert await back.never_noted() == {}
        assert await back.lead()
        assert await back.lead()
        if front is not back:
            assert not await front.lead()
    finally:
        await back.close()
        await front.close()


async def test_an_id_that_the_database_refuses_holds_up_nobody(postgres_url: str) -> None:
    ledger = PostgresLedger(postgres_url, namespace="mirror")
    outbox = Outbox(ledger)
    for number in range(3):
        outbox.put(note(number))
    outbox.put(Note(workflow_id="a\0b", run_id="r", workflow_type="Order"))
    outbox.put(note(3))
    await outbox.end(20)
    try:
        assert [e.note for e in await ledger.entries()] == [note(n) for n in range(4)]
        assert (outbox.sent.sent, outbox.sent.dropped) == (4, 1)
        assert await ledger.never_noted() == {"(others)": 1}
    finally:
        await ledger.close()
