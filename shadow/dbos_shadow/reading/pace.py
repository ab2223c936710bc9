"""Pace: how hard a live server is asked. A shadow must never be what hurts production.

Two bounds hold at once: requests in flight, and requests per second. When the server says that it is too much
(``RESOURCE_EXHAUSTED``) the rate is halved, once for all requests that were sent before, and comes back by a tenth of the
wanted rate after every ten seconds of good answers. What may pass is tried again, later each time; what will not pass is
raised. A client that tries again by itself hides from the pace what the server says: ``ONCE`` is for those.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from temporalio.service import RetryConfig, RPCError, RPCStatusCode

from dbos_core.errors import Expected

__all__ = ["ONCE", "Pace", "ServerUnavailable"]

T = TypeVar("T")

REQUESTS_PER_SECOND = 20.0
CONCURRENCY = 4
RATE_MIN = 0.2
PATIENCE_S = 300.0
"""How long one request is tried again."""
DELAY_FIRST_S = 0.5
DELAY_MAX_S = 30.0
GOOD_S = 10.0
"""Of good answers, until the rate rises again."""

ONCE = RetryConfig(max_retries=1)
"""One try of each request, and no other: 0 would be without an end."""

_PASSES = frozenset(
    {
        RPCStatusCode.RESOURCE_EXHAUSTED,
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.ABORTED,
    }
)


class ServerUnavailable(Expected):
    """The Temporal server does not answer, or says for too long that it is too much. Nothing is lost; go on later."""

    code = "DC111"


class Pace:
    """Lets requests through, one after the other, as fast as it is allowed to."""

    def __init__(
        self,
        *,
        per_second: float = REQUESTS_PER_SECOND,
        concurrency: int = CONCURRENCY,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """
        Args:
            per_second: requests per second at most.
            concurrency: requests in flight at most.
            patience_s: seconds for which one request is tried again.
            clock: seconds, for tests.
            sleep: the same.
        """
        if per_second <= 0 or concurrency < 1:
            raise ValueError(
                f"A pace needs a rate above 0 and a concurrency of 1 or more, not {per_second}, {concurrency}."
            )
        self.concurrency = concurrency
        self.wanted = per_second
        self.rate = per_second
        """What is allowed now."""
        self.requests = 0
        self.refused = 0
        """How often the server said that it is too much."""
        self._places = asyncio.Semaphore(concurrency)
        self._patience_s = patience_s
        self._clock = clock
        self._sleep = sleep
        self._next = 0.0
        self._good = 0
        self._halved_at = -1.0

    async def __call__(self, what: str, request: Callable[[], Awaitable[T]]) -> T:
        """Do one request; ``what`` names it in errors.

        Raises:
            ServerUnavailable: it was tried long enough.
            RPCError: the server's answer, if trying again would not change it.
        """
        begun = self._clock()
        delay = DELAY_FIRST_S
        while True:
            async with self._places:
                await self._turn()
                self.requests += 1
                sent = self._clock()
                try:
                    answer = await request()
                except RPCError as error:
                    if error.status not in _PASSES:
                        raise
                    failed = error
                else:
                    self._went_well()
                    return answer
            if failed.status is RPCStatusCode.RESOURCE_EXHAUSTED:
                self._too_much(sent)
            if self._clock() - begun + delay > self._patience_s:
                raise ServerUnavailable(
                    f"{what}: the Temporal server said {failed.status.name} for {self._patience_s:.0f} s. "
                    "What was judged is kept. Lower --requests-per-second, or start again later."
                ) from failed
            await self._sleep(delay * random.uniform(0.5, 1))
            delay = min(delay * 2, DELAY_MAX_S)

    async def _turn(self) -> None:
        """Wait until this request may go."""
        now = self._clock()
        mine = max(self._next, now)
        self._next = mine + 1 / self.rate
        if mine > now:
            await self._sleep(mine - now)

    def _too_much(self, sent: float) -> None:
        self.refused += 1
        self._good = 0
        if sent <= self._halved_at:
            return  # it was on its way when the rate was halved, and says the same again
        self._halved_at = self._clock()
        self.rate = max(self.rate / 2, min(RATE_MIN, self.wanted))

    def _went_well(self) -> None:
        self._good += 1
        if self.rate < self.wanted and self._good >= GOOD_S * self.rate:
            self._good = 0
            self.rate = min(self.wanted, self.rate + self.wanted / 10)
