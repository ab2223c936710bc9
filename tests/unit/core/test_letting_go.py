"""A run whose task fails here is given back, and the other workers of its queue may look at it first."""

from __future__ import annotations

import pytest

from dbos_core.commit import RunStatus
from dbos_core.kernel import Kernel
from dbos_core.letting_go import OTHERS_FIRST_MS
from dbos_core.testing.clock import settle
from tests.unit.core import test_failing
from tests.unit.core.test_failing import Script, Shop

shop = test_failing.shop
TRIES = 3
"""The next one's number when the run is given back."""


@pytest.fixture
async def old(shop: Shop) -> Kernel:
    """Does not have the code. The run that it began is given back, and is due."""
    old, _ = await shop.process(Script(broken=True, identity="old"))
    await shop.process(Script(identity="new"))
    await shop.start(old)
    await shop.clock.advance(1_000)
    assert old.live("order-42") is None
    assert (await shop.row()).owner is None
    return old


async def look(kernel: Kernel) -> None:
    await kernel.claims.look_around()
    await settle()


async def test_the_others_come_first(shop: Shop, old: Kernel) -> None:
    await look(old)
    row = await shop.row()
    assert (row.owner, row.task_attempt) == (None, TRIES)

    new = shop.kernels[1]
    await look(new)

    assert (await shop.row()).status is RunStatus.COMPLETED


async def test_a_run_that_nobody_takes_is_taken_up_again(shop: Shop, old: Kernel) -> None:
    await shop.clock.advance(OTHERS_FIRST_MS)

    await look(old)

    assert (await shop.row()).task_attempt == TRIES + 1


async def test_who_has_other_code_now_need_not_wait(shop: Shop, old: Kernel) -> None:
    old.claims.queues_changed()
    await settle()

    await look(old)

    assert (await shop.row()).task_attempt == TRIES + 1
