"""Broken copies: a run whose step went wrong in the kernel itself, or before it had a row.

An exception in one run stays in that run, and the run does not stay behind: its copy here counts as failing, which shows
on its row, and after the usual waits it is taken up again from what is committed.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from dbos_core.checkpoint import failure_of
from dbos_core.commit import Commit, Verdict
from dbos_core.errors import BadCommit, StoreUnavailable
from dbos_core.phase import Phase

if TYPE_CHECKING:
    from dbos_core.kernel import Kernel
    from dbos_core.live_run import LiveRun

logger = logging.getLogger(__name__)


async def unbroken(kernel: Kernel, run: LiveRun, work: Awaitable[None]) -> None:
    """Do something to a run on its way into memory. If it raises, the run is tried again later."""
    try:
        await work
    except StoreUnavailable as error:
        logger.info("%r is taken up when the database is back: %s", run, error)
        _let_go(kernel, run)
    except Exception as error:
        broken(kernel, run, error)


def broken(kernel: Kernel, run: LiveRun, error: Exception) -> None:
    """This copy of the run is of no use any more."""
    logger.error("%r is broken; its run is taken up again", run, exc_info=error)
    if run.phase is Phase.GONE:
        return
    run.drop_interpreter()
    delay_ms = run.count_failure(failure_of(error), run.position, kernel.clock.now_ms())
    run.try_again(delay_ms, lambda: _let_go(kernel, run))


def _let_go(kernel: Kernel, run: LiveRun) -> None:
    """From the store, if it is still ours."""
    if run.phase is Phase.GONE:
        return
    run.gone()
    newest = run.failing.failure if run.failing is not None else None
    kernel.run_lost(run, Verdict.POSITION_LOST, run.row.task_attempt, newest)


def begin_without_activation(kernel: Kernel, run: LiveRun, attempt: Callable[[], None]) -> None:
    """The first activation failed before the start was durable: the start itself stands. ``attempt`` tries again."""
    new = run.new
    assert new is not None
    commit = Commit(
        workflow_uuid=new.workflow_uuid,
        fenced=False,
        start=new,
        mail=tuple([e.mail for e in run.inbox if e.mail is not None]),
        updates=tuple(run.admitted.values()),
    )
    run.phase = Phase.COMMITTING

    def done(verdict: Verdict | BadCommit) -> None:
        if run.phase is Phase.GONE:
            kernel.start_overheard(run, verdict)
            return
        run.phase = Phase.READY
        if verdict is not Verdict.COMMITTED:
            run.gone()
            kernel.start_failed(run, verdict)
            return
        run.new, run.admitted = None, {}
        if run.failing is not None:
            run.failing.write()
        kernel.run_started(run)
        run.try_again(0, attempt)

    kernel.writer.submit(commit, done)
