"""Who may judge a theme's histories: Temporal's own replayer, and ours."""

from __future__ import annotations

from temporalio.worker import Interceptor, Replayer, UnsandboxedWorkflowRunner

from tests.shadow.corpus.theme import Theme


def replayer(theme: Theme) -> Replayer:
    """Temporal's, with all that the theme's worker has."""
    return Replayer(
        workflows=theme.workflows,
        data_converter=theme.data_converter,
        interceptors=[one for one in theme.interceptors if isinstance(one, Interceptor)],
        workflow_runner=UnsandboxedWorkflowRunner(),
        workflow_failure_exception_types=theme.worker_options.get("workflow_failure_exception_types", ()),
    )
