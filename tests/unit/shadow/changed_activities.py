"""The activities of ``changed``: they leave a mark when they run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from temporalio import activity

from tests.unit.shadow.changed import RAN


def _made(name: str) -> Callable[..., Any]:
    async def run(value: Any) -> str:
        RAN.append(name)
        return f"{name} done"

    return activity.defn(name=name)(run)


ACTIVITIES = [_made(name) for name in ("reserve", "charge", "ship", "audit")]
