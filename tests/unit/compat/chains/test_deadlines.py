"""When a run's time is over: its own, or that of its chain."""

from __future__ import annotations

import pytest

from dbos_compat.chains.deadlines import deadline_ms, run_timeout_ms
from dbos_core.commit import RunRow, RunStatus


@pytest.mark.parametrize(
    ("due", "run", "expires", "over"),
    [
        (1000, 0, 0, None),
        (1000, 500, 0, 1500),
        (1000, 0, 700, 700),
        (1000, 500, 1200, 1200),
        (1000, 500, 9000, 1500),
        (1000, 500, 900, 900),
    ],
)
def test_the_sooner_of_the_two_ends_a_run(due: int, run: int, expires: int, over: int | None) -> None:
    assert deadline_ms(due, run, expires) == over


def row(deadline: int | None, metadata: str | None) -> RunRow:
    return RunRow(
        workflow_uuid="w", workflow_id="w", run_id="r", first_run_id="r", workflow_type="t", task_queue="q",
        status=RunStatus.RUNNING, start_ms=0, execution_ms=1000, deadline_ms=deadline, metadata=metadata,
    )  # fmt: skip


def test_activities_are_told_the_run_timeout_as_it_was_asked_for() -> None:
    assert run_timeout_ms(row(1500, '{"run_timeout_ms":4000}')) == 4000
    assert run_timeout_ms(row(1500, None)) == 500
    assert run_timeout_ms(row(None, "{}")) is None
