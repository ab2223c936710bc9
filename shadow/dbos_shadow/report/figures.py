"""Numbers as people read them. Pure."""

from __future__ import annotations

__all__ = ["counted", "percent", "short_ms"]


def percent(share: float) -> str:
    """A share with two digits that count: 12 %, 1.4 %, 0.03 %."""
    digits = 0 if share >= 0.1 else 1 if share >= 0.01 else 2 if share >= 0.0001 else 4
    text = f"{share * 100:.{digits}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) + " %"


def short_ms(ms: int) -> str:
    """A duration as people say it: 900 ms, 61 s, 4.2 min, 3.1 h, 12 d."""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000)):
        if ms >= 2 * size or (unit == "s" and ms >= size):
            number = ms / size
            return f"{number:.0f} {unit}" if number >= 10 or number == int(number) else f"{number:.1f} {unit}"
    return f"{ms} ms"


def counted(number: int, noun: str) -> str:
    """How many of something: 1 run, 2,000 runs."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
