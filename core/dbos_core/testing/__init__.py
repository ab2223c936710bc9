"""Time and chance that a test holds in its hand. Shipped, for users' tests too."""

from __future__ import annotations

from dbos_core.testing.clock import VirtualClock
from dbos_core.testing.entropy import SeededEntropy
from dbos_core.testing.stock import StockTools

__all__ = ["SeededEntropy", "StockTools", "VirtualClock"]
