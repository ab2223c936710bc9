"""When an update is refused since the tasks of its run fail."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from temporalio.service import RPCError, RPCStatusCode

from dbos_compat.service.common import Context
from dbos_compat.service.update import check_ready
from dbos_core.commit import RunRow, RunStatus
from dbos_core.failing import Note, note_text
from dbos_core.phase import Phase


def context(phase: Phase | None, entries: int = 0) -> Context:
    """A context in which the run lives in that phase; None: it lives elsewhere, with so many journal entries."""
    live = None if phase is None else SimpleNamespace(phase=phase)
    journal = [SimpleNamespace(position=position) for position in range(1, entries + 1)]

    async def load(_: str) -> Any:
        return SimpleNamespace(run=run(3), entries=journal)

    return Context(kernel=cast(Any, SimpleNamespace(live=lambda _: live, load=load)), namespace="default")


def run(task_attempt: int, status: RunStatus = RunStatus.RUNNING) -> RunRow:
    return RunRow(
        workflow_uuid="order-42",
        workflow_id="order-42",
        run_id="r",
        first_run_id="r",
        workflow_type="Order",
        task_queue="q",
        status=status,
        start_ms=0,
        execution_ms=0,
        task_attempt=task_attempt,
        task_failure=note_text(Note(position=1, at_ms=0, identity="i", cause="C", message="m", record=None))
        if task_attempt > 1
        else None,
    )


@pytest.mark.parametrize("phase", [None, Phase.READY, Phase.ACTIVATING, Phase.LOADING])
async def test_a_run_whose_tasks_keep_failing_refuses_it(phase: Phase | None) -> None:
    with pytest.raises(RPCError) as caught:
        await check_ready(context(phase, entries=1), run(3))
    assert caught.value.status is RPCStatusCode.FAILED_PRECONDITION


async def test_a_task_that_went_well_and_is_being_committed_ends_that() -> None:
    """The database may have the commit, and somebody its outcome, before this process has heard that it has."""
    await check_ready(context(Phase.COMMITTING), run(3))


async def test_a_run_elsewhere_whose_journal_has_gone_on_takes_it() -> None:
    """Its owner takes the note of the failure back a moment after the commit that ended it."""
    await check_ready(context(None, entries=2), run(3))


@pytest.mark.parametrize("one", [run(1), run(2), run(9, RunStatus.COMPLETED)])
async def test_others_take_it(one: RunRow) -> None:
    await check_ready(context(Phase.READY), one)
