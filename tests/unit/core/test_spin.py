"""A lone commit keeps the loop awake, within bounds."""

from __future__ import annotations

import asyncio
import os

import pytest

from dbos_core.writer import Spin


async def test_it_turns_while_the_answer_is_awaited_and_then_stops() -> None:
    spin = Spin(0.05)
    loop = asyncio.get_running_loop()
    seen = 0
    original = spin._turn

    def counted(begun: float) -> None:
        nonlocal seen
        seen += 1
        original(begun)

    spin._turn = counted  # type: ignore[method-assign]
    with spin:
        await asyncio.sleep(0.005)
    assert seen > 20
    after = seen
    await asyncio.sleep(0.005)
    assert seen <= after + 1
    assert loop.is_running()


async def test_it_gives_up_after_its_limit() -> None:
    spin = Spin(0.001)
    calls = 0
    original = spin._turn

    def counted(begun: float) -> None:
        nonlocal calls
        calls += 1
        original(begun)

    spin._turn = counted  # type: ignore[method-assign]
    with spin:
        await asyncio.sleep(0.01)
        at_limit = calls
        await asyncio.sleep(0.01)
        assert calls <= at_limit + 1


async def test_slow_answers_are_not_waited_for_awake() -> None:
    spin = Spin(0.001)
    for _ in range(12):
        with spin:
            await asyncio.sleep(0.01)
    calls = 0

    def counted(begun: float) -> None:
        nonlocal calls
        calls += 1

    spin._turn = counted  # type: ignore[method-assign]
    with spin:
        await asyncio.sleep(0)
    assert calls == 0


@pytest.mark.parametrize("limit_s", [0.0, 0.001])
async def test_never_without_a_limit_or_on_one_processor(limit_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    spin = Spin(limit_s)
    with spin:
        await asyncio.sleep(0)
    assert spin._loop is None
