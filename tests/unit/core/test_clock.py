"""The real clock is never early; the virtual one moves when it is told to, and rings in order."""

from __future__ import annotations

import asyncio
import time
import uuid
from functools import partial

import pytest

from dbos_core import clock as clock_module
from dbos_core.clock import SystemClock, SystemEntropy
from dbos_core.testing import SeededEntropy, VirtualClock


class TestSystemClock:
    async def test_a_timer_rings_at_its_time_and_not_before(self):
        clock, rang = SystemClock(), asyncio.get_running_loop().create_future()
        due = clock.now_ms() + 20

        clock.call_at(due, lambda: rang.set_result(clock.now_ms()))

        assert await asyncio.wait_for(rang, 10) >= due

    async def test_a_timer_in_the_past_rings_on_the_loop_not_at_once(self):
        clock, rang = SystemClock(), asyncio.Event()

        clock.call_at(0, rang.set)

        assert not rang.is_set()
        await asyncio.wait_for(rang.wait(), 10)

    async def test_a_cancelled_timer_does_not_ring(self):
        clock, rung = SystemClock(), []
        later = asyncio.Event()
        clock.call_at(clock.now_ms() + 1, lambda: rung.append("cancelled")).cancel()
        clock.call_at(clock.now_ms() + 2, later.set)

        await asyncio.wait_for(later.wait(), 10)

        assert rung == []

    async def test_a_wall_clock_that_was_set_back_holds_the_timer_up(self, monkeypatch):
        """The loop counts on its own clock; what the workflow will see is the wall clock."""
        clock, rang = SystemClock(), asyncio.Event()
        behind_ms = 50
        true_time_ns = time.time_ns
        due = clock.now_ms()
        monkeypatch.setattr(time, "time_ns", lambda: true_time_ns() - behind_ms * 1_000_000)

        clock.call_at(due, rang.set)

        await asyncio.wait_for(rang.wait(), 10)
        assert clock.now_ms() >= due

    async def test_a_wall_clock_that_was_set_forward_is_noticed_by_a_timer_that_is_far_away(self, monkeypatch):
        """As after a night in which the machine slept, and with it the loop's clock."""
        monkeypatch.setattr(clock_module, "LOOK_EVERY_S", 0.01)
        clock, rang = SystemClock(), asyncio.Event()
        clock.call_at(clock.now_ms() + 3_600_000, rang.set)
        true_time_ns, true_time = time.time_ns, time.time

        monkeypatch.setattr(time, "time_ns", lambda: true_time_ns() + 3_600_000 * 1_000_000)
        monkeypatch.setattr(time, "time", lambda: true_time() + 3600)

        await asyncio.wait_for(rang.wait(), 10)

    async def test_a_timer_that_was_armed_again_can_still_be_cancelled(self, monkeypatch):
        monkeypatch.setattr(clock_module, "LOOK_EVERY_S", 0.001)
        clock, rung, later = SystemClock(), [], asyncio.Event()
        timer = clock.call_at(clock.now_ms() + 20, lambda: rung.append("cancelled"))
        clock.call_at(clock.now_ms() + 10, timer.cancel)
        clock.call_at(clock.now_ms() + 30, later.set)

        await asyncio.wait_for(later.wait(), 10)

        assert rung == []


