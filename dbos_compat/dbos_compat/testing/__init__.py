"""For users' tests: Temporal's test environments under the same names, with nothing to install or to download."""

from __future__ import annotations

from temporalio.testing import ActivityEnvironment

from dbos_compat.testing.environment import WorkflowEnvironment

__all__ = ["ActivityEnvironment", "WorkflowEnvironment"]
