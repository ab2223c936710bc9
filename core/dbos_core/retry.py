"""Retry arithmetic: policy, attempt, failure → the next attempt, or why there is none.

The order of the checks and the meaning of each field are Temporal's (temporal-seam §2.4); pure.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True, frozen=True)
class RetryPolicy:
    """A completed retry policy (defaults filled in: 1 s, ×2, 100 × initial, unlimited)."""

    initial_ms: int = 1_000
    coefficient: float = 2.0
    maximum_interval_ms: int = 100_000
    maximum_attempts: int = 0
    """0: unlimited."""
    non_retryable_types: tuple[str, ...] = ()

    @property
    def bounded(self) -> bool:
        """True when attempts must be recorded before they start."""
        return self.maximum_attempts > 0

    def delay_ms(self, attempt: int) -> int:
        """Wait after the failure of ``attempt`` (from 1)."""
        try:
            delay = self.initial_ms * self.coefficient ** (attempt - 1)
        except OverflowError:
            return self.maximum_interval_ms
        return int(min(delay, self.maximum_interval_ms))
