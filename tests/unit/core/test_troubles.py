"""A process that has died, a database that is away, steps that raise: what was to be done is done later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from dbos_core import claims
from dbos_core.activities.machine import ActivityMachine
from dbos_core.activities.spec import AttemptOutcome, OutcomeKind
from dbos_core.commit import (
    Commit,
    RunStatus,
    StartResult,
    Verdict,
)
from dbos_core.errors import StoreUnavailable
from dbos_core.mailbox import ACTIVITY, CANCEL, CHILD, OUTCOME, OWN_ID
from dbos_core.store.base import Pulse
from dbos_core.testing.clock import settle
from tests.fixtures.waiting import eventually
from tests.unit.core.shop import ID, QUEUE, Script, Shop, nothing, open_shop, signal


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with open_shop() as made:
        yield made


# -- many at once ------------------------------------------------------------------------------------------------------


async def test_all_that_a_dead_process_owned_is_taken_over_at_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "CLAIM_RUNS_MAX", 2)
    dead, _ = await shop.process(Script())
    for number in range(7):
        await shop.start(dead, number, workflow_id=f"order-{number}")
    for task in dead.claims._tasks:
        task.cancel()
    kernel, _ = await shop.process()
    kernel.serve(Script())
    shop.clock.jump(60_000)

    await kernel.claims.look_around()
    await settle()

    assert len(kernel.live_runs) == 7


async def test_the_lease_is_renewed_while_many_runs_time_out(shop: Shop) -> None:
    kernel, gates = await shop.process(Script())
    for number in range(3):
        new = shop.new(number, workflow_id=f"order-{number}", deadline_ms=shop.clock.now_ms() + 1000)
        new.claimed, new.task_queue = False, "elsewhere"
        await kernel.writer.write(Commit(workflow_uuid=new.workflow_uuid, fenced=False, start=new))
    shop.clock.jump(2000)
    gates.hold("terminate")

    await asyncio.wait_for(kernel.claims.look_around(), 60)
    await settle()
    assert gates.held == ["terminate"]

    gates.let_go("terminate")
    await settle()
    assert [(await shop.row(f"order-{n}")).status for n in range(3)] == [RunStatus.TIMED_OUT] * 3


async def test_a_run_that_cannot_be_timed_out_is_in_nobodys_way(shop: Shop) -> None:
    kernel, _ = await shop.process(Script())
    for number in range(3):
        new = shop.new(number, workflow_id=f"order-{number}", deadline_ms=shop.clock.now_ms() + 1000)
        new.claimed, new.task_queue = False, "elsewhere"
        await kernel.writer.write(Commit(workflow_uuid=new.workflow_uuid, fenced=False, start=new))
    usual = kernel.timeout_close
    kernel.timeout_close = lambda loaded, now: usual(loaded, now // (loaded.run.workflow_id != "order-0"))
    shop.clock.jump(2000)

    await kernel.claims.look_around()
    await settle()

    assert [(await shop.row(f"order-{n}")).status for n in range(3)] == [
        RunStatus.RUNNING,
        RunStatus.TIMED_OUT,
        RunStatus.TIMED_OUT,
    ]


# -- the database is away ----------------------------------------------------------------------------------------------


class Away:
    """Says that the database is away when it is called first, and is another function from then on."""

    def __init__(self, then: Callable[..., Any]) -> None:
        self._then = then
        self.calls = 0

    async def __call__(self, *args: Any, **options: Any) -> Any:
        self.calls += 1
        if self.calls == 1:
            raise StoreUnavailable("away")
        return await self._then(*args, **options)


async def test_a_deadline_that_passes_while_the_database_is_away_is_kept_when_it_is_back(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "AGAIN_S", 0.001)
    kernel, gates = await shop.process(Script())
    await shop.start(kernel, deadline_ms=shop.clock.now_ms() + 60_000)
    load = Away(gates.load)
    monkeypatch.setattr(gates, "load", load, raising=False)

    await shop.clock.advance(60_000)

    async def timed_out() -> bool:
        return (await shop.row()).status is RunStatus.TIMED_OUT

    await eventually(timed_out, what="the run has timed out")
    assert load.calls > 1


async def test_runs_whose_release_has_failed_are_let_go_later(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their worker has left, and the process lives on: its lease would hold them for ever."""
    script = Script()
    kernel, gates = await shop.process(script)
    await shop.start(kernel)
    monkeypatch.setattr(gates, "release", Away(gates.release), raising=False)
    await kernel.unserve(script)
    assert (await shop.row()).owner == kernel.process_id, "the run was released: this would prove nothing"

    await kernel.claims.look_around()
    await settle()

    other, _ = await shop.process(Script())
    assert other.live(ID) is not None


