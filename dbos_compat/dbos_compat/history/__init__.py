"""Journal → Temporal events.

``numbering`` gives every event its id, live and afterwards; ``synthesis`` writes the whole history of a run, with
``arrivals`` (what happened), ``requests`` (what was asked for), ``outcomes`` (how activities timed out) and ``closing``
(how the run ended) as its parts.
"""

from __future__ import annotations

from dbos_compat.history.synthesis import events

__all__ = ["events"]
