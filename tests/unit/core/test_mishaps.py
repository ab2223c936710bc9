"""Callers that give up in the middle, answers that come late: no run is left behind by any of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from dbos_core import waiting
from dbos_core.commit import (
    PARK_FOREVER,
    Close,
    Commit,
    IdConflict,
    RunStatus,
    StartResult,
    UpdateRow,
    Verdict,
)
from dbos_core.mailbox import UPDATE
from dbos_core.runner import Activation, Decision
from dbos_core.testing.clock import settle
from tests.unit.core.shop import ID, Restful, Script, Shop, open_shop, signal


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with open_shop() as made:
        yield made


async def give_up(task: asyncio.Task[object]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# -- callers that give up ----------------------------------------------------------------------------------------------


async def test_a_start_that_is_given_up_while_its_policy_is_applied_leaves_no_run_behind(shop: Shop) -> None:
    kernel, gates = await shop.process(Script())
    await shop.start(kernel)
    gates.hold("start_by_policy")
    starting = asyncio.create_task(shop.start(kernel, 2, conflict=IdConflict.TERMINATE_EXISTING))
    await settle()
    assert gates.held == ["start_by_policy"], "the start is not under way: this would prove nothing"

    await give_up(starting)
    gates.let_go("start_by_policy")
    row = await shop.row()
    assert row.owner == kernel.process_id, "nobody owns the run: this would prove nothing"
    await kernel.claims.look_around()
    await settle()

    assert kernel.live(row.workflow_uuid) is not None
    assert not shop.store.tables.outbox, "nobody sees to the end of the run that it has replaced"


async def test_a_start_that_is_given_up_goes_on_and_others_of_the_id_wait_for_it(shop: Shop) -> None:
    script = Script()
    kernel, gates = await shop.process(script)
    gates.hold("flush")
    first = asyncio.create_task(shop.start(kernel, 1, request_id="a"))
    await settle()
    await give_up(first)
    again = asyncio.create_task(shop.start(kernel, 2, request_id="a"))
    await settle()  # would not return if anybody kept the event loop awake

    gates.let_go("flush")
    assert await again is StartResult.SAME_REQUEST
    assert script.heard == ["start"]
    assert kernel.live(ID) is not None


async def test_a_question_that_is_given_up_while_its_run_is_claimed_leaves_no_run_behind(shop: Shop) -> None:
    leaving, _ = await shop.process(Restful())
    await shop.start(leaving)
    await leaving.writer.write(Commit(workflow_uuid=ID, park_until_ms=PARK_FOREVER, mail_seen_ms=0))
    await leaving.close()
    kernel, gates = await shop.process(Restful())
    row = await shop.row()
    assert row.owner is None, "the run is not parked: this would prove nothing"
    gates.hold("claim_one")
    asking = asyncio.create_task(kernel.query(row, "{}", 10))
    await settle()

    await give_up(asking)
    gates.let_go("claim_one")
    assert (await shop.row()).owner == kernel.process_id
    await kernel.claims.look_around()
    await settle()

    assert kernel.live(ID) is not None


async def test_others_hear_of_an_end_whose_author_has_given_up(shop: Shop) -> None:
    kernel, gates = await shop.process(Script())
    await shop.start(kernel)
    gates.hold("terminate")
    close = Close(status=RunStatus.TERMINATED, close_ms=0, record="{}", mail_seen_ms=None)
    ending = asyncio.create_task(kernel.terminate(ID, close))
    await settle()
    assert shop.store.tables.outbox, "nobody has to hear of it: this would prove nothing"

    await give_up(ending)
    gates.let_go("terminate")
    await kernel.claims.look_around()
    await settle()

    assert not shop.store.tables.outbox


# -- answers that come late --------------------------------------------------------------------------------------------


async def test_a_start_is_answered_though_its_worker_has_left_meanwhile(shop: Shop) -> None:
    script = Script()
    kernel, gates = await shop.process(script)
    gates.hold("flush")
    starting = asyncio.create_task(shop.start(kernel))
    await settle()
    kernel.writer.available = False  # the database is away: nobody waits for it
    await kernel.unserve(script)

    gates.let_go("flush")
    assert await starting is StartResult.STARTED
    await kernel.claims.look_around()

    other = Script()
    kernel_of_other, _ = await shop.process(other)
    assert kernel_of_other.live(ID) is not None, "the run is nobody's, and nobody can claim it"


async def test_the_end_of_a_run_that_has_left_this_process_is_heard_soon(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "LOOK_EVERY_S", 0.01)
    kernel, _ = await shop.process(Restful())
    await shop.start(kernel)
    waits = asyncio.create_task(kernel.wait_closed(ID, 300))
    await settle()
    await shop.clock.advance(10_000)
    kernel.parking.sweep()
    await settle()
    assert kernel.live(ID) is None, "the run is not parked: this would prove nothing"

    close = Close(status=RunStatus.TERMINATED, close_ms=0, record="{}", mail_seen_ms=None)
    assert await shop.store.terminate("somebody", ID, close) is Verdict.COMMITTED

    row = await asyncio.wait_for(waits, 60)
    assert row is not None
    assert row.status is RunStatus.TERMINATED


class Hasty(Restful):
    """Ends at once, and says what it has heard by then."""

    def activate(self, activation: Activation) -> Decision:
        decision = super().activate(activation)
        decision.close = Close(status=RunStatus.COMPLETED, close_ms=activation.at_ms, record='{"kind":"completed"}')
        return decision


async def test_a_run_under_a_used_id_has_the_signal_that_it_is_started_with_from_the_first(shop: Shop) -> None:
    """Its worker is elsewhere, and quicker than the answer to the start."""
    worker = Hasty()
    await shop.process(worker)
    starter, gates = await shop.process()
    await shop.start(starter)
    await settle()
    assert (await shop.row()).status is RunStatus.COMPLETED, "the id is not used: this would prove nothing"
    worker.heard.clear()
    gates.hold("start_by_policy")
    new = shop.new(2)
    message = signal()
    starting = asyncio.create_task(starter.start(new, derived_uuid=f"{ID}~2", terminate_record="{}", mail=[message]))
    await settle()
    gates.let_go("start_by_policy")

    assert (await starting).result is StartResult.STARTED
    await settle()
    assert worker.heard == ["start", "hurry"]


async def test_a_run_under_a_used_id_has_the_update_that_it_is_started_with(shop: Shop) -> None:
    starter, gates = await shop.process(Hasty())
    await shop.start(starter)
    gates.hold("start_by_policy")
    message = signal(topic=UPDATE)
    starting = asyncio.create_task(
        starter.start(
            shop.new(2),
            derived_uuid=f"{ID}~2",
            terminate_record="{}",
            mail=[message],
            updates=[UpdateRow(update_id="u", stage=1)],
        )
    )
    await settle()

    uuid = (await shop.row()).workflow_uuid
    assert [mail.mail_id for mail in await shop.store.mail([uuid])] == [message.mail_id]
    assert await shop.store.update_row(uuid, "u", watch=False) == UpdateRow(update_id="u", stage=1)
    gates.let_go("start_by_policy")
    assert (await starting).result is StartResult.STARTED


async def test_who_waits_for_a_run_is_told_when_this_process_ends(shop: Shop) -> None:
    kernel, _ = await shop.process(Script())
    await shop.start(kernel)
    waits = asyncio.create_task(kernel.wait_closed(ID, 300))
    await settle()

    await kernel.close()

    assert await asyncio.wait_for(waits, 10) is None
