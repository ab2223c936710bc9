"""What every runner of these tests does the same way."""

from __future__ import annotations

from dbos_core.activities.local import LocalLane
from dbos_core.commit import Mail, RunRow


class AnyRunner:
    """Takes every type of workflow and keeps its runs in memory. The rest of a ``Runner`` is the test's."""

    identity: str = "worker"
    max_cached: int = 100
    local_lane: LocalLane | None = None

    def knows(self, workflow_type: str) -> bool:
        return True

    def why_unreadable(self, message: Mail) -> str | None:
        return None

    def prepare(self, run: RunRow, spec: object) -> None:
        """Nothing to make ready."""
