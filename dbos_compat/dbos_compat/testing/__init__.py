"""For users' tests: Temporal's test environments under the same names, with nothing to install or to download."""

from __future__ import annotations

from temporalio import workflow as _workflow
from temporalio.testing import ActivityEnvironment

# A test's file often holds its workflow, and is imported again inside the SDK's sandbox.
with _workflow.unsafe.imports_passed_through():
    from dbos_compat.testing.environment import WorkflowEnvironment

__all__ = ["ActivityEnvironment", "WorkflowEnvironment"]