# -- steps that raise --------------------------------------------------------------------------------------------------


class Once:
    """Raises when it is called first, and is another function from then on."""

    def __init__(self, then: Callable[..., object]) -> None:
        self._then = then
        self.raised = False

    def __call__(self, *args: object, **options: object) -> object:
        if not self.raised:
            self.raised = True
            raise RuntimeError("a bug")
        return self._then(*args, **options)


@pytest.mark.parametrize("step", ["schedule", "release"])
async def test_a_step_that_raises_is_done_again(shop: Shop, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script()
    kernel, _ = await shop.process(script)
    bug = Once(getattr(kernel.activities, step))
    monkeypatch.setattr(kernel.activities, step, bug)

    assert await asyncio.wait_for(shop.start(kernel), 60) is StartResult.STARTED
    await shop.clock.advance(10_000)

    assert bug.raised
    assert [machine.started for machine in kernel.activities.pending(ID)] == [True]
    await kernel.send(signal())
    await settle()
    assert (await shop.row()).status is RunStatus.COMPLETED


async def test_an_activity_whose_end_cannot_be_acted_on_is_tried_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel, _ = await shop.process(Script())
    await shop.start(kernel)
    [attempt] = shop.packer.attempts
    bug = Once(ActivityMachine.ended)
    monkeypatch.setattr(ActivityMachine, "ended", lambda *args: bug(*args))

    kernel.activities.completed(attempt.token, AttemptOutcome(kind=OutcomeKind.FAILED))
    await settle()
    await shop.clock.advance(10_000)

    assert bug.raised
    assert [one.attempt for one in shop.packer.attempts] == [1, 2]
    assert kernel.live(ID) is not None


async def test_a_pulse_that_finds_trouble_does_not_keep_activities_from_starting(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "PULSE_EVERY_S", 0.01)
    kernel, _ = await shop.process()

    async def trouble(pulse: Pulse) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(kernel.claims, "_act_on", trouble)
    await kernel.claims.registered()
    kernel.claims._sure_until_s = 0.0  # as after a stop that was longer than the lease
    kernel.activities.serve(QUEUE, shop.packer, 10)
    kernel.serve(Script())

    await shop.start(kernel)

    await eventually(lambda: shop.packer.attempts, what="the activity has started")


async def test_a_run_that_cannot_be_taken_up_says_so_and_is_taken_up_later(shop: Shop) -> None:
    leaving, _ = await shop.process(Script())
    await shop.start(leaving)
    await leaving.close()
    script = Script()
    bug = script.before_open = Once(nothing)  # type: ignore[assignment]
    kernel, _ = await shop.process(script)

    await shop.clock.advance(10_000)

    assert isinstance(bug, Once)
    assert bug.raised
    await kernel.send(signal())
    await settle()
    assert (await shop.row()).status is RunStatus.COMPLETED


@pytest.mark.parametrize("topic", [ACTIVITY, CANCEL, CHILD, OUTCOME])
@pytest.mark.parametrize("lives", [True, False])
async def test_a_stock_tools_message_under_a_topic_of_ours_is_dropped(shop: Shop, topic: str, lives: bool) -> None:
    stray = signal(topic=topic, text='"surprise"', mail_id="stray")
    kernel, _ = await shop.process(Script())
    await shop.start(kernel)
    if lives:
        shop.store.deliver_from_outside(stray)
    else:
        await kernel.close()
        shop.store.deliver_from_outside(stray)
        kernel, _ = await shop.process(Script())
    await settle()

    await kernel.send(signal())
    await settle()

    assert (await shop.row()).status is RunStatus.COMPLETED


async def test_a_message_that_one_run_cannot_read_does_not_keep_others_from_theirs(shop: Shop) -> None:
    kernel, _ = await shop.process(Script())
    sender, _ = await shop.process()
    for number in (1, 2):
        await shop.start(kernel, number, workflow_id=f"order-{number}")

    unreadable = signal("order-1", topic=OUTCOME, text='"from a newer release"', mail_id=f"{OWN_ID}x")
    answers = await asyncio.wait_for(
        asyncio.gather(sender.send(unreadable), sender.send(signal("order-2")), kernel.send(signal("order-2"))), 60
    )
    await settle()

    assert Verdict.RUN_CLOSED not in answers
    assert (await shop.row("order-2")).status is RunStatus.COMPLETED

    async def said() -> bool:
        return (await shop.row("order-1")).task_failure is not None

    await eventually(said, what="order-1 is known to fail")
