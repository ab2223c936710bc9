"""Phase: what a live run is in the middle of. One thing at a time."""

from __future__ import annotations

import enum


class Phase(enum.Enum):
    LOADING = "loading"
    """Its interpreter is brought to where the journal ends."""
    READY = "ready"
    ACTIVATING = "activating"
    COMMITTING = "committing"
    ASKED = "asked"
    """A query is in the interpreter."""
    GONE = "gone"
    """This process has let go of it; whatever comes back finds nobody."""
