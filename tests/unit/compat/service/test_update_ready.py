"""When an update is refused since the tasks of its run fail."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from temporalio.service import RPCError, RPCStatusCode

from dbos_compat.service.common import Context
from dbos_compat.service.update import check_ready
from dbos_core.commit import RunRow, RunStatus
from dbos_core.phase import Phase


def context(phase: Phase | None) -> Context:
    """A context in which the run lives in that phase; None: it lives elsewhere."""
    live = None if phase is None else SimpleNamespace(phase=phase)
    return Context(kernel=cast(Any, SimpleNamespace(live=lambda _: live)), namespace="default")


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
    )


@pytest.mark.parametrize("phase", [None, Phase.READY, Phase.ACTIVATING, Phase.LOADING])
def test_a_run_whose_tasks_keep_failing_refuses_it(phase: Phase | None) -> None:
    with pytest.raises(RPCError) as caught:
        check_ready(context(phase), run(3))
    assert caught.value.status is RPCStatusCode.FAILED_PRECONDITION


def test_a_task_that_went_well_and_is_being_committed_ends_that() -> None:
    """The database may have the commit, and somebody its outcome, before this process has heard that it has."""
    check_ready(context(Phase.COMMITTING), run(3))


@pytest.mark.parametrize("one", [run(1), run(2), run(9, RunStatus.COMPLETED)])
def test_others_take_it(one: RunRow) -> None:
    check_ready(context(Phase.READY), one)
