"""Who may judge a theme's histories: Temporal's own replayer, and ours."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack

from temporalio.worker import Interceptor, Replayer, UnsandboxedWorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from dbos_compat.workbench import Workbench
from dbos_shadow.recorded import Recorded
from dbos_shadow.replay import replay_recorded
from dbos_shadow.verdict import Judgement
from tests.shadow.corpus.recorder import Played
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


def workbench(theme: Theme) -> Workbench:
    """Ours, with the same."""
    return Workbench(
        theme.workflows,
        data_converter=theme.data_converter,
        client_interceptors=theme.interceptors,
        workflow_runner=SandboxedWorkflowRunner() if theme.sandboxed else UnsandboxedWorkflowRunner(),
        **theme.worker_options,
    )


Judge = Callable[[Recorded, Workbench], Awaitable[Judgement]]


async def judgements(
    played: Iterable[Played], themes: Mapping[str, Theme], judge: Judge = replay_recorded
) -> list[tuple[Played, Judgement]]:
    """What replay (or ``free_run``) says of each run, in order."""
    found: list[tuple[Played, Judgement]] = []
    async with AsyncExitStack() as benches:
        open_benches: dict[str, Workbench] = {}
        for one in played:
            if one.theme not in open_benches:
                open_benches[one.theme] = await benches.enter_async_context(workbench(themes[one.theme]))
            found.append((one, await judge(one.recorded, open_benches[one.theme])))
    return found


def told(judgement: Judgement) -> str:
    """A judgement in one line, for a test that fails."""
    first = judgement.comparison.first if judgement.comparison else None
    where = f"{first.level} {first.kind} {first.path}: {first.expected} → {first.actual}" if first else judgement.note
    return f"{judgement.verdict} {judgement.reason or ''} {where}"
