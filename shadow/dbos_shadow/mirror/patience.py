"""Patience: what the shadow's database does not take now is tried again. Nobody waits for the shadow, so it can."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from dbos_core.errors import StoreUnavailable

__all__ = ["patiently"]

logger = logging.getLogger("dbos_shadow")

T = TypeVar("T")

AGAIN_FIRST_S = 0.25
AGAIN_MAX_S = 10.0


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """The answer to a call that may be repeated, as soon as there is one."""
    again_s = AGAIN_FIRST_S
    while True:
        try:
            return await call()
        except StoreUnavailable as error:
            logger.warning("the mirror's database is away: %s", error)
        await asyncio.sleep(again_s)
        again_s = min(again_s * 2, AGAIN_MAX_S)
