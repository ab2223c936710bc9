"""Machines whose clocks are wrong: the engine goes by the database's, which judges what is due."""

from __future__ import annotations

import asyncio
import logging
import time
from types import SimpleNamespace

import pytest

import dbos_core.clock
from dbos_core.kernel import Kernel
from dbos_core.store.postgres import PostgresStore
from tests.fixtures.waiting import eventually


class Machine(SimpleNamespace):
    """The ``time`` of a machine whose clock is ``wrong_s`` seconds ahead."""

    wrong_s = 0.0

    def time_ns(self) -> int:
        return time.time_ns() + int(self.wrong_s * 1e9)

    def time(self) -> float:
        return time.time() + self.wrong_s


async def test_the_databases_clock_is_what_counts(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    machine = Machine(wrong_s=20.0)
    monkeypatch.setattr(dbos_core.clock, "time", machine)
    store = PostgresStore(postgres_url)
    kernel = await Kernel.open(store, identity="skewed", application_version="1")

    async def off_ms() -> int:
        return abs(kernel.clock.now_ms() - await store.now_ms())

    async def is_right() -> bool:
        return await off_ms() < 1_000

    try:
        assert await off_ms() < 1_000
        assert any("20.0 s ahead of the database's" in record.getMessage() for record in caplog.records)

        rang = asyncio.Event()
        begun = time.monotonic()
        kernel.clock.call_at(kernel.clock.now_ms() + 300, rang.set)
        await asyncio.wait_for(rang.wait(), 10)
        assert 0.25 < time.monotonic() - begun < 5, "an alarm rings after as long as it was armed for"

        await kernel.claims.registered()
        kernel.claims._tasks = [asyncio.create_task(kernel.claims._pulse_loop())]
        machine.wrong_s = -40.0
        assert not await is_right()
        await eventually(is_right, within=10, what="the next beat sets the clock again")
    finally:
        await kernel.close()


async def test_a_clock_that_is_right_enough_is_left_alone(postgres_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "dbos_core.clock")
    kernel = await Kernel.open(PostgresStore(postgres_url), identity="right", application_version="1")
    try:
        assert isinstance(kernel.clock, dbos_core.clock.SystemClock)
        assert kernel.clock.ahead_ms == 0
        kernel.clock.compare(kernel.clock.now_ms() + 90, kernel.clock.now_ms(), kernel.clock.now_ms())
        assert kernel.clock.ahead_ms == 0
        now_ms = kernel.clock.now_ms()
        kernel.clock.compare(now_ms + 900, now_ms - 1_000, now_ms + 1_000)
        assert kernel.clock.ahead_ms == 0, "a slow answer says little"
        kernel.clock.compare(now_ms + 900, now_ms, now_ms)
        assert kernel.clock.ahead_ms == 900
        assert not caplog.records, "nobody need be told of less than two seconds"
    finally:
        await kernel.close()
