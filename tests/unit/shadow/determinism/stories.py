"""A failure that nobody had to find: for whoever tells, draws or keeps one."""

from __future__ import annotations

from typing import Any

from dbos_shadow.determinism import DeterminismError, Happening, Kind, Rule

BEGUN_MS = 1_700_000_000_000


def happening(kind: Kind, after_ms: int = 0, name: str = "", text: str = "", **more: Any) -> Happening:
    return Happening(kind=kind, at_ms=BEGUN_MS + after_ms, name=name, text=text, **more)


BROKEN = "charged_is_shipped does not hold: one charge, and <neither> a shipment nor a refund."

HAPPENINGS = (
    happening(Kind.STARTED, 0, "Order"),
    happening(Kind.ACTIVITY_STARTED, 0, "charge", attempt=1),
    happening(Kind.ACTIVITY_STARTED, 0, "reserve", attempt=1),
    happening(Kind.STEP, 0, "Order", "charge, reserve", position=1),
    happening(Kind.ACTIVITY_FAILED, 0, "charge", "CardRefused", attempt=1, fault=True, chosen=2),
    happening(Kind.CLOCK, 1000),
    happening(Kind.ACTIVITY_STARTED, 1000, "charge", attempt=2),
    happening(Kind.ACTIVITY_COMPLETED, 1000, "charge", attempt=2),
    happening(Kind.STEP, 1000, "Order", "ship", position=2),
    happening(Kind.ACTIVITY_STARTED, 1000, "ship", attempt=1),
    happening(Kind.SIGNAL, 1000, "approve"),
    happening(Kind.CRASH, 1000, fault=True, chosen=5),
    happening(Kind.ACTIVITY_STARTED, 11_001, "ship", attempt=1, process=2),
    happening(Kind.UPDATE, 11_001, "change"),
    happening(Kind.ANSWERED, 11_001, "change", "update"),
    happening(Kind.CANCEL, 90_061_001),
    happening(Kind.CLOSED, 90_061_001, "Order", "canceled"),
    happening(Kind.BROKEN, 90_061_001, text=f"{Rule.INVARIANT.value}: {BROKEN}"),
)


def failure() -> DeterminismError:
    return DeterminismError(
        Rule.INVARIANT, BROKEN, workflow="Order", decisions=[0, 0, 3, 0, 0, 12], happenings=HAPPENINGS, history="{}"
    )