class TestVirtualClock:
    async def test_time_stands_still_until_it_is_moved(self):
        clock = VirtualClock(start_ms=5_000)
        clock.call_at(6_000, pytest.fail)

        await asyncio.sleep(0)

        assert clock.now_ms() == 5_000

    async def test_timers_ring_in_order_of_their_times_each_at_its_own(self):
        clock, rung = VirtualClock(start_ms=0), list[tuple[int, int]]()

        def note(when: int) -> None:
            rung.append((when, clock.now_ms()))

        for when in (30, 10, 20):
            clock.call_at(when, partial(note, when))

        await clock.advance(25)

        assert rung == [(10, 10), (20, 20)]
        assert (clock.now_ms(), clock.next_ms) == (25, 30)

    async def test_timers_of_one_time_ring_in_the_order_in_which_they_were_armed(self):
        clock, rung = VirtualClock(start_ms=0), list[str]()
        for name in "abc":
            clock.call_at(10, partial(rung.append, name))

        await clock.advance(10)

        assert rung == ["a", "b", "c"]

    async def test_a_timer_in_the_past_rings_now(self):
        clock, rung = VirtualClock(start_ms=100), []
        clock.call_at(50, lambda: rung.append(clock.now_ms()))

        assert rung == []
        await clock.advance(0)

        assert rung == [100]

    async def test_a_cancelled_timer_does_not_ring(self):
        clock = VirtualClock(start_ms=0)
        timer = clock.call_at(10, pytest.fail)
        timer.cancel()

        assert clock.next_ms is None
        await clock.advance(20)
        assert not clock.advance_to_next()

    async def test_what_a_timer_sets_going_is_done_before_the_next_one_rings(self):
        """A task that wakes at 10 and sleeps 10 more wakes at 20, not at the end of the whole advance."""
        clock, seen = VirtualClock(start_ms=0), []

        async def sleeper():
            for _ in range(3):
                rang = asyncio.Event()
                clock.call_at(clock.now_ms() + 10, rang.set)
                await rang.wait()
                await asyncio.sleep(0)
                seen.append(clock.now_ms())

        task = asyncio.create_task(sleeper())
        await clock.advance(100)

        assert seen == [10, 20, 30]
        assert clock.now_ms() == 100
        await task

    def test_advance_to_next_rings_one_timer(self):
        clock, rung = VirtualClock(start_ms=0), []
        clock.call_at(10, lambda: rung.append("a"))
        clock.call_at(10, lambda: rung.append("b"))

        assert clock.advance_to_next()
        assert rung == ["a"]
        assert clock.now_ms() == 10
        assert clock.advance_to_next()
        assert rung == ["a", "b"]
        assert not clock.advance_to_next()

    async def test_time_does_not_run_backwards(self):
        with pytest.raises(ValueError, match="backwards"):
            await VirtualClock().advance(-1)

    async def test_the_wall_clock_may_be_set_by_somebody(self):
        clock, rung = VirtualClock(start_ms=1_000), []
        clock.call_at(1_500, lambda: rung.append(clock.now_ms()))

        clock.jump(-900)
        await clock.advance(500)
        assert (rung, clock.now_ms()) == ([], 600)

        clock.jump(5_000)
        await clock.advance(0)
        assert rung == [5_600]

    async def test_auto_advance_skips_time_while_everybody_waits(self):
        clock = VirtualClock(start_ms=0)

        async def sleep(ms):
            rang = asyncio.Event()
            clock.call_at(clock.now_ms() + ms, rang.set)
            await rang.wait()
            return clock.now_ms()

        with clock.auto_advance():
            year = 365 * 24 * 3_600_000
            assert list(await asyncio.wait_for(asyncio.gather(sleep(year), sleep(10)), 10)) == [year, 10]
            assert await asyncio.wait_for(sleep(5), 10) == year + 5

    async def test_auto_advance_waits_while_somebody_holds(self):
        clock, rang = VirtualClock(start_ms=0), asyncio.Event()
        with clock.auto_advance():
            with clock.hold():
                clock.call_at(10, rang.set)
                await asyncio.to_thread(lambda: None)
                for _ in range(50):
                    await asyncio.sleep(0)
                assert clock.now_ms() == 0
            await asyncio.wait_for(rang.wait(), 10)

        assert clock.now_ms() == 10

    async def test_auto_advance_ends_with_its_block(self):
        clock = VirtualClock(start_ms=0)
        with clock.auto_advance():
            await asyncio.sleep(0)
        clock.call_at(10, pytest.fail)

        for _ in range(20):
            await asyncio.sleep(0)

        assert clock.now_ms() == 0


class TestEntropy:
    def test_the_system_gives_a_new_uuid_each_time(self):
        entropy = SystemEntropy()

        assert len({str(uuid.UUID(entropy.uuid())) for _ in range(100)}) == 100

    def test_its_uuids_are_of_version_7_and_begin_with_the_time(self):
        before_ms = time.time_ns() // 1_000_000
        made = [uuid.UUID(SystemEntropy().uuid()) for _ in range(100)]
        after_ms = time.time_ns() // 1_000_000

        assert {(one.version, one.variant) for one in made} == {(7, uuid.RFC_4122)}
        assert all(before_ms <= one.int >> 80 <= after_ms for one in made)

    def test_the_same_seed_gives_the_same_uuids_and_another_others(self):
        def first(seed):
            entropy = SeededEntropy(seed)
            return [entropy.uuid() for _ in range(50)]

        assert first(1) == first(1)
        assert not set(first(1)) & set(first(2))
        assert len(set(first(1))) == 50
        assert {uuid.UUID(one).version for one in first(1)} == {4}
