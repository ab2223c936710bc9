"""Who steps in which turn of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from dbos_core.turns import CROWD_MIN, Turns


class Watched:
    """Steps that remember in which turn of the loop they were called."""

    def __init__(self) -> None:
        self.disk_rests = True
        self.turns = Turns(asyncio.get_running_loop(), disk_rests=lambda: self.disk_rests)
        self.turn = 0
        self.called: list[tuple[int, str]] = []

    def add(self, *names: str) -> None:
        for name in names:
            self.turns.add(self.step(name))

    def step(self, name: str) -> Callable[[], None]:
        return lambda: self.called.append((self.turn, name))

    async def pass_by(self, turns: int) -> list[tuple[int, str]]:
        for _ in range(turns):
            self.turn += 1
            await asyncio.sleep(0)
        return self.called


def names(count: int) -> list[str]:
    return [f"{number:02}" for number in range(count)]


async def test_nobody_steps_at_once() -> None:
    watched = Watched()
    watched.add("a")
    assert watched.called == []
    assert await watched.pass_by(3) == [(1, "a")]


async def test_a_few_step_together() -> None:
    watched = Watched()
    few = names(CROWD_MIN - 1)
    watched.add(*few)
    assert await watched.pass_by(3) == [(1, name) for name in few]


@pytest.mark.parametrize("count", [CROWD_MIN, CROWD_MIN + 1])
async def test_a_crowd_steps_in_two_turns_and_in_order(count: int) -> None:
    watched = Watched()
    crowd = names(count)
    watched.add(*crowd)
    called = await watched.pass_by(5)
    assert [name for _, name in called] == crowd
    assert [turn for turn, _ in called] == [1] * ((count + 1) // 2) + [2] * (count // 2)


async def test_while_the_disk_works_all_step_together() -> None:
    watched = Watched()
    watched.disk_rests = False
    crowd = names(2 * CROWD_MIN)
    watched.add(*crowd)
    assert await watched.pass_by(5) == [(1, name) for name in crowd]


async def test_the_commits_of_the_first_half_keep_the_second_together() -> None:
    watched = Watched()

    def commit() -> None:
        watched.disk_rests = False

    for _ in range(4 * CROWD_MIN):
        watched.turns.add(commit)
        watched.add("stepped")
    called = await watched.pass_by(5)
    assert [turn for turn, _ in called] == [1] * (2 * CROWD_MIN) + [2] * (2 * CROWD_MIN)


async def test_who_comes_meanwhile_steps_next() -> None:
    watched = Watched()
    watched.turns.add(lambda: watched.add("late"))
    watched.add("in time")
    assert await watched.pass_by(5) == [(1, "in time"), (2, "late")]


async def test_a_step_that_raises_keeps_nobody_back() -> None:
    watched = Watched()
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
    error = RuntimeError("a bug")

    def broken() -> None:
        raise error

    watched.turns.add(broken)
    watched.add(*names(CROWD_MIN))
    assert [name for _, name in await watched.pass_by(6)] == names(CROWD_MIN)
    assert reported == [error]
