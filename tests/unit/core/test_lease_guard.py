"""The lease guard: a thread that speaks for an event loop that is blocked, and for none that is not."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from dbos_core.errors import StoreUnavailable
from dbos_core.lease_guard import LeaseGuard


class Lease:
    """Counts renewals."""

    def __init__(self, holds: bool = True) -> None:
        self.holds = holds
        self.asked = 0
        self.kept: list[float] = []

    async def keep(self) -> bool:
        self.asked += 1
        return self.holds


def blocks_until(done: object, within_s: float = 5.0) -> None:
    """Hold the event loop up, as an activity would that is async and is not."""
    deadline = time.monotonic() + within_s
    while not done():  # type: ignore[operator]
        assert time.monotonic() < deadline, "the guard did nothing"
        time.sleep(0.005)


async def test_a_blocked_loop_keeps_its_lease(caplog: pytest.LogCaptureFixture) -> None:
    lease = Lease()
    guard = LeaseGuard(lease.keep, lease.kept.append, lease_s=0.2)
    guard.start()
    try:
        blocks_until(lambda: len(lease.kept) >= 3)
    finally:
        guard.stop()

    assert lease.kept == sorted(lease.kept)
    [said] = [record.getMessage() for record in caplog.records if "is renewed meanwhile" in record.getMessage()]
    assert "blocks_until" in said, "it says where the loop is"


async def test_a_loop_that_answers_is_left_alone() -> None:
    lease = Lease()
    guard = LeaseGuard(lease.keep, lease.kept.append, lease_s=0.4)
    guard.start()
    try:
        begun = time.monotonic()
        while time.monotonic() - begun < 1.0:
            await asyncio.sleep(0.01)
    finally:
        guard.stop()

    assert lease.asked == 0


async def test_a_lease_that_has_lapsed_is_not_believed_in() -> None:
    lease = Lease(holds=False)
    guard = LeaseGuard(lease.keep, lease.kept.append, lease_s=0.2)
    guard.start()
    try:
        blocks_until(lambda: lease.asked >= 2)
    finally:
        guard.stop()

    assert lease.kept == []


async def test_a_wedged_loop_gives_its_runs_up_at_last(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "dbos_core.lease_guard")
    lease = Lease()
    guard = LeaseGuard(lease.keep, lease.kept.append, lease_s=0.2, blocked_max_s=0.3)
    guard.start()
    try:
        blocks_until(lambda: any(record.levelno == logging.ERROR for record in caplog.records))
        asked = lease.asked
        assert asked >= 1
        time.sleep(0.3)  # six more rounds of the guard: time itself is the point
        assert lease.asked == asked
    finally:
        guard.stop()


async def test_a_database_that_is_away_is_asked_again() -> None:
    lease = Lease()
    answers = iter([StoreUnavailable("away"), None])

    async def keep() -> bool:
        if (error := next(answers, None)) is not None:
            raise error
        return await lease.keep()

    guard = LeaseGuard(keep, lease.kept.append, lease_s=0.2)
    guard.start()
    try:
        blocks_until(lambda: lease.kept)
    finally:
        guard.stop()
