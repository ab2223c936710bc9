"""Many clocks on one timer: order, taking back, no memory for what was taken back."""

from __future__ import annotations

from functools import partial

import pytest

from dbos_core.activities.deadlines import Deadlines
from dbos_core.testing.clock import VirtualClock
from tests.unit.activities.support import START


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START)


async def test_they_ring_in_order_and_on_time(clock):
    deadlines, rung = Deadlines(clock), []

    def note(ms: int) -> None:
        rung.append((ms, clock.now_ms() - START))

    for ms in (300, 100, 200, 100):
        deadlines.call_at(START + ms, partial(note, ms))
    await clock.advance(1_000)
    assert rung == [(100, 100), (100, 100), (200, 200), (300, 300)]
    assert len(deadlines) == 0


async def test_what_is_taken_back_does_not_ring(clock):
    deadlines, rung = Deadlines(clock), []
    first = deadlines.call_at(START + 100, lambda: rung.append(1))
    deadlines.call_at(START + 200, lambda: rung.append(2))
    first.cancel()
    first.cancel()
    assert len(deadlines) == 1
    await clock.advance(1_000)
    assert rung == [2]
    first.cancel()
    assert len(deadlines) == 0


async def test_one_that_is_armed_while_another_rings_rings_too(clock):
    deadlines, rung = Deadlines(clock), []

    def arm_another() -> None:
        deadlines.call_at(START + 50, lambda: rung.append(clock.now_ms() - START))

    deadlines.call_at(START + 100, arm_another)
    await clock.advance(1_000)
    assert rung == [100]


async def test_a_callback_that_raises_harms_no_other(clock, caplog):
    deadlines, rung = Deadlines(clock), []

    def broken() -> None:
        raise RuntimeError("broken")

    deadlines.call_at(START + 100, broken)
    deadlines.call_at(START + 100, lambda: rung.append(1))
    await clock.advance(100)
    assert rung == [1]
    assert "only that activity is concerned" in caplog.text


def test_a_million_that_were_taken_back_cost_nothing(clock):
    deadlines = Deadlines(clock)
    largest = 0
    for _ in range(20_000):
        deadlines.call_at(START + 3_600_000, lambda: None).cancel()
        largest = max(largest, len(deadlines._heap))
    assert largest <= 1_000


async def test_a_clock_that_is_set_back_delays_them(clock):
    deadlines, rung = Deadlines(clock), []
    deadlines.call_at(START + 100, lambda: rung.append(1))
    clock.jump(-1_000)
    await clock.advance(1_099)
    assert rung == []
    await clock.advance(1)
    assert rung == [1]


async def test_closed_ones_stay_silent(clock):
    deadlines, rung = Deadlines(clock), []
    deadlines.call_at(START + 100, lambda: rung.append(1))
    deadlines.close()
    deadlines.call_at(START + 100, lambda: rung.append(2)).cancel()
    await clock.advance(1_000)
    assert rung == []
