"""Stopped: a comparison whose core side was stopped, since it met what is not supported or has no stub. Pure.

Whatever is missing from there on, the outcome included, is the stop's doing and says nothing. What differs before it is a
difference all the same.
"""

from __future__ import annotations

from dataclasses import replace

from dbos_shadow.diff import Comparison
from dbos_shadow.difference import Difference, Kind, Level

__all__ = ["before_the_stop"]


def before_the_stop(comparison: Comparison, *, led: bool) -> Comparison:
    """Without the differences that the stop explains.

    Args:
        led: the core was told its past step by step. Else it may have asked for what the record has not got to yet, and
            only values of steps that both sides have are held against each other.
    """

    def counts(difference: Difference) -> bool:
        if difference.level is Level.OUTCOME or difference.kind is Kind.MISSING:
            return False
        return led or (difference.kind is Kind.VALUE and difference.step is not None)

    return replace(comparison, differences=tuple([one for one in comparison.differences if counts(one)]))
