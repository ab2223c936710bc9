"""Time in a simulated world: a wall clock that can be set, and the clock of an event loop, which cannot."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from temporalio import workflow

from dbos_compat.hello import Greet, compose, find_greeting
from dbos_shadow.determinism import plan, returns
from dbos_shadow.determinism.actions import TURNS, act, begin, end, go_on, wake
from dbos_shadow.determinism.clocks import WorldTime
from dbos_shadow.determinism.crew import Crew
from dbos_shadow.determinism.decisions import Listed
from dbos_shadow.determinism.process import LEASE_MS
from dbos_shadow.determinism.schedule import Over, Schedule
from dbos_shadow.determinism.silence import quiet

GREETING = plan(
    Greet.run, activities={find_greeting: returns("Hello"), compose: returns("Hello, Ada!")}, sandboxed=False
)


@workflow.defn
class Naps:
    @workflow.run
    async def run(self) -> float:
        begun = workflow.now()
        await workflow.sleep(10)
        return (workflow.now() - begun).total_seconds()


NAPS = plan(Naps.run, sandboxed=False)


@pytest.fixture
def crew() -> Iterator[Crew]:
    found = Crew(GREETING)
    with quiet():
        yield found
    found.close()


def test_only_the_wall_clock_can_be_set() -> None:
    time = WorldTime(1_000_000)
    time.pass_ms(500)
    assert (time.now_ms(), time.steady_ms()) == (1_000_500, 1_000_500)
    time.set_to(900_000)
    assert (time.now_ms(), time.steady_ms()) == (900_000, 1_000_500)
    time.pass_ms(250)
    assert (time.now_ms(), time.steady_ms()) == (900_250, 1_000_750)


@pytest.mark.parametrize("turns", range(1, TURNS + 1))
def test_a_clock_that_is_set_back_does_not_hide_a_take_over(crew: Crew, turns: int) -> None:
    """A process stands still in the middle of a step; another one takes over and brings the run to its end; then the
    database's clock is set back, so that by its word the lease of the first one has never lapsed."""
    schedule = Schedule(crew, Listed(()))
    begin(schedule)
    first = schedule.process
    go_on(schedule)
    first.loop.settle(turns)
    first.frozen = True
    schedule.pass_lease()
    schedule.open()
    schedule.settle()
    with contextlib.suppress(Over):
        while True:
            act(schedule)
    assert not schedule.open_run
    schedule.world.time.set_to(schedule.world.time.now_ms() - LEASE_MS // 2)
    wake(schedule)  # raises if it begins what the journal says has ended
    end(schedule)
    assert not first.kernel.live_runs


@pytest.mark.parametrize("turns", range(TURNS + 1))
def test_a_clock_that_is_set_back_does_not_make_a_timer_early(turns: int) -> None:
    """Somebody sets it in the moment in which a timer rings: before, in between, or after the workflow has heard of it."""
    crew = Crew(NAPS)
    with contextlib.closing(crew), quiet():
        schedule = Schedule(crew, Listed(()))
        begin(schedule)
        schedule.pass_time()
        schedule.process.loop.settle(turns)
        schedule.jump(-5_000)
        schedule.settle()
        with contextlib.suppress(Over):
            while True:
                act(schedule)  # raises if a row has a timer that is not due
        assert not schedule.open_run
        end(schedule)
