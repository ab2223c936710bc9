"""The part ``operations`` of the benchmarks: what it plans, what it hears, how it sums up."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import operations
from benchmarks.contenders import BY_NAME, Contender
from benchmarks.environments import project_environment
from benchmarks.meters import Meter, ProcessMeter
from benchmarks.operations import (
    OPERATIONS,
    ROWS,
    Measured,
    OperationFailed,
    Operations,
    OperationsPlan,
    OperationsRunner,
    Row,
)
from benchmarks.postgres import Postgres
from benchmarks.protocol import Job
from benchmarks.report import operations_grids
from benchmarks.stands import Stand, Stands

OURS, THEIRS = BY_NAME["compat-unsandboxed"], BY_NAME["temporal"]
LATENCY = Row(operation="update", figure="p50_ms", title="update")
RATE = Row(operation="child", figure="per_second", title="children", higher_is_better=True)


def plan(*names: str, rounds: int = 1, history_contenders: tuple[str, ...] = (OURS.name,)) -> OperationsPlan:
    return OperationsPlan(
        contenders=[OURS, THEIRS],
        operations=names,
        rounds=rounds,
        seconds=1.0,
        activities=100,
        history_contenders=history_contenders,
    )


def measured(contender: Contender, row: Row, value: float, round_: int = 0) -> Measured:
    return Measured(contender=contender.name, round=round_, operation=row.operation, figures={row.figure: value})


def test_every_other_round_goes_backwards() -> None:
    assert [(round_, contender.name) for round_, contender in plan("signal", rounds=2).order()] == [
        (0, OURS.name),
        (0, THEIRS.name),
        (1, THEIRS.name),
        (1, OURS.name),
    ]


def test_the_long_history_has_processes_of_its_own_in_the_first_round() -> None:
    jobs = plan("signal", "burst", "history").jobs(0, OURS, "url")
    assert [(job.mode, job.operations) for job in jobs] == [
        ("operations", ("signal", "burst")),
        ("operations", ("history",)),
        ("recover", ("history",)),
    ]
    assert jobs[1].workflow_id == jobs[2].workflow_id
    later = plan("signal", "history", rounds=2).jobs(1, OURS, "url")
    assert [job.operations for job in later] == [("signal",)]


def test_who_does_not_make_the_long_history_does_the_rest() -> None:
    assert [job.operations for job in plan("signal", "history").jobs(0, THEIRS, "url")] == [("signal",)]
    assert plan("history").jobs(0, THEIRS, "url") == []


def test_a_job_survives_its_way_to_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    job = plan("signal", "update").jobs(0, OURS, "url")[0]
    monkeypatch.setattr("sys.argv", ["program", job.to_json()])
    assert list(Job.from_argv().operations) == ["signal", "update"]


def test_figures_are_medians_over_the_rounds() -> None:
    results = Operations(measured=[measured(OURS, LATENCY, value, i) for i, value in enumerate((5.0, 1.0, 2.0))])
    assert results.median(OURS.name, LATENCY) == 2.0
    assert results.median(THEIRS.name, LATENCY) is None
    assert results.median(OURS.name, RATE) is None


@pytest.mark.parametrize(("row", "ours", "theirs"), [(LATENCY, 2.0, 8.0), (RATE, 8.0, 2.0)])
def test_four_times_better_is_less_latency_or_a_higher_rate(row: Row, ours: float, theirs: float) -> None:
    results = Operations(measured=[measured(OURS, row, ours), measured(THEIRS, row, theirs)])
    assert results.times_better(row, OURS.name, THEIRS.name) == 4.0
    assert results.times_better(row, OURS.name, "temporal-durable") is None


def test_the_table_has_a_column_per_contender_and_a_ratio_to_each_of_theirs() -> None:
    update, child = ROWS[2], ROWS[5]
    results = Operations(
        measured=[measured(OURS, update, 2.0), measured(THEIRS, update, 8.0), measured(THEIRS, child, 3.0)],
        failed=[OperationFailed(contender=OURS.name, round=0, operation="child", error="it fell over")],
        settings={"activities": 10_000},
    )
    table, failures = operations_grids(results)
    assert table.columns == ("operation", OURS.name, THEIRS.name, f"vs {THEIRS.name}")
    assert table.rows == [(update.title, "2.00", "8.00", "4.00×"), (child.title, "–", "3.00", "–")]
    assert failures.rows == [(f"child of {OURS.name}", "it fell over")]


def test_results_survive_the_document() -> None:
    results = Operations(measured=[measured(OURS, LATENCY, 2.0)], settings={"activities": 1})
    assert Operations.from_json(json.loads(json.dumps(results.to_json()))) == results


def test_each_operation_of_the_table_is_one_that_the_program_has() -> None:
    from benchmarks.contenders import operations as program

    assert tuple(program.OPERATIONS) == OPERATIONS


EMBEDDED = Postgres(label="none", base_url="postgresql://nowhere/postgres")


class ImitationStand(Stand):
    """Without a server: the imitation needs none."""

    @asynccontextmanager
    async def backend(self) -> AsyncIterator[tuple[str, Meter]]:
        yield "nowhere", ProcessMeter(os.getpid())


@pytest.fixture
def imitated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def prepare(self: Stands, contenders: Any) -> None:
        for contender in contenders:
            self.ready[contender.name] = ImitationStand(contender, project_environment())

    monkeypatch.setattr(Stands, "prepare", prepare)
    monkeypatch.setattr(ImitationStand, "log", tmp_path / "log")
    monkeypatch.setattr(operations, "MODULE", "tests.unit.benchmarks.imitation")
    monkeypatch.setattr("benchmarks.visits.CACHE", tmp_path)


async def run(*names: str) -> Operations:
    return await OperationsRunner(replace(plan(*names), contenders=[OURS]), EMBEDDED).run()


@pytest.mark.usefixtures("imitated")
async def test_an_operation_that_fails_costs_its_own_row() -> None:
    results = await run("signal", "burst", "update")
    assert [one.operation for one in results.measured] == ["signal", "update"]
    assert [(one.operation, one.error) for one in results.failed] == [("burst", "out of order")]


@pytest.mark.usefixtures("imitated")
async def test_a_process_that_ends_early_leaves_the_rest_unmeasured() -> None:
    results = await run("signal", "timer", "update")
    assert [one.operation for one in results.measured] == ["signal"]
    assert [one.operation for one in results.failed] == ["timer", "update"]
    assert results.failed[0].error.startswith("ended with status 1: ")


@pytest.mark.usefixtures("imitated")
async def test_the_worker_that_made_the_history_is_gone_when_the_next_one_recovers_it() -> None:
    results = await run("history")
    made, recovered = (one.figures for one in results.measured)
    assert "recover_seconds" in recovered
    assert made["pid"] != recovered["pid"]
    with pytest.raises(ProcessLookupError):
        os.kill(int(made["pid"]), 0)
