"""How hard a server is asked: never faster than allowed, slower when it says so, and not for ever."""

from __future__ import annotations

import asyncio
import functools

import pytest
from temporalio.service import RPCError, RPCStatusCode

from dbos_shadow.reading.pace import Pace, ServerUnavailable


class Time:
    """A clock that only sleepers move."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now = max(self.now, self.now + seconds)
        await asyncio.sleep(0)


def error(status: RPCStatusCode) -> RPCError:
    return RPCError("no", status, b"")


class Server:
    def __init__(self, *answers: RPCStatusCode | None) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self) -> str:
        self.asked += 1
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise error(answer)
        return "fine"


async def test_requests_keep_their_distance() -> None:
    time = Time()
    pace = Pace(per_second=10, clock=time, sleep=time.sleep)
    for _ in range(21):
        assert await pace("asking", Server()) == "fine"
    assert time.now == pytest.approx(2.0)
    assert pace.requests == 21


async def test_no_more_at_once_than_allowed() -> None:
    pace = Pace(per_second=1e9, concurrency=3)
    under_way = most = 0
    gate = asyncio.Event()

    async def request() -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await gate.wait()
        under_way -= 1

    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(pace("asking", request))
        for _ in range(50):
            await asyncio.sleep(0)
        assert under_way == 3
        gate.set()
    assert most == 3


async def test_too_much_halves_the_rate_and_good_answers_bring_it_back() -> None:
    time = Time()
    pace = Pace(per_second=16, clock=time, sleep=time.sleep)
    exhausted = RPCStatusCode.RESOURCE_EXHAUSTED
    assert await pace("asking", Server(exhausted, exhausted)) == "fine"
    assert (pace.rate, pace.refused) == (4, 2)
    for _ in range(1000):
        await pace("asking", Server())
    assert pace.rate == 16


async def test_requests_that_were_on_their_way_halve_the_rate_once() -> None:
    time = Time()
    pace = Pace(per_second=16, concurrency=8, clock=time, sleep=time.sleep)
    gate = asyncio.Event()

    async def refused_first(server: Server) -> str:
        await gate.wait()
        return await server()

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            server = Server(RPCStatusCode.RESOURCE_EXHAUSTED)
            group.create_task(pace("asking", functools.partial(refused_first, server)))
        for _ in range(50):
            await asyncio.sleep(0)
        assert pace.requests == 8
        gate.set()
    assert (pace.rate, pace.refused) == (8, 8)


async def test_a_slow_pace_comes_back_in_seconds_and_not_in_requests() -> None:
    time = Time()
    pace = Pace(per_second=20, clock=time, sleep=time.sleep)
    await pace("asking", Server(*[RPCStatusCode.RESOURCE_EXHAUSTED] * 5))
    begun, slow = time.now, pace.rate
    assert slow < 1
    while pace.rate < 20:
        await pace("asking", Server())
    assert 60 < time.now - begun < 150


@pytest.mark.parametrize("status", [RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.ABORTED])
async def test_what_may_pass_is_tried_again_at_the_same_rate(status: RPCStatusCode) -> None:
    time = Time()
    pace = Pace(per_second=10, clock=time, sleep=time.sleep)
    server = Server(status, status, status)
    assert await pace("asking", server) == "fine"
    assert (server.asked, pace.rate) == (4, 10)


async def test_patience_ends_with_a_message_that_helps() -> None:
    time = Time()
    pace = Pace(patience_s=60, clock=time, sleep=time.sleep)
    server = Server(*[RPCStatusCode.UNAVAILABLE] * 1000)
    with pytest.raises(ServerUnavailable, match="said UNAVAILABLE for 60 s"):
        await pace("listing", server)
    assert 4 < server.asked < 30
    assert time.now < 120


async def test_what_will_not_pass_is_raised_at_once() -> None:
    server = Server(RPCStatusCode.INVALID_ARGUMENT)
    with pytest.raises(RPCError):
        await Pace()("listing", server)
    assert server.asked == 1


@pytest.mark.parametrize("wrong", [{"per_second": 0}, {"concurrency": 0}])
def test_a_pace_that_never_moves_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Pace(**wrong)  # type: ignore[arg-type]
