"""Runs that are to begin later: their time may be over before that."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from dbos_core.commit import RunStatus
from dbos_core.testing.clock import settle
from tests.unit.core.shop import Script, Shop, open_shop

DELAY_MS, TIMEOUT_MS = 60_000, 20_000


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with open_shop() as made:
        yield made


async def delayed(shop: Shop) -> None:
    """A run in the database, begun by a process that serves nothing."""
    kernel, _ = await shop.process()
    now_ms = shop.clock.now_ms()
    await shop.start(kernel, execution_ms=now_ms + DELAY_MS, deadline_ms=now_ms + TIMEOUT_MS)


async def test_its_time_may_be_over_before_it_is_due(shop: Shop) -> None:
    await delayed(shop)
    script = Script()
    kernel, _ = await shop.process(script)
    shop.clock.jump(TIMEOUT_MS - 1)
    await kernel.claims.look_around()
    await settle()
    assert (await shop.row()).status is RunStatus.RUNNING

    shop.clock.jump(1)
    await kernel.claims.look_around()
    await settle()

    assert (await shop.row()).status is RunStatus.TIMED_OUT
    assert script.heard == []


async def test_who_finds_it_late_does_not_begin_it(shop: Shop) -> None:
    await delayed(shop)
    shop.clock.jump(DELAY_MS)
    script = Script()

    await shop.process(script)
    await shop.clock.advance(0)

    assert (await shop.row()).status is RunStatus.TIMED_OUT
    assert script.heard == []
